"""What the server tells of where tasks may run: workspaces, and limits with those who have their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nodelink.task import Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where its tasks run, one at a time: in a pool, by `mode` agent anywhere there, local on the server's machine."""

    name: str
    pool: str
    mode: str
    created_at: int
    execution: Execution | None = None
    """The class of those of its tasks that name none; None: that of their type."""


@dataclass(frozen=True, slots=True)
class LimitHolder:
    """A task that has a place. Without an agent: it is being given to one, or waits for an approval."""

    task_id: str
    agent_id: str = ""
    since: int | None = None


@dataclass(frozen=True, slots=True)
class LimitWaiter:
    """A task that waits for a place; `since`: since when it has been pending."""

    task_id: str
    priority: int
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How many tasks may be with agents at a time. `most` None: nobody has set it; the tasks say it for themselves.

    `settings_most`: how many the server's settings allow, whatever is set. `taken`: how many places are, of which the
    first 100 `holders` are shown. `waiting`: the first 10 of those who wait for one, and how many more do, of whom at
    most 100 are counted. In a list, only for the first 20 limits or so that any wait for.
    """

    name: str
    most: int | None
    settings_most: int | None
    taken: int
    holders: Sequence[LimitHolder]
    waiting: Sequence[LimitWaiter] = ()
    waiting_more: int = 0


@dataclass(frozen=True, slots=True)
class LimitList:
    """Limits by name, those that are set first; `total`: how many there are, if they are too many to be shown."""

    limits: Sequence[Limit]
    total: int
