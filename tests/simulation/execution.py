"""The work of one agent process: what it does itself, and what it has its spawners do. Plays the pool's part."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from nodelink.task import (
    AttemptRef,
    Declined,
    Finished,
    Gone,
    LogChunk,
    LogStream,
    Progress,
    TaskRequest,
    TaskResponse,
)
from nodelink_agent.core.logs import LogRead
from nodelink_agent.core.wishes import Wish
from nodelink_agent.core.work import NewLimits, Stop, Work
from tests.checking.history import Told, Wished
from tests.simulation.doing import Doing
from tests.simulation.loop import process_context, virtual_loop
from tests.simulation.spawners import Spawner

if TYPE_CHECKING:
    from tests.simulation.agents import AgentHost, AgentLife

LOOK_SECONDS = 0.3
DURABLE_SECONDS = 3.0


class Execution:
    """Everything that one agent process runs or watches."""

    def __init__(self, life: AgentLife, *, host: AgentHost, spawner: Spawner) -> None:
        self._life = life
        self._host = host
        self._machine = self.machine = host.machine
        self._core = life.core
        self._loop = virtual_loop()
        self._context = process_context(host.process)
        self._own: dict[AttemptRef, Doing] = {}
        self._inline: list[Doing] = []
        self._spawned: dict[AttemptRef, Spawner] = {}
        self._watches: dict[asyncio.Task[None], None] = {}
        self._spawner = spawner
        spawner.take_line(self)

    @property
    def is_busy_itself(self) -> bool:
        """Whether work is done in this very process."""
        return bool(self._own)

    @property
    def runs_replayable_itself(self) -> bool:
        """Whether work is done in this very process that another one may take over."""
        return any(doing.request.execution == "replayable" for doing in self._own.values())

    # -- what the core wants ------------------------------------------------------------------------------------------

    def perform(self, work: Work) -> None:
        """Do what the core wants done, as the pool does."""
        if self._life.is_over:
            return
        self._life.journal.append(work.records)
        for stop in work.stop:
            self._stop(stop)
        over = [response for request in work.start if (response := self._start(request)) is not None]
        for extension in work.extend:
            self._extend(extension.ref, extension.until)
        for limits in work.limits:
            self._limit(limits)
        for ref in work.forget:
            self._forget(ref)
        if over:
            self.perform(self._core.ended(over, now=self._machine.now()))

    def _start(self, request: TaskRequest) -> TaskResponse | None:
        type = request.spec.type
        if type in self._host.declines:
            return TaskResponse(request.ref, Declined(message="not here"))
        place = self._host.places.get(type)
        if place is None:
            doing = self._machine.begin(request)
            doing.run.kept = True  # as long as this process lives
            self._inline.append(doing)
            return TaskResponse(request.ref, doing.at_once())
        if place:
            self._spawn(request)
        else:
            doing = self._machine.begin(request)
            self._own[request.ref] = self._machine.disk.printed[request.ref] = doing
            doing.go(self, process=self._host.process)
            if doing.plan.poison:
                self._loop.call_later(doing.plan.seconds / 2, self._die_of, doing, context=self._context)
        return None

    def _die_of(self, doing: Doing) -> None:
        """Work takes its process along; a supervisor starts the next one."""
        if not self._life.is_over and not doing.is_over:
            self._host.kill()
            self._loop.call_later(1.0, self._host.start)

    def _spawn(self, request: TaskRequest) -> None:
        spawner, until = self._spawner, self._core.lease_until(request.ref)
        self._spawned[request.ref] = spawner
        if spawner.is_dead:
            self._soon(self._told_never_began(request.ref))
        else:
            spawner.order(lambda: spawner.start(request, until))

    async def _told_never_began(self, ref: AttemptRef) -> None:
        """The spawner was no more when it was asked."""
        self._spawned.pop(ref, None)
        self._tell(TaskResponse(ref, Declined(message="there was no spawner", just_this=True)))

    def _stop(self, stop: Stop) -> None:
        if stop.ref in self._own:
            self._own[stop.ref].stop(stop)
        elif (spawner := self._spawned.get(stop.ref)) is not None:
            spawner.order(lambda: spawner.stop(stop))
            orphan = self._machine.orphans.get(stop.ref)
            if orphan is not None and spawner.is_dead:
                orphan.stop(stop)

    def _extend(self, ref: AttemptRef, until: float) -> None:
        spawner = self._spawned.get(ref)
        if spawner is not None:
            spawner.order(lambda: spawner.extend(ref, until))

    def _limit(self, limits: NewLimits) -> None:
        ref, number, until, silence = limits
        self._machine.history.told.append(Told(self._loop.time(), self._machine.name, ref, number))
        machine, spawner = self._machine, self._spawned.get(ref)
        left = None if until is None else machine.clock.real(until - machine.now())
        if ref in self._own:
            self._own[ref].limit(number, left=left, silence=silence)
        elif spawner is not None:
            spawner.order(lambda: spawner.limit(ref, number, left=left, silence=silence))

    def _forget(self, ref: AttemptRef) -> None:
        self._machine.disk.printed.pop(ref, None)
        spawner = self._spawned.pop(ref, None)
        if spawner is not None and not spawner.is_dead:
            spawner.order(lambda: spawner.forget(ref))
            return
        for disk in self._machine.disk.spawners.values():  # what a dead spawner left is removed
            disk.exits.pop(ref, None)

    def read(self, read: LogRead) -> LogChunk:
        """What was printed there, or a gap."""
        doing = self._machine.disk.printed.get(read.ref)
        if doing is None:
            return LogChunk(read.ref, read.stream, read.offset, b"", read.limit)
        return doing.read(read)

    # -- what becomes of work -----------------------------------------------------------------------------------------

    def started(self, doing: Doing) -> None:
        """Work has begun."""
        if not self._life.is_over:
            self._core.started(doing.ref, at=doing.began_at, containment="process_group")

    def grew(self, doing: Doing, stream: LogStream) -> None:
        """Work has printed."""
        if not self._life.is_over:
            self._core.output_grew(doing.ref, stream, doing.printed[stream])

    def advanced(self, doing: Doing, progress: Progress) -> None:
        """Work says how far it is."""
        if not self._life.is_over:
            self._core.progress(doing.ref, progress)

    def wished(self, doing: Doing, seconds: float) -> None:
        """Work in this process has given itself more time. A command has no way to say so but that of a caller."""
        if self._life.is_over or doing.ref not in self._own:
            return
        machine = self._machine
        real = machine.clock.real(seconds)
        doing.go_on_for(real)
        machine.history.wishes.append(Wished(self._loop.time(), machine.name, doing.ref, real))
        self._core.extended(doing.ref, Wish(run_until=machine.now() + seconds))

    def ended(self, doing: Doing, finished: Finished) -> None:
        """Work is over."""
        if self._own.pop(doing.ref, None) is not None:
            self._loop.call_later(DURABLE_SECONDS, self._must_be_durable, doing)
        self._tell(TaskResponse(doing.ref, finished))

    def _must_be_durable(self, doing: Doing) -> None:
        """So long after its end, work that ran in here has been written down, if there was nothing in the way."""
        is_hindered = self._machine.disk.full or self._core.journal_failing or self._loop.is_stalled(self._host.process)
        if not self._life.is_over and not is_hindered and doing.run.outcome is not None:
            doing.run.kept = True

    def _tell(self, *responses: TaskResponse) -> None:
        if not self._life.is_over:
            self.perform(self._core.ended(responses, now=self._machine.now()))

    # -- what earlier processes left ----------------------------------------------------------------------------------

    def adopt(self, doing: Doing, spawner: Spawner) -> None:
        """A command of an earlier process runs on with its spawner."""
        self._spawned[doing.ref] = spawner
        self.take_up(doing)

    def take_up(self, doing: Doing) -> None:
        """Tell again what is known of work that was begun by an earlier process."""
        self.started(doing)
        for stream in LogStream:
            if doing.printed[stream]:
                self.grew(doing, stream)

    def knows(self, ref: AttemptRef, spawner: Spawner) -> None:
        """A living spawner has the end of a command: it is to be told to forget it."""
        self._spawned[ref] = spawner

    def await_orphan(self, ref: AttemptRef, doing: Doing | None, *, exclusive: bool) -> None:
        """Wait until nothing is left of a command without a spawner, and have it killed unless it is exclusive."""
        self._soon(self._clear(ref, doing, exclusive=exclusive))

    async def _clear(self, ref: AttemptRef, doing: Doing | None, *, exclusive: bool) -> None:
        if doing is not None and not exclusive:
            await asyncio.sleep(self._host.chance.uniform(0, 0.3))
            doing.die()
        while doing is not None and not doing.is_over:  # noqa: ASYNC110 - nobody tells of the end of an orphan
            await asyncio.sleep(LOOK_SECONDS)
        self._machine.orphans.pop(ref, None)
        self._spawned.pop(ref, None)
        self._tell(TaskResponse(ref, Gone(message="its spawner died")))

    def spawner_died(self, spawner: Spawner) -> None:
        """A spawner is no more: what it had written down is read, and what it left is cleared away."""
        refs = [ref for ref, one in self._spawned.items() if one is spawner]
        self._loop.call_later(self._host.chance.uniform(0, 0.1), self._look_after, refs, spawner, context=self._context)

    def _look_after(self, refs: Sequence[AttemptRef], spawner: Spawner) -> None:
        if self._life.is_over:
            return
        disk = self._machine.disk.spawners[spawner.id]
        for ref in refs:
            if ref not in self._spawned:
                continue
            exit = disk.exits.get(ref)
            doing = self._machine.orphans.get(ref) or self._machine.disk.printed.get(ref)
            if exit is not None:
                self._spawned.pop(ref)
                self._tell(TaskResponse(ref, exit.finished))
            elif ref not in disk.ordered:
                self._soon(self._told_never_began(ref))
            else:
                exclusive = doing is not None and doing.request.execution == "exclusive"
                self.await_orphan(ref, doing, exclusive=exclusive)

    # -- the end ------------------------------------------------------------------------------------------------------

    def die(self, *, left: bool) -> None:
        """The process is no more, and nothing that ran in it."""
        for doing in self._own.values():
            doing.run.killed_agent = not left
            doing.die()
        if not left:
            for doing in self._inline:
                doing.run.kept = False
        self._stop_watching()

    def halt(self) -> None:
        """Stop everything, and leave the records as they are."""
        for doing in self._own.values():
            doing.halt()
        self._stop_watching()

    def _stop_watching(self) -> None:
        for spawner in self._host.spawners.values():
            if spawner.line is self:
                spawner.cut_line()
        for task in list(self._watches):
            task.cancel()

    def _soon(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine, context=self._context)
        self._watches[task] = None
        task.add_done_callback(self._watches.pop)
