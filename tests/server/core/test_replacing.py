"""Tasks that have those stopped that are in their way: of a lock, a limit, a workspace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodelink.task import Execution, Finished, Outcome, Reason, Started, TaskStatus, WhenTaken
from nodelink_server.core.assembly import Options
from nodelink_server.core.leases import Patience
from tests.support.core_parts import Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

STOPPED = Finished(outcome=Outcome.CANCELLED, reason=Reason.SUPERSEDED)
S = TaskStatus


async def connected(core: Core, *, slots: int = 6, agent_id: str = "a1") -> FakeAgent:
    agent = FakeAgent(core, slots=slots, agent_id=agent_id)
    await agent.connect()
    await asyncio.sleep(0.1)
    return agent


async def running(core: Core, agent: FakeAgent, **fields: Any) -> str:
    """The next task that an agent was given, and has begun."""
    place = len(agent.tasks)
    [task_id] = await core.submit(make_submission(**fields))
    agent.say((await agent.task(place)).ref, Started())
    await eventually(lambda: stands(core, task_id, S.IN_PROGRESS))
    return task_id


async def stands(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status


@pytest.mark.parametrize("keys", [{"lock": "db"}, {"limits": {"licence": 1}}, {"workspace": "site"}])
async def test_what_is_in_the_way_is_asked_to_stop_and_its_place_is_waited_for(keys: dict[str, Any]) -> None:
    async with running_core() as core:
        await core.manager.rooms.workspaces.create("site", pool="default", mode="agent")
        agent = await connected(core)
        first = await running(core, agent, **keys)

        [second] = await core.submit(make_submission(when_taken=WhenTaken.REPLACE, **keys))

        command = await agent.cancelled()
        assert (command.ref.task_id, command.reason) == (first, Reason.SUPERSEDED)
        record = await core.manager.get(first)
        assert (record.task.status, record.task.message) == (S.CANCELLING, f"task {second} takes its place")
        assert await core.status(second) is S.PENDING
        await asyncio.sleep(1)
        assert len(agent.tasks) == 1

        agent.say(command.ref, STOPPED)
        assert (await agent.task(1)).ref.task_id == second
        ended = (await core.manager.get(first)).task
        assert (ended.status, ended.reason) == (S.CANCELLED, Reason.SUPERSEDED)


async def test_of_those_that_share_a_limit_the_one_that_has_run_longest_makes_way() -> None:
    async with running_core() as core:
        agent = await connected(core)
        first = await running(core, agent, limits={"licence": 2})
        second = await running(core, agent, limits={"licence": 2})

        [third] = await core.submit(make_submission(limits={"licence": 2}, when_taken=WhenTaken.REPLACE))

        assert (await agent.cancelled()).ref.task_id == first
        await asyncio.sleep(1)
        assert await core.status(second) is S.IN_PROGRESS
        agent.say((await agent.task()).ref, STOPPED)
        assert (await agent.task(2)).ref.task_id == third


async def test_a_task_that_finds_its_place_free_stops_nobody() -> None:
    async with running_core() as core:
        agent = await connected(core)
        other = await running(core, agent, lock="other")
        await core.submit(make_submission(lock="db", when_taken=WhenTaken.REPLACE))
        await agent.task(1)
        await asyncio.sleep(1)
        assert agent.cancels == []
        assert await core.status(other) is S.IN_PROGRESS


@pytest.mark.parametrize("when_taken", [WhenTaken.WAIT, WhenTaken.SKIP])
async def test_what_waits_or_is_skipped_stops_nobody(when_taken: WhenTaken) -> None:
    async with running_core() as core:
        agent = await connected(core)
        first = await running(core, agent, lock="db")
        await core.submit(make_submission(lock="db", when_taken=when_taken))
        await asyncio.sleep(1)
        assert await core.status(first) is S.IN_PROGRESS


async def test_it_looks_when_its_time_has_come_and_not_before() -> None:
    async with running_core() as core:
        agent = await connected(core)
        first = await running(core, agent, lock="db")
        await core.submit(make_submission(lock="db", when_taken=WhenTaken.REPLACE, delay_ms=5_000))
        await asyncio.sleep(4)
        assert await core.status(first) is S.IN_PROGRESS
        await asyncio.sleep(2)
        assert await core.status(first) is S.CANCELLING


async def test_what_is_being_stopped_already_is_not_asked_once_more() -> None:
    async with running_core() as core:
        agent = await connected(core)
        first = await running(core, agent, lock="db")
        await core.manager.cancel(first, message="enough")
        await core.submit(make_submission(lock="db", when_taken=WhenTaken.REPLACE))
        await asyncio.sleep(1)
        assert ((await core.manager.get(first)).task.message, len(agent.cancels)) == ("enough", 1)


async def test_what_is_only_offered_to_an_agent_never_starts() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=2)
        agent.accepts = False
        await agent.connect()
        [first] = await core.submit(make_submission(lock="db", execution=Execution.ONCE))
        await agent.offer()

        await core.submit(make_submission(lock="db", when_taken=WhenTaken.REPLACE))

        await eventually(lambda: stands(core, first, S.CANCELLED))
        assert (await core.manager.get(first)).task.reason is Reason.SUPERSEDED


async def test_what_is_in_doubt_keeps_its_place_and_is_to_stop_should_it_come_back() -> None:
    async with running_core(options=Options(patience=Patience(unknown_after=5_000, grace=1_000))) as core:
        agent = await connected(core)
        first = await running(core, agent, lock="db", execution=Execution.EXCLUSIVE)
        await agent.hang_up()
        await eventually(lambda: stands(core, first, S.UNKNOWN))
        other = await connected(core, agent_id="a2")

        [second] = await core.submit(make_submission(lock="db", when_taken=WhenTaken.REPLACE))
        await asyncio.sleep(5)

        task = (await core.manager.get(first)).task
        assert task.stop is not None
        assert (task.status, task.stop.reason) == (S.UNKNOWN, Reason.SUPERSEDED)
        assert (await core.status(second), other.tasks) == (S.PENDING, [])


async def test_what_changes_while_it_is_looked_at_is_looked_at_again() -> None:
    async with running_core() as core:
        agent = await connected(core)
        [first] = await core.submit(make_submission(lock="db"))
        ref = (await agent.task()).ref
        core.database.hold("answer")  # what is read is old when it is looked at
        await core.submit(make_submission(lock="db", when_taken=WhenTaken.REPLACE))
        await core.database.until_held("answer")
        core.database.let_go("answer")
        core.database.hold("answer")  # of the second read, which is of those in the way
        await core.database.until_held("answer")
        agent.say(ref, Started())
        await asyncio.sleep(1)
        core.database.let_go("answer")
        assert (await agent.cancelled()).ref == ref
        assert await core.status(first) is S.CANCELLING


async def test_nobody_makes_way_for_what_has_a_place_and_only_waits_for_its_agents_word() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=2)
        agent.accepts = False
        await agent.connect()
        once = make_submission(lock="db", execution=Execution.ONCE, when_taken=WhenTaken.REPLACE)
        [task_id] = await core.submit(once)
        await agent.offer()
        await asyncio.sleep(1)
        assert await core.status(task_id) is S.PENDING


async def test_nobody_makes_way_for_what_is_cancelled_before_it_was_looked_at() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await connected(core)
        first = await running(core, agent, lock="db")
        database.failing.add("read")
        [second] = await core.submit(make_submission(lock="db", when_taken=WhenTaken.REPLACE))
        await asyncio.sleep(0.1)
        database.failing.clear()
        await core.manager.cancel(second)
        await asyncio.sleep(5)
        assert (await core.status(first), agent.cancels) == (S.IN_PROGRESS, [])


async def test_while_the_database_is_away_it_is_put_off() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await connected(core)
        first = await running(core, agent, lock="db")
        core.database.hold("applied")
        submit = asyncio.ensure_future(core.submit(make_submission(lock="db", when_taken=WhenTaken.REPLACE)))
        await core.database.until_held("applied")
        database.failing.update({"apply", "read"})
        core.database.let_go("applied")
        await submit
        await asyncio.sleep(5)
        assert agent.cancels == []
        database.failing.clear()
        assert (await agent.cancelled()).ref.task_id == first
