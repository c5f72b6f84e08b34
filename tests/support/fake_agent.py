"""An agent as the server's core sees it: plain calls, no stream. What it runs and says is up to the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from nodelink.errors import LinkError
from nodelink.task import (
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Execution,
    HeldAttempt,
    LogAck,
    LogChunk,
    LogStream,
    TaskRequest,
    TaskResponse,
    Update,
    Verdict,
)
from nodelink_server.core.agents import Hello
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.session import AgentSession
from tests.support.core_parts import COMPLETED, Core


class FakeAgent:
    """One agent with its links. Collects what it is told."""

    def __init__(
        self, core: Core, *, agent_id: str = "a1", slots: int = 1, handlers: dict[str, Execution] | None = None
    ) -> None:
        self.manager: TaskManager = core.manager
        self.agent_id = agent_id
        self.slots = slots
        self.handlers = handlers or {"echo": Execution.REPLAYABLE, "shell": Execution.ONCE}
        self.number = 0
        self.tasks: list[TaskRequest] = []
        self.cancels: list[CancelCommand] = []
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
            "held": held,
        }
        return Hello(**(fields | changes))  # type: ignore[arg-type]  # names of fields

    async def connect(
        self, *, held: Sequence[HeldAttempt] = (), remembers_since: int = 1, credit: int | None = None
    ) -> Sequence[Verdict]:
        """Open a session, and take all the work that there is room for."""
        hello = self.hello(held=held, remembers_since=remembers_since)
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

    def beat(self, *, draining: bool = False) -> None:
        """Send a heartbeat."""
        self.session.heard(self._now())
        self.session.heartbeat(1, load=0.5, draining=draining)

    async def task(self, place: int = 0) -> TaskRequest:
        """The n-th task that it was given."""
        await self._until(lambda: len(self.tasks) > place)
        return self.tasks[place]

    async def cancelled(self) -> CancelCommand:
        """The first stop that it was told."""
        await self._until(lambda: bool(self.cancels))
        return self.cancels[0]

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
            self.tasks += frame.tasks
            self.cancels += frame.cancels
            self.acks.update((ack.ref, ack.disposition) for ack in frame.result_acks)
            self.log_acks.update(frame.log_acks)
            self.response_credit = frame.response_credit or self.response_credit
            self.log_credit = frame.log_credit or self.log_credit
            self._told.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                self._told.clear()
                await self._told.wait()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
