"""A task that could not be sent to an agent rests, longer each time; whoever comes, or has room, wakes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nodelink.errors import LinkLost
from nodelink.task import Execution, Started, TaskStatus
from nodelink_server.core.assembly import Options
from nodelink_server.core.assignment import Assignment, AssignmentDelays, Unassigned
from nodelink_server.core.offers import ANSWER_SECONDS
from nodelink_server.core.sends import MOST_KNOWN, Sends
from tests.support.clock import ManualClock
from tests.support.core_parts import Core, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

ONCE = make_submission(execution=Execution.ONCE)
DELAYS = AssignmentDelays().send_failed
LONG = AssignmentDelays(send_failed=(3_600_000,))


async def connected(core: Core, beating: asyncio.TaskGroup, agent_id: str = "a1", *, slots: int = 1) -> FakeAgent:
    """An agent that beats."""
    agent = FakeAgent(core, agent_id=agent_id, slots=slots)
    await agent.connect()
    beating.create_task(_beat(agent))
    return agent


async def deaf(core: Core, beating: asyncio.TaskGroup, *, slots: int = 1) -> FakeAgent:
    """One that answers no offer."""
    agent = await connected(core, beating, slots=slots)
    agent.accepts = False
    return agent


async def _beat(agent: FakeAgent) -> None:
    while agent.session.is_open:
        agent.beat()
        await asyncio.sleep(2)


@asynccontextmanager
async def stage(delays: AssignmentDelays | None = None) -> AsyncIterator[tuple[Core, asyncio.TaskGroup]]:
    """A core, and what keeps its agents beating."""
    options = Options(assignment=delays or AssignmentDelays())
    async with running_core(options=options) as core, asyncio.TaskGroup() as beating:
        yield core, beating
        for session in core.manager.agents.sessions():
            session.close(LinkLost("the test is over"))


async def offered(agent: FakeAgent, count: int = 1) -> None:
    """Wait until an agent has been offered so many."""
    await eventually(lambda: len(agent.offers) >= count, within=70)


async def assignment(core: Core, task_id: str) -> Assignment | None:
    return (await core.manager.get(task_id)).assignment


async def resting(core: Core, task_id: str) -> bool:
    tries = await assignment(core, task_id)
    return tries is not None and tries.reason is Unassigned.SEND_FAILED


async def test_each_failure_to_send_is_followed_by_a_longer_rest() -> None:
    async with stage() as (core, beating):
        agent = await deaf(core, beating, slots=9)  # what it does not answer takes one each
        [task_id] = await core.submit(ONCE)
        for number, delay in enumerate((*DELAYS, DELAYS[-1]), start=1):
            await offered(agent, number)
            await eventually(lambda: resting(core, task_id), within=ANSWER_SECONDS + 5)
            tries, began = await assignment(core, task_id), core.clock.now()
            assert tries is not None
            assert (tries.tries, tries.reason) == (number, Unassigned.SEND_FAILED)
            assert delay - 1_000 <= tries.next_at - began <= delay
            await asyncio.sleep(delay / 1000 - 2)
            assert len(agent.offers) == number
            await asyncio.sleep(4)


async def test_the_reason_is_told_and_what_helps() -> None:
    async with stage() as (core, beating):
        agent = await deaf(core, beating)
        [task_id] = await core.submit(ONCE)
        await offered(agent)
        await eventually(lambda: resting(core, task_id), within=ANSWER_SECONDS + 5)
        why = await core.manager.why(task_id)
        assert why.summary.startswith("waits: could not be sent to agent a1, once; the next try is in ")
        assert [verdict.condition for verdict in why.verdicts if not verdict.holds] == ["send"]
        assert why.remedies[0] == "an agent that connects, a task that ends, or the next try"
        assert "could not be sent to agent a1" in (await core.manager.get(task_id)).task.message


async def test_an_agent_that_comes_wakes_it_at_once() -> None:
    async with stage(LONG) as (core, beating):
        agent = await deaf(core, beating)
        [task_id] = await core.submit(ONCE)
        await offered(agent)
        await eventually(lambda: resting(core, task_id), within=ANSWER_SECONDS + 5)
        other = await connected(core, beating, "a2")
        assert (await other.task()).ref.task_id == task_id


async def test_a_task_that_ends_somewhere_wakes_it_at_once() -> None:
    async with stage(LONG) as (core, beating):
        other = await connected(core, beating, "a2")
        await core.submit(make_submission())
        busy = (await other.task()).ref
        other.say(busy, Started())
        agent = await deaf(core, beating)
        [task_id] = await core.submit(ONCE)
        await offered(agent)
        await eventually(lambda: resting(core, task_id), within=ANSWER_SECONDS + 5)
        await agent.hang_up()
        await other.finish(busy)
        other.give_credit(1)
        assert (await other.task(1)).ref.task_id == task_id


async def test_it_does_not_rest_while_another_agent_has_room() -> None:
    async with stage(LONG) as (core, beating):
        agent = await deaf(core, beating)
        [task_id] = await core.submit(ONCE)
        await offered(agent)
        other = await connected(core, beating, "a2")
        await agent.hang_up()
        assert (await other.task()).ref.task_id == task_id
        assert not await resting(core, task_id)


async def test_one_that_rests_is_cancelled_and_expires_as_any_other() -> None:
    async with stage() as (core, beating):
        agent = await deaf(core, beating, slots=2)
        ids = await core.submit(ONCE, make_submission(execution=Execution.ONCE, queue_timeout_ms=32_000))
        await offered(agent, 2)
        await eventually(lambda: resting(core, ids[0]), within=ANSWER_SECONDS + 5)
        await core.manager.cancel(ids[0])
        await asyncio.sleep(3)
        assert [await core.status(one) for one in ids] == [TaskStatus.CANCELLED, TaskStatus.TIMEOUT]
        await asyncio.sleep(60)
        assert len(agent.offers) == 2


async def test_the_delays_are_settings() -> None:
    delays = AssignmentDelays(no_pool=1_000, no_agent_online=2_000, none_free=4_000, send_failed=(700,))
    async with stage(delays) as (core, beating):
        [task_id] = await core.submit(make_submission(execution=Execution.ONCE))
        ready_at = core.clock.now()
        await asyncio.sleep(5)
        assert await assignment(core, task_id) == Assignment(6, ready_at + 6_000, Unassigned.NO_POOL)
        agent = await deaf(core, beating, slots=2)
        await offered(agent)
        await eventually(lambda: resting(core, task_id), within=ANSWER_SECONDS + 5)
        await offered(agent, 2)


def test_no_more_are_remembered_than_memory_has_room_for() -> None:
    sends = Sends(ManualClock())
    for number in range(MOST_KNOWN + 1):
        sends.failed(f"t{number}", "a1", rests=True)
    assert (sends.is_resting("t0"), sends.is_resting("t1")) == (False, True)
    assert len(sends.woken(all=True)) == MOST_KNOWN
    sends.failed("t1", "a1", rests=False)
    assert not sends.is_resting("t1")
