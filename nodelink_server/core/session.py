"""One connected agent: what it has been given, what it may be given, and what is to be said to it.

A session ends as a whole and is never repaired. Its slots are derived from the agent's own cumulative credit; what its
tasks take beyond a slot each follows from the tasks that are with it (`core/use.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nodelink.errors import CreditExceeded, LinkError, ProtocolViolation
from nodelink.plan import PLANNED
from nodelink.selectors import selects
from nodelink.taken import Taken
from nodelink.task import (
    AttemptRef,
    CancelCommand,
    ExtendCommand,
    LogAck,
    LogStream,
    Reason,
    ResultAck,
    StartCommand,
    TaskRequest,
)
from nodelink_server.core.bell import Bell
from nodelink_server.core.handover import Handover
from nodelink_server.core.needs import Needs, parse_needs
from nodelink_server.core.pace import Pace, Rhythm
from nodelink_server.core.ports import AgentRecord, Shape
from nodelink_server.core.task import Task
from nodelink_server.core.use import Use

MOST_NEEDS_KNOWN = 1_000
RESPONSE_WINDOW_FRAMES = 8
SILENT_PERIODS = 3
"""An agent is silent when nothing has come from it for so many heartbeats."""
LOG_WINDOW_BYTES = 4 * 1024 * 1024


class DrainRequest(NamedTuple):
    """What tells an agent to become empty. `deadline_ms`: from now on; None: there is none."""

    reason: str
    deadline_ms: int | None = None


@dataclass(slots=True)
class Outgoing:
    """What one frame to the agent carries."""

    tasks: list[TaskRequest] = field(default_factory=list)
    starts: list[StartCommand] = field(default_factory=list)
    extends: list[ExtendCommand] = field(default_factory=list)
    cancels: list[CancelCommand] = field(default_factory=list)
    result_acks: list[ResultAck] = field(default_factory=list)
    log_acks: dict[tuple[AttemptRef, LogStream], LogAck] = field(default_factory=dict)
    heartbeat: int = 0
    heartbeat_interval_ms: int = 0
    """How often it is to report from now on; 0: as before."""
    unknown: list[AttemptRef] = field(default_factory=list)
    response_credit: int = 0
    log_credit: int = 0
    drain: DrainRequest | None = None
    goodbye: str | None = None


class Origin(NamedTuple):
    """Where a session comes from, and since which session its host, its agent's memory and its process have been the
    same: of what was granted before then it may know nothing.
    """

    host_id: str
    instance_id: str = ""
    host_since: int = 1
    remembers_since: int = 1
    process_since: int = 1


class Window:
    """How much of something an agent may send, and has sent. Cumulative."""

    __slots__ = ("_come", "_credit", "_size", "_told", "_what")

    def __init__(self, credit: int, what: str) -> None:
        self._size = self._credit = self._told = credit
        self._what = what
        self._come = 0

    @property
    def left(self) -> int:
        """How much more may come."""
        return self._credit - self._come

    @property
    def is_running_out(self) -> bool:
        """Whether not a half of it is left by what the agent has been told."""
        return 2 * (self._told - self._come) < self._size

    def told(self) -> None:
        """The agent is being told of all of it."""
        self._told = self._credit

    def give(self, more: int) -> int:
        """Let so much more be sent. Returns how much may have been sent in all."""
        self._credit += more
        return self._credit

    def count(self, size: int) -> None:
        """So much has come. Raises `CreditExceeded` past the credit."""
        self._come += size
        if self._come > self._credit:
            raise CreditExceeded(f"more {self._what} than the credit allows")


OnBeat = Callable[["AgentSession", Sequence[AttemptRef]], Sequence[AttemptRef]]
"""Called with what a heartbeat lists; returns what of it counts no more."""


def _all_known(session: AgentSession, running: Sequence[AttemptRef]) -> Sequence[AttemptRef]:
    return ()


class AgentSession:
    """The server's side of one connection. Lives on the loop.

    `cordoned`: it is kept from new work; `drained`: because a person wants its agent to be empty. `draining`: because
    its agent is about to leave. `on_owed` is called when something is to be said that may wait a moment, until
    `say_owed`: whatever else is said takes it along.
    """

    __slots__ = (
        "__weakref__",
        "_bell",
        "_could_meet",
        "_credit",
        "_handover",
        "_next",
        "_on_beat",
        "_on_end",
        "_on_owed",
        "_on_room",
        "_output",
        "_pace",
        "_reserved",
        "_responses",
        "_sent",
        "_stops",
        "agent_id",
        "cordoned",
        "counted",
        "drained",
        "draining",
        "end",
        "features",
        "labels",
        "last_beat",
        "last_heard",
        "load",
        "number",
        "origin",
        "pool",
        "protocol",
        "rhythm",
        "slots",
        "types",
        "use",
    )

    def __init__(
        self,
        agent: AgentRecord,
        *,
        origin: Origin,
        now: float,
        on_room: Callable[[AgentSession], None],
        on_beat: OnBeat = _all_known,
        on_owed: Callable[[AgentSession], None] | None = None,
        protocol: int = 2,
        pace: Pace | None = None,
        cordoned: bool = False,
    ) -> None:
        self.agent_id = agent.id
        self.pool = agent.pool
        self.number = agent.session
        self.types = set(agent.handlers)
        self.slots = agent.slots
        self.labels = agent.labels
        self.features = agent.features
        self.use = Use(agent.resources, agent.type_limits, slots=agent.slots, plan_limit=agent.plan_limit)
        self.origin = origin
        self.protocol = protocol
        self._pace = pace or Pace()
        self.rhythm = Rhythm(self._pace.period)
        self.last_heard = now
        self.last_beat = 0
        """The number of the last heartbeat that came; 0: only the hello has."""
        self.draining = self.drained = False
        self.cordoned = cordoned
        self.load = 0.0
        self.counted: Taken | None = None
        """What the agent counts as taken of it, by its last heartbeat; None: it does not say."""
        self._could_meet: dict[str, bool] = {}
        """Of needs, whether it could meet them: asked again and again, and always the same."""
        self.end: LinkError | None = None
        self._on_room = on_room
        self._on_beat = on_beat
        self._on_owed = on_owed or AgentSession.say_owed
        self._credit = self._sent = self._reserved = 0
        self._handover = Handover()
        self._stops: dict[AttemptRef, CancelCommand] = {}
        self._next: Outgoing | None = None
        """What has gathered; None: nothing has."""
        self._bell = Bell()
        self._on_end: Callable[[], None] | None = None
        self._responses = Window(RESPONSE_WINDOW_FRAMES, "frames with responses")
        self._output = Window(LOG_WINDOW_BYTES, "output")

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.end is None

    # -- room ---------------------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more slots it may be given tasks for now."""
        if not self.is_open or self.draining or self.cordoned or self._handover.is_full:
            return 0
        free = self._credit - self._sent - len(self._handover) - self._reserved
        return free if self.use.is_idle else free - self.use.extra_slots

    def fits(self, shape: Shape) -> bool:
        """Whether it could run tasks of a shape if it had nothing else to do."""
        if shape.pool != self.pool or shape.type not in self.types:
            return False
        if not shape.needs:
            return True
        fits = self._could_meet.get(shape.needs)
        if fits is None:
            if len(self._could_meet) >= MOST_NEEDS_KNOWN:
                self._could_meet.clear()
            fits = self._could_meet[shape.needs] = self._can_meet(parse_needs(shape.needs))
        return fits

    def _can_meet(self, needs: Needs) -> bool:
        is_it = not needs.agent_id or needs.agent_id == self.agent_id
        return is_it and needs.slots <= self.slots and selects(needs.selector, self.labels) and self.use.could(needs)

    def has_room_for(self, shape: Shape) -> bool:
        """Whether it may be given a task of a shape that fits it now. What changes something needs it empty."""
        if shape.type in PLANNED and not self._has_room_for_plans(shape):
            return False
        if not shape.needs and not self.use.is_limited:
            return self.room > 0
        needs = parse_needs(shape.needs)
        return self.room >= needs.slots and self.use.has_room_for(shape.type, needs)

    def _has_room_for_plans(self, shape: Shape) -> bool:
        return self.is_empty if shape.applies else not self.use.is_full_of_plans

    @property
    def is_empty(self) -> bool:
        """Whether all its slots are free, and it could be given tasks for them."""
        return self.room >= self.slots

    @property
    def is_settled(self) -> bool:
        """Whether all its tasks have been handed to the stream, and all that it said of tasks has been settled."""
        return not self._handover and self._responses.left >= RESPONSE_WINDOW_FRAMES

    @property
    def busy(self) -> int:
        """How many of its slots are taken or promised."""
        return self.slots - self.room

    def reserve(self, task: Task) -> None:
        """Promise a task what it needs, while its grant is being committed."""
        self._reserved += 1
        self.use.take(task)

    def release(self, tasks: Iterable[Task]) -> None:
        """Take back promises that came to nothing."""
        for task in tasks:
            self._reserved -= 1
            self.use.let_go(task.id)
        self._on_room(self)

    def let_go(self, task_id: str) -> bool:
        """A task that was handed over takes nothing of the agent any more, beside the slot that the agent counts.
        Returns whether that leaves more room: then `has_more_room` is to be called when all that goes with it is shown.
        """
        return self.use.let_go(task_id)

    def has_more_room(self) -> None:
        """Let it be known that tasks have let go."""
        self._on_room(self)

    def credit_given(self, credit: int) -> None:
        """The agent lets itself be given more. Cumulative; less than before changes nothing."""
        if credit <= self._credit:
            return
        if credit > self._sent + self.slots:
            raise ProtocolViolation(f"task credit {credit} is more than {self.slots} slots allow")
        self._credit = credit
        self._on_room(self)

    # -- what is said to the agent ------------------------------------------------------------------------------------

    def deliver(self, request: TaskRequest) -> None:
        """Hand over a task whose grant is committed and whose slot was reserved."""
        self._reserved -= 1
        self._handover.put(request)
        self._bell.ring()

    def start(self, command: StartCommand) -> None:
        """Tell the agent that an offer which it has accepted is granted, durably."""
        self._news.starts.append(command)

    def extend(self, command: ExtendCommand) -> None:
        """Tell the agent, once, of other limits of an attempt."""
        self._news.extends.append(command)

    def stop(self, command: CancelCommand) -> None:
        """Ask the agent to stop an attempt, now and with every heartbeat until `answered`."""
        self._stops[command.ref] = command
        self._news.cancels.append(command)

    def withdraw(self, ref: AttemptRef, *, grace_ms: int = 0) -> None:
        """Tell the agent, once, that an offer or an attempt counts no more."""
        self._news.cancels.append(CancelCommand(ref, grace_ms, Reason.SUPERSEDED))

    def ask_drain(self, request: DrainRequest) -> None:
        """Ask the agent, once, to give back what it has not begun."""
        self._news.drain = request

    @property
    def is_stopping_any(self) -> bool:
        """Whether the agent is asked to stop anything, and has not answered."""
        return bool(self._stops)

    def is_told_to_stop(self, ref: AttemptRef) -> bool:
        """Whether the agent is asked to stop an attempt, and has not answered."""
        return ref in self._stops

    def take_unsent(self) -> Sequence[AttemptRef]:
        """Take back what was not handed to the stream. Returns the grants among it: they provably never began."""
        unsent, started = self._handover.give_up(), self._take_starts()
        for ref in started:  # its agent has accepted it, and waits
            self.withdraw(ref)
        return [*unsent, *started]

    def _take_starts(self) -> Sequence[AttemptRef]:
        """Take back the starts that were not handed to the stream."""
        if self._next is None:
            return ()
        starts, self._next.starts = self._next.starts, []
        return [command.ref for command in starts]

    def lift_cordon(self) -> None:
        """Let it be given work again."""
        self.cordoned = self.drained = False
        self._on_room(self)

    def answered(self, refs: Iterable[AttemptRef]) -> None:
        """These attempts have ended: their stops need not be repeated."""
        for ref in refs:
            self._stops.pop(ref, None)

    def ack_results(self, acks: Iterable[ResultAck]) -> None:
        """Tell the agent that it may forget these results."""
        self._later.result_acks.extend(acks)

    def ack_logs(self, acks: Iterable[LogAck]) -> None:
        """Tell the agent where to go on with its output. The latest word about a stream counts."""
        self._news.log_acks.update(((ack.ref, ack.stream), ack) for ack in acks)

    def give_response_credit(self, frames: int) -> None:
        """Let the agent send so many more frames with responses."""
        credit = self._responses.give(frames)
        frame = self._news if self._responses.is_running_out else self._later
        frame.response_credit = credit

    def give_log_credit(self, size: int) -> None:
        """Let the agent send so many more bytes of output."""
        self._news.log_credit = self._output.give(size)

    def say_goodbye(self, reason: str) -> None:
        """End the session on purpose, after what is to be said has been said."""
        self._news.goodbye = reason

    @property
    def _news(self) -> Outgoing:
        """The next frame, to which something is being added."""
        self._bell.ring()
        if self._next is None:
            self._next = Outgoing()
        return self._next

    @property
    def _later(self) -> Outgoing:
        """The same for what may wait a moment, unless the agent is about to leave."""
        if self.draining:
            return self._news
        if self._next is None:
            self._next = Outgoing()
            self._on_owed(self)
        return self._next

    def say_owed(self) -> None:
        """What could wait has waited long enough."""
        if self._next is not None:
            self._bell.ring()

    async def outgoing(self) -> Outgoing:
        """The next frame: everything that gathered while the last one was being written.

        Raises what ended the session.
        """
        await self._bell.wait()
        if self.end is not None:
            raise self.end
        self._bell.still()
        frame, self._next = self._next or Outgoing(), None
        if frame.response_credit:
            self._responses.told()
        was_full = self._handover.is_full
        frame.tasks = self._handover.take()
        self._sent += len(frame.tasks)
        if was_full:
            self._on_room(self)
        if self._handover:
            self._keep_behind_tasks(frame)
        return frame

    def _keep_behind_tasks(self, frame: Outgoing) -> None:
        """A stop must not overtake the task that it is about, and nor must an extension."""
        unsent, news = self._handover.refs(), self._news  # which has the writer come back at once
        extends, cancels = frame.extends, frame.cancels
        frame.extends = [command for command in extends if command.ref not in unsent]
        frame.cancels = [command for command in cancels if command.ref not in unsent]
        news.extends = [command for command in extends if command.ref in unsent]
        news.cancels = [command for command in cancels if command.ref in unsent]

    # -- what the agent says ------------------------------------------------------------------------------------------

    @property
    def period(self) -> float:
        """How many seconds may lie between two of its heartbeats, jitter apart."""
        return self.rhythm.period

    def heard(self, now: float) -> None:
        """A frame has come."""
        self.last_heard = now

    def heartbeat(
        self,
        number: int,
        *,
        load: float,
        draining: bool,
        running: Sequence[AttemptRef] = (),
        counted: Taken | None = None,
        interval_ms: int = 0,
    ) -> None:
        """The agent lives, and has these attempts. Answered with what it has not answered yet.

        `interval_ms`: how often it reports by now; 0: it does not say. What comes late, in a session that is over,
        means nothing.
        """
        if not self.is_open:
            return
        self.load = load
        self.counted = counted
        self.draining = draining
        self.last_beat = max(number, self.last_beat)
        news = self._news
        news.heartbeat = number
        if interval_ms and (wanted_ms := self.rhythm.kept(interval_ms, self._pace.period)):
            news.heartbeat_interval_ms = wanted_ms
        news.unknown = list(self._on_beat(self, running))
        said = {command.ref for command in news.cancels}
        news.cancels.extend(command for ref, command in self._stops.items() if ref not in said)
        if not draining:
            self._on_room(self)

    def count_response_frame(self) -> None:
        """A frame with responses has come. Raises `CreditExceeded` past the credit."""
        self._responses.count(1)

    def count_log_bytes(self, size: int) -> None:
        """Output has come. Raises `CreditExceeded` past the credit."""
        self._output.count(size)

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self, end: LinkError) -> Sequence[AttemptRef]:
        """End it. Returns the grants that were never handed to the stream: they provably never began."""
        if not self.is_open:
            return ()
        self.end = end
        unsent = [*self._handover.give_up(), *self._take_starts()]
        self._bell.ring()
        if self._on_end is not None:
            self._on_end()
        return unsent

    def when_ended(self, do: Callable[[], None]) -> None:
        """Have something done as soon as it has ended; `end` tells why."""
        self._on_end = do
        if not self.is_open:
            do()
