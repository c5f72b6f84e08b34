"""One connection, against a server that speaks real frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from nodelink.errors import HandshakeRefused, LinkError, LinkLost, ProtocolViolation, SessionReplaced
from nodelink.taken import NOTHING, Taken
from nodelink.task import (
    Accepted,
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Declined,
    Execution,
    ExtendCommand,
    Extended,
    Finished,
    HeldState,
    LogAck,
    LogStream,
    Outcome,
    Progress,
    Reason,
    ResultAck,
    StartCommand,
    Started,
    TaskResponse,
    Update,
    Verdict,
    VerdictAction,
)
from nodelink.v1 import agent_pb2
from nodelink.wire import HELD_FROM_PB, ms_of, ref_of, taken_of
from nodelink_agent.link import Link
from nodelink_agent.pool import Pool
from tests.support.agent_parts import DONE, Manual, make_link, open_pool
from tests.support.fake_server import FakeServer, soon

A = AttemptRef("a", 1, 10)
B = AttemptRef("b", 1, 11)
AN_HOUR = 3_600_000
ECHOED = Finished(outcome=Outcome.COMPLETED, output=b"1")


def committed(ref: AttemptRef) -> ResultAck:
    return ResultAck(ref, AckDisposition.COMMITTED)


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer().running() as running:
        yield running


@pytest.fixture
def manual() -> Manual:
    return Manual()


@pytest.fixture
async def pool(tmp_path: Path, manual: Manual) -> AsyncIterator[Pool]:
    async with open_pool(tmp_path, manual.entry) as running:
        yield running


@asynccontextmanager
async def linked(link: Link) -> AsyncIterator[asyncio.Task[None]]:
    """The link under way, and broken off in the end if it has not ended by itself."""
    task = asyncio.create_task(link.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def failure(task: asyncio.Task[None]) -> BaseException | None:
    async with asyncio.timeout(10):
        await asyncio.wait({task})
    return task.exception()


async def test_hello_comes_first_and_names_the_agent(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool, session=7)):
        hello = (await server.session()).hello
    assert (hello.session, hello.slots, hello.name, dict(hello.labels)) == (7, 5, "agent", {"zone": "a"})
    assert (hello.protocol_min, hello.protocol_max, hello.secret) == (1, 2, b"s" * 32)
    assert (dict(hello.resources), dict(hello.type_limits)) == ({"cpu": 3_500, "gpu": 2_000}, {"shell": 2})
    assert list(hello.features) == ["extend"]


async def test_a_task_is_run_and_its_result_comes_back_with_new_credit(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        assert await soon(session.credits.get()) == 5
        await session.give(A)
        assert await session.response() == TaskResponse(A, ECHOED)
        assert await soon(session.credits.get()) == 6


async def test_nothing_but_the_hello_is_sent_before_the_welcome(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        pool.wake.set()
        await session.welcome(interval_ms=200)
        await soon(session.heartbeats.get())
        credit_frame, beat_frame = session.frame_sizes
        assert credit_frame < beat_frame


async def test_a_drain_has_what_has_not_begun_given_back_and_what_runs_go_on(
    server: FakeServer, pool: Pool, manual: Manual
) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        await session.give(A, type="manual")
        assert isinstance((await session.response()).update, Started)
        await session.give(B, type="manual", execution=Execution.ONCE, granted=False)
        assert await session.response() == TaskResponse(B, Accepted())

        await session.send(agent_pb2.ConnectResponse(drain=agent_pb2.Drain(reason="a new disk")))

        ref, update = await session.response()
        assert (ref, type(update)) == (B, Declined)
        await session.start(StartCommand(B))
        manual.end("a")
        ref, update = await session.response()
        assert (ref, update.outcome if isinstance(update, Finished) else None) == (A, Outcome.COMPLETED)


async def test_more_tasks_than_the_credit_end_the_session(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)) as task:
        session = await server.session()
        await session.welcome()
        await soon(session.credits.get())
        await session.give(*(AttemptRef(str(n), 1, n) for n in range(6)))
        assert isinstance(await failure(task), ProtocolViolation)


async def test_frames_with_responses_stay_within_the_credit(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome(response_credit=1, interval_ms=100)
        await session.give(A)
        assert (await session.response()).ref == A
        await session.give(B)
        for _ in range(2):
            await soon(session.heartbeats.get())
        assert session.response_frames == 1
        await session.send(agent_pb2.ConnectResponse(response_credit=2))
        assert (await session.response()).ref == B


async def test_an_unsent_result_keeps_its_slot(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome(response_credit=0, interval_ms=100)
        assert await soon(session.credits.get()) == 5
        await session.give(A)
        for _ in range(2):
            await soon(session.heartbeats.get())
        assert session.credits.empty()


async def test_a_result_is_sent_in_every_session_until_it_is_acknowledged(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)) as task:
        session = await server.session()
        await session.welcome()
        await session.give(A)
        assert await session.response() == TaskResponse(A, ECHOED)
        session.cut()
        assert isinstance(await failure(task), LinkLost)
    async with linked(make_link(server.address, pool, session=2)) as task:
        session = await server.session()
        (held,) = session.hello.held
        assert (ref_of(held.ref), HELD_FROM_PB[held.state]) == (A, HeldState.ENDED)
        await session.welcome(Verdict(A, VerdictAction.KEEP))
        assert await session.response() == TaskResponse(A, ECHOED)
        await session.ack(committed(A))
        session.cut()
        await failure(task)
    async with linked(make_link(server.address, pool, session=3)):
        session = await server.session()
        assert not session.hello.held


async def test_work_goes_on_while_there_is_no_link(server: FakeServer, pool: Pool, manual: Manual) -> None:
    async with linked(make_link(server.address, pool)) as task:
        session = await server.session()
        await session.welcome()
        await session.give(A, type="manual")
        assert isinstance((await session.response()).update, Started)
        session.cut()
        await failure(task)
    manual.end("a")
    async with linked(make_link(server.address, pool, session=2)):
        session = await server.session()
        await session.welcome(Verdict(A, VerdictAction.KEEP))
        response = await session.response()
    assert isinstance(response.update, Finished)
    assert response.update.output == DONE.output


async def test_a_request_for_an_attempt_that_is_held_changes_nothing(
    server: FakeServer, pool: Pool, manual: Manual
) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        await session.give(A, type="manual")
        await session.response()
        await session.give(A, type="manual")
        manual.end("a")
        assert isinstance((await session.response()).update, Finished)
        await session.give(B)
        assert (await session.response()).ref == B


async def test_a_cancel_stops_the_attempt_and_is_answered_by_its_end(
    server: FakeServer, pool: Pool, manual: Manual
) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        await session.give(A, type="manual")
        context = await manual.begun("a")
        await session.response()
        await session.cancel(CancelCommand(A, 2_000), CancelCommand(A, 9_000), CancelCommand(B))
        update = (await session.response()).update
    assert isinstance(update, Finished)
    assert (update.outcome, update.reason) == (Outcome.CANCELLED, Reason.CANCELLED_BY_CALLER)
    assert context.grace_seconds == 2.0


async def test_an_extension_gives_an_attempt_other_limits(server: FakeServer, pool: Pool, manual: Manual) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        await session.give(A, type="manual")
        context = await manual.begun("a")
        await session.response()
        await session.extend(ExtendCommand(A, 1, timeout_ms=3_600_000), ExtendCommand(B, 1, timeout_ms=0))
        await session.extend(ExtendCommand(A, 2, timeout_ms=0))
        await session.response()
    assert context.stop_reason is Reason.RUN_TIMEOUT


async def test_what_work_gives_itself_is_told_again_until_it_is_heard(
    server: FakeServer, pool: Pool, manual: Manual
) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        await session.give(A, type="manual")
        await session.response()
        (await manual.begun("a")).extend(heartbeat_timeout=60)
        assert await session.response() == TaskResponse(A, Extended(number=1, heartbeat_timeout_ms=60_000))
    async with linked(make_link(server.address, pool, session=2)):
        session = await server.session()
        await session.welcome(Verdict(A, VerdictAction.KEEP))
        assert await session.response() == TaskResponse(A, Extended(number=1, heartbeat_timeout_ms=60_000))
        await session.extend(ExtendCommand(A, 1, heartbeat_timeout_ms=60_000, heard=1))
        manual.end("a")
        assert isinstance((await session.response()).update, Finished)


async def test_a_stop_verdict_cancels_and_a_forget_verdict_silences(
    server: FakeServer, pool: Pool, manual: Manual
) -> None:
    async with linked(make_link(server.address, pool)) as task:
        session = await server.session()
        await session.welcome()
        await session.give(A, B, type="manual")
        await manual.begun("a")
        forgotten = await manual.begun("b")
        session.cut()
        await failure(task)
    async with linked(make_link(server.address, pool, session=2)):
        session = await server.session()
        await session.welcome(Verdict(A, VerdictAction.STOP), Verdict(B, VerdictAction.FORGET))
        updates: dict[AttemptRef, Update] = {}
        while Finished not in map(type, updates.values()):
            response = await session.response()
            updates[response.ref] = response.update
    assert updates.keys() == {A}
    assert forgotten.cancelled


async def test_output_is_streamed_and_resent_from_where_the_server_says(
    server: FakeServer, pool: Pool, manual: Manual
) -> None:
    text = bytes(range(256)) * 1024
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        await session.give(A, type="manual")
        context = await manual.begun("a")
        context.log(text)
        context.log(b"oops", LogStream.STDERR)
        assert len(await session.collect(A, len(text) + 4)) == len(text) + 4
        await session.ack_logs(LogAck(A, LogStream.STDOUT, 1_000))
        await session.ack_logs(LogAck(A, LogStream.STDOUT, 1_000))
        chunk = await soon(session.chunks.get())
        assert (chunk.offset, chunk.data[:4]) == (1_000, text[1_000:1_004])


async def test_output_stays_within_the_log_credit(server: FakeServer, pool: Pool, manual: Manual) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome(log_credit=100, interval_ms=100)
        await session.give(A, type="manual")
        (await manual.begun("a")).log(b"x" * 1_000)
        assert len(await session.collect(A, 100)) == 100
        for _ in range(2):
            await soon(session.heartbeats.get())
        assert session.chunks.empty()
        await session.send(agent_pb2.ConnectResponse(log_credit=1_000))
        assert len(await session.collect(A, 900)) == 900


async def test_output_goes_on_after_a_reconnect_from_the_verdicts_offset(
    server: FakeServer, pool: Pool, manual: Manual
) -> None:
    async with linked(make_link(server.address, pool)) as task:
        session = await server.session()
        await session.welcome()
        await session.give(A, type="manual")
        (await manual.begun("a")).log(b"0123456789")
        await session.collect(A, 10)
        session.cut()
        await failure(task)
    async with linked(make_link(server.address, pool, session=2)):
        session = await server.session()
        await session.welcome(Verdict(A, VerdictAction.KEEP, (LogAck(A, LogStream.STDOUT, 4),)))
        assert await session.collect(A, 6) == b"456789"


async def test_progress_is_told(server: FakeServer, pool: Pool, manual: Manual) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        await session.give(A, type="manual")
        await session.response()
        (await manual.begun("a")).progress(0.5, "half")
        assert await session.response() == TaskResponse(A, Progress(fraction=0.5, message="half"))


async def test_heartbeats_are_numbered_and_name_what_runs(server: FakeServer, pool: Pool, manual: Manual) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome(interval_ms=100)
        await session.give(A, type="manual")
        await manual.begun("a")
        beats = [await soon(session.heartbeats.get()) for _ in range(3)]
    assert [beat.number for beat in beats] == [1, 2, 3]
    assert [ref_of(ref) for ref in beats[-1].running] == [A]


async def test_heartbeats_tell_what_is_taken(server: FakeServer, pool: Pool, manual: Manual) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome(interval_ms=100)
        idle = await soon(session.heartbeats.get())
        await session.give(A, type="manual", slots=3, resources={"gpu": 1_000})
        await manual.begun("a")
        await soon(session.heartbeats.get())  # it may have been under way
        busy = await soon(session.heartbeats.get())
    assert (idle.HasField("slots_used"), taken_of(idle)) == (True, NOTHING)
    assert taken_of(busy) == Taken(3, {"gpu": 1_000})


async def test_it_reports_more_often_as_soon_as_it_is_told_to_and_says_so(server: FakeServer, pool: Pool) -> None:
    link = make_link(server.address, pool)
    async with linked(link):
        session = await server.session()
        session.interval_ms = 100
        link.announce_drain()
        await session.welcome(interval_ms=AN_HOUR)
        beats = [await soon(session.heartbeats.get()) for _ in range(2)]
    assert [ms_of(beat.interval) for beat in beats] == [AN_HOUR, 100]


async def test_it_reports_less_often_when_it_is_told_to_and_says_so(server: FakeServer, pool: Pool) -> None:
    link = make_link(server.address, pool)
    async with linked(link) as task:
        session = await server.session()
        session.interval_ms = AN_HOUR
        await session.welcome(interval_ms=100)
        intervals = set[int]()
        while AN_HOUR not in intervals:
            intervals.add(ms_of((await soon(session.heartbeats.get())).interval))
            link.announce_drain()
        assert (intervals, task.done()) == ({100, AN_HOUR}, False)


async def test_an_interval_that_no_clock_can_keep_ends_the_session(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)) as task:
        session = await server.session()
        session.interval_ms = 0
        await session.welcome(interval_ms=100)
        assert isinstance(await failure(task), ProtocolViolation)


async def test_a_silent_server_is_given_up_after_three_periods(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)) as task:
        session = await server.session()
        session.answers_heartbeats = False
        await session.welcome(interval_ms=100)
        assert isinstance(await failure(task), LinkLost)
        await soon(session.ended.wait())
    assert not session.heartbeats.empty()


async def test_a_server_that_answers_heartbeats_is_not_given_up(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)) as task:
        session = await server.session()
        await session.welcome(interval_ms=200)
        for _ in range(6):
            await soon(session.heartbeats.get())
        assert not task.done()


@pytest.mark.parametrize(
    "code, trailer, error, last_session",
    [
        (grpc.StatusCode.FAILED_PRECONDITION, (), HandshakeRefused, None),
        (grpc.StatusCode.PERMISSION_DENIED, (), HandshakeRefused, None),
        (grpc.StatusCode.ALREADY_EXISTS, (("nodelink-last-session", "41"),), HandshakeRefused, 41),
        (grpc.StatusCode.ABORTED, (), SessionReplaced, None),
        (grpc.StatusCode.UNAVAILABLE, (), LinkLost, None),
    ],
)
async def test_a_refusal_is_told_apart_from_a_loss(
    server: FakeServer,
    pool: Pool,
    code: grpc.StatusCode,
    trailer: tuple[tuple[str, str], ...],
    error: type[LinkError],
    last_session: int | None,
) -> None:
    async with linked(make_link(server.address, pool)) as task:
        (await server.session()).refuse(code, "no", *trailer)
        raised = await failure(task)
    assert type(raised) is error
    assert "no" in str(raised)
    assert getattr(raised, "last_session", None) == last_session


async def test_a_first_frame_without_a_welcome_ends_the_session(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)) as task:
        await (await server.session()).give(A)
        assert isinstance(await failure(task), ProtocolViolation)
    assert pool.core.is_idle


@pytest.mark.parametrize("protocol", [0, 3])
async def test_a_protocol_that_the_agent_does_not_speak_ends_the_session(
    server: FakeServer, pool: Pool, protocol: int
) -> None:
    async with linked(make_link(server.address, pool)) as task:
        await (await server.session()).welcome(protocol=protocol)
        assert isinstance(await failure(task), ProtocolViolation)


async def test_an_oversized_frame_ends_the_session(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)) as task:
        session = await server.session()
        await session.welcome()
        giving = asyncio.ensure_future(session.give(A, payload=b"x" * (1 << 22)))
        assert isinstance(await failure(task), LinkLost)
        await asyncio.gather(giving, return_exceptions=True)  # it may have been cut off in the middle
    assert pool.core.is_idle


async def test_a_request_that_cannot_be_read_is_declined(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        frame = agent_pb2.ConnectResponse()
        message = frame.tasks.add(spec=b"\xff\xff\xff", granted=True)
        message.ref.task_id, message.ref.attempt, message.ref.fence = A
        await session.send(frame)
        response = await session.response()
    assert response.ref == A
    assert isinstance(response.update, Declined)


async def test_an_offer_is_accepted_and_begins_when_it_is_granted(
    server: FakeServer, pool: Pool, manual: Manual
) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        await session.give(A, type="manual", execution=Execution.EXCLUSIVE, granted=False)
        assert await session.response() == TaskResponse(A, Accepted())
        assert not manual.contexts
        await session.start(StartCommand(A, 30_000, 0), StartCommand(B))
        await manual.begun("a")
        assert isinstance((await session.response()).update, Started)


async def test_a_grant_that_comes_after_its_lease_is_declined(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        await session.give(A, granted=False)
        await session.response()
        await session.start(StartCommand(A, 0, 0))
        update = (await session.response()).update
    assert isinstance(update, Declined)
    assert update.just_this


async def test_a_server_of_the_older_protocol_hands_tasks_over_without_leases(
    server: FakeServer, pool: Pool, manual: Manual
) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        assert (session.hello.protocol_min, session.hello.protocol_max) == (1, 2)
        await session.welcome(protocol=1)
        await session.give(A, type="manual")
        await manual.begun("a")
        assert pool.core.next_lapse is None


async def test_what_the_answer_to_a_heartbeat_does_not_know_is_stopped(
    server: FakeServer, pool: Pool, manual: Manual
) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        session.unknown.append(A)
        await session.welcome(interval_ms=100)
        await session.give(A, type="manual")
        context = await manual.begun("a")
        while not isinstance(update := (await session.response()).update, Finished):
            pass
    assert (update.reason, context.grace_seconds) == (Reason.SUPERSEDED, 10.0)


@pytest.mark.parametrize("hint, seconds", [("1500", 1.5), ("9999999999", 600.0), ("soon", 0.0)])
async def test_the_server_can_say_when_to_come_again(server: FakeServer, pool: Pool, hint: str, seconds: float) -> None:
    link = make_link(server.address, pool)
    async with linked(link) as task:
        refusal = ("nodelink-retry-after-ms", hint)
        (await server.session()).refuse(grpc.StatusCode.UNAVAILABLE, "too many", refusal)
        await failure(task)
    assert link.reconnect_after == seconds


async def test_enum_values_that_are_not_known_do_no_harm(server: FakeServer, pool: Pool, manual: Manual) -> None:
    async with linked(make_link(server.address, pool)) as task:
        session = await server.session()
        await session.welcome()
        await session.give(A, type="manual")
        await manual.begun("a")
        session.cut()
        await failure(task)
    async with linked(make_link(server.address, pool, session=2)):
        session = await server.session()
        frame = agent_pb2.ConnectResponse()
        frame.welcome.protocol = 1
        frame.welcome.heartbeat_interval.FromSeconds(5)
        frame.welcome.response_credit = 10
        verdict = frame.welcome.verdicts.add(action=77)
        verdict.ref.task_id, verdict.ref.attempt, verdict.ref.fence = A
        ack = frame.log_acks.add(stream=77, offset=3)
        ack.ref.CopyFrom(verdict.ref)
        await session.send(frame)
        manual.end("a")
        while not isinstance(update := (await session.response()).update, Finished):
            pass
    assert update.outcome is Outcome.COMPLETED


async def test_a_result_that_the_server_cannot_read_is_not_sent_for_ever(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)):
        session = await server.session()
        await session.welcome()
        await session.give(A)
        await session.response()
        await session.ack(ResultAck(A, AckDisposition.REFUSED))
        await soon(pool.until(lambda: pool.core.is_idle))


async def test_a_goodbye_ends_the_stream_after_what_was_to_be_said(server: FakeServer, pool: Pool) -> None:
    link = make_link(server.address, pool)
    async with linked(link) as task:
        session = await server.session()
        await session.welcome()
        await session.give(A)
        await session.response()
        link.say_goodbye("the agent stops", idle=True)
        goodbye = await soon(session.goodbyes.get())
        await soon(session.ended.wait())
        assert await failure(task) is None
    assert (goodbye.reason, goodbye.idle) == ("the agent stops", True)


async def test_a_goodbye_of_the_server_ends_the_session(server: FakeServer, pool: Pool) -> None:
    async with linked(make_link(server.address, pool)) as task:
        session = await server.session()
        await session.welcome()
        await session.send(agent_pb2.ConnectResponse(goodbye=agent_pb2.Goodbye(reason="bye")))
        raised = await failure(task)
    assert isinstance(raised, LinkLost)
    assert "bye" in str(raised)


async def test_a_stream_that_breaks_while_the_agent_writes_is_a_loss(
    server: FakeServer, pool: Pool, manual: Manual
) -> None:
    for number in range(1, 6):
        ref = AttemptRef(str(number), 1, number)
        async with linked(make_link(server.address, pool, session=number)) as task:
            session = await server.session()
            await session.welcome()
            await session.give(ref, type="manual")
            (await manual.begun(ref.task_id)).log(b"x" * 8_000_000)
            await soon(session.chunks.get())
            session.cut()
            assert isinstance(await failure(task), LinkLost)


async def test_a_server_that_is_not_there_is_a_loss(pool: Pool, server: FakeServer) -> None:
    nowhere = server.address._replace(port=1)
    async with linked(make_link(nowhere, pool)) as task:
        assert isinstance(await failure(task), LinkLost)
