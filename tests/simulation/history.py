"""What a run leaves behind for the checker: everything that was asked, done, said and kept, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nodelink.task import AttemptRef, Execution, LogStream, Outcome, TaskStatus
from nodelink_server.core.ports import LogRow, TaskEvent


@dataclass(slots=True, kw_only=True)
class Request:
    """One thing that a caller asked for, however often it had to ask.

    `unknown`: how many tries had no answer, and so may or may not have been accepted.
    """

    token: str
    execution: Execution = Execution.REPLAYABLE
    key: str | None = None
    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: int = 0


class Sight(NamedTuple):
    """A status that the server told a caller: by `verb`, at this time."""

    at: float
    verb: str
    task_id: str
    status: TaskStatus


class Commit(NamedTuple):
    """A kept event, and the time at which it became durable."""

    at: float
    event: TaskEvent


@dataclass(slots=True, kw_only=True)
class Run:
    """One execution as the machine that ran it saw it.

    `granted`: its grant was durable and current when it began. `ended_at` None: it still runs. `outcome` None: it
    died with its agent's process, or counted no more.
    """

    ref: AttemptRef
    token: str
    agent_id: str
    life: int
    began_at: float
    granted: bool = True
    ended_at: float | None = None
    outcome: Outcome | None = None
    tree_gone: bool = True


@dataclass(slots=True, kw_only=True)
class Life:
    """One process of an agent. `ended_at` None: it lives. `left`: it went in good order, nothing was left to tell."""

    agent_id: str
    number: int
    began_at: float
    ended_at: float | None = None
    left: bool = False


class Heard(NamedTuple):
    """What a listener heard: an event, or `connected` (with the revision after which it asked), or `reset`."""

    kind: str
    revision: int
    event: TaskEvent | None = None


@dataclass(slots=True, kw_only=True)
class Listening:
    """All that one listener heard. `task_id` "": of all tasks."""

    task_id: str = ""
    heard: list[Heard] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A task as the database holds it in the end."""

    id: str
    token: str
    key: str | None
    execution: Execution
    status: TaskStatus
    ref: AttemptRef | None
    agent_id: str | None = None
    may_have_run: bool = False
    log_totals: tuple[tuple[LogStream, int], ...] | None = None
    output: Sequence[LogRow] = ()


@dataclass(slots=True)
class History:
    """One run, from the first request to quiescence."""

    requests: list[Request] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    listenings: list[Listening] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    """What memory still held after quiescence, in words."""
    problems: list[str] = field(default_factory=list)
    """What broke that must never break: a loop of the server, a rule of the protocol between honest peers."""
