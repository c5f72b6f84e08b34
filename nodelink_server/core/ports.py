"""What the core needs of the world: a clock and a store. Two real implementations each, and no more ports than these.

The values that cross the border of the store are here as well. Commit before you speak: whatever `Store.apply` has
returned is durable, and nothing is told to anybody before.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol, overload

from nodelink.plan import DEFAULT_PLAN_LIMIT, is_applying, is_planning
from nodelink.task import Execution, Finished, LogStream, TaskStatus
from nodelink.values import value
from nodelink_server.core.attempt import Hold, Superseded
from nodelink_server.core.blob_ports import BlobStore, Kept, NewArtifact, NewState
from nodelink_server.core.deeds import Deed
from nodelink_server.core.pauses import Pause, PauseStep
from nodelink_server.core.statistics import Counts, StatsRange, StatsRow
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import LateResult, Remark, TaskEnd, TaskRecord


class Clock(Protocol):
    """Time. The only source of it in the core."""

    def now(self) -> int:
        """The wall clock, in milliseconds since the epoch. Only for people and the calendar."""

    def monotonic(self) -> float:
        """Seconds that never go back; the start is arbitrary."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """A block that may take so many seconds, and is ended by a TimeoutError then."""


class EventName(StrEnum):
    """The public names of events."""

    TASK_CREATED = "task.created"
    TASK_SCHEDULED = "task.scheduled"
    TASK_PENDING = "task.pending"
    TASK_SENT = "task.sent"
    TASK_PLAN_COMPLETED = "task.plan_completed"
    TASK_APPLY_PENDING = "task.apply_pending"
    TASK_STARTED = "task.started"
    TASK_PROGRESS = "task.progress"
    TASK_OUTPUT = "task.output"
    TASK_CANCELLING = "task.cancelling"
    TASK_COMPLETED = "task.completed"
    TASK_FAILED = "task.failed"
    TASK_TIMEOUT = "task.timeout"
    TASK_CANCELLED = "task.cancelled"
    TASK_LOST = "task.lost"
    TASK_UNKNOWN = "task.unknown"
    TASK_RECOVERED = "task.recovered"
    TASK_RETRYING = "task.retrying"
    TASK_SKIPPED = "task.skipped"
    TASK_ARTIFACT = "task.artifact"
    WORKSPACE_STATE = "workspace.state"
    AGENT_CONNECTED = "agent.connected"
    AGENT_DISCONNECTED = "agent.disconnected"
    AGENT_DRAINING = "agent.draining"
    AGENT_DRAINED = "agent.drained"
    AGENT_ERROR = "agent.error"
    ALERT_RAISED = "alert.raised"
    SCHEDULER_STATUS = "scheduler.status"
    HELLO = "hello"
    RESET = "reset"


class TaskEvent(NamedTuple):
    """One thing that happened.

    Revision 0: not kept (output, progress, hello, reset). `data` holds what is particular to it.
    """

    revision: int
    name: str
    time: int
    task_id: str = ""
    agent_id: str = ""
    status: str = ""
    reason: str = ""
    priority: int = 0
    type: str = ""
    pool: str = ""
    attempt: int = 0
    data: Mapping[str, object] | None = None


class LateEvents(Sequence[TaskEvent]):
    """Events that are made when somebody looks at them."""

    @abstractmethod
    def named(self, names: frozenset[str]) -> Sequence[TaskEvent]:
        """Those with these names, without making any other."""


class Shape(NamedTuple):
    """What decides which agents could run a task. Waiting tasks of one shape form one queue.

    `needs`: what it needs of an agent beside its pool and its type (`core/needs.py`); empty: one slot of any.
    `has_plan`: they have a plan that was approved, and wait to apply it.
    """

    pool: str
    type: str
    needs: str = ""
    has_plan: bool = False

    @property
    def plans(self) -> bool:
        """Whether its tasks make a plan."""
        return is_planning(self.type, has_plan=self.has_plan)

    @property
    def applies(self) -> bool:
        """Whether its tasks change something, each alone on its agent."""
        return is_applying(self.type, has_plan=self.has_plan)


class Place(NamedTuple):
    """A place in an order kept by the database: the value that orders, then the task's key."""

    value: int
    key: int


class Waiter(NamedTuple):
    """A task that waits for a place under a limit, and since when."""

    task_id: str
    priority: int
    since: int


class Waiters(NamedTuple):
    """The first of those who wait, in their order, and how many more: at most so many as were to be counted."""

    first: Sequence[Waiter] = ()
    more: int = 0


@value
class IdempotencyKey:
    """A caller's own name for a request, and the digest of what was asked under it."""

    caller: str
    key: str
    digest: bytes


class Answer(NamedTuple):
    """What was answered to a call that is carried out once under a key."""

    key: IdempotencyKey
    answer: str
    at: int


class RateUse(NamedTuple):
    """A place under a rate, taken by a start `since` a moment of control time, and free again when its time is over."""

    key: str
    place: int
    since: int
    until: int


@value
class Change:
    """A task's next value, and what goes with it.

    Refused, without harm to its neighbours, unless the stored revision is `expected` (0: the task is new), the
    `idempotency` key is free or the task's own, so is the unique key that it `claims`, each place that it `takes`, and
    each place under a rate that it `uses`. Each name in `events` takes one revision, in order; the last is the task's,
    and its remark's. `frees`: places that are the task's no more. A new task has its idempotency key from then on; with
    any other it only says for whose sake that changes.
    """

    task: Task
    expected: int
    events: tuple[EventName, ...]
    finished: Finished | None = None
    superseded: Superseded | None = None
    idempotency: IdempotencyKey | None = None
    takes: tuple[Hold, ...] = ()
    frees: tuple[Hold, ...] = ()
    uses: tuple[RateUse, ...] = ()
    remark: Remark | None = None

    @property
    def claims(self) -> str:
        """The unique key that a new task is to have; empty: none."""
        return "" if self.expected else self.task.unique_key

    @property
    def yields(self) -> str:
        """The unique key that is not, or no more, the task's as it ends or has given it up; empty: none."""
        return self.task.spec.unique_key if self.expected and not self.task.unique_key else ""


class Evidence(NamedTuple):
    """A late result of a task. Of one attempt only the first is kept."""

    task_key: int
    late: LateResult


class Notice(NamedTuple):
    """An event that is no step of a task. `task_id`: in whose room it is told all the same. `at` 0: at its commit."""

    name: EventName
    agent_id: str
    pool: str
    data: Mapping[str, object] | None = None
    task_id: str = ""
    type: str = ""
    attempt: int = 0
    at: int = 0


class Keeping(NamedTuple):
    """A wish about a blob, and what is told and audited if it comes true by the commit; nothing is if it stood so."""

    wish: NewArtifact | NewState
    notice: Notice
    deed: Deed


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """An agent as the database keeps it. `left`: its last session ended with a goodbye.

    `cordon`: why it is kept from new work; empty: it is not. `host_since`: since which session it has been on its host.
    `resources`: what it has of each, in thousandths. `type_limits`: how many tasks of a type it runs at a time at most.
    `plan_limit`: how many plans it makes at a time at most.
    `drained_at`: since when a person has it take no more work; None: nobody does. What runs then is stopped at the
    `drain_deadline`, if there is one: in control time, so that no outage brings it nearer.
    """

    id: str
    secret_hash: bytes
    session: int
    host_id: str
    name: str
    pool: str
    slots: int
    handlers: Mapping[str, Execution]
    labels: Mapping[str, str]
    software_version: str
    first_seen_at: int
    last_seen_at: int
    left: bool = False
    cordon: str = ""
    host_since: int = 0
    resources: Mapping[str, int] = field(default_factory=dict)
    type_limits: Mapping[str, int] = field(default_factory=dict)
    drained_at: int | None = None
    drain_deadline: int | None = None
    drain_note: str = ""
    features: frozenset[str] = frozenset()
    plan_limit: int = DEFAULT_PLAN_LIMIT


class WorkspaceMode(StrEnum):
    """Where the tasks of a workspace run. The names are public."""

    LOCAL = "local"
    AGENT = "agent"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where its tasks run, one at a time: in a pool, and there, if it is local, on the server's own machine.

    `execution`: the class of those that name none; None: that of their type.
    """

    name: str
    pool: str
    mode: WorkspaceMode
    created_at: int
    execution: Execution | None = None


class SessionEnding(StrEnum):
    """Why a session of an agent ended. The names are public."""

    GOODBYE = "goodbye"
    LOST = "lost"
    SILENT = "silent"
    REPLACED = "replaced"
    SERVER_STOPPED = "server_stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSessionRecord:
    """One connection of an agent, as the database keeps it. `disconnected_at` None: it goes on.

    `reason` is a `SessionEnding`, or empty while it goes on.
    """

    agent_id: str
    number: int
    connected_at: int
    disconnected_at: int | None = None
    reason: str = ""
    software_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one commit makes durable.

    `agents` are upserted: a record whose session is not greater than the stored one is refused, except that an equal
    session updates the other columns. `sessions` are begun or ended: none of a refused agent is begun, and what has
    ended stays as it is. `control_ms` is control time (`core/clock.py`). `statistics` are written over older values of
    the same rows. `deeds` are only audited: none about a refused agent, and none that changed nothing. `keepings` are
    looked at one after the other, behind everything else.
    """

    now: int
    control_ms: int
    changes: Sequence[Change] = ()
    agents: Sequence[AgentRecord] = ()
    notices: Sequence[Notice] = ()
    sessions: Sequence[AgentSessionRecord] = ()
    statistics: Sequence[StatsRow] = ()
    evidence: Sequence[Evidence] = ()
    deeds: Sequence[Deed] = ()
    pauses: Sequence[PauseStep] = ()
    keepings: Sequence[Keeping] = ()
    revived: str = ""
    """The loaded checkpoint of which all that ran is dealt with by this commit; empty: none."""


class LoadedCheckpoint(NamedTuple):
    """A checkpoint that this database was begun with. `start_number`: how often its own server had started.

    `as_waiting`: a person says that nothing of what ran when it was taken runs any more.
    """

    id: str
    start_number: int
    as_waiting: bool


class Replay(NamedTuple):
    """The task that was accepted before under an idempotency key, and whether the same was asked then."""

    task_id: str
    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a commit made of a batch. `revisions` and `keys` follow the changes; revision 0: refused by its guard.

    `locked`: those of the refused changes, by index, whose task was as expected, and a place that they take, or a rate
    that they use, was another's. `clashes`: those whose unique key was, with the id of the live task that has it.
    `kept`: what became of each keeping.
    """

    revisions: Sequence[int]
    keys: Sequence[int]
    events: Sequence[TaskEvent]
    replays: Mapping[int, Replay] = field(default_factory=dict)
    refused_agents: frozenset[int] = frozenset()
    locked: frozenset[int] = frozenset()
    clashes: Mapping[int, str] = field(default_factory=dict)
    kept: Sequence[Kept] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What a starting server needs to know. `start_number` has been raised durably.

    `granted` comes in the order of keys. `holds`: the id of the task that has it, by place. `limits`: what people have
    set, by name. `rates`: until when the places under rates are taken. `lines`: the first and the last place in line of
    the waiting tasks of each (pool, fairness key). `planned`: the tasks that have a plan, are with no agent, and
    have not ended.
    """

    start_number: int
    cluster_id: str
    control_ms: int
    revision: int
    granted: Sequence[Task]
    agents: Sequence[AgentRecord]
    shapes: Sequence[Shape]
    holds: Mapping[Hold, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[Hold, int] = field(default_factory=dict)
    lines: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    workspaces: Sequence[Workspace] = ()
    pauses: Sequence[Pause] = ()
    loaded: LoadedCheckpoint | None = None
    """The checkpoint that was loaded, as long as what ran when it was taken is not dealt with."""
    planned: Sequence[Task] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which tasks to list: every given filter must match. Newest first; `before_key` 0: from the newest.

    `created_after` is inclusive, `created_before` is not. `labels` are of the task's own metadata. `q` matches a task
    whose id begins so, whose type is this, or whose metadata has this `name=value`. `ids`: only these.
    `has_plan`: only what has a plan.
    """

    page_size: int = 50
    before_key: int = 0
    statuses: frozenset[TaskStatus] = frozenset()
    type: str | None = None
    pool: str | None = None
    workspace: str | None = None
    agent_id: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    labels: frozenset[tuple[str, str]] = frozenset()
    q: str = ""
    ids: frozenset[str] = frozenset()
    has_plan: bool = False


class Selection(NamedTuple):
    """The tasks of a page, newest first, without their payloads. `next_key`: as in `TaskPage`."""

    tasks: Sequence[Task]
    next_key: int = 0


PAGE_BYTES = 8 * 1024 * 1024
"""About how many bytes of payloads and results are loaded for one answer; it ends behind the task that reaches it."""


@dataclass(frozen=True, slots=True)
class TaskPage(Sequence[TaskRecord]):
    """A page of tasks, newest first. It may be shorter than was asked for, if its tasks are large.

    `next_key`: the next page is what is before this key (`TaskQuery.before_key`); 0: there is none.
    """

    records: Sequence[TaskRecord]
    next_key: int = 0

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> TaskRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TaskRecord]: ...
    def __getitem__(self, index: int | slice) -> TaskRecord | Sequence[TaskRecord]:
        return self.records[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCounts:
    """How many live tasks there are by (status, pool), and how many pending ones by (pool, priority band)."""

    by_status: Mapping[tuple[str, str], int]
    queued: Mapping[tuple[str, str], int]


class LogRow(NamedTuple):
    """A stored run of output.

    `position` counts both streams in order of arrival; `gap` bytes are missing if data is empty.
    """

    task_key: int
    attempt: int
    stream: LogStream
    offset: int
    position: int
    data: bytes
    gap: int = 0

    @property
    def length(self) -> int:
        """How many bytes it stands for."""
        return len(self.data) or self.gap


class LogEnds(NamedTuple):
    """How much of an attempt's output is stored: the end of each stream, and of both together."""

    stdout: int = 0
    stderr: int = 0
    position: int = 0


class Store(Protocol):
    """The database. Raises `StoreUnavailable` when it cannot answer; a failed `apply` has changed nothing."""

    @property
    def blobs(self) -> BlobStore:
        """Where blobs are."""

    async def boot(self, now: int) -> Boot:
        """Raise the start number, and return what the server starts from. Called once, first."""

    async def apply(self, batch: Batch) -> Receipt:
        """Make a batch durable in one commit. Only one call at a time."""

    async def find(self, task_ids: Sequence[str]) -> Sequence[Task]:
        """The stored tasks among these ids, in no order, with payloads up to 1 KiB."""

    async def payloads(self, keys: Sequence[int]) -> Mapping[int, bytes]:
        """The payloads of tasks, by key."""

    async def waiting(self, shape: Shape, after: Place | None, limit: int) -> Sequence[Task]:
        """Ready tasks of a shape in order of (rank, key), behind a place; payloads as in `find`."""

    async def count_before(self, shape: Shape, place: Place, most: int) -> int:
        """How many ready tasks of a shape go before a place: at most so many are counted."""

    async def waiting_on(self, key: str, after: Mapping[Shape, Place], most: int) -> Sequence[Task]:
        """Of the pending tasks that name a key, by a lock or otherwise, the first `most` of each shape by (rank, key),
        behind the place given for it; payloads as in `find`.
        """

    async def waiters(self, keys: Sequence[str], most_keys: int, few: int, most: int) -> Mapping[str, Waiters]:
        """Of the first of these keys that pending tasks name, by a lock or otherwise: the first few of those tasks, and
        how many more there are: at most so many are counted.
        """

    async def set_limit(self, name: str, most: int | None, now: int, deed: Deed | None = None) -> None:
        """Set a limit, by the name that people call it, or (None) let there be none. The deed is audited with it."""

    async def create_workspace(self, workspace: Workspace, deed: Deed | None = None) -> bool:
        """Keep a new workspace, and audit the deed. False: there is one of its name."""

    async def change_workspace(self, workspace: Workspace, deed: Deed | None = None) -> bool:
        """Give a workspace another pool, mode and class, and audit the deed. False: there is none of its name."""

    async def remove_workspace(self, name: str, deed: Deed | None = None) -> bool:
        """Let there be no workspace of this name, and audit the deed. False: a live task names it."""

    async def answer(self, caller: str, key: str) -> Answer | None:
        """What was answered to a caller's call under a key, unless it is forgotten."""

    async def keep_answer(self, answer: Answer) -> None:
        """Keep an answer under its key. One that is there already stays."""

    async def due(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Scheduled tasks in order of (due_at, key), behind a place: place and id."""

    async def retrying(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Tasks that are to be tried again in order of (retry_at, key), behind a place: place and id."""

    async def limited(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Live tasks with a total deadline in order of (total_deadline, key), behind a place: place and id."""

    async def expiring(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Tasks that may wait only so long for an agent or an approval, in order of (queue_deadline, key), behind a
        place: place and id.
        """

    async def read(self, task_id: str) -> TaskRecord | None:
        """Everything about one task."""

    async def have_ended(self, task_ids: Sequence[str]) -> Mapping[str, bool]:
        """Whether each of these tasks has ended, of those that there are."""

    async def read_ended(self, task_ids: Sequence[str]) -> Sequence[TaskEnd]:
        """How those of these tasks have ended that have, in the order asked, until `PAGE_BYTES` are loaded."""

    async def list(self, query: TaskQuery) -> TaskPage:
        """A page of tasks, with payloads, until `PAGE_BYTES` are loaded; `finished` and `earlier` are left out."""

    async def select(self, query: TaskQuery) -> Selection:
        """The same tasks as values, whatever the size of their payloads."""

    async def agent_sessions(self, agent_id: str, before: int, limit: int) -> Sequence[AgentSessionRecord]:
        """Sessions of an agent with a number below `before` (0: any), the newest first."""

    async def counts(self) -> LiveCounts:
        """How many live tasks there are."""

    async def events(self, after: int, limit: int) -> Sequence[TaskEvent]:
        """Kept events behind a revision, whole blocks, at least one if there is any, about `limit` events at most."""

    async def oldest_revision(self) -> int:
        """The revision before the first kept event: resuming behind less than this has missed some."""

    async def history(self, task_id: str) -> Sequence[TaskEvent]:
        """The events of one task from its first, rebuilt from its row and its attempts."""

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        """Make output durable. Only one call at a time.

        Rows already there (same attempt and position) are left alone.
        """

    async def log_ends(self, task_key: int, attempt: int) -> LogEnds:
        """How much of an attempt's output is stored."""

    async def read_logs(
        self, task_key: int, attempt: int, stream: LogStream | None, offset: int, limit: int
    ) -> Sequence[LogRow]:
        """Stored output from an offset (a position, without a stream), rows cut to fit, about `limit` bytes at most."""

    async def sweep(
        self, *, finished_before: int, events_before: int, keys_before: int, sessions_before: int, limit: int
    ) -> int:
        """Delete up to `limit` tasks that finished before a moment, with all that hangs on them, old events, and
        sessions that ended long ago; forget old idempotency keys and answers. Returns how many tasks were deleted.
        """

    async def statistics(self, wanted: StatsRange) -> Mapping[tuple[int, str], Counts]:
        """What the rows of a range add up to, by (start of the bucket, name of the group).

        Raises `InvalidTask` if that would be more than `MOST_GROUPS`.
        """

    async def coarsen(self, *, before: int, series: int, forget_before: int, limit: int) -> int:
        """Merge up to about `limit` rows of minutes before a moment, of this series or an earlier one, into rows of
        hours; and delete as many that ended before `forget_before`. Returns how many rows it found; fewer than
        `limit`: none are left.
        """
