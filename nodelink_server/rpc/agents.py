"""AgentService: takes frames apart and calls the session with what they carry; gathers what is to be said into frames.

One reader and one writer a stream, both never timed out, since a read or a write that is given up destroys the stream.
What ends one of them ends the session.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import structlog

from nodelink import wire
from nodelink.errors import HandshakeRefused, LinkLost, ProtocolViolation
from nodelink.task import AckDisposition, Execution, ResultAck, TaskResponse, Verdict
from nodelink.v1 import agent_pb2, agent_pb2_grpc
from nodelink_server.core.agents import Hello
from nodelink_server.core.logbook import MAX_CHUNK_BYTES
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import Clock
from nodelink_server.core.session import LOG_WINDOW_BYTES, RESPONSE_WINDOW_FRAMES, AgentSession, Outgoing

PROTOCOL = 1
MAX_FRAME_BYTES = 1024 * 1024
MAX_ITEMS = 4_096
HELLO_SECONDS = 10.0

Context = grpc.aio.ServicerContext[agent_pb2.ConnectRequest, agent_pb2.ConnectResponse]

log = structlog.get_logger(__name__)


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    """Where agents connect."""

    def __init__(self, manager: TaskManager, *, clock: Clock, server_id: str, version: str) -> None:
        self._manager = manager
        self._clock = clock
        self._server_id = server_id
        self._version = version

    async def Connect(  # type: ignore[override]  # noqa: N802 - the name of the call
        self, request_iterator: object, context: Context
    ) -> None:
        """One session, from hello to whatever ends it."""
        hello = _hello_of(await _first_frame(context))
        session, verdicts = await self._manager.connect(hello)
        connection = _Connection(self._manager, self._clock, session, context)
        try:
            await context.write(self._welcome(session, verdicts))
            await connection.run()
        finally:
            self._manager.disconnect(session, left=connection.left)

    def _welcome(self, session: AgentSession, verdicts: Any) -> agent_pb2.ConnectResponse:
        frame = agent_pb2.ConnectResponse()
        welcome = frame.welcome
        welcome.protocol = PROTOCOL
        welcome.server_id = self._server_id
        welcome.software_version = self._version
        wire.put_ms(welcome.heartbeat_interval, int(self._manager.options.heartbeat * 1000))
        welcome.max_frame_bytes = MAX_FRAME_BYTES
        welcome.max_log_chunk_bytes = MAX_CHUNK_BYTES
        welcome.response_credit = RESPONSE_WINDOW_FRAMES
        welcome.log_credit = LOG_WINDOW_BYTES
        welcome.session = session.number
        for verdict in verdicts:
            _put_verdict(welcome, verdict)
        return frame


def _put_verdict(welcome: agent_pb2.Welcome, verdict: Verdict) -> None:
    wire.put_verdict(welcome.verdicts.add(), verdict)


async def _first_frame(context: Context) -> agent_pb2.ConnectRequest:
    """The frame with the hello. A peer that does not send it in time is not listened to any longer."""
    read = asyncio.ensure_future(context.read())
    done, _ = await asyncio.wait({read}, timeout=HELLO_SECONDS)
    if not done:
        read.cancel()
        raise HandshakeRefused(f"no hello came within {HELLO_SECONDS:g} s")
    frame = read.result()
    if not isinstance(frame, agent_pb2.ConnectRequest):
        raise LinkLost("the stream ended before a hello")
    if not frame.HasField("hello"):
        raise HandshakeRefused("the first frame must carry a hello")
    return frame


def _hello_of(frame: agent_pb2.ConnectRequest) -> Hello:
    hello = frame.hello
    if not hello.protocol_min <= PROTOCOL <= hello.protocol_max:
        ours, low, high = PROTOCOL, hello.protocol_min, hello.protocol_max
        raise HandshakeRefused(f"the server speaks protocol {ours}, the agent {low} to {high}")
    return Hello(
        agent_id=hello.agent_id,
        secret=hello.secret,
        session=hello.session,
        remembers_since=hello.remembers_since,
        host_id=hello.host_id,
        name=hello.name,
        pool=hello.pool,
        slots=hello.slots,
        handlers={h.type: wire.EXECUTION_FROM_PB.get(h.execution, Execution.ONCE) for h in hello.handlers},
        labels=dict(hello.labels),
        software_version=hello.software_version,
        held=[wire.held_of(held) for held in hello.held],
    )


class _Connection:
    """The pumps of one stream."""

    def __init__(self, manager: TaskManager, clock: Clock, session: AgentSession, context: Context) -> None:
        self._manager = manager
        self._clock = clock
        self._session = session
        self._context = context
        self.left = False
        """Whether the agent has said goodbye."""

    async def run(self) -> None:
        """Pump until something ends the session. Raises what ended it, unless it was the agent."""
        pumps = {
            asyncio.create_task(self._read(), name="agent reader"),
            asyncio.create_task(self._write(), name="agent writer"),
            asyncio.create_task(self._manager.feed(self._session), name="agent feeder"),
        }
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        for pump in done:
            if not pump.cancelled() and (error := pump.exception()) is not None:
                raise error

    async def _read(self) -> None:
        while not self.left:
            frame = await self._context.read()
            if not isinstance(frame, agent_pb2.ConnectRequest):
                return
            self._session.heard(self._clock.monotonic())
            self._take(frame)

    async def _write(self) -> None:
        while True:
            outgoing = await self._session.outgoing()
            await self._context.write(_frame_of(outgoing))
            if outgoing.goodbye is not None:
                return

    def _take(self, frame: agent_pb2.ConnectRequest) -> None:
        """Work one frame off, in the order that the protocol fixes."""
        size = frame.ByteSize()
        if size > MAX_FRAME_BYTES:
            raise ProtocolViolation(f"a frame of {size} bytes; at most {MAX_FRAME_BYTES} are allowed")
        if frame.HasField("hello"):
            raise ProtocolViolation("a second hello on one stream")
        if len(frame.responses) > MAX_ITEMS or len(frame.logs) > MAX_ITEMS:
            raise ProtocolViolation(f"more than {MAX_ITEMS} items in a frame")
        if frame.task_credit:
            self._session.credit_given(frame.task_credit)
        if frame.responses:
            self._manager.channel.put(self._session, self._responses(frame), size)
        if frame.logs:
            self._take_logs(frame)
        if frame.HasField("heartbeat"):
            beat = frame.heartbeat
            self._session.heartbeat(beat.number, load=beat.load, draining=beat.draining)
        if frame.HasField("goodbye"):
            self.left = True

    def _responses(self, frame: agent_pb2.ConnectRequest) -> list[TaskResponse]:
        """What can be read. What cannot is counted, and acknowledged so that it does not come again."""
        readable: list[TaskResponse] = []
        for pb in frame.responses:
            response = wire.task_response_of(pb)
            if response is not None:
                readable.append(response)
                continue
            ref = wire.ref_of(pb.ref)
            self._manager.tally.responses["refused"] += 1
            log.warning("response_unreadable", task_id=ref.task_id, agent_id=self._session.agent_id)
            self._session.ack_results([ResultAck(ref, AckDisposition.REFUSED)])
        return readable

    def _take_logs(self, frame: agent_pb2.ConnectRequest) -> None:
        chunks = [chunk for pb in frame.logs if (chunk := wire.log_chunk_of(pb)) is not None]
        if len(chunks) < len(frame.logs):
            log.warning("log_chunk_unreadable", agent_id=self._session.agent_id, count=len(frame.logs) - len(chunks))
        if any(len(chunk.data) > MAX_CHUNK_BYTES for chunk in chunks):
            raise ProtocolViolation(f"a chunk of output of more than {MAX_CHUNK_BYTES} bytes")
        self._manager.logs.receive(self._session, chunks)


def _frame_of(outgoing: Outgoing) -> agent_pb2.ConnectResponse:
    frame = agent_pb2.ConnectResponse()
    tasks, acks = frame.tasks, frame.result_acks
    for request in outgoing.tasks:
        spec = wire.spec_bytes(request.spec, request.payload)
        wire.put_task_request(tasks.add(), request.ref, spec, request.execution)
    for ack in outgoing.result_acks:
        wire.put_result_ack(acks.add(), ack)
    for command in outgoing.cancels:
        wire.put_cancel(frame.cancels.add(), command)
    for log_ack in outgoing.log_acks.values():
        wire.put_log_ack(frame.log_acks.add(), log_ack)
    frame.response_credit = outgoing.response_credit
    frame.log_credit = outgoing.log_credit
    if outgoing.heartbeat:
        frame.heartbeat_ack.number = outgoing.heartbeat
    if outgoing.drain is not None:
        frame.drain.reason = outgoing.drain
    if outgoing.goodbye is not None:
        frame.goodbye.reason = outgoing.goodbye
    return frame
