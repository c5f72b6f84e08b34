"""The nouns that travel: what is asked, what is sent to an agent, what comes back.

All are frozen, and none knows how it travels. Moments are milliseconds since the epoch (UTC), durations are
milliseconds; names end in `_at` and `_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from nodelink.plan import Plan
from nodelink.values import value

DEFAULT_POOL = "default"
DEFAULT_PRIORITY = 50
BY_RULE = 0
"""In place of a priority: what the server's rules say of such a task, or else `DEFAULT_PRIORITY`."""
DEFAULT_GRACE_MS = 10_000
EXTEND = "extend"
"""The feature of an agent that knows heartbeat timeouts, and takes other limits for what it runs."""
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
    DRAINED = "drained"
    LEASE_EXPIRED = "lease_expired"
    DEPENDENCY_FAILED = "dependency_failed"
    POLICY_DENIED = "policy_denied"
    AGENT_LOST = "agent_lost"
    INFRASTRUCTURE = "infrastructure"
    POISON = "poison"
    ABANDONED = "abandoned"
    APPLIED = "applied"
    RESOLVED = "resolved"


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


class WhenTaken(StrEnum):
    """What becomes of a task that is ready while its lock, or a place under one of its limits, is another's.

    It waits; or it is skipped, once and for all; or the tasks that have what it lacks are stopped, the longest running
    first.
    """

    WAIT = "wait"
    SKIP = "skip"
    REPLACE = "replace"


class OnConflict(StrEnum):
    """What a submission asks for while a live task has its unique key: a refusal, that task, or to take its place."""

    FAIL = "fail"
    USE_EXISTING = "use_existing"
    REPLACE = "replace"


class Rate(NamedTuple):
    """At most so many starts in any stretch of `per_ms` milliseconds."""

    most: int
    per_ms: int


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
class RetryPolicy:
    """How often a task is tried that fails or runs out of time, and how long apart.

    Before the n-th retry it waits for a time drawn from 0 to `initial_ms` times `multiplier` to the power of n - 1, but
    at most `max_ms`. `max_attempts` counts every try, the first included. `on`: which failures are worth it: names of
    error categories, `exit_code:N`, `signal:N`; empty: all but `invalid_input` and `policy`, which no retry can mend.
    """

    max_attempts: int = 3
    initial_ms: int = 1_000
    max_ms: int = 300_000
    multiplier: float = 2.0
    on: tuple[str, ...] = ()


@value
class TaskSpec:
    """What somebody asks for, its payload apart. `execution` None: the default of the type."""

    type: str
    pool: str = DEFAULT_POOL
    priority: int = BY_RULE
    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    scheduled_at: int | None = None
    delay_ms: int | None = None
    execution: Execution | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    lock: str = ""
    """Of the tasks that name the same lock, one at a time is with an agent; empty: none."""
    retry: RetryPolicy | None = None
    """None: it is tried once."""
    start_timeout_ms: int | None = None
    """How long its agent may take to begin once it was given an attempt; None: as long as its lease lets it."""
    total_timeout_ms: int | None = None
    """How long it may take in all, from the moment when it was due: waits, tries and all; None: for ever."""
    heartbeat_timeout_ms: int | None = None
    """How long its work may go without a sign of life of its own, once it runs; None: for ever."""
    agent_id: str = ""
    """The only agent that may run it; empty: any."""
    selector: str = ""
    """What the labels of its agent have to be (`nodelink/selectors.py`); empty: anything."""
    slots: int = 1
    """How many slots of its agent it takes."""
    resources: Mapping[str, int] = field(default_factory=dict)
    """What it takes of its agent's resources, in thousandths: 500 of `cpu` is half a processor."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """By key: it starts only while fewer than so many tasks with an agent name that key. A lock is a limit of one."""
    rates: Mapping[str, Rate] = field(default_factory=dict)
    """By key: it starts only if those starts that named the key leave room for one more."""
    when_taken: WhenTaken = WhenTaken.WAIT
    workspace: str = ""
    """The workspace that it works in; empty: none."""
    unique_key: str = ""
    """Of the live tasks at most one has this key; empty: none."""
    on_conflict: OnConflict = OnConflict.FAIL
    fairness_key: str = ""
    """The keys of a pool share it, each by its weight; empty: it goes by its age alone."""
    fairness_weight: int = 1
    approval_timeout_ms: int | None = None
    """How long its plan may wait for an approval; None: as the server has it."""
    approval_by_other: bool = False
    """Whether somebody else has to approve its plan than has submitted it."""


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
    """A task as it is handed to an agent: `granted`, to be started on receipt, or offered, to be accepted first.

    `lease_ms` is the lease as the server counts it, from the send time of the heartbeat numbered `basis` (0: of the
    hello); None: there is none.
    """

    ref: AttemptRef
    spec: TaskSpec
    payload: bytes
    execution: Execution = Execution.ONCE
    traceparent: str = ""
    granted: bool = True
    lease_ms: int | None = None
    basis: int = 0
    plan: Plan | None = None
    """The approved plan that is to be applied, and no other; None: there is none."""


@dataclass(frozen=True, slots=True)
class TaskError:
    """What went wrong, for people and programs."""

    category: ErrorCategory
    message: str


class StartCommand(NamedTuple):
    """The grant of an offer that was accepted: start it, unless its lease has run out.

    The lease is counted from the send time of the heartbeat numbered `basis`; 0: of the hello.
    """

    ref: AttemptRef
    lease_ms: int | None = None
    basis: int = 0


@value
class Accepted:
    """An offer is accepted: it will be started once it is granted."""


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
class Extended:
    """The work has given itself other limits, each counted from when this was said. None: as before.

    `number` counts what an attempt has said of this kind, from 1.
    """

    number: int
    timeout_ms: int | None = None
    total_timeout_ms: int | None = None
    heartbeat_timeout_ms: int | None = None


@value
class Declined:
    """The work will not be done there, and never began. Not `just_this`: nor will anything else of its type."""

    message: str = ""
    just_this: bool = False


@value
class Gone:
    """The work had begun, nothing of it runs any more, and nobody saw how it ended.

    `agent_died`: the agent's own process died while the work ran in it.
    """

    message: str = ""
    agent_died: bool = False


@value
class Finished:
    """How an attempt ended. `log_totals` are the lengths of what it printed, gaps included.

    `retry_after_ms`: how long to wait before another try, if there is one; None: as its policy says.
    """

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
    retry_after_ms: int | None = None
    plan: Plan | None = None
    """The plan that it has made, if making one was its work."""
    plan_artifact: str = ""
    """Which artifact of the attempt has the bytes of the plan; empty: they are kept elsewhere."""


Update = Accepted | Started | Progress | Extended | Declined | Gone | Finished


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
    ACCEPTED = "accepted"


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


class ExtendCommand(NamedTuple):
    """Other limits for an attempt, each counted from when this was said. None: as before.

    `number` counts the extensions of the attempt, from 1; `heard` is the number of the last `Extended` among them.
    """

    ref: AttemptRef
    number: int
    timeout_ms: int | None = None
    heartbeat_timeout_ms: int | None = None
    heard: int = 0
