"""A simulated spawner: the process that runs commands, and outlives the agent that has it started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from nodelink.task import AttemptRef, Execution, Finished, LogStream, Progress, Reason, TaskRequest
from nodelink_agent.core.work import Stop
from tests.simulation.doing import Doing, Watcher
from tests.simulation.loop import process_context
from tests.simulation.machines import Exit, Machine, SpawnerDisk

LAPSE_GRACE_MS = 2_000


class Spawner:
    """Holds commands, writes down how they end, and ends what runs out of its lease. `line`: the agent that listens."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.id = name
        self.process = f"{machine.name}/{name}"
        self.line: Watcher | None = None
        self.is_dead = False
        self._machine = machine
        self._loop = asyncio.get_running_loop()
        self._context = process_context(self.process)
        self._holds: dict[AttemptRef, Doing] = {}
        self._until: dict[AttemptRef, float] = {}
        self._disowned: set[AttemptRef] = set()
        self._orders: list[Callable[[], None]] = []
        self._life = machine.begin_life("spawner")
        self._disk = machine.disk.spawners[name] = SpawnerDisk(machine.boot)

    # -- orders -------------------------------------------------------------------------------------------------------

    def order(self, deed: Callable[[], None]) -> None:
        """Have something done, in the order in which it was asked, a moment later."""
        self._orders.append(deed)
        self._loop.call_later(self._machine.chance.uniform(0, 0.01), self._obey_next, context=self._context)

    def _obey_next(self) -> None:
        if self._orders and not self.is_dead:
            self._orders.pop(0)()

    def cut_line(self) -> None:
        """The agent is gone: what it had asked for is done, as far as it had come through."""
        self.line = None
        del self._orders[self._machine.chance.randrange(len(self._orders) + 1) :]
        self._loop.call_later(0.02, self._close_if_idle, context=self._context)

    def take_line(self, line: Watcher) -> None:
        """An agent listens from now on. What its predecessor had asked for is done first."""
        while self._orders:
            self._orders.pop(0)()
        self.line = line

    def start(self, request: TaskRequest, until: float | None) -> None:
        """Run a command."""
        if request.ref in self._disk.ordered:
            self._machine.history.problems.append(f"{request.ref} was ordered twice")
            return
        self._disk.ordered[request.ref] = None
        doing = self._machine.begin(request)
        self._holds[request.ref] = self._machine.disk.printed[request.ref] = doing
        if until is not None and request.execution is Execution.REPLAYABLE:
            self._until[request.ref] = until
            self._watch(request.ref)
        doing.go(self, process=f"{self._machine.name}/commands")

    def stop(self, stop: Stop) -> None:
        """Stop a command."""
        doing = self._holds.get(stop.ref)
        if doing is not None:
            doing.stop(stop)

    def extend(self, ref: AttemptRef, until: float) -> None:
        """Let a command run on until then. Never shorter than before."""
        if ref in self._until:
            self._until[ref] = max(self._until[ref], until)

    def limit(self, ref: AttemptRef, number: int, *, left: float | None, silence: float | None) -> None:
        """Give a command other limits, in seconds from now."""
        doing = self._holds.get(ref)
        if doing is not None:
            doing.limit(number, left=left, silence=silence)

    def forget(self, ref: AttemptRef) -> None:
        """Nobody needs to know any more how it ended."""
        if ref not in self._holds:
            self._disk.exits.pop(ref, None)
            self._disk.ordered.pop(ref, None)
            self._close_if_idle()

    def disown(self, known: Collection[AttemptRef]) -> None:
        """Forget how all but those ended, or will end: nobody else knows of them."""
        for ref in [ref for ref in self._disk.ordered if ref not in known]:
            self._disowned.add(ref)
            self.forget(ref)

    # -- what is asked of it ------------------------------------------------------------------------------------------

    def held(self, ref: AttemptRef) -> Doing | None:
        """A command that runs."""
        return self._holds.get(ref)

    # -- its end ------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """It is no more; what it ran runs on, and nobody will see how that ends."""
        self._end(left=False)
        for ref, doing in self._holds.items():
            doing.watcher = None
            self._machine.orphans[ref] = doing

    def lose_power(self) -> None:
        """It is no more, and nothing that it ran."""
        self._end(left=False)
        for doing in self._holds.values():
            doing.die()

    def halt(self) -> None:
        """The run is over: stop everything where it stands."""
        for doing in self._holds.values():
            doing.halt()

    def _end(self, *, left: bool) -> None:
        self.is_dead = True
        self._machine.end_life(self._life, left=left)

    def _close_if_idle(self) -> None:
        """Without an agent, it ends with its last command."""
        is_idle = not self._holds and not self._orders and all(exit.durable for exit in self._disk.exits.values())
        if self.line is None and is_idle and not self.is_dead:
            self._disk.closed = True
            self._end(left=True)

    # -- leases -------------------------------------------------------------------------------------------------------

    def _watch(self, ref: AttemptRef) -> None:
        """End a command when its lease is over."""
        doing = self._holds.get(ref)
        if doing is None or self.is_dead:
            return
        left = self._until[ref] - self._machine.now()
        if left < 0:
            doing.stop(Stop(ref, LAPSE_GRACE_MS, Reason.LEASE_EXPIRED))
            return
        seconds = self._machine.clock.real(left) + 0.001
        self._loop.call_later(seconds, self._watch, ref, context=self._context)

    # -- what its commands do -----------------------------------------------------------------------------------------

    def started(self, doing: Doing) -> None:
        """A command has begun."""
        if self.line is not None:
            self.line.started(doing)

    def grew(self, doing: Doing, stream: LogStream) -> None:
        """A command has printed."""
        if self.line is not None:
            self.line.grew(doing, stream)

    def wished(self, doing: Doing, seconds: float) -> None:
        """A command has no way to say this but that of a caller."""

    def advanced(self, doing: Doing, progress: Progress) -> None:
        """Commands say nothing of their advance."""

    def ended(self, doing: Doing, finished: Finished) -> None:
        """A command has ended: that is seen a moment later."""
        delay = self._machine.chance.uniform(0, 0.01)
        self._loop.call_later(delay, self._write_end, doing, finished, context=self._context)

    def _write_end(self, doing: Doing, finished: Finished) -> None:
        if self.is_dead:
            return
        exit = self._disk.exits[doing.ref] = Exit(finished)
        self._holds.pop(doing.ref, None)
        delay = self._machine.chance.uniform(0, 0.01)
        self._loop.call_later(delay, self._tell_end, doing, exit, context=self._context)

    def _tell_end(self, doing: Doing, exit: Exit) -> None:
        """The end is durable, and may be told."""
        if self.is_dead:
            return
        exit.durable = True
        self._machine.keep(doing.ref)
        if self.line is not None:
            self.line.ended(doing, exit.finished)
        if doing.ref in self._disowned:
            self.forget(doing.ref)
        self._close_if_idle()
