"""Start and total timeouts: who waits too long ends, and who runs too long is stopped."""

from __future__ import annotations

import asyncio

from nodelink.task import Execution, Finished, Outcome, Reason, RetryPolicy, Started, TaskStatus
from nodelink_server.core.assembly import Options
from nodelink_server.core.decisions import Resolution
from nodelink_server.core.leases import Patience
from tests.support.core_parts import Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent


async def test_what_waits_for_longer_than_it_may_take_in_all_has_timed_out() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(total_timeout_ms=5_000))
        await eventually(lambda: _stands(core, task_id, TaskStatus.TIMEOUT), within=7)
        assert (await core.manager.get(task_id)).task.reason is Reason.TOTAL_TIMEOUT


async def test_the_time_in_all_begins_when_a_task_is_due() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(delay_ms=60_000, total_timeout_ms=5_000))
        await asyncio.sleep(63)
        assert await core.status(task_id) is TaskStatus.PENDING
        await eventually(lambda: _stands(core, task_id, TaskStatus.TIMEOUT), within=4)


async def test_what_runs_for_longer_than_it_may_take_in_all_is_stopped() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit(make_submission(total_timeout_ms=5_000))
        ref = (await agent.task()).ref
        agent.say(ref, Started())
        assert (await agent.cancelled()).reason is Reason.TOTAL_TIMEOUT
        agent.say(ref, Finished(outcome=Outcome.CANCELLED))
        await agent.acked(ref)
        task = (await core.manager.get(task_id)).task
        assert (task.status, task.reason) == (TaskStatus.TIMEOUT, Reason.TOTAL_TIMEOUT)


async def test_no_try_follows_when_the_time_in_all_is_over() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        policy = RetryPolicy(max_attempts=100, initial_ms=60_000, max_ms=60_000)
        [task_id] = await core.submit(make_submission(total_timeout_ms=5_000, retry=policy))
        ref = (await agent.task()).ref
        agent.say(ref, Finished(outcome=Outcome.FAILED, exit_code=3))
        await agent.acked(ref)
        assert await core.status(task_id) is TaskStatus.SCHEDULED
        await eventually(lambda: _stands(core, task_id, TaskStatus.TIMEOUT), within=7)


async def test_the_time_in_all_goes_on_over_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        [task_id] = await core.submit(make_submission(total_timeout_ms=5_000))
        await asyncio.sleep(3)
    await asyncio.sleep(1_000)
    async with running_core(database) as core:
        assert await core.status(task_id) is TaskStatus.PENDING
        await eventually(lambda: _stands(core, task_id, TaskStatus.TIMEOUT), within=4)


async def test_what_a_person_wants_to_run_again_may_take_as_long_as_it_likes() -> None:
    database, options = Database(), Options(patience=Patience(unknown_after=2_000, grace=1_000))
    async with running_core(database, options=options) as core:
        agent = FakeAgent(core)
        await agent.connect()
        spec = {"execution": Execution.EXCLUSIVE, "total_timeout_ms": 8_000}
        [task_id] = await core.submit(make_submission(**spec))  # type: ignore[arg-type]  # names of fields
        await agent.task()
        await agent.hang_up()
        await eventually(lambda: _stands(core, task_id, TaskStatus.UNKNOWN))
        await asyncio.sleep(10)
        await core.manager.resolve(task_id, resolution=Resolution.RERUN, reason="nothing was changed")
        await asyncio.sleep(10)
        assert await core.status(task_id) is TaskStatus.PENDING
    async with running_core(database, options=options) as core:
        await asyncio.sleep(10)
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_a_time_in_all_that_a_person_has_lifted_does_not_end_a_task() -> None:
    async with running_core(options=Options(patience=Patience(unknown_after=2_000, grace=1_000))) as core:
        agent = FakeAgent(core)
        await agent.connect()
        spec = {"execution": Execution.EXCLUSIVE, "total_timeout_ms": 60_000}
        [task_id] = await core.submit(make_submission(**spec))  # type: ignore[arg-type]  # names of fields
        await agent.task()
        await agent.hang_up()
        await eventually(lambda: _stands(core, task_id, TaskStatus.UNKNOWN))
        await core.manager.resolve(task_id, resolution=Resolution.RERUN, reason="nothing was changed")
        await asyncio.sleep(90)
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_an_agent_that_does_not_begin_in_time_is_not_to_begin_any_more() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit(make_submission(start_timeout_ms=2_000))
        ref = (await agent.task()).ref
        assert (await agent.cancelled()).reason is Reason.START_TIMEOUT
        agent.say(ref, Finished(outcome=Outcome.CANCELLED))
        await agent.acked(ref)
        task = (await core.manager.get(task_id)).task
        assert (task.status, task.reason) == (TaskStatus.TIMEOUT, Reason.START_TIMEOUT)


async def test_an_agent_that_has_begun_in_time_may_go_on() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit(make_submission(start_timeout_ms=2_000))
        agent.say((await agent.task()).ref, Started())
        for _ in range(4):
            await asyncio.sleep(2)
            agent.beat(agent.tasks[0].ref)
        assert await core.status(task_id) is TaskStatus.IN_PROGRESS


async def _stands(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status
