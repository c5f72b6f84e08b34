"""Hellos of one agent that are made durable by one commit: each session knows what its own process can know of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nodelink.task import AttemptRef, HeldAttempt, HeldState, Started, TaskStatus
from tests.support.core_parts import Core, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent


@asynccontextmanager
async def one_commit(core: Core) -> AsyncIterator[None]:
    """What is posted in here is committed together, when it is left."""
    core.database.hold("apply")
    under_way = asyncio.ensure_future(core.submit(make_submission(pool="elsewhere")))
    await core.database.until_held("apply")
    yield
    await asyncio.sleep(0)
    core.database.let_go("apply")
    await under_way


async def is_running(core: Core, agent: FakeAgent) -> AttemptRef:
    """A task runs on an agent that has said goodbye meanwhile."""
    await agent.connect()
    [task_id] = await core.submit(make_submission())
    ref = (await agent.task()).ref
    agent.say(ref, Started())

    async def has_started() -> bool:
        return await core.status(task_id) is TaskStatus.IN_PROGRESS

    await eventually(has_started)
    await agent.hang_up(left=True)
    return ref


async def test_a_copy_that_comes_together_with_the_agent_says_nothing_about_what_that_one_runs() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        ref = await is_running(core, agent)
        held = [HeldAttempt(ref, HeldState.RUNNING)]

        async with one_commit(core):
            copy = asyncio.ensure_future(core.manager.connect(agent.hello(host_id="copy")))
            await asyncio.sleep(0)
            own = asyncio.ensure_future(core.manager.connect(agent.hello(held=held)))
            await asyncio.sleep(0)
        await asyncio.gather(copy, own)

        task = (await core.manager.get(ref.task_id)).task
        assert (task.status, task.ref) == (TaskStatus.IN_PROGRESS, ref)


async def test_an_agent_knows_nothing_of_what_a_copy_was_given_that_came_just_before_it() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await is_running(core, agent)

        async with one_commit(core):
            copy = asyncio.ensure_future(core.manager.connect(agent.hello(host_id="copy")))
            await asyncio.sleep(0)
            own = asyncio.ensure_future(core.manager.connect(agent.hello()))
            await asyncio.sleep(0)
        (first, _), (second, _) = await asyncio.gather(copy, own)

        assert (first.origin.host_since, second.origin.host_since) == (2, 3)
        assert core.database.disk.agents["a1"].host_since == 3
