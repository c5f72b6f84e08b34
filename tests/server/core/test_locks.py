"""Locks: one task at a time is with an agent, in the order in which they wait, and nothing else is held up."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.task import Execution, Finished, Outcome, Reason, TaskStatus
from nodelink_server.core.assembly import Options
from nodelink_server.core.attempt import Hold
from nodelink_server.core.leases import Patience
from tests.support.core_parts import Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

OPTIONS = Options(patience=Patience(unknown_after=5_000, grace=1_000))


async def _agent(core: Core, *, slots: int = 4, agent_id: str = "a1") -> FakeAgent:
    agent = FakeAgent(core, slots=slots, agent_id=agent_id)
    await agent.connect()
    return agent


@pytest.mark.parametrize("execution", list(Execution))
async def test_of_the_tasks_with_one_lock_one_at_a_time_is_with_an_agent(execution: Execution) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ids = await core.submit(*[make_submission(execution=execution, lock="db") for _ in range(3)])

        for place, task_id in enumerate(ids):
            request = await agent.task(place)
            await asyncio.sleep(1)
            assert len(agent.tasks) == place + 1
            assert request.ref.task_id == task_id
            await agent.finish(request.ref)
        assert core.manager.rooms.limits.is_idle
        assert core.database.disk.holds == {}


async def test_a_task_without_a_lock_and_one_with_another_are_not_held_up() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.submit(make_submission(lock="db"), make_submission(lock="db"))
        free = await core.submit(make_submission(lock="web"), make_submission())

        await agent.task(2)
        assert {request.ref.task_id for request in agent.tasks[1:]} == set(free)


async def test_a_waiting_task_says_which_task_holds_its_lock() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        holder, waiting = await core.submit(make_submission(lock="db"), make_submission(lock="db"))
        await agent.task()

        task = (await core.manager.get(waiting)).task
        assert (task.status, task.reason) == (TaskStatus.PENDING, Reason.LOCK)
        assert holder in task.message


async def test_of_many_that_wait_for_a_lock_memory_holds_few() -> None:
    async with running_core() as core:
        agent = await _agent(core, slots=10)
        ids = await core.submit(*[make_submission(lock="db") for _ in range(500)])
        await agent.task()
        await asyncio.sleep(1)
        assert core.manager.scheduler.waiting_front() == 0
        assert len(core.manager.registry) < 5

        for place in range(5):
            request = await agent.task(place)
            assert request.ref.task_id == ids[place]
            await agent.finish(request.ref)


async def test_who_is_more_important_gets_a_lock_first() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await asyncio.sleep(1)
        [holder] = await core.submit(make_submission(lock="db"))
        _, important = await core.submit(make_submission(lock="db"), make_submission(lock="db", priority=90))
        await agent.finish((await agent.task()).ref)
        assert (await agent.task(1)).ref.task_id == important
        assert holder != important


async def test_a_lock_is_kept_in_doubt_and_over_a_restart() -> None:
    database = Database()
    async with running_core(database, options=OPTIONS) as core:
        agent = await _agent(core)
        exclusive = make_submission(execution=Execution.EXCLUSIVE, lock="db")
        [held] = await core.submit(exclusive)
        await agent.task()
        await agent.hang_up()
        await eventually(lambda: _is(core, held, TaskStatus.UNKNOWN))
        other = await _agent(core, agent_id="a2")
        [waiting] = await core.submit(make_submission(lock="db"))
        await asyncio.sleep(5)
        assert not other.tasks
    async with running_core(database, options=OPTIONS) as core:
        other = FakeAgent(core, agent_id="a2")
        other.number = 1
        await other.connect()
        await asyncio.sleep(5)
        assert not other.tasks

        await core.manager.abandon(held, reason="the machine is gone")
        assert (await other.task()).ref.task_id == waiting


async def test_an_exclusive_task_without_a_lock_has_one_of_its_own() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ids = await core.submit(*[make_submission(execution=Execution.EXCLUSIVE) for _ in range(2)])
        await agent.task(1)
        assert set(core.database.disk.holds) == {Hold(f"task:{task_id}") for task_id in ids}


async def test_a_lock_is_free_when_what_was_accepted_with_it_could_not_be_made_durable() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await asyncio.sleep(1)
        core.database.failing.add("apply")
        failing = asyncio.ensure_future(core.manager.submit([make_submission(lock="db")]))
        await asyncio.wait({failing})
        assert failing.exception() is not None
        core.database.failing.clear()
        assert core.manager.rooms.limits.is_idle

        [task_id] = await core.submit(make_submission(lock="db"))
        assert (await agent.task()).ref.task_id == task_id


async def test_a_lock_is_free_when_its_waiting_task_is_cancelled_while_it_is_offered() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=2)
        agent.accepts = False
        await agent.connect()
        first, second = await core.submit(
            make_submission(execution=Execution.ONCE, lock="db"), make_submission(execution=Execution.ONCE, lock="db")
        )
        ref = (await agent.offer()).ref
        assert ref.task_id == first
        await core.manager.cancel(first)
        agent.accepts = True
        agent.say(ref, Finished(outcome=Outcome.CANCELLED))  # nonsense is not believed
        await agent.hang_up()
        await agent.connect()
        assert (await agent.task()).ref.task_id == second


async def test_when_the_one_read_anew_for_a_free_lock_ends_as_it_waits_the_next_one_is_read() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        holder, first, second = await core.submit(*[make_submission(lock="db") for _ in range(3)])
        request = await agent.task()
        assert request.ref.task_id == holder
        await asyncio.sleep(1)  # both others have been passed over, and left memory
        core.manager.scheduler.paused = True
        await agent.finish(request.ref)
        await eventually(lambda: core.manager.registry.get(first) is not None)
        assert core.manager.registry.get(second) is None

        await core.manager.cancel(first)
        core.manager.scheduler.resume()
        assert (await agent.task(1)).ref.task_id == second


async def _is(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status
