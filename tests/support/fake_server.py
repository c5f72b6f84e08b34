"""A server that says what a test wants it to: real frames over a real gRPC server, without a core behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc

from nodelink import wire
from nodelink.address import Address
from nodelink.task import (
    AttemptRef,
    CancelCommand,
    Execution,
    ExtendCommand,
    LogAck,
    LogChunk,
    ResultAck,
    StartCommand,
    TaskRequest,
    TaskResponse,
    TaskSpec,
    Verdict,
)
from nodelink.v1 import agent_pb2, agent_pb2_grpc

WAIT_SECONDS = 60.0

_T = TypeVar("_T")


async def soon(awaitable: Awaitable[_T]) -> _T:
    """What is awaited, which must come within a bound."""
    async with asyncio.timeout(WAIT_SECONDS):
        return await awaitable


class StreamEnded(Exception):
    """The agent ended its stream."""


class FakeSession:
    """One connection of an agent. What arrives is sorted into queues; what is sent is up to the test."""

    def __init__(self, context: Any, hello: agent_pb2.Hello) -> None:
        self.hello = hello
        self.responses: asyncio.Queue[TaskResponse] = asyncio.Queue()
        self.chunks: asyncio.Queue[LogChunk] = asyncio.Queue()
        self.heartbeats: asyncio.Queue[agent_pb2.Heartbeat] = asyncio.Queue()
        self.credits: asyncio.Queue[int] = asyncio.Queue()
        self.goodbyes: asyncio.Queue[agent_pb2.Goodbye] = asyncio.Queue()
        self.response_frames = 0
        self.frame_sizes: list[int] = []
        self.ended = asyncio.Event()
        """The agent's side of the stream is over."""
        self.answers_heartbeats = True
        self.interval_ms: int | None = None
        """How often the agent is told to report by the answers to heartbeats; None: it is not told."""
        self.unknown: list[AttemptRef] = []
        """What the answers to heartbeats say counts no more."""
        self._context = context
        self._writing = asyncio.Lock()
        self._over: asyncio.Future[tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]] | None]
        self._over = asyncio.get_running_loop().create_future()

    async def welcome(
        self,
        *verdicts: Verdict,
        interval_ms: int = 5_000,
        response_credit: int = 1_000,
        log_credit: int = 1 << 30,
        protocol: int = 2,
    ) -> None:
        """Open the session."""
        frame = agent_pb2.ConnectResponse()
        welcome = frame.welcome
        welcome.protocol = protocol
        welcome.server_id = "fake"
        welcome.max_frame_bytes = 1 << 20
        welcome.max_log_chunk_bytes = 1 << 16
        welcome.response_credit = response_credit
        welcome.log_credit = log_credit
        welcome.session = self.hello.session
        wire.put_ms(welcome.heartbeat_interval, interval_ms)
        for verdict in verdicts:
            wire.put_verdict(welcome.verdicts.add(), verdict)
        await self.send(frame)

    async def send(self, frame: agent_pb2.ConnectResponse) -> None:
        """Send a frame as it is."""
        async with self._writing:
            await soon(self._context.write(frame))

    async def give(
        self,
        *refs: AttemptRef,
        type: str = "echo",
        payload: bytes = b"1",
        execution: Execution = Execution.REPLAYABLE,
        granted: bool = True,
        lease_ms: int | None = None,
        **spec: Any,
    ) -> None:
        """Hand tasks of one kind to the agent, or (not granted) offer them."""
        frame = agent_pb2.ConnectResponse()
        for ref in refs:
            request = TaskRequest(
                ref=ref,
                spec=TaskSpec(type=type, **spec),
                payload=payload,
                execution=execution,
                granted=granted,
                lease_ms=lease_ms,
            )
            wire.put_task_request(frame.tasks.add(), request)
        await self.send(frame)

    async def start(self, *commands: StartCommand) -> None:
        """Grant what the agent has accepted."""
        frame = agent_pb2.ConnectResponse()
        for command in commands:
            wire.put_start(frame.starts.add(), command)
        await self.send(frame)

    async def ack(self, *acks: ResultAck) -> None:
        """Acknowledge results."""
        frame = agent_pb2.ConnectResponse()
        for ack in acks:
            wire.put_result_ack(frame.result_acks.add(), ack)
        await self.send(frame)

    async def ack_logs(self, *acks: LogAck) -> None:
        """Acknowledge output."""
        frame = agent_pb2.ConnectResponse()
        for ack in acks:
            wire.put_log_ack(frame.log_acks.add(), ack)
        await self.send(frame)

    async def cancel(self, *commands: CancelCommand) -> None:
        """Ask for stops."""
        frame = agent_pb2.ConnectResponse()
        for command in commands:
            wire.put_cancel(frame.cancels.add(), command)
        await self.send(frame)

    async def extend(self, *commands: ExtendCommand) -> None:
        """Send extensions in one frame."""
        frame = agent_pb2.ConnectResponse()
        for command in commands:
            wire.put_extend(frame.extends.add(), command)
        await self.send(frame)

    async def response(self) -> TaskResponse:
        """The next response of the agent."""
        return await soon(self.responses.get())

    async def collect(self, ref: AttemptRef, size: int) -> bytes:
        """The output of an attempt until there are so many bytes, which must come in order."""
        found = b""
        while len(found) < size:
            chunk = await soon(self.chunks.get())
            if chunk.ref == ref:
                found += chunk.data
        return found

    def cut(self) -> None:
        """End the stream without a word."""
        self._end(None)

    def refuse(self, code: grpc.StatusCode, details: str, *trailer: tuple[str, str]) -> None:
        """End the stream with an error."""
        self._end((code, details, trailer))

    def _end(self, status: tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]] | None) -> None:
        if not self._over.done():
            self._over.set_result(status)

    async def carry(self) -> None:
        """Sort what arrives until the test or the agent ends the stream."""
        reader = asyncio.create_task(self._read())
        try:
            ends: set[asyncio.Future[Any]] = {reader, self._over}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            self.ended.set()
        status = self._over.result() if self._over.done() else None
        if status is not None:
            code, details, trailer = status
            await self._context.abort(code, details, trailer)

    async def _read(self) -> None:
        while True:
            frame = await self._context.read()
            if frame is grpc.aio.EOF:  # type: ignore[attr-defined]
                return
            self._sort(frame)
            if frame.HasField("heartbeat") and self.answers_heartbeats:
                ack = agent_pb2.HeartbeatAck(number=frame.heartbeat.number)
                if self.interval_ms is not None:
                    wire.put_ms(ack.heartbeat_interval, self.interval_ms)
                for ref in self.unknown:
                    wire.put_ref(ack.unknown.add(), ref)
                await self.send(agent_pb2.ConnectResponse(heartbeat_ack=ack))

    def _sort(self, frame: agent_pb2.ConnectRequest) -> None:
        self.frame_sizes.append(frame.ByteSize())
        self.response_frames += bool(frame.responses)
        if frame.task_credit:
            self.credits.put_nowait(frame.task_credit)
        _put_all(self.responses, map(wire.task_response_of, frame.responses))
        _put_all(self.chunks, map(wire.log_chunk_of, frame.logs))
        if frame.HasField("heartbeat"):
            self.heartbeats.put_nowait(frame.heartbeat)
        if frame.HasField("goodbye"):
            self.goodbyes.put_nowait(frame.goodbye)


def _put_all(queue: asyncio.Queue[_T], items: Iterable[_T | None]) -> None:
    for item in items:
        if item is None:
            raise AssertionError("the agent sent something unreadable")
        queue.put_nowait(item)


class FakeServer(agent_pb2_grpc.AgentServiceServicer):
    """Where agents connect to in a test."""

    def __init__(self) -> None:
        self._sessions: asyncio.Queue[FakeSession] = asyncio.Queue()
        self.address = Address("127.0.0.1", 0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeServer]:
        """Listen on a free port for as long as this lasts."""
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self, server)
        self.address = Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)

    @property
    def has_caller(self) -> bool:
        """Whether a connection has come that nobody asked for yet."""
        return not self._sessions.empty()

    async def session(self) -> FakeSession:
        """The next connection, whose hello has come. It is not welcomed yet."""
        return await soon(self._sessions.get())

    async def Connect(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Carry one connection."""
        first = await context.read()
        if first is grpc.aio.EOF:  # type: ignore[attr-defined]
            return
        session = FakeSession(context, first.hello)
        self._sessions.put_nowait(session)
        await session.carry()
