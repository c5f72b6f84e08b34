"""An agent of a frozen protocol: what it says and understands is made of the messages as they once stood."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from nodelink.address import Address
from tests.support.frozen import CONNECT, Message, Protocol

WAIT_SECONDS = 60.0
SECRET = b"s" * 32
HANDLERS = {"echo": "EXECUTION_REPLAYABLE", "shell": "EXECUTION_ONCE"}
EOF: Any = vars(grpc.aio)["EOF"]


class OldAgent:
    """One stream to the server. It keeps the frames that come, and a test asks for the items in them."""

    def __init__(self, protocol: Protocol, call: Any) -> None:
        self._protocol = protocol
        self._call = call
        self._frames: list[Message] = []
        self._taken: dict[str, int] = {}
        self._grown = asyncio.Event()
        self._reader: asyncio.Task[grpc.StatusCode] | None = None
        self.welcome: Message = None

    async def introduce(self, **fields: Any) -> None:
        """Send a hello and wait for the welcome. `handlers` maps types to classes, `held` refs to states."""
        handlers = fields.pop("handlers", HANDLERS)
        held = fields.pop("held", {})
        hello = {
            "protocol_min": self._protocol.number,
            "protocol_max": self._protocol.number,
            "agent_id": "old",
            "secret": SECRET,
            "session": 1,
            "remembers_since": 1,
            "host_id": "h1",
            "name": "old",
            "pool": "default",
            "slots": 4,
            "software_version": "old",
            "handlers": [{"type": type, "execution": execution} for type, execution in handlers.items()],
            "held": [{"ref": self._protocol.type("AttemptRef")(**vars_of(ref)), "state": s} for ref, s in held.items()],
        }
        await self.send(hello=self._protocol.type("Hello")(**{**hello, **fields}))
        await self.welcomed()

    async def welcomed(self) -> None:
        """Wait for the welcome, and read on from there."""
        async with asyncio.timeout(WAIT_SECONDS):
            frame = await self._call.read()
        assert frame is not EOF
        self.welcome = frame.welcome
        self._reader = asyncio.create_task(self._read(), name="old agent reader")

    async def send(self, **fields: Any) -> None:
        """Send a frame that is made of these fields."""
        await self.write(self._protocol.type("ConnectRequest")(**fields).SerializeToString())

    async def write(self, content: bytes) -> None:
        """Send a frame as it is."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._call.write(content)

    async def say(self, ref: Message, **update: Any) -> None:
        """Send one update about an attempt, such as `started={}`."""
        await self.send(responses=[{"ref": ref, **update}])

    async def next(self, field: str) -> Message:
        """The next item that came in a repeated field of the frames."""
        return (await self._when(lambda: self._items(field)[self._taken.get(field, 0) :], field))[0]

    async def beat(self, number: int, *running: Message) -> Message:
        """Send a heartbeat, and return its acknowledgement."""
        await self.send(heartbeat={"number": number, "running": running})
        return await self.beaten(number)

    async def beaten(self, number: int) -> Message:
        """The acknowledgement of a heartbeat, or of a later one."""
        return await self._when(lambda: self._acknowledged(number), "")

    async def leave(self) -> grpc.StatusCode:
        """Say goodbye. Returns how the stream ended."""
        await self.send(goodbye={"reason": "the test is over", "idle": True})
        return await self.over()

    async def over(self) -> grpc.StatusCode:
        """How the server has ended the stream."""
        assert self._reader is not None
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._reader

    def seen(self, field: str) -> list[Message]:
        """All items of a repeated field that have come so far."""
        return self._items(field)

    async def close(self) -> None:
        """Be gone."""
        self._call.cancel()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _when(self, look: Callable[[], Any], field: str) -> Any:
        async with asyncio.timeout(WAIT_SECONDS):
            while not (found := look()):
                self._grown.clear()
                await self._grown.wait()
        self._taken[field] = self._taken.get(field, 0) + 1
        return found

    def _items(self, field: str) -> list[Message]:
        return [item for frame in self._frames for item in getattr(frame, field)]

    def _acknowledged(self, number: int) -> Message | None:
        acks = [frame.heartbeat_ack for frame in self._frames if frame.HasField("heartbeat_ack")]
        return next((ack for ack in acks if ack.number >= number), None)

    async def _read(self) -> grpc.StatusCode:
        while (frame := await self._call.read()) is not EOF:
            self._frames.append(frame)
            self._grown.set()
        code: grpc.StatusCode = await self._call.code()
        return code


def vars_of(ref: tuple[str, int, int]) -> dict[str, Any]:
    """The fields of an attempt's name."""
    return dict(zip(("task_id", "attempt", "fence"), ref, strict=True))


def name_of(ref: Message) -> tuple[str, int, int]:
    """An attempt's name as something that can be a key."""
    return ref.task_id, ref.attempt, ref.fence


@asynccontextmanager
async def old_agent(protocol: Protocol, address: Address, **hello: Any) -> AsyncIterator[OldAgent]:
    """An agent that has been welcomed, and lets itself be given a task for each slot."""
    async with grpc.aio.insecure_channel(str(address), options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answers = protocol.type("ConnectResponse")
        call: Any = channel.stream_stream(CONNECT, None, answers.FromString)
        agent = OldAgent(protocol, call())
        try:
            await agent.introduce(**hello)
            await agent.send(task_credit=hello.get("slots", 4))
            yield agent
        finally:
            await agent.close()
