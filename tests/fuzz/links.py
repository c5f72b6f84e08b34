"""A target that is a server of the worst kind: what it says to an agent is made of bytes, and so is when it says it.

The agent's core and its link are the real ones, in virtual time. In the place of the pool stands one whose work begins
and ends when the bytes say so; gRPC is left out.
"""

from __future__ import annotations

import asyncio
from typing import cast

import grpc
from google.protobuf.message import DecodeError

from nodelink import wire
from nodelink.address import Address
from nodelink.errors import LinkError
from nodelink.task import (
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Execution,
    Finished,
    LogAck,
    LogChunk,
    LogStream,
    Outcome,
    ResultAck,
    StartCommand,
    TaskRequest,
    TaskResponse,
    TaskSpec,
    Verdict,
    VerdictAction,
)
from nodelink.v1 import agent_pb2
from nodelink_agent.core.agent import AgentCore
from nodelink_agent.core.work import Work
from nodelink_agent.link import Introduction, Link
from nodelink_agent.pool import Pool, Speech
from tests.fuzz.reader import Choices
from tests.simulation.loop import run_virtually

MOST_STEPS = 60
MOST_BYTES = 4_096
SLOTS = 2
NAMES = ("t1", "t2", "t3", "t4")
END_SECONDS = 30.0
PAUSES = (0.0, 0.0, 0.125, 1.0, 20.0)
"""Sums of these are exact: virtual time does not go on by what rounding leaves."""
INTRODUCTION = Introduction(
    agent_id="0190f3a2-7c1e-7abc-8def-0123456789ab",
    secret=b"s" * 32,
    session=1,
    remembers_since=1,
    process_since=1,
    host_id="host",
    name="agent",
    pool="default",
    slots=SLOTS,
    handlers=(),
    labels={},
    software_version="0",
)


class Workshop:
    """What a link asks of a pool, over a real core. Work runs until it is ended."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.core = AgentCore(slots=SLOTS, wake=self.wake.set, places={"shell": "spawner", "python": ""})
        self.running: dict[AttemptRef, int] = {}

    def now(self) -> float:
        """The time of the loop."""
        return asyncio.get_running_loop().time()

    def perform(self, work: Work) -> None:
        """Start, stop, write down, forget."""
        now = self.now()
        for stop in work.stop:
            self.end(stop.ref, Outcome.CANCELLED)
        for request in work.start:
            assert request.ref not in self.running
            self.running[request.ref] = 0
            assert len(self.running) <= SLOTS
            self.core.started(request.ref, at=now)
        if work.records:
            self.perform(self.core.written(self.core.recorded, now=now))

    def end(self, ref: AttemptRef, outcome: Outcome) -> None:
        """Something ends, if it runs."""
        printed = self.running.pop(ref, None)
        if printed is not None:
            finished = Finished(outcome=outcome, log_totals={LogStream.STDOUT: printed, LogStream.STDERR: 0})
            self.perform(self.core.ended([TaskResponse(ref, finished)], now=self.now()))

    def print_something(self, ref: AttemptRef, size: int) -> None:
        """Something prints, if it runs."""
        if ref in self.running:
            self.running[ref] += size
            self.core.output_grew(ref, LogStream.STDOUT, self.running[ref])

    def speech(self, *, max_bytes: int, chunk_bytes: int) -> Speech:
        """What the next frame says."""
        said = self.core.outgoing(now=self.now(), max_bytes=max_bytes, chunk_bytes=chunk_bytes)
        chunks, reads = [], said.reads
        while reads:
            for read in reads:
                chunk = LogChunk(read.ref, read.stream, read.offset, b"o" * read.limit)
                self.core.log_sent(chunk)
                chunks.append(chunk)
            reads = self.core.more_reads(chunk_bytes=chunk_bytes)
        return Speech(said.responses, chunks, said.task_credit)


class Call:
    """What gRPC would be to the link."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[object] = asyncio.Queue()

    def put(self, frame: object) -> None:
        """A frame has arrived."""
        self._frames.put_nowait(frame)

    async def read(self) -> object:
        """The next frame, or the end."""
        return await self._frames.get()

    async def write(self, frame: agent_pb2.ConnectRequest) -> None:
        """A frame goes out."""
        assert frame.IsInitialized()

    async def done_writing(self) -> None:
        """Nothing more goes out."""

    def cancel(self) -> None:
        """It is over."""


class Villain:
    """The server."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._work = Workshop()
        self._call = Call()
        self._carried: asyncio.Task[None] | None = None
        self._deeds = (
            self._hand_out, self._hand_out, self._start, self._cancel, self._acknowledge, self._acknowledge_output,
            self._answer_beat, self._give_credit, self._send_raw, self._say_goodbye, self._end_work, self._print,
            self._lapse,
        )  # fmt: skip

    async def run(self) -> None:
        """Do something until nothing is left to be read."""
        for _ in range(MOST_STEPS):
            if not self._choices.left:
                break
            if self._carried is None or self._carried.done():
                await self._end()
                self._dial()
            self._choices.choice(self._deeds)()
            await asyncio.sleep(self._choices.choice(PAUSES))
        self._call.put(grpc.aio.EOF)  # type: ignore[attr-defined]  # unknown to the stubs
        await self._end()
        for ref in list(self._work.running):
            self._work.end(ref, Outcome.COMPLETED)

    def _dial(self) -> None:
        self._call = Call()
        pool = cast(Pool, self._work)
        link = Link(Address("127.0.0.1", 1), INTRODUCTION, pool, random=lambda: 0.5)
        self._carried = asyncio.create_task(link._carry(self._call))
        frame = agent_pb2.ConnectResponse()
        welcome = frame.welcome
        welcome.protocol = self._choices.choice((2, 2, 2, 1, 9))
        wire.put_ms(welcome.heartbeat_interval, self._choices.choice((5_000, 5_000, 5_000, 0)))
        welcome.response_credit, welcome.log_credit = self._choices.number(9), self._choices.number(200)
        for _ in range(self._choices.number(3)):
            logs = (LogAck(self._ref(), LogStream.STDOUT, self._choices.number(50)),)
            verdict = Verdict(self._ref(), self._choices.choice(list(VerdictAction)), logs)
            wire.put_verdict(welcome.verdicts.add(), verdict)
        self._call.put(frame)

    async def _end(self) -> None:
        """Wait for the end of the session. Raises what no server may make of an agent."""
        if self._carried is None:
            return
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._carried
        except LinkError:
            pass

    def _ref(self) -> AttemptRef:
        return AttemptRef(self._choices.choice(NAMES), 1 + self._choices.number(1), 1 + self._choices.number(1))

    def _hand_out(self) -> None:
        frame = agent_pb2.ConnectResponse()
        for _ in range(1 + self._choices.number(2)):
            request = TaskRequest(
                ref=self._ref(),
                spec=TaskSpec(type=self._choices.choice(("echo", "shell", "python"))),
                payload=b"{}",
                execution=self._choices.choice(list(Execution)),
                granted=self._choices.chance(),
                lease_ms=self._choices.choice((None, 0, 30_000, 600_000)),
                basis=self._choices.number(3),
            )
            wire.put_task_request(frame.tasks.add(), request)
        self._call.put(frame)

    def _start(self) -> None:
        frame = agent_pb2.ConnectResponse()
        lease_ms = self._choices.choice((None, 30_000))
        wire.put_start(frame.starts.add(), StartCommand(self._ref(), lease_ms, self._choices.number(3)))
        self._call.put(frame)

    def _cancel(self) -> None:
        frame = agent_pb2.ConnectResponse()
        wire.put_cancel(frame.cancels.add(), CancelCommand(self._ref(), self._choices.number(1_000)))
        self._call.put(frame)

    def _acknowledge(self) -> None:
        frame = agent_pb2.ConnectResponse()
        disposition = self._choices.choice(list(AckDisposition))
        wire.put_result_ack(frame.result_acks.add(), ResultAck(self._ref(), disposition))
        self._call.put(frame)

    def _acknowledge_output(self) -> None:
        frame = agent_pb2.ConnectResponse()
        wire.put_log_ack(frame.log_acks.add(), LogAck(self._ref(), LogStream.STDOUT, self._choices.number(100)))
        self._call.put(frame)

    def _answer_beat(self) -> None:
        frame = agent_pb2.ConnectResponse()
        frame.heartbeat_ack.number = self._choices.number(5)
        if self._choices.chance():
            wire.put_ref(frame.heartbeat_ack.unknown.add(), self._ref())
        self._call.put(frame)

    def _give_credit(self) -> None:
        credit = self._choices.number(300)
        self._call.put(agent_pb2.ConnectResponse(response_credit=credit % 20, log_credit=credit))

    def _send_raw(self) -> None:
        try:
            self._call.put(agent_pb2.ConnectResponse.FromString(self._choices.some_bytes(200)))
        except DecodeError:
            return

    def _say_goodbye(self) -> None:
        if self._choices.number(3) == 1:
            self._call.put(agent_pb2.ConnectResponse(goodbye=agent_pb2.Goodbye(reason="enough")))
        else:
            self._call.put(agent_pb2.ConnectResponse(drain=agent_pb2.Drain(reason="soon")))

    def _end_work(self) -> None:
        self._work.end(self._ref(), self._choices.choice(list(Outcome)))

    def _print(self) -> None:
        self._work.print_something(self._ref(), self._choices.number(100))

    def _lapse(self) -> None:
        self._work.perform(self._work.core.lapsed(now=self._work.now()))


def server_stream(data: bytes) -> None:
    """No server, whatever it says, makes an agent fail, run more than it has slots for, or run one thing twice."""
    run_virtually(_run(data[:MOST_BYTES]))


async def _run(data: bytes) -> None:
    await Villain(Choices(data)).run()
