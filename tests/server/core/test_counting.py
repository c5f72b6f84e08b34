"""What agents count as taken of them, held against what the server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nodelink.taken import NOTHING, Taken
from nodelink.task import AttemptRef, Execution, HeldAttempt, HeldState, Started
from nodelink_server.core.pace import Rhythm
from nodelink_server.core.ports import TaskEvent
from tests.support.core_parts import COMPLETED, Core, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

PERIOD = 5.0
WIDE = make_submission(slots=3, resources={"gpu": 1_000})
TAKEN = Taken(3, {"gpu": 1_000})
NOBODYS = AttemptRef("nobody's", 1, 1)
OFFERED: dict[str, Any] = {"resources": {"gpu": 2_000, "cpu": 4_000}}


@asynccontextmanager
async def one_agent() -> AsyncIterator[tuple[Core, FakeAgent]]:
    """A core with one agent of five slots and two gpus."""
    async with running_core() as core:
        agent = FakeAgent(core, slots=5)
        await agent.connect(**OFFERED)
        yield core, agent


async def beat(agent: FakeAgent, times: int, *running: AttemptRef, counted: Taken | None) -> None:
    """So many heartbeats in a row, each in its time."""
    for _ in range(times):
        agent.beat(*running, counted=counted)
        await asyncio.sleep(PERIOD)


async def told(core: Core) -> list[TaskEvent]:
    """What was told of agents that count otherwise."""
    events = await core.database.store().events(0, 1_000)
    return [event for event in events if event.name == "agent.error"]


async def test_an_agent_that_counts_as_the_server_does_is_left_alone() -> None:
    async with one_agent() as (core, agent):
        await beat(agent, 5, counted=NOTHING)
        await core.submit(WIDE)
        ref = (await agent.task()).ref
        await beat(agent, 5, ref, counted=TAKEN)
        await agent.finish(ref)
        await beat(agent, 5, counted=NOTHING)
        assert await told(core) == []
        assert not core.manager.tally.use_differs


async def test_a_difference_that_stays_for_three_more_heartbeats_is_told_once() -> None:
    async with one_agent() as (core, agent):
        await core.submit(WIDE)
        ref = (await agent.task()).ref
        counted = Taken(2, {"cpu": 500, "gpu": 1_000})

        await beat(agent, 3, ref, counted=counted)
        assert await told(core) == []
        await beat(agent, 10, ref, counted=counted)

        [event] = await told(core)
        assert (event.agent_id, event.pool) == ("a1", "default")
        assert event.data == {
            "error": "use_differs",
            "slots": {"agent": 2, "server": 3},
            "resources": {"cpu": {"agent": "0.5", "server": "0"}},
        }
        assert core.manager.tally.use_differs == {"default": 1}


async def test_a_difference_that_comes_back_after_it_was_gone_is_told_again() -> None:
    async with one_agent() as (core, agent):
        for _ in range(2):
            await beat(agent, 5, counted=Taken(1, {}))
            await beat(agent, 1, counted=NOTHING)
        assert len(await told(core)) == 2
        assert core.manager.tally.use_differs == {"default": 2}


async def test_counts_that_change_from_one_heartbeat_to_the_next_are_not_compared() -> None:
    async with one_agent() as (core, agent):
        for number in range(12):
            await beat(agent, 1, counted=Taken(1 + number % 2, {}))
        assert await told(core) == []


async def test_so_are_those_between_which_the_server_has_given_or_taken_something() -> None:
    async with one_agent() as (core, agent):
        for number in range(6):
            await core.submit(WIDE)
            ref = (await agent.task(number)).ref
            await beat(agent, 2, counted=NOTHING)  # as if grants never came before a heartbeat was written
            agent.give_credit(number + 1)
            await agent.finish(ref)
        assert await told(core) == []


async def test_heartbeats_that_were_held_up_and_come_all_at_once_count_as_one() -> None:
    async with one_agent() as (core, agent):
        for _ in range(10):
            agent.beat(counted=Taken(1, {}))
        assert await _beats_until_told(core, agent, seconds=8) == 3


async def test_heartbeats_that_come_too_soon_do_not_make_it_sooner() -> None:
    async with one_agent() as (core, agent):
        agent.beat(counted=Taken(1, {}))
        assert await _beats_until_told(core, agent, seconds=4) == 4


async def _beats_until_told(core: Core, agent: FakeAgent, *, seconds: float) -> int:
    """How many more heartbeats come, so far apart, until a difference is told."""
    for count in range(1, 10):
        await asyncio.sleep(seconds)
        agent.beat(counted=Taken(1, {}))
        await asyncio.sleep(0.1)
        if await told(core):
            return count
    return 0


async def test_an_agent_that_does_not_count_is_left_alone() -> None:
    async with one_agent() as (core, agent):
        await core.submit(WIDE)
        await agent.task()
        await beat(agent, 6, counted=None)
        assert await told(core) == []


async def test_a_task_that_never_arrived_is_told_of() -> None:
    async with one_agent() as (core, agent):
        await core.submit(WIDE)
        await agent.task()
        await beat(agent, 4, counted=NOTHING)
        [event] = await told(core)
        assert event.data is not None
        assert event.data["slots"] == {"agent": 0, "server": 3}


async def test_tasks_that_are_not_handed_to_the_stream_yet_explain_a_difference() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=5)
        hello = agent.hello(**OFFERED)
        agent._session, _ = await core.manager.connect(hello)
        feeder = asyncio.ensure_future(core.manager.feed(agent.session))
        agent.session.credit_given(5)
        await core.submit(WIDE)
        await beat(agent, 6, counted=NOTHING)
        feeder.cancel()
        assert await told(core) == []


async def test_what_was_said_of_tasks_and_is_not_settled_yet_explains_a_difference() -> None:
    async with one_agent() as (core, agent):
        await core.submit(WIDE)
        ref = (await agent.task()).ref
        core.database.failing.add("apply")
        agent.say(ref, COMPLETED)
        await beat(agent, 6, ref, counted=NOTHING)
        assert not core.manager.tally.use_differs
        core.database.failing.clear()
        await agent.acked(ref)
        await beat(agent, 6, counted=NOTHING)
        assert await told(core) == []


async def test_an_offer_that_is_accepted_counts_and_one_that_is_not_does_not() -> None:
    async with one_agent() as (core, agent):
        agent.accepts = False
        await core.submit(make_submission(slots=3, execution=Execution.ONCE))
        await agent.offer()
        await beat(agent, 5, counted=NOTHING)
        assert await told(core) == []
        await core.submit(make_submission(slots=2, execution=Execution.ONCE))
        await eventually(lambda: len(agent.offers) == 2)
        accepted = list(agent.offers)[1]
        await beat(agent, 5, accepted, counted=Taken(2, {}))
        assert await told(core) == []


@pytest.mark.parametrize("period, running, beats", [(1.0, (), 4), (1.0, (NOBODYS,), 16), (5.0, (NOBODYS,), 4)])
async def test_what_counts_no_more_is_given_time_to_be_stopped_however_often_it_is_heard_of(
    period: float, running: tuple[AttemptRef, ...], beats: int
) -> None:
    async with one_agent() as (core, agent):
        agent.session.rhythm = Rhythm(period)
        for number in range(beats):
            assert (number, await told(core)) == (number, [])
            agent.beat(*running, counted=Taken(1, {}))
            await asyncio.sleep(period)
        assert len(await told(core)) == 1


async def test_what_is_in_doubt_since_an_earlier_session_is_left_to_its_lease() -> None:
    async with one_agent() as (core, agent):
        [task_id] = await core.submit(make_submission(slots=3, execution=Execution.ONCE))
        ref = (await agent.task()).ref
        agent.say(ref, Started())
        await agent.hang_up()
        await agent.connect(remembers_since=2, **OFFERED)
        await beat(agent, 6, counted=NOTHING)
        assert core.manager.agents.view("a1").current_tasks == [task_id]
        assert await told(core) == []


async def test_what_it_had_before_and_has_still_counts() -> None:
    async with one_agent() as (core, agent):
        await core.submit(WIDE)
        ref = (await agent.task()).ref
        await agent.hang_up()
        await agent.connect(held=[HeldAttempt(ref, HeldState.RUNNING)], credit=4, **OFFERED)
        await beat(agent, 6, ref, counted=TAKEN)
        assert await told(core) == []
        await beat(agent, 4, ref, counted=NOTHING)
        assert len(await told(core)) == 1
