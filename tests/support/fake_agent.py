"""An agent as the server's core sees it: plain calls, no stream. What it runs and says is up to the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from nodelink.errors import LinkError
from nodelink.taken import Taken
from nodelink.task import (
    EXTEND,
    Accepted,
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Execution,
    ExtendCommand,
    HeldAttempt,
    LogAck,
    LogChunk,
    LogStream,
    StartCommand,
    TaskRequest,
    TaskResponse,
    Update,
    Verdict,
)
from nodelink_server.core.handshake import Hello
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.session import AgentSession, DrainRequest, Outgoing
from tests.support.core_parts import COMPLETED, Core


class FakeAgent:
    """One agent with its links. Collects what it is told: `tasks` are those that it may start.

    It accepts what it is offered, unless `accepts` is false: then `offers` have to be answered by the test.
    """

    def __init__(
        self, core: Core, *, agent_id: str = "a1", slots: int = 1, handlers: dict[str, Execution] | None = None
    ) -> None:
        self.manager: TaskManager = core.manager
        self.agent_id = agent_id
        self.slots = slots
        self.handlers = handlers or {"echo": Execution.REPLAYABLE, "shell": Execution.ONCE}
        self.number = 0
        self.accepts = True
        self.offers: dict[AttemptRef, TaskRequest] = {}
        self.starts: list[StartCommand] = []
        self.unknown: list[AttemptRef] = []
        self.tasks: list[TaskRequest] = []
        self.cancels: list[CancelCommand] = []
        self.extends: list[ExtendCommand] = []
        self.drains: list[DrainRequest] = []
        self.acks: dict[AttemptRef, AckDisposition] = {}
        self.log_acks: dict[tuple[AttemptRef, LogStream], LogAck] = {}
        self.response_credit = 0
        self.log_credit = 0
        self.end: LinkError | None = None
        self._told = asyncio.Event()
        self._pumps: list[asyncio.Task[None]] = []
        self._session: AgentSession | None = None

    @property
    def session(self) -> AgentSession:
        """The open session."""
        assert self._session is not None
        return self._session

    def hello(self, *, held: Sequence[HeldAttempt] = (), remembers_since: int = 1, **changes: object) -> Hello:
        """The hello of the next session."""
        self.number += 1
        fields: dict[str, object] = {
            "agent_id": self.agent_id,
            "secret": b"s" * 32,
            "session": self.number,
            "remembers_since": remembers_since,
            "host_id": "host",
            "name": self.agent_id,
            "pool": "default",
            "slots": self.slots,
            "handlers": self.handlers,
            "features": (EXTEND,),
            "held": held,
        }
        return Hello(**(fields | changes))  # type: ignore[arg-type]  # names of fields

    async def connect(
        self,
        *,
        held: Sequence[HeldAttempt] = (),
        remembers_since: int = 1,
        credit: int | None = None,
        **changes: object,
    ) -> Sequence[Verdict]:
        """Open a session, and take all the work that there is room for. `changes`: what else its hello says."""
        hello = self.hello(held=held, remembers_since=remembers_since, **changes)
        self._session, verdicts = await self.manager.connect(hello)
        loop = asyncio.get_running_loop()
        self._pumps = [
            loop.create_task(self.manager.feed(self.session)),
            loop.create_task(self._listen(self.session)),
        ]
        self.session.credit_given(self.slots if credit is None else credit)
        return verdicts

    async def hang_up(self, *, left: bool = False) -> None:
        """End the session as a broken stream does."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self.manager.disconnect(self.session, left=left)

    def say(self, ref: AttemptRef, *updates: Update) -> None:
        """Say something about an attempt, in one frame."""
        self.manager.channel.put(self.session, [TaskResponse(ref, update) for update in updates], 100)

    def print(self, ref: AttemptRef, offset: int, data: bytes, *, gap: int = 0) -> None:
        """Deliver standard output."""
        self.manager.logs.receive(self.session, [LogChunk(ref, LogStream.STDOUT, offset, data, gap)])

    def beat(
        self, *running: AttemptRef, draining: bool = False, counted: Taken | None = None, interval_ms: int = 0
    ) -> None:
        """Send a heartbeat that lists these attempts, and tells what the agent counts as taken, and how often it
        reports.
        """
        number = self.session.last_beat + 1
        self.session.heard(self._now())
        self.session.heartbeat(
            number, load=0.5, draining=draining, running=running, counted=counted, interval_ms=interval_ms
        )

    def give_credit(self, ended: int) -> None:
        """Let itself be given as many tasks as it has slots, and as many more as have ended."""
        self.session.credit_given(self.slots + ended)

    async def offer(self) -> TaskRequest:
        """The first task that it was offered."""
        await self._until(lambda: bool(self.offers))
        return next(iter(self.offers.values()))

    async def task(self, place: int = 0) -> TaskRequest:
        """The n-th task that it was given."""
        await self._until(lambda: len(self.tasks) > place)
        return self.tasks[place]

    async def cancelled(self) -> CancelCommand:
        """The first stop that it was told."""
        await self._until(lambda: bool(self.cancels))
        return self.cancels[0]

    async def extended(self, place: int = 0) -> ExtendCommand:
        """The n-th extension that it was told."""
        await self._until(lambda: len(self.extends) > place)
        return self.extends[place]

    async def acked(self, ref: AttemptRef) -> AckDisposition:
        """How a result was acknowledged."""
        await self._until(lambda: ref in self.acks)
        return self.acks[ref]

    async def finish(self, ref: AttemptRef) -> AckDisposition:
        """Say that an attempt ended well, and wait for the acknowledgement."""
        self.say(ref, COMPLETED)
        return await self.acked(ref)

    async def log_acked(self, ref: AttemptRef, offset: int) -> None:
        """Return when output up to this offset is durable."""
        await self._until(
            lambda: (ack := self.log_acks.get((ref, LogStream.STDOUT))) is not None and ack.offset == offset
        )

    async def ended(self) -> LinkError:
        """What ended the session."""
        await self._until(lambda: self.end is not None)
        assert self.end is not None
        return self.end

    async def _listen(self, session: AgentSession) -> None:
        while True:
            try:
                frame = await session.outgoing()
            except LinkError as end:
                self.end = end
                self._told.set()
                return
            self._take(frame)
            self.cancels += frame.cancels
            self.extends += frame.extends
            if frame.drain is not None:
                self.drains.append(frame.drain)
            self.acks.update((ack.ref, ack.disposition) for ack in frame.result_acks)
            self.log_acks.update(frame.log_acks)
            self.response_credit = frame.response_credit or self.response_credit
            self.log_credit = frame.log_credit or self.log_credit
            self._told.set()

    def _take(self, frame: Outgoing) -> None:
        """Note the tasks that a frame hands over, offers, or has started."""
        for request in frame.tasks:
            if request.granted:
                self.tasks.append(request)
                continue
            self.offers[request.ref] = request
            if self.accepts:
                self.say(request.ref, Accepted())
        self.starts += frame.starts
        self.unknown += frame.unknown
        self.tasks += [self.offers[command.ref] for command in frame.starts if command.ref in self.offers]

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                self._told.clear()
                await self._told.wait()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
