"""A simulated server: one start after another over a disk that lasts. The real core decides; this plays the edges."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nodelink.errors import HandshakeRefused, LinkError, Overloaded, ProtocolViolation, StoreUnavailable
from nodelink_server.core.handshake import Hello
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.session import LOG_WINDOW_BYTES, RESPONSE_WINDOW_FRAMES, AgentSession
from nodelink_server.store.disk import Disk
from nodelink_server.store.errors import CommitUnknown
from nodelink_server.store.memory import MemoryStore
from tests.checking.history import Contact, History
from tests.simulation.frames import Frame, Refusal, Said, Welcome
from tests.simulation.loop import process_context, virtual_loop
from tests.simulation.pipes import PipeEnded, Wire
from tests.support.clock import LoopClock
from tests.support.lagging_store import LaggingStore

T = TypeVar("T")
PROCESS = "server"
LONGEST_PACE = 1.5
"""At times agents are to report more seldom by so much, as they are when many more of them are connected."""
Pause = Callable[[str], Awaitable[None]]
Fault = Callable[[str], None]


class Unanswered(Exception):
    """There was no answer: what was asked for may or may not have been done."""


class ServerHost:
    """The machine. What lasts: the disk."""

    def __init__(
        self,
        *,
        disk: Disk,
        make_manager: Callable[[MemoryStore], TaskManager],
        pause: Pause,
        fault: Fault,
        clock: LoopClock,
        history: History,
        chance: random.Random,
    ) -> None:
        self.disk = disk
        self.clock = clock
        self.make_manager = make_manager
        self.pause = pause
        self.fault = fault
        self.history = history
        self.chance = chance
        self.life: ServerLife | None = None
        self.begins_with = ""
        """The checkpoint that every server is started with; empty: none."""
        self.is_closed = False
        """Whether nobody reaches it but those who look after it."""
        self._loop = virtual_loop()

    @property
    def manager(self) -> TaskManager | None:
        """The core of the server that runs, once it is ready."""
        return self.life.manager if self.life is not None and self.life.is_ready else None

    def start(self) -> None:
        """Start a server, if none runs."""
        if self.life is None or self.life.is_over:
            self.life = ServerLife(self)

    def stall(self) -> None:
        """Stop the process, as a debugger would; time goes on without it."""
        self._loop.stall(PROCESS)

    def go_on(self) -> None:
        """Let it run again."""
        self._loop.go_on(PROCESS)

    def heard(self, wire: Wire[Frame], session: AgentSession) -> None:
        """The server has heard of a machine, unless it has closed that session, or opened another one, meanwhile."""
        if self.manager is None or self.manager.agents.session(session.agent_id) is not session:
            return
        self.history.contacts.append(Contact(self._loop.time(), wire.machine, wire.life))

    def crash(self) -> None:
        """Kill the server. Nothing of it is left but the disk."""
        self.go_on()
        if self.life is not None:
            self.life.end()
            self.life = None

    async def stop(self) -> None:
        """Have the server go in good order."""
        life = self.life
        if life is None or not life.is_ready:
            return
        await life.manager.drain()
        await asyncio.sleep(self.chance.uniform(0, 2))
        if self.life is life:
            self.crash()

    def accept(self, wire: Wire[Frame]) -> None:
        """An agent dials. Without a server, it learns soon that nobody is there."""
        if self.manager is None or self.life is None or self.is_closed:
            wire.cut()
        else:
            self.life.serve(wire)

    async def call(self, ask: Callable[[TaskManager], Awaitable[T]], *, from_inside: bool = False) -> T:
        """Call the server as a caller does, or (`from_inside`) as who looks after it. Raises `Unanswered` if it dies
        before it answers, or there is none.
        """
        if self.manager is None or self.life is None or (self.is_closed and not from_inside):
            await asyncio.sleep(self.chance.uniform(0, 0.1))
            raise Unanswered
        return await self.life.call(ask)


class ServerLife:
    """One start, to its end."""

    def __init__(self, host: ServerHost) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._context = process_context(PROCESS)
        self._dead = False
        self.is_ready = False
        store = LaggingStore(host.disk, pause=self._pause, fault=self._fault)
        self.manager = self._context.run(host.make_manager, store)
        self._calls: dict[asyncio.Task[object], None] = {}  # in order, so that a seed decides everything
        self._wires: dict[Wire[Frame], None] = {}
        self._main = self._loop.create_task(self._live(), name="server", context=self._context)
        self._main.add_done_callback(self._ended)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._dead

    def end(self) -> None:
        """Stop at once: whatever is under way is under way no more, and nobody is told."""
        self._dead = True
        self.is_ready = False
        self._main.cancel()
        for task in list(self._calls):
            task.cancel()
        for wire in list(self._wires):
            wire.cut()

    async def _live(self) -> None:
        while True:
            try:
                if self._host.begins_with:
                    await self.manager.checkpoints.load(self._host.begins_with, as_waiting=False)
                await self.manager.restore()
                break
            except StoreUnavailable:
                await asyncio.sleep(0.5)
        async with self.manager.running():
            self.is_ready = True
            await asyncio.Event().wait()

    def _ended(self, main: asyncio.Task[None]) -> None:
        """The server's own end: only an unknown commit may be its cause."""
        if self._dead or main.cancelled():
            return
        error = main.exception()
        group = error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
        if not all(isinstance(each, CommitUnknown) for each in group):
            self._host.history.problems.append(f"the server died: {group!r}")
        self.end()

    async def _pause(self, kind: str) -> None:
        if self._dead:
            raise StoreUnavailable("the server is dead")
        await self._host.pause(kind)
        if self._dead:
            raise StoreUnavailable("the server is dead")

    def _fault(self, kind: str) -> None:
        self._host.fault(kind)

    # -- callers ------------------------------------------------------------------------------------------------------

    async def call(self, ask: Callable[[TaskManager], Awaitable[T]]) -> T:
        """Ask the core. Raises `Unanswered` if the server dies meanwhile, or the answer is lost."""
        task = self._loop.create_task(self._asked(ask), context=process_context(PROCESS))
        self._own(task)
        if self._host.chance.random() < 0.05:
            self._loop.call_later(self._host.chance.uniform(0, 0.3), task.cancel)
        await self._over(task)
        if task.cancelled() or self._dead or self._host.chance.random() < 0.05:
            if not task.cancelled():
                task.exception()
            raise Unanswered
        return task.result()

    async def _over(self, task: asyncio.Task[T]) -> None:
        """Wait until it has ended, in whatever way. As `asyncio.wait`, which can wait for several."""
        over: asyncio.Future[None] = self._loop.create_future()

        def tell(_: object) -> None:
            if not over.done():
                over.set_result(None)

        task.add_done_callback(tell)
        try:
            await over
        finally:
            task.remove_done_callback(tell)

    async def _asked(self, ask: Callable[[TaskManager], Awaitable[T]]) -> T:
        return await ask(self.manager)

    def _own(self, task: asyncio.Task[T]) -> None:
        owned: asyncio.Task[object] = task
        self._calls[owned] = None
        owned.add_done_callback(self._calls.pop)

    # -- agents -------------------------------------------------------------------------------------------------------

    def serve(self, wire: Wire[Frame]) -> None:
        """Carry a connection to its end."""
        self._wires[wire] = None
        task = self._loop.create_task(self._carry(wire), context=process_context(PROCESS))
        self._own(task)
        if self._host.chance.random() < 0.5:
            wire.up.on_end = lambda: _break_off(task)  # the stream is reset: whatever serves it is broken off
        task.add_done_callback(lambda task: self._served(task, wire))

    def _served(self, task: asyncio.Task[None], wire: Wire[Frame]) -> None:
        self._wires.pop(wire)
        wire.down.end()
        error = None if task.cancelled() else task.exception()
        if error is None or self._dead or isinstance(error, PipeEnded | StoreUnavailable):
            return
        if isinstance(error, ProtocolViolation) or not isinstance(error, LinkError):
            self._host.history.problems.append(f"a connection broke: {error!r}")

    async def _carry(self, wire: Wire[Frame]) -> None:
        hello = await wire.up.read()
        assert isinstance(hello, Hello)
        try:
            session, verdicts = await self.manager.connect(hello)
        except HandshakeRefused as refused:
            wire.down.send(Refusal(refused.last_session))
            return
        except Overloaded:
            return
        self._host.heard(wire, session)
        connection = _Connection(self.manager, session, wire, self._host)
        try:
            welcome = Welcome(
                verdicts=tuple(verdicts),
                heartbeat=session.period,
                response_credit=RESPONSE_WINDOW_FRAMES,
                log_credit=LOG_WINDOW_BYTES,
            )
            wire.down.send(welcome)
            await connection.run()
        finally:
            self.manager.disconnect(session, left=connection.left)


def _break_off(task: asyncio.Task[None]) -> None:
    task.cancel()


class _Connection:
    """The pumps of one stream, as the gRPC edge has them."""

    def __init__(self, manager: TaskManager, session: AgentSession, wire: Wire[Frame], host: ServerHost) -> None:
        self._manager = manager
        self._session = session
        self._wire = wire
        self._clock = host.clock
        self._chance = host.chance
        self._host = host
        self._loop = asyncio.get_running_loop()
        self.left = False

    async def run(self) -> None:
        """Pump until something ends the session. Raises what ended it."""
        pumps = [
            self._loop.create_task(self._read()),
            self._loop.create_task(self._write()),
            self._loop.create_task(self._manager.feed(self._session)),
        ]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
        for pump in pumps:
            if pump in done and not pump.cancelled() and (error := pump.exception()) is not None:
                raise error

    async def _read(self) -> None:
        while not self.left:
            frame = await self._wire.up.read()
            assert isinstance(frame, Said)
            self._take(frame)

    def _take(self, frame: Said) -> None:
        session, manager = self._session, self._manager
        session.heard(self._clock.monotonic())
        if frame.task_credit:
            session.credit_given(frame.task_credit)
        if frame.responses:
            manager.channel.put(session, frame.responses, 100 * len(frame.responses))
        if frame.chunks:
            manager.logs.receive(session, frame.chunks)
        if frame.heartbeat:
            self._host.heard(self._wire, session)
            if self._chance.random() < 0.05:
                manager.agents.pace.period = manager.options.heartbeat * self._chance.choice((1.0, LONGEST_PACE))
            session.heartbeat(
                frame.heartbeat,
                load=0.0,
                draining=frame.draining,
                running=frame.running,
                counted=frame.counted,
                interval_ms=frame.interval_ms,
            )
        if frame.goodbye:
            self.left = True

    async def _write(self) -> None:
        while True:
            outgoing = await self._session.outgoing()
            self._wire.down.send(outgoing)
            if outgoing.goodbye is not None:
                return
            if self._chance.random() < 0.1:
                await asyncio.sleep(self._chance.uniform(0, 0.3))
