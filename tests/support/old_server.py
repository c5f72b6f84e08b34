"""A server of a frozen protocol: what it says and understands is made of the messages as they once stood."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from nodelink.address import Address
from tests.support.frozen import CONNECT, Message, Protocol
from tests.support.old_agent import EOF, WAIT_SECONDS, name_of, vars_of

Ref = tuple[str, int, int]


class OldSession:
    """One connection of an agent, whose hello has come. What it says is kept, what it is told is up to the test."""

    def __init__(self, protocol: Protocol, context: Any, hello: Message) -> None:
        self._protocol = protocol
        self._context = context
        self._frames: list[Message] = []
        self._grown = asyncio.Event()
        self._writing = asyncio.Lock()
        self._over = asyncio.Event()
        self.hello = hello
        self.ended = asyncio.Event()
        """The agent's side of the stream is over."""

    async def welcome(self, *verdicts: tuple[Ref, str], interval_ms: int = 5_000) -> None:
        """Open the session."""
        welcome = self._protocol.type("Welcome")(
            protocol=self._protocol.number,
            server_id="old",
            max_frame_bytes=1 << 20,
            max_log_chunk_bytes=1 << 16,
            response_credit=1_000,
            log_credit=1 << 30,
            session=self.hello.session,
            verdicts=[{"ref": vars_of(ref), "action": action} for ref, action in verdicts],
        )
        welcome.heartbeat_interval.FromMilliseconds(interval_ms)
        await self.send(welcome=welcome)

    async def send(self, **fields: Any) -> None:
        """Send a frame that is made of these fields."""
        await self.write(self._protocol.type("ConnectResponse")(**fields))

    async def write(self, frame: Message) -> None:
        """Send a frame as it is."""
        async with self._writing, asyncio.timeout(WAIT_SECONDS):
            await self._context.write(frame)

    async def give(self, ref: Ref, *, type: str, payload: bytes = b"1", execution: str = "EXECUTION_ONCE") -> None:
        """Hand a task to the agent, as servers of protocol 1 do: granted, and without a lease."""
        spec = self._protocol.type("TaskSpec")(type=type, payload=payload, pool="default", priority=50)
        request = {"ref": vars_of(ref), "spec": spec.SerializeToString(), "execution": execution, "granted": True}
        await self.send(tasks=[request])

    async def acknowledge(self, *refs: Ref) -> None:
        """Acknowledge results."""
        acks = [{"ref": vars_of(ref), "disposition": "ACK_DISPOSITION_COMMITTED"} for ref in refs]
        await self.send(result_acks=acks)

    async def response(self, ref: Ref, update: str) -> Message:
        """The first update of a kind that the agent has sent about an attempt."""
        return await self.when(lambda: self._response(ref, update))

    async def beaten(self, number: int) -> None:
        """Wait for a heartbeat with this number, or a later one; 0: for nothing."""
        if not number:
            return
        await self.when(lambda: next((True for frame in self._frames if frame.heartbeat.number >= number), None))

    async def printed(self, ref: Ref, stream: int, offset: int) -> None:
        """Wait until the agent has sent the output of an attempt up to there."""

        def is_there() -> bool | None:
            chunks = [c for frame in self._frames for c in frame.logs if (*name_of(c.ref), c.stream) == (*ref, stream)]
            return any(chunk.offset + len(chunk.data) >= offset for chunk in chunks) or None

        await self.when(is_there)

    async def beat(self) -> Message:
        """The agent's first heartbeat that lists something."""
        return await self.when(
            lambda: next((f.heartbeat for f in self._frames if f.HasField("heartbeat") and f.heartbeat.running), None)
        )

    async def when(self, look: Callable[[], Any]) -> Any:
        """What is found in what the agent has said, as soon as it is there."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (found := look()) is None:
                self._grown.clear()
                await self._grown.wait()
        return found

    @property
    def frames(self) -> list[Message]:
        """What the agent has said since its hello."""
        return self._frames

    def responses(self) -> list[Message]:
        """Every response that the agent has sent."""
        return [response for frame in self._frames for response in frame.responses]

    def cut(self) -> None:
        """End the stream without a word."""
        self._over.set()

    async def carry(self) -> None:
        """Hear the agent until the test or the agent ends the stream."""
        reader, over = asyncio.create_task(self._read()), asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({reader, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            over.cancel()
            await asyncio.gather(reader, over, return_exceptions=True)
            self.ended.set()

    async def _read(self) -> None:
        while (frame := await self._context.read()) is not EOF:
            self._frames.append(frame)
            self._grown.set()
            if frame.HasField("heartbeat"):
                await self.send(heartbeat_ack={"number": frame.heartbeat.number})

    def _response(self, ref: Ref, update: str) -> Message | None:
        for response in self.responses():
            if name_of(response.ref) == ref and response.HasField(update):
                return getattr(response, update)
        return None


class OldServer:
    """Where agents connect to."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._sessions: asyncio.Queue[OldSession] = asyncio.Queue()
        self.address = Address("127.0.0.1", 0)

    async def session(self) -> OldSession:
        """The next connection. It is not welcomed yet."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._sessions.get()

    async def connect(self, _requests: object, context: Any) -> None:
        """Carry one connection."""
        first = await context.read()
        if first is EOF:
            return
        session = OldSession(self._protocol, context, first.hello)
        self._sessions.put_nowait(session)
        await session.carry()


@asynccontextmanager
async def old_server(protocol: Protocol) -> AsyncIterator[OldServer]:
    """A server on a free port, which knows of agents and of nothing else."""
    old = OldServer(protocol)
    _, service, method = CONNECT.split("/")
    handler: Any = grpc.stream_stream_rpc_method_handler(
        old.connect,
        request_deserializer=protocol.type("ConnectRequest").FromString,
        response_serializer=protocol.type("ConnectResponse").SerializeToString,
    )
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    old.address = Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    try:
        yield old
    finally:
        await server.stop(0)
