"""One connected agent: room, frames, stops, credit, the end."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from nodelink.errors import LinkLost, ProtocolViolation
from nodelink.task import (
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Execution,
    ExtendCommand,
    LogAck,
    LogStream,
    ResultAck,
    TaskRequest,
)
from nodelink.v1 import agent_pb2
from nodelink.wire import put_task_request
from nodelink_server.core.handover import MOST_BYTES_PER_FRAME, MOST_BYTES_WAITING, MOST_TASKS_PER_FRAME
from nodelink_server.core.session import LOG_WINDOW_BYTES, RESPONSE_WINDOW_FRAMES, AgentSession
from nodelink_server.core.validation import MAX_DELAY_MS, MAX_LOCK_CHARS, MAX_METADATA, MAX_TIMEOUT_MS
from tests.support.core_parts import make_ref, make_session, make_spec, make_task

LONGEST_LOCK = "\N{LOCK}" * MAX_LOCK_CHARS
LAST_MOMENT = 253_402_300_799_999
"""The last millisecond of the year 9999."""
MOST_ATTEMPTS = (1 << 32) - 1
LAST_NUMBER = (1 << 64) - 1
MOST_BYTES_IDLE = 2_500
"""As many of 10,000 sessions are 25 MB."""


def _request(task_id: str, *, payload: bytes = b"{}") -> TaskRequest:
    return TaskRequest(ref=make_ref(task_id), spec=make_spec(), payload=payload)


def _deliver(session: AgentSession, *requests: TaskRequest) -> None:
    for request in requests:
        session.reserve(make_task(request.ref.task_id))
        session.deliver(request)


async def _next_frame(session: AgentSession) -> agent_pb2.ConnectResponse:
    """The next frame of tasks, as it is sent."""
    frame = agent_pb2.ConnectResponse()
    for request in (await session.outgoing()).tasks:
        put_task_request(frame.tasks.add(), request)
    return frame


async def test_room_is_the_agents_credit_less_what_it_was_given_and_promised() -> None:
    session = make_session(slots=5)
    tasks = [make_task("t1"), make_task("t2")]
    for task in tasks:
        session.reserve(task)
    assert session.room == 3

    session.deliver(_request("t1"))
    assert session.room == 3
    await session.outgoing()
    assert (session.room, session.busy) == (3, 2)

    session.credit_given(6)
    assert session.room == 4
    session.release(tasks[1:])
    assert session.room == 5


def test_a_smaller_credit_changes_nothing_and_a_credit_beyond_the_slots_is_refused() -> None:
    session = make_session(slots=5)

    session.credit_given(2)
    assert session.room == 5
    with pytest.raises(ProtocolViolation):
        session.credit_given(6)


def test_whoever_waits_for_room_is_told_of_it() -> None:
    told: list[AgentSession] = []
    session = make_session(slots=2, credit=1, on_room=told.append)
    told.clear()

    session.credit_given(2)
    session.reserve(task := make_task())
    session.release([task])
    session.heartbeat(1, load=0, draining=False)

    assert told == [session] * 3


def test_an_agent_that_drains_has_no_room() -> None:
    session = make_session(slots=2)

    session.heartbeat(1, load=0.7, draining=True)

    assert session.room == 0
    assert session.load == 0.7


async def test_everything_that_gathered_goes_into_one_frame() -> None:
    session = make_session(slots=3)
    _deliver(session, _request("t1"), _request("t2"))
    session.ack_results([ResultAck(make_ref("t0"), AckDisposition.COMMITTED)])
    session.ack_logs([LogAck(make_ref("t0"), LogStream.STDOUT, 5), LogAck(make_ref("t0"), LogStream.STDOUT, 9)])
    session.heartbeat(7, load=0, draining=False)
    session.give_response_credit(2)
    session.give_log_credit(100)

    frame = await session.outgoing()

    assert [request.ref.task_id for request in frame.tasks] == ["t1", "t2"]
    assert [ack.disposition for ack in frame.result_acks] == [AckDisposition.COMMITTED]
    assert [ack.offset for ack in frame.log_acks.values()] == [9]
    assert frame.heartbeat == 7
    assert (frame.response_credit, frame.log_credit) == (RESPONSE_WINDOW_FRAMES + 2, LOG_WINDOW_BYTES + 100)


async def test_with_nothing_to_say_the_writer_waits() -> None:
    session = make_session()
    writer = asyncio.ensure_future(session.outgoing())
    await asyncio.sleep(100)
    assert not writer.done()

    session.say_goodbye("enough")

    assert (await writer).goodbye == "enough"


async def test_many_tasks_ride_in_frames_of_bounded_size() -> None:
    session = make_session(slots=1_000)
    _deliver(session, *[_request(f"t{n}") for n in range(600)])

    sizes = [len((await session.outgoing()).tasks) for _ in range(3)]

    assert sizes == [MOST_TASKS_PER_FRAME, MOST_TASKS_PER_FRAME, 600 - 2 * MOST_TASKS_PER_FRAME]


async def test_large_payloads_fill_a_frame_sooner() -> None:
    session = make_session(slots=10)
    _deliver(session, *[_request(f"t{n}", payload=b"x" * 100_000) for n in range(3)])

    assert len((await session.outgoing()).tasks) == 2
    assert len((await session.outgoing()).tasks) == 1


async def test_a_stop_never_overtakes_the_task_that_it_is_about() -> None:
    session = make_session(slots=1_000)
    _deliver(session, *[_request(f"t{n}") for n in range(300)])
    session.stop(CancelCommand(make_ref("t299")))
    session.stop(CancelCommand(make_ref("t0")))

    first, second = await session.outgoing(), await session.outgoing()

    assert [command.ref.task_id for command in first.cancels] == ["t0"]
    assert [command.ref.task_id for command in second.cancels] == ["t299"]
    assert second.tasks[-1].ref.task_id == "t299"


async def test_an_extension_never_overtakes_the_task_that_it_is_about_and_is_told_once() -> None:
    session = make_session(slots=1_000)
    _deliver(session, *[_request(f"t{n}") for n in range(300)])
    late, early = ExtendCommand(make_ref("t299"), 1, 1_000), ExtendCommand(make_ref("t0"), 1, 1_000)
    session.extend(late)
    session.extend(early)

    first, second = await session.outgoing(), await session.outgoing()
    session.heartbeat(1, load=0, draining=False)
    third = await session.outgoing()

    assert [first.extends, second.extends, third.extends] == [[early], [late], []]


async def test_a_stop_is_repeated_with_every_heartbeat_until_it_is_answered() -> None:
    session = make_session()
    command = CancelCommand(make_ref())
    session.stop(command)
    session.heartbeat(1, load=0, draining=False)
    assert (await session.outgoing()).cancels == [command]

    session.heartbeat(2, load=0, draining=False)
    assert (await session.outgoing()).cancels == [command]

    session.answered([command.ref])
    session.heartbeat(3, load=0, draining=False)
    assert (await session.outgoing()).cancels == []


def test_more_frames_with_responses_than_the_credit_allows_break_the_protocol() -> None:
    session = make_session()
    for _ in range(RESPONSE_WINDOW_FRAMES):
        session.count_response_frame()
    with pytest.raises(ProtocolViolation):
        session.count_response_frame()

    session.give_response_credit(2)
    session.count_response_frame()


def test_more_output_than_the_credit_allows_breaks_the_protocol() -> None:
    session = make_session()
    session.count_log_bytes(LOG_WINDOW_BYTES)
    with pytest.raises(ProtocolViolation):
        session.count_log_bytes(1)


async def test_closing_returns_what_was_never_handed_to_the_stream_and_ends_the_writer() -> None:
    session = make_session(slots=1_000)
    _deliver(session, *[_request(f"t{n}") for n in range(300)])
    await session.outgoing()

    unsent = session.close(LinkLost("gone"))

    assert len(unsent) == 300 - MOST_TASKS_PER_FRAME
    assert (session.room, session.is_open) == (0, False)
    with pytest.raises(LinkLost, match="gone"):
        await session.outgoing()
    assert session.close(LinkLost("again")) == ()


async def test_a_frame_of_tasks_with_many_short_labels_keeps_to_its_bytes() -> None:
    session = make_session(slots=MOST_TASKS_PER_FRAME)
    labels = {chr(ord("0") + number): "" for number in range(MAX_METADATA)}
    spec = make_spec("t" * 63, pool="p" * 63, metadata=labels)
    payload = b'"' + b"x" * 1_000 + b'"'
    _deliver(
        session,
        *(TaskRequest(ref=make_ref(f"{n:036}"), spec=spec, payload=payload) for n in range(MOST_TASKS_PER_FRAME)),
    )

    frame = await _next_frame(session)
    assert len(frame.tasks) > 1
    assert frame.ByteSize() <= MOST_BYTES_PER_FRAME


@pytest.mark.parametrize("lock", ["", LONGEST_LOCK], ids=["without a lock", "with the longest lock"])
async def test_a_frame_of_tasks_that_have_everything_at_its_largest_keeps_to_its_bytes(lock: str) -> None:
    session = make_session(slots=MOST_TASKS_PER_FRAME)
    spec = make_spec(
        "t" * 63,
        pool="p" * 63,
        priority=100,
        timeout_ms=MAX_TIMEOUT_MS - 1,
        queue_timeout_ms=MAX_TIMEOUT_MS - 1,
        scheduled_at=LAST_MOMENT,
        delay_ms=MAX_DELAY_MS - 1,
        execution=Execution.EXCLUSIVE,
        lock=lock,
    )
    full = [
        TaskRequest(
            ref=AttemptRef(f"{number:036}", MOST_ATTEMPTS, LAST_NUMBER),
            spec=spec,
            payload=b"x" * 700,
            execution=Execution.EXCLUSIVE,
            traceparent="0" * 55,
            lease_ms=MAX_DELAY_MS - 1,
            basis=LAST_NUMBER,
        )
        for number in range(MOST_TASKS_PER_FRAME)
    ]
    _deliver(session, *full)

    frame = await _next_frame(session)
    assert 1 < len(frame.tasks) < MOST_TASKS_PER_FRAME
    assert frame.ByteSize() <= MOST_BYTES_PER_FRAME


async def test_an_agent_that_reads_nothing_has_no_room_beyond_some_bytes_whatever_its_credit() -> None:
    heard: list[AgentSession] = []
    session = make_session(slots=4_096, on_room=heard.append)
    payload = b"x" * (256 * 1024)
    while session.room:
        session.reserve(make_task())
        session.deliver(_request(f"t{session._handover.bytes}", payload=payload))
    assert MOST_BYTES_WAITING <= session._handover.bytes < MOST_BYTES_WAITING + 300 * 1024

    heard.clear()
    await session.outgoing()
    assert heard == [session]
    assert session.room > 0


async def test_an_agent_that_has_nothing_to_do_takes_little_memory() -> None:
    make_session()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        sessions = [make_session() for _ in range(100)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(sessions) < MOST_BYTES_IDLE
