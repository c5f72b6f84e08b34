"""Finished tasks leave memory after a moment, and the database after their retention."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import TaskNotFound
from nodelink.task import Started, TaskStatus
from nodelink_server.core import cleanup
from nodelink_server.core.assembly import Options
from nodelink_server.core.cleanup import MOST_FINISHED, Cleanup
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.tally import Tally
from tests.support.clock import ManualClock
from tests.support.core_parts import Core, Database, eventually, make_submission, make_task, running_core
from tests.support.fake_agent import FakeAgent

MONTH_MS = 31 * 24 * 3600 * 1000


def _cleanup(registry: TaskRegistry, clock: ManualClock) -> Cleanup:
    return Cleanup(
        store=Database().store(),
        registry=registry,
        clock=clock,
        tally=Tally(),
        tidy=lambda: None,
        delay_seconds=5,
        interval_seconds=300,
        retention_seconds=60,
    )


async def _cancelled(core: Core, count: int) -> list[str]:
    ids = await core.submit(*[make_submission() for _ in range(count)])
    for task_id in ids:
        await core.manager.cancel(task_id)
    return ids


async def test_a_finished_task_leaves_memory_after_five_seconds_and_stays_in_the_database() -> None:
    async with running_core() as core:
        [task_id] = await _cancelled(core, 1)
        await asyncio.sleep(4)
        assert core.manager.registry.get(task_id) is not None
        await asyncio.sleep(3)
        assert core.manager.registry.get(task_id) is None
        assert await core.status(task_id) is TaskStatus.CANCELLED


async def test_finished_tasks_leave_memory_while_the_database_is_being_swept() -> None:
    async with running_core(options=Options(cleanup_interval=10)) as core:
        core.database.hold("sweep")
        await core.database.until_held("sweep")
        [task_id] = await _cancelled(core, 1)
        await eventually(lambda: core.manager.registry.get(task_id) is None)
        core.database.let_go("sweep")


async def test_a_task_that_runs_stays_in_memory() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        agent.say((await agent.task()).ref, Started())
        await asyncio.sleep(12)
        assert core.manager.registry.get(task_id) is not None


def test_memory_holds_no_more_than_so_many_finished_tasks() -> None:
    registry = TaskRegistry()
    tidy = _cleanup(registry, ManualClock())
    for number in range(MOST_FINISHED + 7):
        registry.swap(put=[make_task(f"t{number}", status=TaskStatus.COMPLETED)])
        tidy.finished([f"t{number}"])

    assert len(registry) == MOST_FINISHED
    assert registry.get("t6") is None
    assert registry.get("t7") is not None


async def test_tasks_leave_the_database_after_their_retention_batch_by_batch() -> None:
    async with running_core(options=Options(cleanup_interval=60)) as core:
        await _cancelled(core, cleanup.SWEEP_BATCH + 20)
        await core.submit()
        core.clock.skew_ms += MONTH_MS

        await asyncio.sleep(65)

        assert len(core.database.disk.rows) == 1
        tally = core.manager.tally
        assert (tally.cleanup_removed, tally.cleanup_runs) == (cleanup.SWEEP_BATCH + 20, 1)


async def test_a_sweep_that_fails_is_tried_at_the_next_interval() -> None:
    async with running_core(options=Options(cleanup_interval=60)) as core:
        await _cancelled(core, 1)
        core.clock.skew_ms += MONTH_MS
        core.database.failing.add("sweep")
        await asyncio.sleep(65)
        core.database.failing.clear()
        await eventually(lambda: not core.database.disk.rows, within=70)


async def test_names_of_queues_do_not_pile_up() -> None:
    async with running_core(options=Options(cleanup_interval=10)) as core:
        ids = await core.submit(*[make_submission(pool=f"pool{n}") for n in range(50)])
        assert len(core.manager.scheduler._fronts) == 50
        for task_id in ids:
            await core.manager.cancel(task_id)
        await eventually(lambda: not core.manager.scheduler._fronts)


async def test_what_finished_long_enough_ago_is_cleaned_up_at_once_with_its_output() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [printed] = await core.submit()
        ref = (await agent.task()).ref
        agent.print(ref, 0, b"hello")
        await agent.log_acked(ref, 5)
        await agent.finish(ref)
        await agent.hang_up()
        await _cancelled(core, cleanup.SWEEP_BATCH + 20)
        await asyncio.sleep(60)
        [young] = await _cancelled(core, 1)
        [waiting] = await core.submit()

        assert await core.manager.clean_up(30_000) == cleanup.SWEEP_BATCH + 21
        assert {row.task.id for row in core.database.disk.rows.values()} == {young, waiting}
        assert not core.database.disk.output
        assert await core.manager.clean_up(30_000) == 0
        with pytest.raises(TaskNotFound):
            await core.manager.get(printed)

        assert await core.manager.clean_up(0) == 1
        assert core.manager.tally.cleanup_removed == cleanup.SWEEP_BATCH + 22


async def test_cleaning_up_lets_commits_pass_between_its_batches() -> None:
    async with running_core() as core:
        await _cancelled(core, cleanup.SWEEP_BATCH * 3)
        await asyncio.sleep(1)
        cleaning = asyncio.ensure_future(core.manager.clean_up(0))
        await eventually(lambda: "sweep" in core.database.deeds)
        await core.submit()

        assert not cleaning.done()
        assert await cleaning == cleanup.SWEEP_BATCH * 3


async def test_two_clean_ups_at_a_time_remove_each_task_once() -> None:
    async with running_core() as core:
        await _cancelled(core, cleanup.SWEEP_BATCH + 5)
        await asyncio.sleep(1)

        removed = await asyncio.gather(core.manager.clean_up(0), core.manager.clean_up(0))

        assert list(removed) == [cleanup.SWEEP_BATCH + 5, 0]


async def test_a_clean_up_keeps_events_and_sessions_for_their_time() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await agent.hang_up()
        await _cancelled(core, 1)
        await asyncio.sleep(60)
        blocks = len(core.database.disk.blocks)
        await core.manager.clean_up(0)

        assert len(core.database.disk.blocks) == blocks
        assert len(await core.manager.agent_sessions("a1")) == 1
