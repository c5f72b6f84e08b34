"""An agent that says what a test has it say: real frames over a real channel, without a pool behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import grpc

from nodelink import wire
from nodelink.address import Address
from nodelink.task import (
    Accepted,
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Declined,
    Execution,
    ExtendCommand,
    Finished,
    HeldAttempt,
    HeldState,
    LogAck,
    LogChunk,
    LogStream,
    Outcome,
    ResultAck,
    StartCommand,
    Started,
    TaskRequest,
    TaskResponse,
    Update,
    Verdict,
)
from nodelink.v1 import agent_pb2, agent_pb2_grpc

WAIT_SECONDS = 60.0
SECRET = b"s" * 32
HANDLERS = {"echo": Execution.REPLAYABLE, "shell": Execution.ONCE}
CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # each agent has a connection of its own
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
)

_T = TypeVar("_T")


def hello(**fields: Any) -> agent_pb2.Hello:
    """A hello that the server accepts, but for the given fields. `handlers` maps types to classes."""
    message = agent_pb2.Hello(
        protocol_min=1,
        protocol_max=2,
        agent_id="a1",
        secret=SECRET,
        session=1,
        remembers_since=1,
        host_id="h1",
        name="agent",
        pool="default",
        slots=4,
        software_version="test",
    )
    for type, execution in fields.pop("handlers", HANDLERS).items():
        message.handlers.add(type=type, execution=wire.EXECUTION_TO_PB[execution])
    for ref, state in fields.pop("held", ()):
        wire.put_held(message.held.add(), HeldAttempt(ref, state))
    message.MergeFrom(agent_pb2.Hello(**fields))
    for name, value in fields.items():  # a merge leaves out what is zero or empty
        if not value:
            message.ClearField(name)
    return message


def held(*refs: AttemptRef, state: HeldState = HeldState.RUNNING) -> list[tuple[AttemptRef, HeldState]]:
    """Attempts as `hello` takes them."""
    return [(ref, state) for ref in refs]


class End(NamedTuple):
    """How the server ended a stream."""

    code: grpc.StatusCode
    details: str
    metadata: dict[str, str | bytes]


class WireAgent:
    """One stream to the server. What arrives is sorted into queues; what is sent is up to the test.

    Only what it is offered it accepts by itself, and takes for a task once that is granted; unless `accepts` is false.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._reader: asyncio.Task[End] | None = None
        self._writing = asyncio.Lock()
        self._tasks: asyncio.Queue[TaskRequest] = asyncio.Queue()
        self._offers: asyncio.Queue[TaskRequest] = asyncio.Queue()
        self._starts: asyncio.Queue[StartCommand] = asyncio.Queue()
        self._accepted: dict[AttemptRef, TaskRequest] = {}
        self._cancels: asyncio.Queue[CancelCommand] = asyncio.Queue()
        self._extends: asyncio.Queue[ExtendCommand] = asyncio.Queue()
        self._result_acks: asyncio.Queue[ResultAck] = asyncio.Queue()
        self._log_acks: asyncio.Queue[LogAck] = asyncio.Queue()
        self._beats: asyncio.Queue[int] = asyncio.Queue()
        self._goodbyes: asyncio.Queue[str] = asyncio.Queue()
        self._grown = asyncio.Event()
        self.welcome = agent_pb2.Welcome()
        self.frames: list[agent_pb2.ConnectResponse] = []
        """Everything that came behind the welcome."""
        self.accepts = True
        self.unknown: list[AttemptRef] = []
        """What the last acknowledgement of a heartbeat said counts no more."""
        self.intervals: list[int] = []
        """How often it was told to report since the welcome, in milliseconds."""
        self.response_credit = 0
        self.log_credit = 0

    # --- what the agent says

    async def send(self, frame: agent_pb2.ConnectRequest | None = None, **fields: Any) -> None:
        """Send a frame: as it is, or made of these fields."""
        async with asyncio.timeout(WAIT_SECONDS), self._writing:
            await self._call.write(frame if frame is not None else agent_pb2.ConnectRequest(**fields))

    async def introduce(self, message: agent_pb2.Hello) -> None:
        """Send a hello and wait for the welcome. Raises `grpc.aio.AioRpcError` if the server refuses."""
        await self.send(hello=message)
        async with asyncio.timeout(WAIT_SECONDS):
            frame = await self._call.read()
        assert frame is not grpc.aio.EOF, "the server ended the stream before a welcome"  # type: ignore[attr-defined]
        self.welcome = frame.welcome
        self.response_credit, self.log_credit = frame.welcome.response_credit, frame.welcome.log_credit

    def listen(self) -> None:
        """Begin to read what the server says."""
        self._reader = asyncio.create_task(self._read(), name="wire agent reader")

    async def credit(self, tasks: int) -> None:
        """Let the server have sent so many tasks in this session."""
        await self.send(task_credit=tasks)

    async def respond(self, *responses: TaskResponse) -> None:
        """Send responses in one frame."""
        await self.send(response_frame(*responses))

    async def say(self, ref: AttemptRef, *updates: Update) -> None:
        """Send responses about one attempt in one frame."""
        await self.respond(*(TaskResponse(ref, update) for update in updates))

    async def accept(self, ref: AttemptRef) -> None:
        """Accept an offer."""
        await self.say(ref, Accepted())

    async def start(self, ref: AttemptRef) -> None:
        """The work has begun."""
        await self.say(ref, Started(containment="process_group"))

    async def finish(self, ref: AttemptRef, **how: Any) -> None:
        """The work has ended: well, unless something else is said."""
        await self.say(ref, Finished(**{"outcome": Outcome.COMPLETED, **how}))

    async def decline(self, ref: AttemptRef) -> None:
        """The work will not be done here."""
        await self.say(ref, Declined(message="not here"))

    async def print(
        self, ref: AttemptRef, data: bytes, *, offset: int = 0, gap: int = 0, stream: LogStream = LogStream.STDOUT
    ) -> None:
        """Send a run of output."""
        frame = agent_pb2.ConnectRequest()
        wire.put_log_chunk(frame.logs.add(), LogChunk(ref, stream, offset, data, gap))
        await self.send(frame)

    async def beat(self, number: int, *running: AttemptRef, interval_ms: int = 0, **fields: Any) -> None:
        """Send a heartbeat that lists these attempts, and perhaps says how often it reports."""
        heartbeat = agent_pb2.Heartbeat(number=number, **fields)
        if interval_ms:
            wire.put_ms(heartbeat.interval, interval_ms)
        for ref in running:
            wire.put_ref(heartbeat.running.add(), ref)
        await self.send(heartbeat=heartbeat)

    async def leave(self) -> None:
        """End the session on purpose."""
        await self.send(goodbye=agent_pb2.Goodbye(reason="the test is over"))

    async def hang_up(self) -> None:
        """End the agent's side of the stream without a word."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._call.done_writing()

    def vanish(self) -> None:
        """Cancel the call, as the death of a process does."""
        self._call.cancel()

    # --- what the server says

    @property
    def verdicts(self) -> list[Verdict | None]:
        """What the welcome says about the attempts of the hello."""
        return [wire.verdict_of(verdict) for verdict in self.welcome.verdicts]

    async def take(self) -> TaskRequest:
        """The next task."""
        return await self._next(self._tasks)

    async def offered(self) -> TaskRequest:
        """The next offer. It is the test's to answer if the agent does not accept."""
        return await self._next(self._offers)

    async def told_to_start(self) -> StartCommand:
        """The next grant of an offer."""
        return await self._next(self._starts)

    async def take_many(self, count: int) -> list[TaskRequest]:
        """So many tasks, in the order in which they come."""
        return [await self.take() for _ in range(count)]

    async def told_to_stop(self) -> CancelCommand:
        """The next stop."""
        return await self._next(self._cancels)

    async def extended(self) -> ExtendCommand:
        """The next extension."""
        return await self._next(self._extends)

    async def acked(self) -> ResultAck:
        """The next acknowledgement of a result."""
        return await self._next(self._result_acks)

    async def disposition(self, ref: AttemptRef) -> AckDisposition:
        """What the next acknowledgement, which must be of this attempt, says."""
        ack = await self.acked()
        assert ack.ref == ref
        return ack.disposition

    async def log_acked(self) -> LogAck:
        """The next acknowledgement of output."""
        return await self._next(self._log_acks)

    async def beat_acked(self) -> int:
        """The number of the next heartbeat that is acknowledged."""
        return await self._next(self._beats)

    async def goodbye(self) -> str:
        """Why the server ends the session on purpose."""
        return await self._next(self._goodbyes)

    async def until_credit(self, *, responses: int = 0, log_bytes: int = 0) -> None:
        """Wait until the server has given at least so much credit."""
        async with asyncio.timeout(WAIT_SECONDS):
            while self.response_credit < responses or self.log_credit < log_bytes:
                self._grown.clear()
                await self._grown.wait()

    async def end(self) -> End:
        """How the server ended the stream."""
        assert self._reader is not None
        async with asyncio.timeout(WAIT_SECONDS):
            return await asyncio.shield(self._reader)

    @property
    def waiting_tasks(self) -> int:
        """How many tasks have come and were not taken."""
        return self._tasks.qsize()

    async def close(self) -> None:
        """Be gone: call first, then what reads it."""
        self._call.cancel()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    # --- inside

    async def _next(self, queue: asyncio.Queue[_T]) -> _T:
        """The next of its kind, or a failure at once if the stream has ended."""
        assert self._reader is not None
        get = asyncio.ensure_future(queue.get())
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await asyncio.wait({get, self._reader}, return_when=asyncio.FIRST_COMPLETED)
            if not get.done():
                raise AssertionError(f"the stream has ended: {self._reader.result()}")
            return get.result()
        finally:
            get.cancel()

    async def _read(self) -> End:
        try:
            while (frame := await self._call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                self._sort(frame)
                if offers := [task for task in frame.tasks if not task.granted and self.accepts]:
                    await self.respond(*(TaskResponse(wire.ref_of(offer.ref), Accepted()) for offer in offers))
        except grpc.aio.AioRpcError as error:
            return _end_of(error.code(), error.details(), error.trailing_metadata())
        code, details = await self._call.code(), await self._call.details()
        return _end_of(code, details, await self._call.trailing_metadata())

    def _sort(self, frame: agent_pb2.ConnectResponse) -> None:
        self.frames.append(frame)
        for ack in frame.result_acks:
            self._result_acks.put_nowait(wire.result_ack_of(ack))
        for message in frame.log_acks:
            self._log_acks.put_nowait(_known(wire.log_ack_of(message)))
        self.response_credit = frame.response_credit or self.response_credit
        self.log_credit = frame.log_credit or self.log_credit
        self._grown.set()
        self._sort_tasks(frame)
        for command in frame.cancels:
            self._cancels.put_nowait(wire.cancel_of(command))
        for extension in frame.extends:
            self._extends.put_nowait(wire.extend_of(extension))
        if frame.HasField("heartbeat_ack"):
            if frame.heartbeat_ack.HasField("heartbeat_interval"):
                self.intervals.append(wire.ms_of(frame.heartbeat_ack.heartbeat_interval))
            self._beats.put_nowait(frame.heartbeat_ack.number)
            self.unknown = [wire.ref_of(ref) for ref in frame.heartbeat_ack.unknown]
        if frame.HasField("goodbye"):
            self._goodbyes.put_nowait(frame.goodbye.reason)

    def _sort_tasks(self, frame: agent_pb2.ConnectResponse) -> None:
        for request in [_known(wire.task_request_of(task)) for task in frame.tasks]:
            if request.granted:
                self._tasks.put_nowait(request)
            else:
                self._offers.put_nowait(request)
                self._accepted[request.ref] = request
        for start in map(wire.start_of, frame.starts):
            self._starts.put_nowait(start)
            if start.ref in self._accepted:  # else it was offered in an earlier session
                self._tasks.put_nowait(self._accepted[start.ref])


def response_frame(*responses: TaskResponse) -> agent_pb2.ConnectRequest:
    """A frame with these responses."""
    frame = agent_pb2.ConnectRequest()
    for response in responses:
        wire.put_task_response(frame.responses.add(), response)
    return frame


@asynccontextmanager
async def dialled(address: Address) -> AsyncIterator[WireAgent]:
    """A stream on which nothing has been said yet."""
    channel = grpc.aio.insecure_channel(str(address), options=CHANNEL_OPTIONS)
    stub: Any = agent_pb2_grpc.AgentServiceStub(channel)
    agent = WireAgent(stub.Connect())
    try:
        yield agent
    finally:
        await agent.close()
        await channel.close(None)


@asynccontextmanager
async def connected(address: Address, *, credit: int | None = None, **fields: Any) -> AsyncIterator[WireAgent]:
    """An agent that has been welcomed. It lets itself be given a task for each slot, unless `credit` says otherwise."""
    message = hello(**fields)
    async with dialled(address) as agent:
        await agent.introduce(message)
        agent.listen()
        tasks = message.slots if credit is None else credit
        if tasks:
            await agent.credit(tasks)
        yield agent


def _known(item: _T | None) -> _T:
    assert item is not None, "the server sent something unreadable"
    return item


def _end_of(code: grpc.StatusCode, details: str | None, metadata: Any) -> End:
    return End(code, details or "", dict(metadata or ()))
