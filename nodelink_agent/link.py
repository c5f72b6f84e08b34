"""One connection to the server: hello, reader, writer, heartbeat. It fails as a whole and is never repaired.

Reads are never given a timeout (that would break the stream); a watch measures the silence instead. One task writes,
and puts into each frame everything that gathered while the last one was under way.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration

from nodelink import wire
from nodelink.address import Address
from nodelink.errors import HandshakeRefused, LinkError, LinkLost, ProtocolViolation, SessionReplaced
from nodelink.plan import DEFAULT_PLAN_LIMIT
from nodelink.task import EXTEND, AckDisposition, AttemptRef, HeldAttempt, TaskRequest
from nodelink.v1 import agent_pb2, agent_pb2_grpc
from nodelink_agent.core.agent import MAX_CHUNK_BYTES, MAX_FRAME_BYTES
from nodelink_agent.failpoints import hit_received, write_frame
from nodelink_agent.pool import Pool

OLDEST_PROTOCOL = 1
"""Without offers and leases."""
NEWEST_PROTOCOL = 2
FEATURES = (EXTEND,)
MAX_RECEIVED_BYTES = 4 * 1024 * 1024
"""A welcome has a verdict for everything that is held, and so may be larger than any other frame."""
HANDSHAKE_SECONDS = 15.0
"""From the dialling to the welcome."""
SILENT_PERIODS = 3
LAST_WORD_SECONDS = 2.0
"""How long to wait for what the server has to say about the end of a stream."""
LAST_SESSION_KEY = "nodelink-last-session"
RETRY_AFTER_KEY = "nodelink-retry-after-ms"
LONGEST_STAY_AWAY = 600.0
"""Seconds that an agent stays away at most, whatever a server asks for."""

CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # keepalive_timeout_ms alone does nothing below a minute
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", MAX_RECEIVED_BYTES),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
)

_REFUSALS = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)

_log = structlog.get_logger(__name__)

_Call = Any
"""A bidirectional call of grpc.aio, whose stubs are not typed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """What an agent says of itself in its hello."""

    agent_id: str
    secret: bytes = field(repr=False)
    session: int
    remembers_since: int
    process_since: int
    host_id: str
    name: str
    pool: str
    slots: int
    handlers: tuple[agent_pb2.Handler, ...]
    labels: dict[str, str]
    software_version: str
    instance_id: str = ""
    resources: Mapping[str, int] = field(default_factory=dict)
    type_limits: Mapping[str, int] = field(default_factory=dict)
    plan_limit: int = DEFAULT_PLAN_LIMIT


class Link:
    """One session from the dialling to its end. `random` gives numbers from 0 up to 1."""

    def __init__(
        self, address: Address, introduction: Introduction, pool: Pool, *, random: Callable[[], float]
    ) -> None:
        self._address = address
        self._introduction = introduction
        self._pool = pool
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._log = _log.bind(session=introduction.session, server=str(address))
        self._welcomed = asyncio.Event()
        self._welcomed_at: float | None = None
        self._heard_at = self._loop.time()
        self._interval = 0.0
        self._retimed = asyncio.Event()
        """Set when the server wants heartbeats at other intervals."""
        self._max_bytes = MAX_FRAME_BYTES
        self._chunk_bytes = MAX_CHUNK_BYTES
        self._beat_due = False
        self._draining = False
        self._ended = False
        self._goodbye: agent_pb2.Goodbye | None = None
        self._said_goodbye = False
        self.reconnect_after = 0.0
        """Seconds for which the server asked the agent to stay away."""

    @property
    def is_open(self) -> bool:
        """Whether it has been welcomed and has not ended."""
        return self._welcomed_at is not None and not self._ended

    @property
    def lived(self) -> float:
        """Seconds since the welcome; 0 if there was none."""
        return 0.0 if self._welcomed_at is None else self._loop.time() - self._welcomed_at

    async def run(self) -> None:
        """Carry the session until its end. Returns after a goodbye of ours.

        Raises LinkError: HandshakeRefused, SessionReplaced, ProtocolViolation or LinkLost.
        """
        channel = grpc.aio.insecure_channel(str(self._address), options=CHANNEL_OPTIONS)
        try:
            stub: Any = agent_pb2_grpc.AgentServiceStub(channel)
            await self._carry(stub.Connect())
        finally:
            self._ended = True
            await channel.close(None)

    def announce_drain(self) -> None:
        """Tell the server at once that the agent wants no more work."""
        self._draining = self._beat_due = True
        self._pool.wake.set()

    def say_goodbye(self, reason: str, *, idle: bool) -> None:
        """End the session on purpose, after what is to be said has been said as far as credit goes."""
        self._goodbye = agent_pb2.Goodbye(reason=reason, idle=idle)
        self._pool.wake.set()

    # --- the pumps

    async def _carry(self, call: _Call) -> None:
        """Run the pumps until one ends. This order of closing loses no connection: call, pumps, channel."""
        reader = asyncio.create_task(self._read(call), name="link reader")
        writer = asyncio.create_task(self._write(call), name="link writer")
        beat = asyncio.create_task(self._beat(), name="link heartbeat")
        watch = asyncio.create_task(self._watch(), name="link watch")
        pumps = (reader, writer, watch, beat)
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if writer in done:  # it only knows that the stream broke, or that we left it; the reader hears why
                await asyncio.wait({reader}, timeout=LAST_WORD_SECONDS)
            ends = [error for pump in pumps if pump.done() and (error := pump.exception()) is not None]
        finally:
            call.cancel()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        self._raise_end(ends)

    def _raise_end(self, ends: list[BaseException]) -> None:
        """Raise why the session ended: a bug of ours before all else, then what the reader heard."""
        for error in ends:
            if not isinstance(error, LinkError | grpc.aio.AioRpcError | asyncio.InvalidStateError):
                raise error
        if self._said_goodbye:
            return
        for error in ends:
            if isinstance(error, grpc.aio.AioRpcError):
                raise self._translated(error) from error
            if isinstance(error, LinkError):
                raise error
        raise LinkLost("the stream broke")

    async def _read(self, call: _Call) -> None:
        while True:
            frame = await call.read()
            if frame is grpc.aio.EOF:  # type: ignore[attr-defined]  # unknown to the stubs
                raise LinkLost("the server ended the stream")
            self._heard_at = self._loop.time()
            hit_received(frame)
            if self._welcomed_at is None:
                self._receive_welcome(frame)
            self._receive(frame)

    async def _write(self, call: _Call) -> None:
        hello = self._hello(self._pool.core.hello_held(now=self._pool.now()))
        await write_frame(call, agent_pb2.ConnectRequest(hello=hello))
        await self._welcomed.wait()
        while True:
            await self._pool.wake.wait()
            self._pool.wake.clear()
            frame = self._gather()
            if frame is not None:
                await write_frame(call, frame)
                self._pool.wake.set()  # more may have gathered, or not have fitted
            elif self._goodbye is not None:
                await call.write(agent_pb2.ConnectRequest(goodbye=self._goodbye))
                self._said_goodbye = True
                await call.done_writing()
                return

    async def _beat(self) -> None:
        await self._welcomed.wait()
        while True:
            try:
                async with asyncio.timeout(self._interval * (0.9 + 0.2 * self._random())):
                    await self._retimed.wait()
                self._retimed.clear()
            except TimeoutError:
                self._beat_due = True
                self._pool.wake.set()

    async def _watch(self) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await self._welcomed.wait()
        except TimeoutError as error:
            raise LinkLost(f"there was no welcome within {HANDSHAKE_SECONDS:.0f} s") from error
        while True:
            silence = self._loop.time() - self._heard_at
            allowed = self._interval * SILENT_PERIODS
            if silence >= allowed:
                raise LinkLost(f"nothing was heard from the server for {silence:.1f} s")
            await asyncio.sleep(allowed - silence)

    # --- what the server says

    def _receive_welcome(self, frame: agent_pb2.ConnectResponse) -> None:
        if not frame.HasField("welcome"):
            raise ProtocolViolation("the server's first frame is no welcome")
        welcome = frame.welcome
        if not OLDEST_PROTOCOL <= welcome.protocol <= NEWEST_PROTOCOL:
            raise ProtocolViolation(f"the server chose protocol {welcome.protocol}, which this agent does not speak")
        self._interval = _interval_of(welcome.heartbeat_interval)
        if welcome.max_frame_bytes:
            # A quarter: an item may exceed it, and logs follow.
            self._max_bytes = min(MAX_FRAME_BYTES, welcome.max_frame_bytes // 4)
        if welcome.max_log_chunk_bytes:
            self._chunk_bytes = min(MAX_CHUNK_BYTES, welcome.max_log_chunk_bytes)
        verdicts = [verdict for verdict in map(wire.verdict_of, welcome.verdicts) if verdict is not None]
        if len(verdicts) < len(welcome.verdicts):
            self._log.warning("verdicts_not_understood", count=len(welcome.verdicts) - len(verdicts))
        work = self._pool.core.welcomed(
            verdicts, response_credit=welcome.response_credit, log_credit=welcome.log_credit
        )
        self._pool.perform(work)
        self._welcomed_at = self._loop.time()
        self._beat_due = self._draining
        self._pool.wake.set()
        self._welcomed.set()
        self._log.info("link_opened", server_id=welcome.server_id, server_version=welcome.software_version)

    def _receive(self, frame: agent_pb2.ConnectResponse) -> None:
        """Act on a frame, its items in the order that the protocol gives."""
        core, perform = self._pool.core, self._pool.perform
        if frame.result_acks:
            perform(core.result_acked(self._result_acks(frame)))
        if frame.log_acks:
            perform(core.log_acked(ack for ack in map(wire.log_ack_of, frame.log_acks) if ack is not None))
        if frame.response_credit or frame.log_credit:
            core.credit(response_credit=frame.response_credit, log_credit=frame.log_credit)
        if frame.tasks:
            requests, unreadable = self._requests(frame)
            perform(core.received(requests, now=self._pool.now(), unreadable=unreadable))
        self._receive_commands(frame)
        if frame.HasField("heartbeat_ack"):
            ack = frame.heartbeat_ack
            perform(core.heartbeat_acked(ack.number, map(wire.ref_of, ack.unknown)))
            if ack.HasField("heartbeat_interval"):
                self._interval = _interval_of(ack.heartbeat_interval)
                self._retimed.set()
        if frame.HasField("drain"):
            self.reconnect_after = min(wire.ms_of(frame.drain.reconnect_after) / 1000, LONGEST_STAY_AWAY)
            self._log.info("drain_asked", reason=frame.drain.reason)
            perform(core.give_back())
        if frame.HasField("goodbye"):
            raise LinkLost(f"the server said goodbye: {frame.goodbye.reason or 'no reason given'}")

    def _receive_commands(self, frame: agent_pb2.ConnectResponse) -> None:
        core, perform = self._pool.core, self._pool.perform
        if frame.starts:
            perform(core.start(map(wire.start_of, frame.starts), now=self._pool.now()))
        if frame.extends:
            perform(core.extend(map(wire.extend_of, frame.extends), now=self._pool.now()))
        if frame.cancels:
            perform(core.cancel(map(wire.cancel_of, frame.cancels)))

    def _result_acks(self, frame: agent_pb2.ConnectResponse) -> list[Any]:
        acks = [wire.result_ack_of(ack) for ack in frame.result_acks]
        for ack in acks:
            if ack.disposition is AckDisposition.REFUSED:
                self._log.error("result_refused", task_id=ack.ref.task_id, attempt=ack.ref.attempt)
        return acks

    def _requests(self, frame: agent_pb2.ConnectResponse) -> tuple[list[TaskRequest], list[AttemptRef]]:
        requests, unreadable = [], []
        for message in frame.tasks:
            request = wire.task_request_of(message)
            if request is None:
                unreadable.append(wire.ref_of(message.ref))
                self._log.error("request_not_understood", task_id=message.ref.task_id, attempt=message.ref.attempt)
            else:
                requests.append(request)
        return requests, unreadable

    def _translated(self, error: grpc.aio.AioRpcError) -> LinkError:
        """The status that ended the stream, in our own words."""
        code, details = error.code(), error.details() or "no details"
        retry_after = _number_in(error, RETRY_AFTER_KEY)
        if retry_after is not None:
            self.reconnect_after = min(retry_after / 1000, LONGEST_STAY_AWAY)
        last_session = _number_in(error, LAST_SESSION_KEY)
        if last_session is not None:
            return HandshakeRefused(details, last_session=last_session)
        if code in _REFUSALS and self._welcomed_at is None:
            return HandshakeRefused(details)
        if code is grpc.StatusCode.ABORTED:
            return SessionReplaced(details)
        return LinkLost(f"{code.name}: {details}")

    # --- what the agent says

    def _hello(self, held: list[HeldAttempt]) -> agent_pb2.Hello:
        who = self._introduction
        hello = agent_pb2.Hello(
            protocol_min=OLDEST_PROTOCOL,
            protocol_max=NEWEST_PROTOCOL,
            features=FEATURES,
            agent_id=who.agent_id,
            secret=who.secret,
            session=who.session,
            remembers_since=who.remembers_since,
            process_since=who.process_since,
            host_id=who.host_id,
            name=who.name,
            pool=who.pool,
            slots=who.slots,
            handlers=who.handlers,
            labels=who.labels,
            software_version=who.software_version,
            instance_id=who.instance_id,
            resources=who.resources,
            type_limits=who.type_limits,
            plan_limit=who.plan_limit,
        )
        for attempt in held:
            wire.put_held(hello.held.add(), attempt)
        return hello

    def _gather(self) -> agent_pb2.ConnectRequest | None:
        """The next frame with all that is to be said, or None if there is nothing."""
        speech = self._pool.speech(max_bytes=self._max_bytes, chunk_bytes=self._chunk_bytes)
        if not (speech.responses or speech.chunks or speech.task_credit or self._beat_due):
            return None
        frame = agent_pb2.ConnectRequest(task_credit=speech.task_credit)
        add = frame.responses.add
        for response in speech.responses:
            wire.put_task_response(add(), response)
        for chunk in speech.chunks:
            wire.put_log_chunk(frame.logs.add(), chunk)
        if self._beat_due:
            self._put_heartbeat(frame.heartbeat)
        return frame

    def _put_heartbeat(self, heartbeat: agent_pb2.Heartbeat) -> None:
        self._beat_due = False
        heartbeat.number, refs, taken = self._pool.core.heartbeat(now=self._pool.now())
        heartbeat.load = _load()
        heartbeat.draining = self._draining
        wire.put_ms(heartbeat.interval, round(self._interval * 1000))
        for ref in refs:
            wire.put_ref(heartbeat.running.add(), ref)
        wire.put_taken(heartbeat, taken)


def _interval_of(pb: Duration) -> float:
    """How many seconds are to lie between two heartbeats. Raises `ProtocolViolation` for what no clock can keep."""
    interval = wire.ms_of(pb) / 1000
    if interval <= 0:
        raise ProtocolViolation("the server gave no heartbeat interval")
    return interval


def _number_in(error: grpc.aio.AioRpcError, key: str) -> int | None:
    """A whole number that the server sent with the end of the stream."""
    trailer: Any = error.trailing_metadata() or ()
    found = next((str(value) for name, value in trailer if name == key), "")
    return int(found) if found.isascii() and found.isdigit() else None


def _load() -> float:
    try:
        return os.getloadavg()[0]
    except OSError:  # not every container shows it
        return 0.0
