"""What happens because time passes, and what does not although it passes."""

from __future__ import annotations

import asyncio

from nodelink.errors import LinkLost
from nodelink.task import Reason, Started, TaskStatus
from nodelink_server.core.clock import LONGEST_GAP_MS, ControlTime, set_within
from tests.support.clock import LoopClock, ManualClock
from tests.support.core_parts import Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent


async def _in_progress(core: Core, agent: FakeAgent, **fields: object) -> str:
    [task_id] = await core.submit(make_submission(**fields))  # type: ignore[arg-type]  # names of fields
    agent.say((await agent.task()).ref, Started())
    await eventually(lambda: _shown(core, task_id) is TaskStatus.IN_PROGRESS)
    return task_id


def _shown(core: Core, task_id: str) -> TaskStatus | None:
    task = core.manager.registry.get(task_id)
    return task.status if task is not None else None


async def test_a_delayed_task_waits_for_its_time_and_then_for_room() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(delay_ms=60_000))
        await asyncio.sleep(59)
        assert await core.status(task_id) is TaskStatus.SCHEDULED
        await asyncio.sleep(1.1)
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_of_tasks_that_are_found_due_together_the_earlier_due_goes_first() -> None:
    async with running_core() as core:
        late, early = await core.submit(*[make_submission(delay_ms=ms) for ms in (5_400, 5_100)])
        core.database.failing.add("read")
        await asyncio.sleep(8)
        core.database.failing.clear()
        await asyncio.sleep(3)
        agent = FakeAgent(core, slots=2)
        await agent.connect()

        assert [(await agent.task(place)).ref.task_id for place in range(2)] == [early, late]


async def test_a_task_for_a_moment_that_has_passed_does_not_wait() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(scheduled_at=core.clock.now() - 1))
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_delayed_tasks_survive_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        [task_id] = await core.submit(make_submission(delay_ms=1_000))
    async with running_core(database) as core:
        await asyncio.sleep(3)
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_a_delayed_task_that_comes_while_the_database_is_read_is_not_forgotten() -> None:
    database = Database()
    async with running_core(database) as core:
        [later] = await core.submit(make_submission(delay_ms=60_000))
    database.hold("answer")
    async with running_core(database) as core:
        await database.until_held("answer")
        [task_id] = await core.submit(make_submission(delay_ms=500))
        database.let_go("answer")
        await asyncio.sleep(3)
        assert await core.status(task_id) is TaskStatus.PENDING
        await asyncio.sleep(60)
        assert await core.status(later) is TaskStatus.PENDING


async def test_when_the_wall_clock_jumps_what_is_due_then_is_due() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(delay_ms=3_600_000))
        core.clock.skew_ms += 3_600_000
        await asyncio.sleep(2)
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_a_wall_clock_that_goes_back_while_a_task_becomes_due_does_not_hide_it() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(delay_ms=5_000))
        core.database.hold("read")
        await core.database.until_held("read")
        core.clock.skew_ms -= 3_000
        core.database.let_go("read")
        await asyncio.sleep(10)
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_a_task_that_waits_longer_than_its_queue_timeout_ends_and_says_why() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(queue_timeout_ms=10_000))
        await asyncio.sleep(9)
        assert await core.status(task_id) is TaskStatus.PENDING
        await asyncio.sleep(2)
        task = (await core.manager.get(task_id)).task
        assert (task.status, task.reason) == (TaskStatus.TIMEOUT, Reason.QUEUE_TIMEOUT)
        assert "no agent" in task.message


async def test_an_outage_of_the_database_ages_nothing() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(queue_timeout_ms=10_000))
        core.database.failing.add("apply")
        await asyncio.sleep(600)
        core.database.failing.clear()
        await asyncio.sleep(5)
        assert await core.status(task_id) is TaskStatus.PENDING
        await asyncio.sleep(6)
        assert await core.status(task_id) is TaskStatus.TIMEOUT


async def test_the_time_without_a_server_ages_nothing() -> None:
    database = Database()
    async with running_core(database) as core:
        [task_id] = await core.submit(make_submission(queue_timeout_ms=10_000))
    await asyncio.sleep(600)
    async with running_core(database) as core:
        await asyncio.sleep(7)
        assert await core.status(task_id) is TaskStatus.PENDING
        await asyncio.sleep(5)
        assert await core.status(task_id) is TaskStatus.TIMEOUT


async def test_a_jump_of_the_wall_clock_ages_nothing_that_waits() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(queue_timeout_ms=10_000))
        core.clock.skew_ms += 3_600_000
        await asyncio.sleep(5)
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_while_the_database_cannot_be_read_what_is_due_is_tried_once_a_second() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(delay_ms=1_000))
        core.database.failing.add("read")
        core.database.deeds.clear()
        await asyncio.sleep(30)
        assert 10 < core.database.deeds.count("read") <= 70

        core.database.failing.clear()
        await asyncio.sleep(2)
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_an_agent_from_which_nothing_comes_for_three_heartbeats_is_cut_off_and_keeps_its_work() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        task_id = await _in_progress(core, agent)
        agent.beat()
        await asyncio.sleep(14)
        assert agent.end is None

        await asyncio.sleep(3)
        assert isinstance(agent.end, LinkLost)
        assert await core.status(task_id) is TaskStatus.IN_PROGRESS
        assert core.manager.agents.view("a1").status == "unreachable"


async def test_a_run_that_its_agent_does_not_stop_in_time_is_asked_to_stop() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        task_id = await _in_progress(core, agent, timeout_ms=5_000)
        await _beat_for(agent, 34)
        assert agent.cancels == []

        await _beat_for(agent, 3)
        assert (await agent.cancelled()).reason is Reason.RUN_TIMEOUT
        assert await core.status(task_id) is TaskStatus.CANCELLING


async def test_a_stop_that_could_not_be_committed_is_asked_for_again() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        task_id = await _in_progress(core, agent, timeout_ms=5_000)
        core.database.failing.add("apply")
        await _beat_for(agent, 60)
        core.database.failing.clear()
        await _beat_for(agent, 3)
        assert await core.status(task_id) is TaskStatus.CANCELLING


async def test_runs_that_have_ended_are_not_remembered_until_they_would_have_been_overdue() -> None:
    async with running_core() as core:
        agent, runs = FakeAgent(core), core.manager.rooms.timers
        await agent.connect()
        for place in range(30):
            runs._runs._most = 10
            await _run_and_finish(core, agent, place)
        assert len(runs._runs) <= 10


async def _run_and_finish(core: Core, agent: FakeAgent, place: int) -> None:
    [task_id] = await core.submit(make_submission(timeout_ms=7 * 24 * 3600 * 1000))
    ref = (await agent.task(place)).ref
    agent.say(ref, Started())
    await eventually(lambda: _shown(core, task_id) is TaskStatus.IN_PROGRESS)
    await agent.finish(ref)
    agent.session.credit_given(place + 2)


async def _beat_for(agent: FakeAgent, seconds: int) -> None:
    for _ in range(seconds):
        agent.beat()
        await asyncio.sleep(1)


# -- control time -----------------------------------------------------------------------------------------------------


def test_control_time_counts_only_what_a_commit_confirms() -> None:
    clock = ManualClock()
    control = ControlTime(clock, start_ms=500)
    clock.advance(2)
    assert control.now() == 2_500
    control.committed()

    clock.advance(3_600)
    assert control.now() == 2_500 + LONGEST_GAP_MS
    control.resume(1)
    assert control.now() == 2_500


async def test_waiting_for_an_event_is_bounded() -> None:
    event, clock = asyncio.Event(), LoopClock()
    assert not await set_within(event, clock, 5)
    assert not await set_within(event, clock, 0)
    asyncio.get_running_loop().call_later(1, event.set)
    assert await set_within(event, clock, 5)
    assert await set_within(event, clock, 0)
