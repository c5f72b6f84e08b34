"""What an agent says, as values that the core can reckon with and a database can hold.

A number that cannot be true is bent to the nearest that can, since the result that it came with is worth more than the
number. What would do harm ends the session; what is not known is left out, and the caller counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nodelink import wire
from nodelink.errors import HandshakeRefused, ProtocolViolation
from nodelink.plan import DEFAULT_PLAN_LIMIT
from nodelink.quantities import MOST_RESOURCES, RESOURCE_NAME
from nodelink.taken import Taken
from nodelink.task import Execution, Extended, Finished, LogChunk, Progress, Started, TaskResponse, Update
from nodelink.v1 import agent_pb2
from nodelink_server.core.handshake import Hello
from nodelink_server.core.logbook import MAX_CHUNK_BYTES

OLDEST_PROTOCOL, PROTOCOL = 1, 2
"""What this server speaks: the oldest and the newest."""
MOST_HELD = 12_000
"""Attempts in a hello: more than an agent of 4,096 slots ever has by what it is given. Such a hello fits in a frame."""
MOST_LABELS = 64
MOST_LABEL_CHARS = 1_024
MOST_FEATURES = 64
MOST_NAME_CHARS = 200
MAX_FRAME_BYTES = 1024 * 1024
MAX_ITEMS = 4_096
LONGEST_SECONDS = 1e9
LONGEST_MS = 10**12
LARGEST_NUMBER = (1 << 63) - 1
LARGEST_OFFSET = 1 << 60
"""Far beyond any output, and still a number when the lengths of two streams are added."""


def check_frame(frame: agent_pb2.ConnectRequest) -> int:
    """The size of a frame. Raises `ProtocolViolation` if it is larger than a frame may be."""
    size = frame.ByteSize()
    if size > MAX_FRAME_BYTES:
        raise ProtocolViolation(f"a frame of {size} bytes; at most {MAX_FRAME_BYTES} are allowed")
    if len(frame.responses) > MAX_ITEMS or len(frame.logs) > MAX_ITEMS:
        raise ProtocolViolation(f"more than {MAX_ITEMS} items in a frame")
    return size


def hello_of(frame: agent_pb2.ConnectRequest) -> Hello:
    """What the first frame says. Raises `HandshakeRefused` if it is no hello, or one of another protocol."""
    check_frame(frame)
    if not frame.HasField("hello"):
        raise HandshakeRefused("the first frame must carry a hello")
    hello = frame.hello
    protocol = _common_protocol(hello.protocol_min, hello.protocol_max)
    _check_extent(hello)
    return Hello(
        protocol=protocol,
        instance_id=hello.instance_id,
        agent_id=hello.agent_id,
        secret=hello.secret,
        session=hello.session,
        remembers_since=hello.remembers_since,
        process_since=hello.process_since,
        host_id=hello.host_id,
        name=hello.name,
        pool=hello.pool,
        slots=hello.slots,
        handlers={h.type: wire.EXECUTION_FROM_PB.get(h.execution, Execution.ONCE) for h in hello.handlers},
        labels=dict(hello.labels),
        software_version=hello.software_version,
        held=[wire.held_of(held) for held in hello.held],
        features=frozenset(hello.features),
        resources=dict(hello.resources),
        type_limits=dict(hello.type_limits),
        plan_limit=hello.plan_limit or DEFAULT_PLAN_LIMIT,
    )


def _common_protocol(low: int, high: int) -> int:
    """The newest protocol that both sides speak."""
    common = min(PROTOCOL, high)
    if common < max(OLDEST_PROTOCOL, low):
        raise HandshakeRefused(f"the server speaks protocol {OLDEST_PROTOCOL} to {PROTOCOL}, the agent {low} to {high}")
    return common


def _check_extent(hello: agent_pb2.Hello) -> None:
    """Refuse a hello that asks for more memory, or a longer look into the database, than an agent can need."""
    if len(hello.held) > MOST_HELD:
        raise HandshakeRefused(f"{len(hello.held):,} attempts in a hello; at most {MOST_HELD:,} are allowed")
    if len(hello.labels) > MOST_LABELS or len(hello.features) > MOST_FEATURES:
        raise HandshakeRefused(f"at most {MOST_LABELS} labels and {MOST_FEATURES} features are allowed")
    if any(len(name) > MOST_LABEL_CHARS or len(value) > MOST_LABEL_CHARS for name, value in hello.labels.items()):
        raise HandshakeRefused(f"a label's name or value has more than {MOST_LABEL_CHARS:,} characters")
    if any(len(name) > MOST_NAME_CHARS for name in (*hello.features, hello.instance_id)):
        raise HandshakeRefused(f"the name of a feature or of a process has more than {MOST_NAME_CHARS} characters")


def counted_of(beat: agent_pb2.Heartbeat) -> Taken | None:
    """What an agent counts as taken of it; None: it does not say.

    Raises `ProtocolViolation` if it names more than an agent has.
    """
    counted = wire.taken_of(beat)
    if counted is None:
        return None
    if len(counted.resources) > MOST_RESOURCES or not all(map(RESOURCE_NAME.fullmatch, counted.resources)):
        raise ProtocolViolation(f"a heartbeat may tell of {MOST_RESOURCES} resources, each by a name as in the hello")
    bent = {name: min(amount, LARGEST_NUMBER) for name, amount in counted.resources.items()}
    return counted._replace(resources={name: amount for name, amount in bent.items() if amount})


def response_of(pb: agent_pb2.TaskResponse) -> TaskResponse | None:
    """What is said about an attempt. None: nothing that this version understands."""
    response = wire.task_response_of(pb)
    if response is None or _is_possible(response.update):
        return response
    return response._replace(update=_bent(response.update))


def chunks_of(pbs: Sequence[agent_pb2.LogChunk]) -> list[LogChunk]:
    """The output that can be read. Raises `ProtocolViolation` for a chunk that is too large, or lies nowhere."""
    for pb in pbs:
        if len(pb.data) > MAX_CHUNK_BYTES:
            raise ProtocolViolation(f"a chunk of output of {len(pb.data)} bytes; at most {MAX_CHUNK_BYTES} are allowed")
        if pb.offset + (len(pb.data) or pb.gap) > LARGEST_OFFSET:
            raise ProtocolViolation(f"output at an offset beyond {LARGEST_OFFSET}")
    return [chunk for chunk in map(wire.log_chunk_of, pbs) if chunk is not None]


def _is_possible(update: Update) -> bool:
    """Whether every number can be true. NaN never is: it is neither less nor more than anything."""
    match update:
        case Finished():
            return (
                0 <= update.run_seconds <= LONGEST_SECONDS
                and 0 <= update.cpu_seconds <= LONGEST_SECONDS
                and update.max_rss_bytes <= LARGEST_NUMBER
                and (not update.log_totals or max(update.log_totals.values()) <= LARGEST_OFFSET)
                and (update.retry_after_ms is None or _is_length(update.retry_after_ms))
            )
        case Extended():
            return all(map(_is_length, (update.timeout_ms, update.total_timeout_ms, update.heartbeat_timeout_ms)))
        case Started():
            return 0 <= update.ago_ms <= LONGEST_MS
        case Progress():
            return 0 <= update.fraction <= 1
        case _:
            return True


def _bent(update: Update) -> Update:
    match update:
        case Finished():
            return replace(
                update,
                run_seconds=_within(update.run_seconds, LONGEST_SECONDS),
                cpu_seconds=_within(update.cpu_seconds, LONGEST_SECONDS),
                max_rss_bytes=min(update.max_rss_bytes, LARGEST_NUMBER),
                log_totals={stream: min(total, LARGEST_OFFSET) for stream, total in update.log_totals.items()},
                retry_after_ms=_length(update.retry_after_ms),
            )
        case Extended():
            return replace(
                update,
                timeout_ms=_length(update.timeout_ms),
                total_timeout_ms=_length(update.total_timeout_ms),
                heartbeat_timeout_ms=_length(update.heartbeat_timeout_ms),
            )
        case Started():
            return replace(update, ago_ms=max(0, min(update.ago_ms, LONGEST_MS)))
        case Progress():
            return replace(update, fraction=_within(update.fraction, 1.0))
        case _:
            return update


def _is_length(ms: int | None) -> bool:
    return ms is None or 0 <= ms <= LONGEST_MS


def _length(ms: int | None) -> int | None:
    return None if ms is None else max(0, min(ms, LONGEST_MS))


def _within(number: float, most: float) -> float:
    return min(number, most) if number >= 0 else 0.0
