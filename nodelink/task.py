"""The nouns that travel: what is asked, what is sent to an agent, what comes back.

All are frozen, and none knows how it travels. Moments are milliseconds since the epoch (UTC), durations are
milliseconds; names end in `_at` and `_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from nodelink.values import value

DEFAULT_POOL = "default"
DEFAULT_PRIORITY = 50
DEFAULT_GRACE_MS = 10_000
PRIORITIES: Mapping[str, int] = {"LOW": 25, "NORMAL": 50, "HIGH": 75, "CRITICAL": 100}


class TaskStatus(StrEnum):
    """Where a task stands."""

    CREATED = "created"
    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    PENDING = "pending"
    SENT = "sent"
    IN_PROGRESS = "in_progress"
    CANCELLING = "cancelling"
    PLAN_COMPLETED = "plan_completed"
    APPLY_PENDING = "apply_pending"
    UNKNOWN = "unknown"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"
    SKIPPED = "skipped"


TERMINAL = frozenset(
    {
        TaskStatus.COMPLETED,
        TaskStatus.FAILED,
        TaskStatus.TIMEOUT,
        TaskStatus.CANCELLED,
        TaskStatus.LOST,
        TaskStatus.SKIPPED,
    }
)
LIVE = frozenset(TaskStatus) - TERMINAL


class Execution(StrEnum):
    """What may happen to a task when contact with its agent is lost."""

    REPLAYABLE = "replayable"
    ONCE = "once"
    EXCLUSIVE = "exclusive"


class Reason(StrEnum):
    """Why a task stands where it stands. The names are public."""

    NONE = ""
    # waiting
    AGENT = "agent"
    TIME = "time"
    DEPENDENCY = "dependency"
    APPROVAL = "approval"
    LOCK = "lock"
    LIMIT = "limit"
    RATE = "rate"
    RETRY = "retry"
    PAUSED = "paused"
    # ended
    EXIT_CODE = "exit_code"
    SIGNAL = "signal"
    HANDLER_ERROR = "handler_error"
    START_ERROR = "start_error"
    OOM_KILLED = "oom_killed"
    RESOURCE = "resource"
    RUN_TIMEOUT = "run_timeout"
    QUEUE_TIMEOUT = "queue_timeout"
    START_TIMEOUT = "start_timeout"
    HEARTBEAT_TIMEOUT = "heartbeat_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_DENIED = "approval_denied"
    CANCELLED_BY_CALLER = "cancelled_by_caller"
    CANCEL_UNCONFIRMED = "cancel_unconfirmed"
    SUPERSEDED = "superseded"
    DEPENDENCY_FAILED = "dependency_failed"
    POLICY_DENIED = "policy_denied"
    AGENT_LOST = "agent_lost"
    INFRASTRUCTURE = "infrastructure"
    POISON = "poison"
    ABANDONED = "abandoned"
    APPLIED = "applied"


class ErrorCategory(StrEnum):
    """What kind of thing went wrong with an attempt. The names are public."""

    INVALID_INPUT = "invalid_input"
    DATA_LOAD = "data_load"
    HANDLER = "handler"
    EXIT_CODE = "exit_code"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    RESOURCE = "resource"
    POLICY = "policy"
    INFRASTRUCTURE = "infrastructure"
    POISON = "poison"
    INTERNAL = "internal"


class Outcome(StrEnum):
    """How an attempt ended, as its agent saw it."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class LogStream(StrEnum):
    """One of the two streams that a command writes."""

    STDOUT = "stdout"
    STDERR = "stderr"


@value
class TaskSpec:
    """What somebody asks for, its payload apart. `execution` None: the default of the type."""

    type: str
    pool: str = DEFAULT_POOL
    priority: int = DEFAULT_PRIORITY
    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    scheduled_at: int | None = None
    delay_ms: int | None = None
    execution: Execution | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@value
class Submission:
    """One task that a caller hands in. The payload is JSON text."""

    spec: TaskSpec
    payload: bytes
    idempotency_key: str | None = None
    traceparent: str = ""
    """The W3C trace context that the task's spans belong to; empty: none."""
    retry_of: str = ""
    """The finished task that this one runs again. Only the server says so."""


class AttemptRef(NamedTuple):
    """Names one execution: the attempt-th try at a task, granted under a fence."""

    task_id: str
    attempt: int
    fence: int


@value
class TaskRequest:
    """A task as it is handed to an agent, which starts it on receipt."""

    ref: AttemptRef
    spec: TaskSpec
    payload: bytes
    execution: Execution = Execution.ONCE
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class TaskError:
    """What went wrong, for people and programs."""

    category: ErrorCategory
    message: str


@value
class Started:
    """The work has started, `ago_ms` before this was said. `containment` is empty where there are no processes."""

    ago_ms: int = 0
    containment: str = ""


@value
class Progress:
    """What a handler says of its own advance: a fraction from 0 to 1, and words."""

    fraction: float
    message: str = ""


@value
class Declined:
    """The work will not be done there, and never began."""

    message: str = ""


@value
class Finished:
    """How an attempt ended. `log_totals` are the lengths of what it printed, gaps included."""

    outcome: Outcome
    reason: Reason = Reason.NONE
    exit_code: int | None = None
    signal: int | None = None
    output: bytes = b""
    error: TaskError | None = None
    run_seconds: float = 0.0
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    log_totals: Mapping[LogStream, int] = field(default_factory=dict)
    tree_gone: bool = True


Update = Started | Progress | Declined | Finished


class TaskResponse(NamedTuple):
    """What an agent says about one attempt."""

    ref: AttemptRef
    update: Update


class LogChunk(NamedTuple):
    """A run of output of one stream, or (data empty) a gap of `gap` bytes in it."""

    ref: AttemptRef
    stream: LogStream
    offset: int
    data: bytes
    gap: int = 0

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + (len(self.data) or self.gap)


class HeldState(StrEnum):
    """How an attempt stands with the agent that holds it."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    LOGS_ONLY = "logs_only"


class HeldAttempt(NamedTuple):
    """One attempt that an agent knows of when it says hello."""

    ref: AttemptRef
    state: HeldState


class LogAck(NamedTuple):
    """Up to where a stream of output is durable, and so the byte to go on from."""

    ref: AttemptRef
    stream: LogStream
    offset: int


class VerdictAction(StrEnum):
    """What an agent is to do with an attempt that it holds."""

    KEEP = "keep"
    STOP = "stop"
    FORGET = "forget"


class Verdict(NamedTuple):
    """The server's answer about one held attempt. `logs`: where its output goes on."""

    ref: AttemptRef
    action: VerdictAction
    logs: tuple[LogAck, ...] = ()


class AckDisposition(StrEnum):
    """What became of a result: durable now, durable before, of no use, or unreadable."""

    COMMITTED = "committed"
    DUPLICATE = "duplicate"
    STALE = "stale"
    REFUSED = "refused"


class ResultAck(NamedTuple):
    """A result need not be sent again, whatever became of it."""

    ref: AttemptRef
    disposition: AckDisposition


class CancelCommand(NamedTuple):
    """Stop an attempt: signal, grace, kill. `reason` says for whose sake."""

    ref: AttemptRef
    grace_ms: int = DEFAULT_GRACE_MS
    reason: Reason = Reason.CANCELLED_BY_CALLER
