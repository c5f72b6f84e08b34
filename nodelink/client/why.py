"""Why a task stands where it stands, and why an agent has the work that it has, as the server told it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nodelink.task import TaskStatus


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition by its name, whether it holds, and what there is to say about it.

    scheduler, lock, limit, rate or time; of an agent also pool, type, agent, labels, size, resources, connected,
    protocol, declined, cordon, drain, slots, type_limit, resources_free or gate.
    """

    condition: str
    holds: bool
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConditions:
    """What the conditions of a task say of one agent, up to the first that does not hold.

    `fits`: all hold, so it would be given the task now.
    """

    agent_id: str
    name: str
    fits: bool
    conditions: Sequence[Condition] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWhy:
    """Why a task stands where it stands. `conditions`: what must hold wherever it is to run.

    `agents`: those that come closest, at most 100 of `agents_total`; `ruled_out`: of all agents, how many each
    condition rules out. `ahead`: how many waiting tasks of its pool and type go before it, at most 10,000; None: it is
    in no queue. `starts_in`: about how many seconds it has still to wait; None: that is not known. `remedies`: what
    would help.
    """

    task_id: str
    status: TaskStatus
    reason: str
    summary: str
    conditions: Sequence[Condition] = ()
    agents: Sequence[AgentConditions] = ()
    agents_total: int = 0
    ruled_out: Mapping[str, int] = field(default_factory=dict)
    ahead: int | None = None
    starts_in: float | None = None
    remedies: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWhy:
    """Why an agent has the work that it has. `conditions`: what must hold for it to be given any.

    `waiting`: how many tasks in the server's memory wait that it could run; 0 if it is away.
    """

    agent_id: str
    summary: str
    conditions: Sequence[Condition] = ()
    waiting: int = 0
