"""What the server tells: tasks, results, events, output and agents, as plain values.

Moments are milliseconds since the epoch (UTC), as everywhere; None: it has not happened.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nodelink.errors import NodelinkError
from nodelink.task import TERMINAL, LogStream, Progress, TaskSpec, TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a task on one agent.

    `state`: granted, started, finished, void, lost or drained; failed or timeout, if another try follows, or is to.
    `reason` and what is below it: how it ended; empty or None where that is not known, or it has not.
    """

    number: int
    agent_id: str
    state: str
    sent_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LateResult:
    """What an agent told of an attempt that counted no more. It changes nothing, and is kept for people.

    `outcome`: completed, failed, timeout, cancelled or gone.
    """

    attempt: int
    agent_id: str
    received_at: int
    outcome: str
    exit_code: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something that happened to a task beside its attempts. `by`: who decided it; empty: nobody, it happened.

    `kind`: unknown, recovered, resolved, rerun, abandoned, extended or reprioritized.
    """

    kind: str
    at: int
    by: str = ""
    message: str = ""


class Assignment(NamedTuple):
    """How the tries to give a waiting task to an agent stand.

    How many there were, the first included; when the next one is at the latest; and why the last one came to nothing:
    no_pool, no_agent_online or none_free.

    Nobody waits for such a try: an agent that comes, or a slot that becomes free, wakes what it is for at once.
    """

    tries: int
    next_at: int
    reason: str


@dataclass(frozen=True, slots=True)
class LimitInForce:
    """A limit that a task has to do with, by name: how many places there are for the task, and how many are taken."""

    name: str
    most: int
    taken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as it stood when the server answered. `attempt` 0: none was granted yet. The payload is JSON text.

    While it is with an agent, `contact` is "connected" or "lost", and `lease_until` is when, without a sign of life
    from there, the rule of its class applies. `failures`: how many attempts have failed that were, or are to be,
    followed by another; `retry_at`: about when that is, while it waits for it (in lists None). `assignment`: how the
    tries to give it to an agent stand, while it waits for one. `in_force`: the limits that it has to do with while it
    lives, as they stood (not in the answer to a submission).
    """

    id: str
    status: TaskStatus
    spec: TaskSpec
    payload: bytes
    created_at: int
    updated_at: int
    reason: str = ""
    message: str = ""
    attempt: int = 0
    agent_id: str = ""
    sent_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    contact: str = ""
    last_contact: int | None = None
    lease_until: int | None = None
    may_have_run: bool = False
    progress: Progress | None = None
    attempts: Sequence[Attempt] = ()
    late_results: Sequence[LateResult] = ()
    remarks: Sequence[Remark] = ()
    revision: int = 0
    failures: int = 0
    retry_at: int | None = None
    retry_of: str = ""
    traceparent: str = ""
    assignment: Assignment | None = None
    in_force: Sequence[LimitInForce] = ()

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended for ever."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What an attempt took."""

    queue_seconds: float = 0.0
    run_seconds: float = 0.0
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """How a task ended. The output is JSON text, or empty; `error_category` is empty if nothing went wrong."""

    task_id: str
    status: TaskStatus
    attempt: int
    exit_code: int | None = None
    signal: int | None = None
    output: bytes = b""
    error_category: str = ""
    error_message: str = ""
    metrics: Metrics = field(default_factory=Metrics)
    started_at: int | None = None
    completed_at: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.status is TaskStatus.COMPLETED

    @property
    def value(self) -> Any:
        """Its output, read from JSON; None if there is none."""
        return json.loads(self.output) if self.output else None


@dataclass(frozen=True, slots=True)
class SubmitOutcome:
    """What became of one submission of many: the id of a task, or the reason of a refusal."""

    task_id: str = ""
    replayed: bool = False
    refusal: NodelinkError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. A `reset` says that some events are lost: read the present state again."""

    revision: int
    name: str
    time: int
    task_id: str = ""
    agent_id: str = ""
    status: TaskStatus | None = None
    reason: str = ""
    priority: int = 0
    type: str = ""
    pool: str = ""
    attempt: int = 0
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogPart:
    """A run of output, or (data empty) a gap of so many bytes. The offset counts within what was selected."""

    stream: LogStream
    offset: int
    data: bytes
    gap: int = 0


@dataclass(frozen=True, slots=True)
class LogPage:
    """A part of what a task printed, the offset to go on from, and whether nothing more will come."""

    parts: Sequence[LogPart]
    next_offset: int
    complete: bool


class AgentResource(NamedTuple):
    """One resource of an agent: how much of it the agent has, and how much of that its tasks take."""

    total: float
    used: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A machine that runs tasks. `status`: online, unreachable, draining, cordoned or offline."""

    id: str
    name: str
    pool: str
    status: str
    labels: Mapping[str, str]
    slots: int
    current_tasks: Sequence[str]
    last_heartbeat_at: int | None
    types: Sequence[str]
    software_version: str
    free_slots: int = 0
    """How many more tasks it could take now."""
    cordon_reason: str = ""
    """Why it is kept from new work; empty: it is not."""
    drained_at: int | None = None
    """Since when a person wants it to be empty; None: nobody does."""
    drain_deadline: int | None = None
    """About when what still runs there is stopped; None: never."""
    drain_note: str = ""
    """Why it is to be empty."""
    used_slots: int = 0
    """How many slots its tasks take."""
    resources: Mapping[str, AgentResource] = field(default_factory=dict)
    type_limits: Mapping[str, int] = field(default_factory=dict)
    """How many tasks of a type it runs at a time at most."""
    plan_limit: int = 0
    """How many plans it makes at a time at most; 0: the server does not say."""
    plan_running: int = 0
    """How many it makes now."""
    apply_running: int = 0
    """How many changes it applies now: one at most, and nothing else beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSession:
    """One connection of an agent. `reason`: goodbye, lost, silent, replaced or server_stopped; empty: it goes on."""

    number: int
    connected_at: int
    disconnected_at: int | None
    reason: str
    software_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkResult:
    """What was done to many tasks. `matched` is `done` and all that was `skipped`, by why.

    `ids`: the first 1,000 to which it was done; of a retry, the new tasks.
    """

    matched: int = 0
    done: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks to list: every given part must match. `labels`: metadata that a task must have, all of it.

    `q`: the beginning of an id, a type, or `name=value` of the metadata.
    """

    statuses: Collection[str] = ()
    type: str = ""
    pool: str = ""
    workspace: str = ""
    agent_id: str = ""
    created_after: int | None = None
    created_before: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    q: str = ""
