"""Who may run beside whom: so many plans at a time, and an apply alone, which is not kept waiting for ever."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import HandshakeRefused
from nodelink.plan import APPLY, PLAN
from nodelink.task import Execution, HeldAttempt, HeldState, Started, Submission, TaskStatus
from tests.support.core_parts import Core, Database, make_submission, running_core
from tests.support.fake_agent import FakeAgent
from tests.support.planning import HANDLERS, NAMED, PLANNED, make_applying, make_change, make_planned, planning

S = TaskStatus


async def given(agent: FakeAgent, count: int) -> list[str]:
    """The ids of the tasks that an agent was given, which are so many in the long run."""
    if count:
        await agent.task(count - 1)
    await asyncio.sleep(1)
    assert len(agent.tasks) == count
    return [request.ref.task_id for request in agent.tasks]


def any_task(type: str) -> Submission:
    """A task of a type; "once": one that may start only once."""
    return make_submission(execution=Execution.ONCE) if type == "once" else make_submission(type)


async def plan(core: Core) -> str:
    """A task that makes a plan and no more."""
    return (await core.submit(make_submission(PLAN)))[0]


async def apply(core: Core) -> str:
    """A task that changes something."""
    return (await core.submit(make_submission(APPLY)))[0]


async def end(agent: FakeAgent, place: int) -> None:
    """Let the n-th task of an agent end, and its slot be free."""
    request = agent.tasks[place]
    agent.say(request.ref, PLANNED)
    await agent.acked(request.ref)
    agent.give_credit(len(agent.acks))


@pytest.mark.parametrize("limit", [1, 3])
async def test_no_more_plans_are_made_at_a_time_than_an_agent_says(limit: int) -> None:
    async with planning(plan_limit=limit) as (core, agent):
        for _ in range(limit):
            await plan(core)
        [waits] = await core.submit(make_change())
        await given(agent, limit)
        [echo] = await core.submit(make_submission())
        assert (await given(agent, limit + 1))[-1] == echo

        await end(agent, 0)
        assert (await given(agent, limit + 2))[-1] == waits


@pytest.mark.parametrize("limit", [0, 4_097])
async def test_an_agent_makes_some_plans_at_a_time(limit: int) -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        with pytest.raises(HandshakeRefused, match="1 to 4096"):
            await agent.connect(plan_limit=limit)
        await agent.connect(plan_limit=4_096)


async def test_a_plan_that_waits_for_its_approval_takes_nothing_of_its_agent() -> None:
    async with planning(plan_limit=1) as (core, agent):
        await make_planned(core, agent)
        await make_planned(core, agent)
        assert agent.manager.agents.view("a1").used.slots == 0


@pytest.mark.parametrize("type", ["echo", "once", "plan", "plan_and_apply", "apply"])
async def test_nothing_runs_beside_an_apply(type: str) -> None:
    async with planning() as (core, agent):
        _, ref = await make_applying(core, agent)
        [other] = await core.submit(any_task(type))
        await given(agent, 2)
        assert agent.manager.agents.view("a1").free_slots == 0

        await agent.finish(ref)
        agent.give_credit(2)
        assert (await given(agent, 3))[-1] == other


@pytest.mark.parametrize("type", ["echo", "once", "plan"])
async def test_an_apply_runs_beside_nothing(type: str) -> None:
    async with planning() as (core, agent):
        await core.submit(any_task(type))
        await given(agent, 1)
        task_id = await apply(core)
        await given(agent, 1)
        assert await core.status(task_id) is S.PENDING

        await end(agent, 0)
        assert (await given(agent, 2))[-1] == task_id


async def test_an_apply_is_not_kept_waiting_by_what_comes_after_it() -> None:
    async with planning() as (core, agent):
        before = [await plan(core) for _ in range(3)]
        await given(agent, 3)
        task_id = await apply(core)
        for type in (PLAN, "echo", "once", PLAN):
            await core.submit(any_task(type))
        assert await given(agent, 3) == before
        await end(agent, 0)
        await end(agent, 1)
        await given(agent, 3)
        await end(agent, 2)
        assert (await given(agent, 4))[-1] == task_id

        await end(agent, 3)
        await given(agent, 8)


async def test_what_is_more_important_goes_before_a_waiting_apply() -> None:
    async with planning() as (core, agent):
        await plan(core)
        await given(agent, 1)
        task_id = await apply(core)
        await core.submit(make_submission(priority=100))
        await given(agent, 2)
        await core.submit(make_submission(priority=1))
        await given(agent, 2)
        await end(agent, 0)
        await end(agent, 1)
        assert (await given(agent, 3))[-1] == task_id


async def test_one_agent_is_kept_for_an_apply_and_the_others_go_on() -> None:
    async with planning() as (core, agent):
        other = FakeAgent(core, agent_id="a2", slots=5, handlers=HANDLERS)
        await other.connect()
        await asyncio.sleep(1)
        await core.submit(make_submission(), make_submission(), make_submission())
        await asyncio.sleep(1)
        assert agent.tasks
        assert other.tasks
        fewer, more = sorted((agent, other), key=lambda one: len(one.tasks))
        busy = len(more.tasks)
        task_id = await apply(core)
        await core.submit(make_submission(), make_submission())
        await given(fewer, 1)
        await given(more, busy + 2)

        await end(fewer, 0)
        assert (await given(fewer, 2))[-1] == task_id


async def test_an_agent_that_is_empty_by_chance_may_have_what_another_one_is_kept_for() -> None:
    async with planning() as (core, agent):
        await core.submit(make_submission())
        await given(agent, 1)
        task_id = await apply(core)
        other = FakeAgent(core, agent_id="a2", slots=5, handlers=HANDLERS)
        await other.connect()
        assert await given(other, 1) == [task_id]
        [echo] = await core.submit(make_submission())
        assert (await given(agent, 2))[-1] == echo


async def test_an_agent_is_kept_no_longer_than_the_apply_waits() -> None:
    async with planning() as (core, agent):
        await core.submit(make_submission())
        await given(agent, 1)
        task_id = await apply(core)
        [echo] = await core.submit(make_submission())
        await given(agent, 1)
        await core.manager.cancel(task_id)
        assert (await given(agent, 2))[-1] == echo


async def test_another_agent_is_kept_when_one_has_gone() -> None:
    async with planning() as (core, agent):
        other = FakeAgent(core, agent_id="a2", slots=5, handlers=HANDLERS)
        await other.connect()
        await asyncio.sleep(1)
        await core.submit(*(make_submission() for _ in range(4)))
        await asyncio.sleep(1)
        task_id = await apply(core)
        kept = next(one for one in (agent, other) if core.manager.scheduler.reserving.is_kept(one.session))
        stays = other if kept is agent else agent
        count = len(stays.tasks)
        await kept.hang_up()
        await core.submit(make_submission())
        await given(stays, count)
        for place in range(count):
            await end(stays, place)
        assert (await given(stays, count + 1))[-1] == task_id


async def test_an_agent_that_comes_back_as_it_applies_is_given_nothing_beside_it() -> None:
    async with planning() as (core, agent):
        task_id, ref = await make_applying(core, agent)
        agent.say(ref, Started())
        await asyncio.sleep(1)
        await agent.hang_up()
        await agent.connect(held=[HeldAttempt(ref, HeldState.RUNNING)], credit=4)
        await core.submit(make_submission())
        await given(agent, 2)
        assert await core.status(task_id) is S.IN_PROGRESS


async def test_so_it_is_after_a_restart_of_the_server() -> None:
    database = Database()
    async with planning(database) as (core, agent):
        task_id, ref = await make_applying(core, agent)
        agent.say(ref, Started())
        await asyncio.sleep(1)
    async with running_core(database) as core:
        agent = FakeAgent(core, slots=5, handlers=HANDLERS)
        await agent.connect(session=2, held=[HeldAttempt(ref, HeldState.RUNNING)], credit=4)
        await core.submit(make_submission())
        await given(agent, 0)
        assert await core.status(task_id) is S.IN_PROGRESS


async def test_an_apply_goes_only_to_an_agent_that_can_be_empty() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=5, handlers={"echo": Execution.REPLAYABLE})
        await agent.connect()
        await core.submit(make_submission())
        await apply(core)
        await core.submit(make_submission())
        await given(agent, 2)
        assert not core.manager.scheduler.reserving.is_kept(agent.session)


async def test_an_approved_change_goes_before_what_was_submitted_meanwhile() -> None:
    async with planning(slots=1) as (core, agent):
        task_id, _ = await make_planned(core, agent)
        await core.submit(make_submission(), make_submission())
        await given(agent, 2)
        await core.manager.approve(task_id, NAMED)
        await end(agent, 1)
        assert (await given(agent, 3))[-1] == task_id
