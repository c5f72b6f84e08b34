"""A simulated agent: an identity that lasts, one process after another, and in each process one link after another.

The real core decides; this plays the parts of its process, its supervisor and its link.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from nodelink.errors import ProtocolViolation
from nodelink.task import Execution as ExecutionClass
from nodelink.task import TaskRequest
from nodelink_agent.core.agent import AgentCore
from nodelink_server.core.agents import Hello
from nodelink_server.core.session import Outgoing
from tests.simulation.execution import Execution
from tests.simulation.frames import Frame, Refusal, Said, Welcome
from tests.simulation.history import History, Life, Run
from tests.simulation.pipes import PipeEnded, Wire
from tests.simulation.plans import plan_of

HANDSHAKE_SECONDS = 15.0
SILENT_PERIODS = 3
LOOK_SECONDS = 0.2


class LinkDown(Exception):
    """The link has ended; `last_session` is what a refusal told."""

    def __init__(self, last_session: int | None = None) -> None:
        super().__init__()
        self.last_session = last_session


class AgentHost:
    """The machine. What lasts: the agent's id and the number of its last session."""

    def __init__(
        self,
        *,
        name: str,
        slots: int,
        handlers: dict[str, ExecutionClass],
        declines: frozenset[str],
        dial: Callable[[AgentHost], Wire[Frame]],
        is_granted: Callable[[TaskRequest], bool],
        make_core: Callable[..., AgentCore],
        history: History,
        chance: random.Random,
    ) -> None:
        self.name = name
        self.slots = slots
        self.handlers = handlers
        self.declines = declines
        self.dial = dial
        self.is_granted = is_granted
        self.make_core = make_core
        self.history = history
        self.chance = chance
        self.session = 0
        self.wire: Wire[Frame] | None = None
        self.life: AgentLife | None = None
        self.in_hole = False
        """Whether what is said on new links is swallowed as well."""
        self.held: list[Wire[Frame]] = []

    def start(self) -> None:
        """Start a process, if none lives."""
        if self.life is None:
            lives = sum(life.agent_id == self.name for life in self.history.lives)
            self.life = AgentLife(self, lives + 1)

    def kill(self) -> None:
        """Kill the process. Nothing of it is left but the session's number."""
        if self.life is not None:
            self.life.end(left=False)
            self.life = None
            if self.wire is not None and self.chance.random() < 0.5:
                self.wire.cut()  # else what it had sent arrives, and then its end

    def halt(self) -> None:
        """The run is over: stop the process where it stands, and write nothing down."""
        if self.life is not None:
            self.life.halt()

    async def leave(self, patience: float) -> None:
        """Have the process go in good order, as far as that is possible in so many seconds."""
        life = self.life
        if life is None:
            return
        left = await life.leave(patience)
        if self.life is life:
            life.end(left=left)
            self.life = None


class AgentLife:
    """One process."""

    def __init__(self, host: AgentHost, number: int) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._record = Life(agent_id=host.name, number=number, began_at=self._loop.time())
        host.history.lives.append(self._record)
        self.wake = asyncio.Event()
        self.core = host.make_core(slots=host.slots, wake=self.wake.set)
        self.execution = Execution(self.core, note=self._note, declines=host.declines)
        self.remembers_since = host.session + 1
        self.draining = False
        self._goodbye = asyncio.Event()
        self._keeper = self._loop.create_task(self._keep_linked(), name=f"{host.name} keeper")

    def end(self, *, left: bool) -> None:
        """Stop at once."""
        self._record.ended_at, self._record.left = self._loop.time(), left
        self._keeper.cancel()
        self.execution.die()

    def halt(self) -> None:
        """Stop at once, and leave the records as they are."""
        self._keeper.cancel()
        self.execution.halt()

    async def leave(self, patience: float) -> bool:
        """Take no more work, let what runs end, say goodbye. Returns whether nothing was left to tell."""
        self.draining = True
        self.core.drain()
        self.wake.set()
        for _ in range(int(patience / LOOK_SECONDS)):
            if self.core.is_idle:
                break
            await asyncio.sleep(LOOK_SECONDS)
        idle = self.core.is_idle
        self._goodbye.set()
        self.wake.set()
        await asyncio.wait({self._keeper}, timeout=2.0)
        return idle

    def _note(self, request: TaskRequest) -> Run:
        run = Run(
            ref=request.ref,
            token=plan_of(request.payload).token,
            agent_id=self._host.name,
            life=self._record.number,
            began_at=self._loop.time(),
            granted=self._host.is_granted(request),
        )
        self._host.history.runs.append(run)
        return run

    # -- links, one after another -------------------------------------------------------------------------------------

    async def _keep_linked(self) -> None:
        host = self._host
        while True:
            host.session += 1
            wire = host.wire = host.dial(host)
            if host.in_hole:
                wire.hold()
                host.held.append(wire)
            try:
                await AgentLink(host, self, wire, host.session).run(self._goodbye)
                return
            except LinkDown as down:
                if down.last_session is not None:
                    host.session = max(host.session, down.last_session)
                    self.remembers_since = host.session + 1
            except ProtocolViolation as error:
                host.history.problems.append(f"{host.name} saw the server break the protocol: {error}")
                raise
            finally:
                wire.up.end()
            await asyncio.sleep(host.chance.uniform(0.02, 3.0))


class AgentLink:
    """One session, from its hello to its end. Fails as a whole."""

    def __init__(self, host: AgentHost, life: AgentLife, wire: Wire[Frame], number: int) -> None:
        self._host = host
        self._life = life
        self._wire = wire
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._welcomed = asyncio.Event()
        self._interval = 0.0
        self._heard_at = 0.0
        self._beats = 0
        self._beat_due = False

    async def run(self, goodbye: asyncio.Event) -> None:
        """Carry the session. Returns after a goodbye of ours. Raises `LinkDown` or `ProtocolViolation`."""
        pumps = [self._pump(pump) for pump in (self._read(), self._write(goodbye), self._beat(), self._watch())]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
        errors = [error for pump in done if (error := pump.exception()) is not None]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, LinkDown))

    def _pump(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._loop.create_task(coroutine)

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._wire.down.read())
        except PipeEnded:
            raise LinkDown from None

    async def _write(self, goodbye: asyncio.Event) -> None:
        self._wire.up.send(self._hello())
        await self._welcomed.wait()
        wake, chance = self._life.wake, self._host.chance
        while True:
            await wake.wait()
            wake.clear()
            said = self._gather()
            if said is not None:
                self._wire.up.send(said)
                wake.set()
                if chance.random() < 0.1:
                    await asyncio.sleep(chance.uniform(0, 0.5))
            elif goodbye.is_set():
                self._wire.up.send(Said(goodbye=True))
                return

    async def _beat(self) -> None:
        await self._welcomed.wait()
        while True:
            await asyncio.sleep(self._interval * self._host.chance.uniform(0.9, 1.1))
            self._beat_due = True
            self._life.wake.set()

    async def _watch(self) -> None:
        timer = self._loop.call_later(HANDSHAKE_SECONDS, self._welcomed.set)
        await self._welcomed.wait()
        timer.cancel()
        while self._interval:
            silence = self._loop.time() - self._heard_at
            if silence >= self._interval * SILENT_PERIODS:
                break
            await asyncio.sleep(self._interval * SILENT_PERIODS - silence + 0.001)
        raise LinkDown

    # -- what is said -------------------------------------------------------------------------------------------------

    def _hello(self) -> Hello:
        host, life = self._host, self._life
        return Hello(
            agent_id=host.name,
            secret=host.name.encode().ljust(32, b"."),
            session=self._number,
            remembers_since=life.remembers_since,
            host_id=f"host of {host.name}",
            name=host.name,
            pool="default",
            slots=host.slots,
            handlers=host.handlers,
            held=life.core.hello_held(),
        )

    def _gather(self) -> Said | None:
        life = self._life
        if not self._interval:
            return None
        outgoing = life.core.outgoing(now=self._loop.time())
        chunks = []
        for read in outgoing.reads:
            chunk = life.execution.read(read)
            life.core.log_sent(chunk)
            chunks.append(chunk)
        if not (outgoing.responses or chunks or outgoing.task_credit or self._beat_due):
            return None
        self._beats += self._beat_due
        said = Said(
            task_credit=outgoing.task_credit,
            responses=outgoing.responses,
            chunks=chunks,
            heartbeat=self._beats if self._beat_due else 0,
            draining=life.draining,
        )
        self._beat_due = False
        return said

    # -- what is heard ------------------------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        self._heard_at = self._loop.time()
        if isinstance(frame, Refusal):
            raise LinkDown(frame.last_session)
        if isinstance(frame, Welcome):
            self._take_welcome(frame)
        else:
            assert isinstance(frame, Outgoing)
            self._take_outgoing(frame)

    def _take_welcome(self, welcome: Welcome) -> None:
        life = self._life
        self._interval = welcome.heartbeat
        work = life.core.welcomed(
            welcome.verdicts, response_credit=welcome.response_credit, log_credit=welcome.log_credit
        )
        life.execution.perform(work)
        self._beat_due = life.draining
        life.wake.set()
        self._welcomed.set()

    def _take_outgoing(self, frame: Outgoing) -> None:
        """Act on a frame, its items in the order that the link gives them."""
        core, perform = self._life.core, self._life.execution.perform
        if frame.result_acks:
            perform(core.result_acked(frame.result_acks))
        if frame.log_acks:
            perform(core.log_acked(frame.log_acks.values()))
        if frame.response_credit or frame.log_credit:
            core.credit(response_credit=frame.response_credit, log_credit=frame.log_credit)
        if frame.tasks:
            perform(core.received(frame.tasks))
        if frame.cancels:
            perform(core.cancel(frame.cancels))
        if frame.heartbeat:
            core.heartbeat_acked()
        if frame.goodbye is not None:
            raise LinkDown
