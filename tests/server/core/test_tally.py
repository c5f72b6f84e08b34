"""What is counted: offers, leases that run out, results that come too late, hellos that come too soon."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import Overloaded
from nodelink.task import Declined, Execution, Finished, Gone, HeldAttempt, HeldState, Outcome, Started, TaskStatus
from nodelink_server.core.assembly import Options
from nodelink_server.core.leases import Patience
from nodelink_server.core.offers import ANSWER_SECONDS
from nodelink_server.core.tally import MOST_KINDS, Tally
from tests.support.core_parts import Core, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

IMPATIENT = Options(
    patience=Patience(lease=20_000, start_lease=5_000, lost_after=20_000, unknown_after=20_000, grace=5_000)
)


async def _offered(core: Core) -> FakeAgent:
    """An agent that has been offered a task, and has not answered."""
    agent = FakeAgent(core)
    agent.accepts = False
    await agent.connect()
    await core.submit(make_submission(execution=Execution.ONCE))
    await agent.offer()
    return agent


async def _running(core: Core, execution: Execution) -> FakeAgent:
    """An agent that has begun a task of a class."""
    agent = FakeAgent(core)
    await agent.connect()
    [task_id] = await core.submit(make_submission(execution=execution))
    agent.say((await agent.task()).ref, Started())
    await eventually(lambda: _is(core, task_id, TaskStatus.IN_PROGRESS))
    return agent


async def _is(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status


async def _beat(agent: FakeAgent) -> None:
    while True:
        agent.beat(*agent.offers)
        await asyncio.sleep(5)


async def test_an_offer_that_is_accepted_or_declined_is_counted_as_such() -> None:
    async with running_core() as core:
        agent, counted = await _offered(core), core.manager.tally.offers
        assert counted == {}

        agent.say((await agent.offer()).ref, Declined(just_this=True))
        await eventually(lambda: counted == {"declined": 1})

        agent.accepts = True
        agent.session.credit_given(2)
        await agent.task()
        assert counted == {"declined": 1, "accepted": 1}


async def test_an_offer_that_ends_with_its_session_is_counted_as_such() -> None:
    async with running_core() as core:
        agent, counted = await _offered(core), core.manager.tally.offers
        await agent.hang_up()
        assert counted == {"session_ended": 1}


async def test_an_offer_that_is_left_unanswered_is_counted_as_such() -> None:
    async with running_core() as core:
        agent, counted = await _offered(core), core.manager.tally.offers
        beating = asyncio.ensure_future(_beat(agent))
        await eventually(lambda: counted == {"unanswered": 1}, within=ANSWER_SECONDS + 5)
        beating.cancel()


@pytest.mark.parametrize("execution", list(Execution))
async def test_a_lease_that_runs_out_is_counted_by_class(execution: Execution) -> None:
    async with running_core(options=IMPATIENT) as core:
        agent, counted = await _running(core, execution), core.manager.tally.leases_expired
        await agent.hang_up()
        assert counted == {}
        await eventually(lambda: counted == {execution: 1})


@pytest.mark.parametrize("final", [Finished(outcome=Outcome.COMPLETED), Gone(message="the machine was restarted")])
async def test_what_is_told_of_an_attempt_that_counts_no_more_is_counted(final: Finished | Gone) -> None:
    async with running_core(options=IMPATIENT) as core:
        agent, tally = await _running(core, Execution.ONCE), core.manager.tally
        ref = agent.tasks[0].ref
        await agent.hang_up()
        await eventually(lambda: _is(core, ref.task_id, TaskStatus.LOST))
        assert tally.late_results == 0

        await agent.connect(held=[HeldAttempt(ref, HeldState.ENDED)])
        agent.say(ref, final)
        await agent.acked(ref)
        assert tally.late_results == 1


async def test_a_hello_that_comes_too_soon_is_counted() -> None:
    async with running_core(options=Options(hello_rate=1.0)) as core:
        agents = [FakeAgent(core, agent_id=f"a{number}") for number in range(4)]
        for agent in agents[:2]:
            await agent.connect()
        assert core.manager.tally.hellos_refused == 0
        for agent in agents[2:]:
            with pytest.raises(Overloaded):
                await agent.connect()
        assert core.manager.tally.hellos_refused == 2


def test_so_many_pools_are_told_apart_and_the_rest_is_counted_together() -> None:
    tally = Tally()
    for number in range(MOST_KINDS + 2):
        tally.count_difference(f"p{number}")
    tally.count_difference("p0")
    assert (len(tally.use_differs), tally.use_differs["p0"], tally.use_differs["other"]) == (MOST_KINDS + 1, 2, 2)
