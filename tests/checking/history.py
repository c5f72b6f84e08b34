"""What a run leaves behind for the checker: everything that was asked, done, said and kept, and when.

A simulation knows all of it. A run of real processes knows less, and says so in `History.knows`. Times are seconds of
one clock for the whole run (a simulation's own, or CLOCK_BOOTTIME of one machine); those of different sources may
differ by `History.slack`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from nodelink.task import AttemptRef, Execution, LogStream, Outcome, TaskStatus
from nodelink_server.core.ports import LogRow, TaskEvent
from nodelink_server.core.task_record import LateResult, Remark


class Known(StrEnum):
    """A part of a history that a run may or may not know of."""

    REQUESTS = "requests"
    """`requests`: everything that callers asked for, and each answer."""
    SIGHTS = "sights"
    """`sights`: the statuses that callers were told."""
    EXTENSIONS = "extensions"
    """`extensions`, `wishes`, `told`, `acks`: every extension that was asked for, and what agents were told of them."""
    REASONS = "reasons"
    """`Run.reason`, `Run.limits`: why work was stopped, and which extensions it knew of."""
    DEEDS = "deeds"
    """`deeds`: what people decided."""
    PLANS = "plans"
    """`approvals`, `plan_limits`, `Run.phase`, `Run.plan`: what was approved, and what was planned and applied."""
    EVENTS = "events"
    """`commits`: every kept event, in order of revision."""
    EVENT_TIMES = "event times"
    """`Commit.at`: when it became durable, give or take `slack`."""
    RUNS = "runs"
    """`runs`: every start of work, with its moment."""
    RUN_ENDS = "run ends"
    """`Run.ended_at`, `outcome`, `tree_gone`: how each start ended, as the machine saw it."""
    FENCES = "fences"
    """`Run.granted`: whether the database knew of this very grant, and of none after it, at the start."""
    KEEPING = "keeping"
    """`Run.kept`, `Run.lapsed`: whether the end of each run was in something that lived on."""
    LIVES = "lives"
    """`lives`: every process and every boot of a machine."""
    CONTACTS = "contacts"
    """`contacts`, `spared`, `patience`: when the server heard of each machine, and how long it was to be patient."""
    ROWS = "rows"
    """`kept`: every task as the database holds it in the end."""
    OUTPUT = "output"
    """`Kept.output`, and that runs print what `printed` says."""
    LISTENERS = "listeners"
    """`listenings`: all that each listener heard."""
    MEMORY = "memory"
    """`leftovers`: what memory still held after quiescence."""


@dataclass(slots=True, kw_only=True)
class Request:
    """One thing that a caller asked for, however often it had to ask.

    `unknown`: how many tries had no answer, and so may or may not have been accepted. `max_attempts`: how often it is
    to be tried, the first time included. `total_timeout`: in how many seconds it has to have ended; None: whenever.
    `is_watched`: it may not be silent for as long as it likes.
    `machines`: where it may run; None: anywhere. `alone`: it takes all of a resource of its machine. `rate`: a key, how
    many starts there may be, and in how many seconds. `skips`: it does not wait for its lock. `unique`: its unique key.
    `workspace`: where it works, one task at a time. `joined`: answers that named a live task of its unique key.
    """

    token: str
    execution: Execution = Execution.REPLAYABLE
    lock: str = ""
    key: str | None = None
    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: int = 0
    max_attempts: int = 1
    total_timeout: float | None = None
    is_watched: bool = False
    machines: frozenset[str] | None = None
    slots: int = 1
    alone: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)
    rate: tuple[str, int, float] | None = None
    skips: bool = False
    unique: str = ""
    workspace: str = ""
    joined: list[str] = field(default_factory=list)


class Sight(NamedTuple):
    """A status that the server told a caller: by `verb`, at this time."""

    at: float
    verb: str
    task_id: str
    status: TaskStatus


class Deed(NamedTuple):
    """What a person asked for: `verb` is abandon, resolve or rerun. `done` None: there was no answer."""

    at: float
    verb: str
    task_id: str
    done: bool | None


class Approval(NamedTuple):
    """What a person said of a plan: `verb` is approve or reject, `sha256` what they named. `done` None: there was no
    answer.
    """

    at: float
    verb: str
    task_id: str
    sha256: str
    done: bool | None


class Drain(NamedTuple):
    """A person had an agent become empty, knew it at `since`, and let it work again at `until`, or never."""

    agent_id: str
    since: float
    until: float = float("inf")


class Reprioritized(NamedTuple):
    """Another priority that a caller asked for, one after the other, and was answered `at` some moment. `done` None:
    there was no answer.
    """

    task_id: str
    priority: int
    done: bool | None
    at: float = 0.0


class Extension(NamedTuple):
    """Other limits that a caller asked for, in seconds. `done` None: there was no answer; `number`: of its attempt."""

    asked_at: float
    answered_at: float
    task_id: str
    done: bool | None
    timeout: float | None = None
    total_timeout: float | None = None
    heartbeat_timeout: float | None = None
    ref: AttemptRef | None = None
    number: int = 0

    @property
    def is_the_agents(self) -> bool:
        """Whether it is of limits that the agent keeps."""
        return self.timeout is not None or self.heartbeat_timeout is not None


class Wished(NamedTuple):
    """Work has given itself so many seconds from then on."""

    at: float
    machine: str
    ref: AttemptRef
    seconds: float


class Told(NamedTuple):
    """An agent was told of an extension."""

    at: float
    machine: str
    ref: AttemptRef
    number: int


class Ack(NamedTuple):
    """A heartbeat of a machine was sent, and acknowledged."""

    sent_at: float
    at: float
    machine: str


class Commit(NamedTuple):
    """A kept event, and the time at which it became durable."""

    at: float
    event: TaskEvent


@dataclass(slots=True, kw_only=True)
class Run:
    """One execution as the machine that ran it saw it.

    `granted`: its grant was durable and current when it began. `ended_at` None: it still runs. `outcome` None: it
    still runs, or nobody saw how it ended. `kept`: its end was in something that lived on (a record that was durable
    and never lost, or the memory of a process that did not die). `lapsed`: it was stopped because its own lease had
    run out. `killed_agent`: the agent's own process died while the work ran in it. `reason`: why it was stopped, if it
    was. `limits`: when it learned of which extension. `phase`: plan, apply or neither; `plan`: the digest of the
    plan that it has made, or was given to apply. `asks`: for how many seconds its failure asks to wait before another
    attempt.
    """

    ref: AttemptRef
    token: str
    machine: str
    began_at: float
    granted: bool = True
    ended_at: float | None = None
    outcome: Outcome | None = None
    tree_gone: bool = True
    kept: bool = True
    lapsed: bool = False
    killed_agent: bool = False
    reason: str = ""
    limits: list[tuple[float, int]] = field(default_factory=list)
    phase: str = ""
    plan: str = ""
    asks: float = 0.0


@dataclass(slots=True, kw_only=True)
class Life:
    """One life of something on a machine: kind is agent, spawner or host (from one boot to the next).

    `ended_at` None: it lives. `left`: it went in good order.
    """

    machine: str
    kind: str
    number: int
    began_at: float
    ended_at: float | None = None
    left: bool = False


class Contact(NamedTuple):
    """The server heard of a machine. `life`: the number of the agent's process that spoke; 0: not known."""

    at: float
    machine: str
    life: int = 0


class Spared(NamedTuple):
    """A time in which no lease may run out, and why: an outage with its grace, or half of a pool fell silent."""

    begin: float
    end: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the server is to wait for what is not heard of, in seconds."""

    lease: float
    lost_after: float
    unknown_after: float

    def of(self, execution: Execution) -> float:
        """For a task of this class."""
        match execution:
            case Execution.REPLAYABLE:
                return self.lease
            case Execution.ONCE:
                return self.lost_after
            case Execution.EXCLUSIVE:
                return self.unknown_after


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


class FailedAttempt(NamedTuple):
    """An attempt that failed, and after which its task was to be tried again, as the database holds it."""

    ref: AttemptRef
    state: str
    log_totals: tuple[tuple[LogStream, int], ...]
    output: Sequence[LogRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A task as the database holds it in the end."""

    id: str
    token: str
    key: str | None
    execution: Execution
    status: TaskStatus
    ref: AttemptRef | None
    reason: str = ""
    lock: str = ""
    may_have_run: bool = False
    remarks: Sequence[Remark] = ()
    late_results: Sequence[LateResult] = ()
    log_totals: tuple[tuple[LogStream, int], ...] | None = None
    output: Sequence[LogRow] = ()
    failed: Sequence[FailedAttempt] = ()
    priority: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A database was lost, and a server went on from a checkpoint of it.

    `taken_at`, `revision`: how far it reaches; `lost_at`: until when the database went on nevertheless. `waiting`: the
    tasks in it that were with no agent; `running`: the attempts that were. `gone`: the tasks that were accepted after
    it; `left_out`: those that had ended and are not in it. `undone`: the attempts that were granted after it; `told`:
    those of which only the lost database knew how they had ended. `fence`: the highest that the lost database knew.
    `again`: whether it was loaded, each time that somebody asked for it once more.
    """

    taken_at: float
    revision: int
    lost_at: float
    waiting: frozenset[str] = frozenset()
    running: frozenset[AttemptRef] = frozenset()
    gone: frozenset[str] = frozenset()
    left_out: Sequence[Kept] = ()
    undone: frozenset[AttemptRef] = frozenset()
    told: frozenset[AttemptRef] = frozenset()
    fence: int = 0
    again: list[bool] = field(default_factory=list)

    def lacks(self, task_id: str) -> bool:
        """Whether a task was in the lost database, and is in no other."""
        return task_id in self.gone or any(task.id == task_id for task in self.left_out)

    def is_lost(self, at: float) -> bool:
        """Whether what became durable at a moment is lost."""
        return self.taken_at <= at <= self.lost_at


@dataclass(slots=True, kw_only=True)
class History:
    """One run, from the first request to quiescence."""

    requests: list[Request] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    drains: list[Drain] = field(default_factory=list)
    priorities: list[Reprioritized] = field(default_factory=list)
    wishes: list[Wished] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    contacts: list[Contact] = field(default_factory=list)
    spared: list[Spared] = field(default_factory=list)
    patience: Patience | None = None
    slots: Mapping[str, int] = field(default_factory=dict)
    """How many slots each machine has."""
    plan_limits: Mapping[str, int] = field(default_factory=dict)
    """How many plans each machine makes at a time."""
    listenings: list[Listening] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    """Each loss of the database, and what was left of it."""
    leftovers: list[str] = field(default_factory=list)
    """What memory still held after quiescence, in words."""
    problems: list[str] = field(default_factory=list)
    """What broke that must never break: a loop of the server, a rule of the protocol between honest peers."""
    knows: frozenset[Known] = frozenset(Known)
    slack: float = 0.0
    decided: dict[float, float] = field(default_factory=dict)
    """Since when what became durable at a moment may have been decided; of others nothing is known."""
