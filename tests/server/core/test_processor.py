"""What becomes of what agents say, and when it is acknowledged."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import ProtocolViolation
from nodelink.task import (
    AckDisposition,
    Declined,
    Finished,
    HeldAttempt,
    HeldState,
    Outcome,
    Progress,
    Started,
    TaskStatus,
    VerdictAction,
)
from nodelink_server.core.assembly import Options
from nodelink_server.core.channel import ResponseChannel
from nodelink_server.core.events import EventFilter
from nodelink_server.core.ports import EventName
from nodelink_server.core.processor import MOST_PER_ROUND
from nodelink_server.core.session import RESPONSE_WINDOW_FRAMES
from nodelink_server.core.tally import Tally
from tests.support.core_parts import COMPLETED, Core, eventually, make_ref, make_session, make_submission, running_core
from tests.support.fake_agent import FakeAgent

FAILED = Finished(outcome=Outcome.FAILED)


async def test_a_result_settles_its_task_and_is_acknowledged() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref

        assert await agent.finish(ref) is AckDisposition.COMMITTED
        assert await core.status(task_id) is TaskStatus.COMPLETED


async def test_a_result_is_acknowledged_only_when_it_is_durable() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await core.submit()
        ref = (await agent.task()).ref
        core.database.hold("apply")

        agent.say(ref, COMPLETED)
        await core.database.until_held("apply")
        await asyncio.sleep(5)
        assert agent.acks == {}

        core.database.let_go("apply")
        assert await agent.acked(ref) is AckDisposition.COMMITTED


async def test_while_the_database_is_away_a_result_is_tried_again_and_never_dropped() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        core.database.failing.add("apply")

        agent.say(ref, COMPLETED)
        await asyncio.sleep(10)
        assert agent.acks == {}
        assert not core.manager.health().database

        core.database.failing.clear()
        assert await agent.acked(ref) is AckDisposition.COMMITTED
        assert await core.status(task_id) is TaskStatus.COMPLETED


async def test_a_result_that_comes_again_is_a_duplicate_and_changes_nothing() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        await agent.finish(ref)

        agent.say(ref, FAILED)
        await eventually(lambda: agent.acks[ref] is AckDisposition.DUPLICATE)
        assert await core.status(task_id) is TaskStatus.COMPLETED


async def test_a_result_said_twice_in_one_round_is_acknowledged_only_with_its_commit() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        core.database.hold("apply")
        cancel = asyncio.ensure_future(core.manager.cancel(task_id))
        await core.database.until_held("apply")

        agent.say(ref, COMPLETED)
        agent.say(ref, COMPLETED)
        for _ in range(2):  # the commit of the cancel, then the round that its guard refuses
            core.database.let_go("apply")
            core.database.hold("apply")
            await core.database.until_held("apply")
        assert agent.acks == {}

        core.database.let_go("apply")
        assert await agent.acked(ref) is AckDisposition.COMMITTED
        assert await core.status(task_id) is TaskStatus.COMPLETED
        await asyncio.gather(cancel, return_exceptions=True)


async def test_a_result_of_an_attempt_that_counts_no_more_is_stale() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=2)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        await agent.hang_up()
        await agent.connect(credit=1)
        again = (await agent.task(1)).ref
        assert (again.attempt, again.fence > ref.fence) == (2, True)

        agent.say(ref, COMPLETED)
        assert await agent.acked(ref) is AckDisposition.STALE
        assert await core.status(task_id) is TaskStatus.SENT


async def test_a_result_from_an_agent_that_does_not_have_the_task_is_stale() -> None:
    async with running_core() as core:
        agent, other = FakeAgent(core), FakeAgent(core, agent_id="a2")
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        await other.connect()

        other.say(ref, COMPLETED)
        assert await other.acked(ref) is AckDisposition.STALE
        assert await core.status(task_id) is TaskStatus.SENT


async def test_a_result_for_a_task_that_nobody_knows_is_stale() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()

        agent.say(make_ref("nobody's"), COMPLETED)
        assert await agent.acked(make_ref("nobody's")) is AckDisposition.STALE


async def test_a_result_for_a_task_that_left_memory_is_looked_up() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await core.submit()
        ref = (await agent.task()).ref
        await agent.finish(ref)
        await eventually(lambda: core.manager.registry.get(ref.task_id) is None)
        agent.acks.clear()

        assert await agent.finish(ref) is AckDisposition.DUPLICATE


async def test_a_start_is_noted_once_and_its_time_is_the_agents() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        await asyncio.sleep(10)

        agent.say(ref, Started(ago_ms=4_000, containment="cgroup"), Started())
        await eventually(lambda: _shown(core, task_id) is TaskStatus.IN_PROGRESS)

        attempt = (await core.manager.get(task_id)).task.attempt
        assert attempt is not None
        assert attempt.containment == "cgroup"
        assert attempt.started_at is not None
        assert attempt.started_at - attempt.sent_at == 6_000


async def test_a_start_and_an_end_in_one_frame_are_one_commit() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await core.submit()
        ref = (await agent.task()).ref
        commits = len(core.database.disk.blocks)

        agent.say(ref, Started(), Progress(fraction=0.5), COMPLETED)
        await agent.acked(ref)

        assert len(core.database.disk.blocks) == commits + 1


async def test_progress_is_shown_and_told_in_the_tasks_room() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        stream = core.manager.events.watch(EventFilter(task_id=task_id), after=core.manager.events.newest)
        await anext(stream)

        agent.say(ref, Progress(fraction=0.25, message="a quarter"))
        [event] = await anext(stream)

        assert (event.name, event.revision) == (EventName.TASK_PROGRESS, 0)
        assert event.data == {"fraction": 0.25, "message": "a quarter"}
        assert core.manager.progress(task_id) == Progress(fraction=0.25, message="a quarter")
        await stream.aclose()


async def test_what_is_declined_waits_again_and_the_type_is_not_given_there_any_more() -> None:
    async with running_core() as core:
        agent, other = FakeAgent(core), FakeAgent(core, agent_id="a2")
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref

        agent.say(ref, Declined(message="not here"))
        assert await agent.acked(ref) is AckDisposition.COMMITTED
        assert await core.status(task_id) is TaskStatus.PENDING

        agent.session.credit_given(2)
        await other.connect()
        assert (await other.task()).ref.task_id == task_id
        assert len(agent.tasks) == 1


async def test_a_task_that_began_cannot_be_declined() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref

        agent.say(ref, Started(), Declined())
        assert await agent.acked(ref) is AckDisposition.STALE
        assert await core.status(task_id) is TaskStatus.IN_PROGRESS


async def test_a_decline_that_a_cut_link_lost_is_still_a_decline() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        await agent.hang_up()

        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.ENDED)], credit=0)
        assert verdict.action is VerdictAction.KEEP
        agent.say(ref, Declined(message="not here"))

        assert await agent.acked(ref) is AckDisposition.COMMITTED
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_declining_a_task_that_is_being_stopped_confirms_the_stop() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        await core.manager.cancel(task_id)

        agent.say(ref, Declined())
        await agent.acked(ref)
        assert await core.status(task_id) is TaskStatus.CANCELLED


async def test_a_task_that_changed_meanwhile_is_looked_at_again() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        core.database.hold("apply")
        cancel = asyncio.ensure_future(core.manager.cancel(task_id))
        await core.database.until_held("apply")

        agent.say(ref, COMPLETED)
        core.database.let_go("apply")

        assert await agent.acked(ref) is AckDisposition.COMMITTED
        assert await core.status(task_id) is TaskStatus.COMPLETED
        await cancel


# -- the channel ------------------------------------------------------------------------------------------------------


async def test_what_has_left_memory_stays_away_when_its_change_is_refused() -> None:
    """Else it would stay for ever: it was cleaned up before."""
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        await agent.finish((await agent.task()).ref)
        await eventually(lambda: core.manager.registry.get(task_id) is None)
        await core.manager.rooms.processor._refresh({task_id})
        assert core.manager.registry.get(task_id) is None


async def test_a_full_channel_gives_no_credit_until_it_has_room() -> None:
    tally, session = Tally(), make_session()
    channel = ResponseChannel(capacity=2, tally=tally)
    for _ in range(3):
        channel.put(session, [], 10)
    assert channel.is_full
    assert tally.channel_full == 2

    frames = await channel.take(1)
    channel.put(session, [], 10)
    channel.put(session, [], 10)
    channel.settle(frames)
    assert session._next is None

    channel.settle(await channel.take(100))
    assert (await session.outgoing()).response_credit == RESPONSE_WINDOW_FRAMES + 5
    assert channel.depth == 0


async def test_large_frames_fill_the_channel_as_well() -> None:
    channel = ResponseChannel(capacity=100, tally=Tally())

    channel.put(make_session(), [], 64 * 1024 * 1024)

    assert channel.is_full


async def test_what_many_frames_say_is_settled_in_rounds_of_about_as_much_as_one_may_hold() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        processor, frame = core.manager.rooms.processor, [COMPLETED] * (MOST_PER_ROUND // 2)
        before = processor.rounds

        for _ in range(5):
            agent.say(make_ref(), *frame)
        await eventually(lambda: core.manager.tally.responses["stale"] == 5 * len(frame))

        assert processor.rounds - before == 3


async def test_more_frames_than_the_credit_allows_are_not_taken_in() -> None:
    channel, session = ResponseChannel(capacity=100, tally=Tally()), make_session()
    for _ in range(RESPONSE_WINDOW_FRAMES):
        channel.put(session, [], 10)

    with pytest.raises(ProtocolViolation):
        channel.put(session, [], 10)
    assert channel.depth == RESPONSE_WINDOW_FRAMES


async def test_a_slow_database_holds_back_every_agents_credit() -> None:
    async with running_core(options=Options(channel_size=1)) as core:
        agent = FakeAgent(core, slots=4)
        await agent.connect()
        await core.submit(*[make_submission() for _ in range(4)])
        refs = [(await agent.task(place)).ref for place in range(4)]
        core.database.hold("apply")

        for ref in refs:
            agent.say(ref, COMPLETED)
            await asyncio.sleep(1)
        assert core.manager.channel.depth == 3
        assert agent.response_credit == 0

        core.database.let_go("apply")
        await agent.acked(refs[-1])
        await eventually(lambda: agent.response_credit == RESPONSE_WINDOW_FRAMES + 4)


def _shown(core: Core, task_id: str) -> TaskStatus | None:
    task = core.manager.registry.get(task_id)
    return task.status if task is not None else None
