"""AgentService: takes frames apart and calls the session with what they carry; gathers what is to be said into frames.

One reader and one writer a stream, both never timed out, since a read or a write that is given up destroys the stream.
What ends one of them ends the session. An agent that has nothing to do is to cost little but its stream: so it is read
in the task of the call itself, and nothing is kept here of what has been said.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc
import structlog

from nodelink import wire
from nodelink.errors import HandshakeRefused, LinkLost, ProtocolViolation
from nodelink.failpoints import hit
from nodelink.task import AckDisposition, ResultAck, TaskResponse, Verdict
from nodelink.v1 import agent_pb2, agent_pb2_grpc
from nodelink_server.core.logbook import MAX_CHUNK_BYTES
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import Clock
from nodelink_server.core.session import LOG_WINDOW_BYTES, RESPONSE_WINDOW_FRAMES, AgentSession, Outgoing
from nodelink_server.rpc.agent_data import AgentBlobs
from nodelink_server.rpc.failpoints import hit_received, write_frame
from nodelink_server.rpc.interceptors import Context as BlobContext
from nodelink_server.rpc.reading import MAX_FRAME_BYTES, check_frame, chunks_of, counted_of, hello_of, response_of

HELLO_SECONDS = 10.0

Context = grpc.aio.ServicerContext[agent_pb2.ConnectRequest, agent_pb2.ConnectResponse]

log = structlog.get_logger(__name__)


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    """Where agents connect."""

    def __init__(
        self,
        manager: TaskManager,
        *,
        clock: Clock,
        server_id: str,
        version: str,
        hello_seconds: float = HELLO_SECONDS,
    ) -> None:
        self._manager = manager
        self._clock = clock
        self._hello_seconds = hello_seconds
        self._server_id = server_id
        self._version = version
        self._works = wire.WorkWriter()
        self._blobs = AgentBlobs(manager)

    def PutBlob(  # noqa: N802 - the name of the call, here and below
        self, request_iterator: AsyncIterator[agent_pb2.PutBlobRequest], context: BlobContext
    ) -> AsyncIterator[agent_pb2.PutBlobResponse]:
        """Bytes in, on a stream of their own."""
        return self._blobs.put(request_iterator)

    def GetBlob(  # noqa: N802
        self, request: agent_pb2.GetBlobRequest, context: BlobContext
    ) -> AsyncIterator[agent_pb2.GetBlobResponse]:
        """Bytes out, on a stream of their own."""
        return self._blobs.get(request)

    async def Connect(  # type: ignore[override]  # noqa: N802 - the name of the call
        self, request_iterator: object, context: Context
    ) -> None:
        """One session, from hello to whatever ends it."""
        session, verdicts = await self._introduced(context)
        connection = Connection(self._manager, self._clock, session, context, self._works)
        try:
            await write_frame(context, self._welcome(session, verdicts))
            del verdicts
            await connection.run()
        finally:
            self._manager.disconnect(session, left=connection.left)

    async def _introduced(self, context: Context) -> tuple[AgentSession, Sequence[Verdict]]:
        """The session that the first frame opens, and what is to become of what its agent holds."""
        hello = hello_of(await _first_frame(context, self._hello_seconds))
        hit("server.hello.received")
        return await self._manager.connect(hello)

    def _welcome(self, session: AgentSession, verdicts: Sequence[Verdict]) -> agent_pb2.ConnectResponse:
        frame = agent_pb2.ConnectResponse()
        welcome = frame.welcome
        welcome.protocol = session.protocol
        welcome.features.extend(sorted(session.features))
        welcome.server_id = self._server_id
        welcome.software_version = self._version
        wire.put_ms(welcome.heartbeat_interval, round(session.period * 1000))
        welcome.max_frame_bytes = MAX_FRAME_BYTES
        welcome.max_log_chunk_bytes = MAX_CHUNK_BYTES
        welcome.response_credit = RESPONSE_WINDOW_FRAMES
        welcome.log_credit = LOG_WINDOW_BYTES
        welcome.session = session.number
        for verdict in verdicts:
            wire.put_verdict(welcome.verdicts.add(), verdict)
        return frame


async def _first_frame(context: Context, seconds: float) -> agent_pb2.ConnectRequest:
    """The frame with the hello. A peer that does not send it in time is not listened to any longer."""
    read = asyncio.ensure_future(context.read())
    try:
        done, _ = await asyncio.wait({read}, timeout=seconds)
    finally:
        read.cancel()
    if not done:
        raise HandshakeRefused(f"no hello came within {seconds:g} s")
    frame = read.result()
    if not isinstance(frame, agent_pb2.ConnectRequest):
        raise LinkLost("the stream ended before a hello")
    return frame


class Connection:
    """The pumps of one stream."""

    __slots__ = ("_clock", "_context", "_is_broken_off", "_manager", "_reading", "_session", "_works", "left")

    def __init__(
        self, manager: TaskManager, clock: Clock, session: AgentSession, context: Context, works: wire.WorkWriter
    ) -> None:
        self._manager = manager
        self._clock = clock
        self._session = session
        self._context = context
        self._works = works
        self._reading: asyncio.Task[object] | None = None
        """The task that reads, as long as it does."""
        self._is_broken_off = False
        self.left = False
        """Whether the agent has said goodbye."""

    async def run(self) -> None:
        """Pump until something ends the session. Raises what ended it, unless it was the agent."""
        pumps = (
            asyncio.create_task(self._write(), name="agent writer"),
            asyncio.create_task(self._manager.feed(self._session), name="agent feeder"),
        )
        for pump in pumps:
            pump.add_done_callback(self._break_off)
        self._session.when_ended(self._break_off)  # the writer cannot see it while the agent reads nothing
        try:
            await self._read_until_broken_off()
        finally:
            over = [pump for pump in pumps if pump.done()]
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        for pump in over:
            if not pump.cancelled() and (error := pump.exception()) is not None:
                raise error
        if self._session.end is not None:
            raise self._session.end

    async def _read_until_broken_off(self) -> None:
        """Read until the agent says no more, or something else ends the session."""
        if self._is_broken_off:
            return
        self._reading = reading = asyncio.current_task()
        assert reading is not None
        try:
            await self._read()
        except asyncio.CancelledError:
            if not self._is_broken_off or reading.uncancel():  # gRPC has ended the call
                raise
        finally:
            self._reading = None

    def _break_off(self, _pump: asyncio.Task[None] | None = None) -> None:
        """Something else has ended the session: it is not read any longer."""
        if not self._is_broken_off and self._reading is not None:
            self._reading.cancel()
        self._is_broken_off = True

    async def _read(self) -> None:
        while not self.left:
            frame = await self._context.read()
            if not isinstance(frame, agent_pb2.ConnectRequest):
                return
            self._session.heard(self._clock.monotonic())
            hit_received(frame)
            self.take(frame)
            del frame

    async def _write(self) -> None:
        is_last = False
        while not is_last:
            frame = await self.next_frame()
            await write_frame(self._context, frame)
            is_last = frame.HasField("goodbye")
            del frame

    async def next_frame(self) -> agent_pb2.ConnectResponse:
        """All that is to be said to the agent by now, once there is anything. Raises what ended the session."""
        return _frame_of(await self._session.outgoing(), self._works)

    def take(self, frame: agent_pb2.ConnectRequest) -> None:
        """Work one frame off, in the order that the protocol fixes."""
        size = check_frame(frame)
        if frame.HasField("hello"):
            raise ProtocolViolation("a second hello on one stream")
        if frame.task_credit:
            self._session.credit_given(frame.task_credit)
        if frame.responses:
            self._manager.channel.put(self._session, self._responses(frame), size)
        if frame.logs:
            self._take_logs(frame)
        if frame.HasField("heartbeat"):
            self._take_heartbeat(frame.heartbeat)
        if frame.HasField("goodbye"):
            self.left = True

    def _take_heartbeat(self, beat: agent_pb2.Heartbeat) -> None:
        running = [wire.ref_of(ref) for ref in beat.running]
        self._session.heartbeat(
            beat.number,
            load=beat.load,
            draining=beat.draining,
            running=running,
            counted=counted_of(beat),
            interval_ms=wire.ms_of(beat.interval),
        )

    def _responses(self, frame: agent_pb2.ConnectRequest) -> list[TaskResponse]:
        """What can be read. What cannot is counted, and acknowledged so that it does not come again."""
        readable: list[TaskResponse] = []
        for pb in frame.responses:
            response = response_of(pb)
            if response is not None:
                readable.append(response)
                continue
            ref = wire.ref_of(pb.ref)
            self._manager.tally.responses["refused"] += 1
            log.warning("response_unreadable", task_id=ref.task_id, agent_id=self._session.agent_id)
            self._session.ack_results([ResultAck(ref, AckDisposition.REFUSED)])
        return readable

    def _take_logs(self, frame: agent_pb2.ConnectRequest) -> None:
        """Hand on what can be read. What cannot is paid back at once, or the agent would run out of credit."""
        chunks = chunks_of(frame.logs)
        self._manager.logs.receive(self._session, chunks)
        if len(chunks) == len(frame.logs):
            return
        log.warning("log_chunk_unreadable", agent_id=self._session.agent_id, count=len(frame.logs) - len(chunks))
        unread = sum(len(pb.data) for pb in frame.logs) - sum(len(chunk.data) for chunk in chunks)
        self._session.count_log_bytes(unread)
        self._session.give_log_credit(unread)


def _frame_of(outgoing: Outgoing, works: wire.WorkWriter) -> agent_pb2.ConnectResponse:
    frame = agent_pb2.ConnectResponse()
    tasks, acks = frame.tasks, frame.result_acks
    for request in outgoing.tasks:
        wire.put_task_request(tasks.add(), request, works.bytes_of(request.spec, request.payload))
    for ack in outgoing.result_acks:
        wire.put_result_ack(acks.add(), ack)
    for start in outgoing.starts:
        wire.put_start(frame.starts.add(), start)
    for extension in outgoing.extends:
        wire.put_extend(frame.extends.add(), extension)
    for command in outgoing.cancels:
        wire.put_cancel(frame.cancels.add(), command)
    for log_ack in outgoing.log_acks.values():
        wire.put_log_ack(frame.log_acks.add(), log_ack)
    frame.response_credit = outgoing.response_credit
    frame.log_credit = outgoing.log_credit
    if outgoing.heartbeat:
        frame.heartbeat_ack.number = outgoing.heartbeat
        if outgoing.heartbeat_interval_ms:
            wire.put_ms(frame.heartbeat_ack.heartbeat_interval, outgoing.heartbeat_interval_ms)
        for ref in outgoing.unknown:
            wire.put_ref(frame.heartbeat_ack.unknown.add(), ref)
    _put_leave(frame, outgoing)
    return frame


def _put_leave(frame: agent_pb2.ConnectResponse, outgoing: Outgoing) -> None:
    """Write what asks the agent to become empty, and that the session ends."""
    if outgoing.drain is not None:
        frame.drain.reason = outgoing.drain.reason
        if outgoing.drain.deadline_ms is not None:
            wire.put_ms(frame.drain.deadline, outgoing.drain.deadline_ms)
    if outgoing.goodbye is not None:
        frame.goodbye.reason = outgoing.goodbye
