"""What the server tells: tasks, results, events, output and agents, as plain values.

Moments are milliseconds since the epoch (UTC), as everywhere; None: it has not happened.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nodelink.errors import NodelinkError
from nodelink.task import TERMINAL, LogStream, Progress, TaskSpec, TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a task on one agent. `state`: granted, started, finished, void or lost."""

    number: int
    agent_id: str
    state: str
    sent_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as it stood when the server answered. `attempt` 0: none was granted yet. The payload is JSON text."""

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
    last_contact: int | None = None
    may_have_run: bool = False
    progress: Progress | None = None
    attempts: Sequence[Attempt] = ()
    revision: int = 0
    retry_of: str = ""
    traceparent: str = ""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSession:
    """One connection of an agent. `reason`: goodbye, lost, silent, replaced or server_stopped; empty: it goes on."""

    number: int
    connected_at: int
    disconnected_at: int | None
    reason: str
    software_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks to list: every given part must match. `labels`: metadata that a task must have, all of it.

    `q`: the beginning of an id, a type, or `name=value` of the metadata.
    """

    statuses: Collection[str] = ()
    type: str = ""
    pool: str = ""
    agent_id: str = ""
    created_after: int | None = None
    created_before: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    q: str = ""
