"""Output: taken in by offset, stored with its gaps, read, followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from nodelink.errors import InvalidTask, ProtocolViolation, TaskNotFound
from nodelink.task import AttemptRef, Finished, HeldAttempt, HeldState, LogChunk, LogStream, Outcome
from nodelink_server.core.events import EventFilter
from nodelink_server.core.logbook import MAX_CHUNK_BYTES, MOST_INTAKES, PAGE_BYTES, SETTLING_SECONDS, LogExtent, LogPage
from nodelink_server.core.ports import EventName
from nodelink_server.core.session import LOG_WINDOW_BYTES
from nodelink_server.core.task_record import TaskRecord
from tests.support.core_parts import Core, make_ref, running_core
from tests.support.fake_agent import FakeAgent

OUT, ERR = LogStream.STDOUT, LogStream.STDERR


@asynccontextmanager
async def _running_task() -> AsyncIterator[tuple[Core, FakeAgent, AttemptRef]]:
    async with running_core() as core:
        agent = FakeAgent(core, slots=2)
        await agent.connect(credit=1)
        await core.submit()
        yield core, agent, (await agent.task()).ref


def _text(pages: Sequence[LogPage]) -> bytes:
    return b"".join(row.data or b"-" * row.gap for page in pages for row in page.rows)


def _printed(stdout: int, stderr: int = 0) -> Finished:
    return Finished(outcome=Outcome.COMPLETED, log_totals={OUT: stdout, ERR: stderr})


async def _finish(agent: FakeAgent, ref: AttemptRef, stdout: int, stderr: int = 0) -> None:
    agent.say(ref, _printed(stdout, stderr))
    await agent.acked(ref)


async def test_output_is_appended_and_acknowledged_when_it_is_durable() -> None:
    async with _running_task() as (core, agent, ref):
        core.database.hold("append")
        agent.print(ref, 0, b"hello ")
        await core.database.until_held("append")
        agent.print(ref, 6, b"world")
        await asyncio.sleep(5)
        assert agent.log_acks == {}

        core.database.let_go("append")
        await agent.log_acked(ref, 11)
        page = await core.manager.logs.read(ref.task_id)
        assert (_text([page]), page.next_offset, page.complete, page.attempt) == (b"hello world", 11, False, 1)


async def test_what_is_stored_already_is_trimmed() -> None:
    async with _running_task() as (core, agent, ref):
        agent.print(ref, 0, b"abcdef")
        agent.print(ref, 0, b"abc")
        agent.print(ref, 3, b"defghi")
        await agent.log_acked(ref, 9)
        assert _text([await core.manager.logs.read(ref.task_id)]) == b"abcdefghi"


async def test_a_hole_is_answered_with_where_to_go_on() -> None:
    async with _running_task() as (core, agent, ref):
        agent.print(ref, 0, b"abc")
        agent.print(ref, 5, b"fgh")
        await agent.log_acked(ref, 3)
        agent.print(ref, 3, b"defgh")
        await agent.log_acked(ref, 8)
        assert _text([await core.manager.logs.read(ref.task_id)]) == b"abcdefgh"


async def test_a_gap_is_stored_and_shown() -> None:
    async with _running_task() as (core, agent, ref):
        agent.print(ref, 0, b"abc")
        agent.print(ref, 1, b"", gap=4)
        agent.print(ref, 5, b"f")
        await agent.log_acked(ref, 6)

        page = await core.manager.logs.read(ref.task_id)
        assert [(row.offset, row.data, row.gap) for row in page.rows] == [(0, b"abc", 0), (3, b"", 2), (5, b"f", 0)]
        assert page.next_offset == 6


async def test_output_of_an_attempt_that_counts_no_more_is_acknowledged_and_not_kept() -> None:
    async with _running_task() as (core, agent, ref):
        other = ref._replace(fence=ref.fence + 5)
        agent.print(other, 0, b"abc")
        agent.print(make_ref("nobody's"), 0, b"abc")
        await agent.log_acked(other, 3)
        await agent.log_acked(make_ref("nobody's"), 3)
        assert core.database.disk.output == {}


async def test_output_from_an_agent_that_does_not_have_the_task_is_not_kept() -> None:
    async with _running_task() as (core, _, ref):
        other = FakeAgent(core, agent_id="a2")
        await other.connect()
        other.print(ref, 0, b"forged")
        await asyncio.sleep(1)
        assert core.database.disk.output == {}


async def test_while_the_database_is_away_output_is_tried_again_and_stored_once() -> None:
    async with _running_task() as (core, agent, ref):
        core.database.failing.add("append")
        agent.print(ref, 0, b"abc")
        await asyncio.sleep(5)
        core.database.failing.clear()
        await agent.log_acked(ref, 3)
        assert _text([await core.manager.logs.read(ref.task_id)]) == b"abc"


async def test_credit_follows_what_is_stored_and_more_than_it_breaks_the_protocol() -> None:
    async with _running_task() as (_, agent, ref):
        agent.print(ref, 0, b"x" * 1_000)
        await agent.log_acked(ref, 1_000)
        assert agent.log_credit == LOG_WINDOW_BYTES + 1_000

        with pytest.raises(ProtocolViolation):
            agent.manager.logs.receive(agent.session, [LogChunk(ref, OUT, 1_000, b"x" * (LOG_WINDOW_BYTES + 1))])


async def test_a_log_is_complete_when_what_is_stored_is_what_was_printed() -> None:
    async with _running_task() as (core, agent, ref):
        agent.print(ref, 0, b"abc")
        await agent.log_acked(ref, 3)
        assert not (await core.manager.logs.read(ref.task_id)).complete

        await _finish(agent, ref, 5)
        assert not (await core.manager.logs.read(ref.task_id)).complete
        agent.print(ref, 3, b"de")
        await agent.log_acked(ref, 5)
        assert (await core.manager.logs.read(ref.task_id)).complete


async def test_output_is_read_in_pages_by_stream_or_in_order_of_arrival() -> None:
    async with _running_task() as (core, agent, ref):
        logs = core.manager.logs
        agent.print(ref, 0, b"one ")
        logs.receive(agent.session, [LogChunk(ref, ERR, 0, b"oops ")])
        agent.print(ref, 4, b"two")
        await agent.log_acked(ref, 7)
        await _finish(agent, ref, 7, 5)

        assert _text([await logs.read(ref.task_id)]) == b"one oops two"
        assert _text([await logs.read(ref.task_id, stream=OUT)]) == b"one two"
        page = await logs.read(ref.task_id, stream=ERR, offset=1, limit=2)
        assert (_text([page]), page.next_offset, page.complete) == (b"op", 3, False)
        assert _text([await logs.read_tail(ref.task_id, tail=5)]) == b"s two"
        assert _text([await logs.read_tail(ref.task_id, stream=OUT, tail=3)]) == b"two"
        assert _text([await logs.read_tail(ref.task_id, stream=ERR, tail=3)]) == b"ps "


async def test_reading_what_is_not_there_is_refused() -> None:
    async with _running_task() as (core, _, ref):
        with pytest.raises(TaskNotFound):
            await core.manager.logs.read("nobody's")
        with pytest.raises(InvalidTask):
            await core.manager.logs.read(ref.task_id, attempt=2)


async def test_a_task_that_never_ran_has_a_complete_and_empty_log() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        page = await core.manager.logs.read(task_id)
        assert (page.rows, page.complete, page.attempt) == ((), False, 0)

        await core.manager.cancel(task_id)
        assert (await core.manager.logs.read(task_id)).complete


async def test_a_follower_sees_output_as_it_is_stored_until_the_end() -> None:
    async with _running_task() as (core, agent, ref):
        pages: list[LogPage] = []

        async def follow() -> None:
            async for page in core.manager.logs.follow(ref.task_id):
                pages.append(page)  # noqa: PERF401 - one by one, as they come

        follower = asyncio.ensure_future(follow())
        for offset, data in ((0, b"one "), (4, b"two "), (8, b"three")):
            agent.print(ref, offset, data)
            await agent.log_acked(ref, offset + len(data))
            await asyncio.sleep(1)
        assert _text(pages) == b"one two three"
        assert not follower.done()

        await _finish(agent, ref, 13)
        await follower
        assert pages[-1].complete
        assert core.manager.logs._followers == {}


async def test_a_follower_of_a_finished_task_waits_a_while_for_output_that_is_owed() -> None:
    async with _running_task() as (core, agent, ref):
        await _finish(agent, ref, 3)
        asyncio.get_running_loop().call_later(5, agent.print, ref, 0, b"abc")

        pages = [page async for page in core.manager.logs.follow(ref.task_id)]

        assert _text(pages) == b"abc"
        assert pages[-1].complete


async def test_who_reads_a_finished_task_gets_output_that_is_on_its_way() -> None:
    async with _running_task() as (core, agent, ref):
        logs, loop = core.manager.logs, asyncio.get_running_loop()
        await _finish(agent, ref, 6)
        loop.call_later(0.4, agent.print, ref, 0, b"abc")
        loop.call_later(0.8, agent.print, ref, 3, b"def")
        extent, page, tail = await asyncio.gather(
            logs.extent(ref.task_id), logs.read(ref.task_id), logs.read_tail(ref.task_id, tail=2)
        )
        assert (extent.total, _text([page]), page.complete, _text([tail])) == (6, b"abcdef", True, b"ef")


async def test_who_reads_a_finished_task_does_not_wait_for_what_does_not_come_or_was_not_asked_for() -> None:
    async with _running_task() as (core, agent, ref):
        logs, loop = core.manager.logs, asyncio.get_running_loop()
        agent.print(ref, 0, b"abc")
        await agent.log_acked(ref, 3)
        await _finish(agent, ref, 6)
        start = loop.time()
        assert _text([await logs.read(ref.task_id, limit=3)]) == b"abc"
        assert loop.time() - start < SETTLING_SECONDS
        page = await logs.read(ref.task_id)
        assert (_text([page]), page.complete) == (b"abc", False)
        assert loop.time() - start < 2 * SETTLING_SECONDS


async def test_who_reads_a_finished_task_waits_for_no_long_output() -> None:
    async with _running_task() as (core, agent, ref):
        loop = asyncio.get_running_loop()
        await _finish(agent, ref, 9)
        for index in range(9):
            loop.call_later(index * 0.7, agent.print, ref, index, b"x")
        start = loop.time()
        extent = await core.manager.logs.extent(ref.task_id)
        assert (extent.complete, 0 < extent.total < 9) == (False, True)
        assert loop.time() - start < 2 * SETTLING_SECONDS


async def test_how_long_the_output_of_an_ended_attempt_is_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _running_task() as (core, agent, ref):
        size = 3 * PAGE_BYTES
        for offset in range(0, size, MAX_CHUNK_BYTES):
            agent.print(ref, offset, b"x" * MAX_CHUNK_BYTES)
        await agent.log_acked(ref, size)
        await _finish(agent, ref, size)
        asked: list[str] = []
        read = core.manager.logs._store.read

        async def counted(task_id: str) -> TaskRecord | None:
            asked.append(task_id)
            return await read(task_id)

        monkeypatch.setattr(core.manager.logs._store, "read", counted)
        pages = [page async for page in core.manager.logs.follow(ref.task_id, attempt=1)]
        assert (len(pages), len(_text(pages)), pages[-1].complete) == (3, size, True)
        assert len(asked) == 1


async def test_a_follower_is_let_go_when_the_rest_is_not_to_be_had() -> None:
    async with _running_task() as (core, agent, ref):
        agent.print(ref, 0, b"abc")
        await agent.log_acked(ref, 3)
        await _finish(agent, ref, 9)

        pages = [page async for page in core.manager.logs.follow(ref.task_id)]

        assert _text(pages) == b"abc"
        assert not pages[-1].complete


async def test_a_follower_of_an_attempt_that_was_left_behind_is_let_go() -> None:
    async with _running_task() as (core, agent, ref):
        await agent.hang_up()
        await agent.connect(credit=1)
        await agent.task(1)

        pages = [page async for page in core.manager.logs.follow(ref.task_id, attempt=1)]

        assert [page.complete for page in pages] == [False]


async def test_followers_end_when_the_server_stops() -> None:
    async with _running_task() as (core, _, ref):
        follow = core.manager.logs.follow(ref.task_id)
        first = asyncio.ensure_future(anext(follow, None))
        await asyncio.sleep(1)
        core.manager.logs.close()
        assert await first is None


async def test_whoever_listens_to_a_task_hears_its_output() -> None:
    async with _running_task() as (core, agent, ref):
        stream = core.manager.events.watch(EventFilter(task_id=ref.task_id), after=core.manager.events.newest)
        await anext(stream)

        agent.print(ref, 0, b"caf\xc3")
        agent.print(ref, 4, b"", gap=7)
        await agent.log_acked(ref, 11)

        events = [event for event in [*await anext(stream)] if event.name == EventName.TASK_OUTPUT]
        assert [event.data for event in events] == [
            {"stream": OUT, "offset": 0, "text": "caf\ufffd"},
            {"stream": OUT, "offset": 4, "gap": 7},
        ]
        await stream.aclose()


async def test_output_goes_on_over_a_reconnect() -> None:
    async with _running_task() as (core, agent, ref):
        agent.print(ref, 0, b"abc")
        await agent.log_acked(ref, 3)
        await agent.hang_up()

        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.RUNNING)], credit=1)
        assert verdict.logs[0].offset == 3
        agent.print(ref, 3, b"def")
        await agent.log_acked(ref, 6)
        assert _text([await core.manager.logs.read(ref.task_id)]) == b"abcdef"


async def test_the_extent_of_output_grows_until_it_is_complete() -> None:
    async with _running_task() as (core, agent, ref):
        extent = core.manager.logs.extent
        assert await extent(ref.task_id) == LogExtent(0, complete=False, attempt=1)
        agent.print(ref, 0, b"hello")
        await agent.log_acked(ref, 5)
        assert await extent(ref.task_id) == LogExtent(5, complete=False, attempt=1)
        await _finish(agent, ref, 5, 2)

        assert await extent(ref.task_id, stream=OUT) == LogExtent(5, complete=True, attempt=1)
        assert await extent(ref.task_id, stream=ERR, attempt=1) == LogExtent(0, complete=False, attempt=1)
        assert await extent(ref.task_id) == LogExtent(5, complete=False, attempt=1)
        with pytest.raises(InvalidTask, match="attempt"):
            await extent(ref.task_id, attempt=2)
        with pytest.raises(TaskNotFound):
            await extent("nobody's")


async def test_a_task_that_never_ran_has_no_output_and_that_is_all() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        assert await core.manager.logs.extent(task_id) == LogExtent(0, complete=False, attempt=0)
        await core.manager.cancel(task_id)
        assert await core.manager.logs.extent(task_id) == LogExtent(0, complete=True, attempt=0)


async def test_output_is_stored_though_too_many_attempts_print_to_remember_all_their_ends() -> None:
    async with _running_task() as (core, agent, ref):
        agent.print(ref, 0, b"one")
        await agent.log_acked(ref, 3)
        [other_id] = await core.submit()
        agent.session.credit_given(2)
        other = (await agent.task(1)).ref
        intakes = core.manager.logs._intakes
        intakes.update({make_ref(f"x{number}"): intakes[ref] for number in range(MOST_INTAKES)})

        agent.print(ref, 3, b" two")
        agent.print(other, 0, b"three")
        await agent.log_acked(other, 5)

        assert _text([await core.manager.logs.read(ref.task_id)]) == b"one two"
        assert _text([await core.manager.logs.read(other_id)]) == b"three"
