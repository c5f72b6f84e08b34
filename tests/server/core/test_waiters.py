"""Who waits for a limit, as `limits` tells it; and the limits that a task has to do with."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.task import Execution
from nodelink_server.core.assembly import Options
from nodelink_server.core.limit_views import LimitView
from nodelink_server.core.task_record import InForce
from nodelink_server.core.waiters import MOST_COUNTED, MOST_WAITED_FOR, MOST_WAITERS
from tests.support.core_parts import Core, Database, make_submission, running_core
from tests.support.fake_agent import FakeAgent

ME = "019a7b1c-5e2f-7c3a-9d41-6b8e2f0a1c57"
OTHER = "019a7b1c-5e2f-7c3a-9d41-6b8e2f0a1c58"


async def connected(core: Core, *, slots: int = 4, agent_id: str = "a1") -> FakeAgent:
    agent = FakeAgent(core, slots=slots, agent_id=agent_id)
    await agent.connect()
    await asyncio.sleep(0.1)
    return agent


def ids(view: LimitView) -> list[str]:
    return [waiter.task_id for waiter in view.waiting]


async def in_force(core: Core, task_id: str) -> list[InForce]:
    return list((await core.manager.get(task_id)).in_force)


async def test_those_who_wait_for_a_key_are_shown_in_their_order_with_since_when() -> None:
    async with running_core() as core:
        agent = await connected(core)
        [holder] = await core.submit(make_submission(limits={"db": 1}))
        await agent.task()
        late, urgent = await core.submit(
            make_submission(limits={"db": 1}), make_submission(limits={"db": 1}, priority=90)
        )
        await asyncio.sleep(1)

        view = await core.manager.limits.shown("key:db")
        assert ([one.task_id for one in view.holders], ids(view), view.waiting_more) == ([holder], [urgent, late], 0)
        [first, _] = view.waiting
        assert (first.priority, first.since) == (90, (await core.manager.get(urgent)).task.ready_at)
        assert (await core.manager.limits.listed()).limits == [view]


async def test_one_that_no_agent_has_looked_at_is_shown_all_the_same() -> None:
    async with running_core() as core:
        agent = await connected(core, slots=1)
        await core.submit(make_submission(lock="db"))
        await agent.task()
        [behind] = await core.submit(make_submission(lock="db"))
        assert ids(await core.manager.limits.shown("key:db")) == [behind]


async def test_nobody_waits_for_a_limit_that_has_room() -> None:
    async with running_core() as core:
        await core.manager.limits.set("pool:default", 5)
        await core.submit(make_submission(limits={"db": 2}), make_submission())
        for name in ("pool:default", "key:db", "running", "type:echo"):
            view = await core.manager.limits.shown(name)
            assert (ids(view), view.waiting_more) == ([], 0)


async def test_of_a_limit_that_is_set_those_of_its_kind_wait() -> None:
    async with running_core() as core:
        one, other = await core.submit(make_submission(priority=10), make_submission(pool="web", priority=20))
        [only] = await core.submit(make_submission(agent_id=ME, priority=30))
        expected = {
            "running": [only, other, one],
            "pool:default": [only, one],
            "pool:web": [other],
            "type:echo": [only, other, one],
            "type:shell": [],
            f"agent:{ME}": [only],
        }
        views = [await core.manager.limits.set(name, 0) for name in expected]
        assert {view.name: ids(view) for view in views} == expected
        await core.manager.cancel(only)
        assert ids(await core.manager.limits.shown("running")) == [other, one]
        assert [one.name for one in (await core.manager.limits.listed()).limits if one.waiting] == [
            "pool:default",
            "pool:web",
            "running",
            "type:echo",
        ]


async def test_so_many_are_shown_and_so_many_more_counted() -> None:
    async with running_core() as core:
        await core.manager.limits.set("running", 0)
        await core.manager.limits.set("key:db", 0)
        for made, more in ((MOST_WAITERS, 0), (MOST_COUNTED, MOST_COUNTED), (1, MOST_COUNTED)):
            await core.submit(*[make_submission(lock="db") for _ in range(made)])
            views = [await core.manager.limits.shown(name) for name in ("running", "key:db")]
            assert [(len(view.waiting), view.waiting_more) for view in views] == [(MOST_WAITERS, more)] * 2


@pytest.mark.parametrize("kind", ["key", "pool"])
async def test_in_a_list_so_many_show_who_waits_and_each_by_its_name(kind: str) -> None:
    async with running_core() as core:
        names = [f"{kind}:n{number:02}" for number in range(MOST_WAITED_FOR + 1)]
        for name in names:
            await core.manager.limits.set(name, 0)
            what = name.partition(":")[2]
            await core.submit(make_submission(lock=what) if kind == "key" else make_submission(pool=what))
        listed = (await core.manager.limits.listed()).limits
        assert [view.name for view in listed if view.waiting] == names[:MOST_WAITED_FOR]
        assert (await core.manager.limits.shown(names[-1])).waiting


async def test_who_waits_is_known_after_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await connected(core)
        [holder] = await core.submit(make_submission(lock="db"))
        await agent.task()
        [behind] = await core.submit(make_submission(lock="db"))
        await core.manager.limits.set("pool:web", 0)
        [gated] = await core.submit(make_submission(pool="web"))
    async with running_core(database) as core:
        view = await core.manager.limits.shown("key:db")
        assert ([one.task_id for one in view.holders], ids(view)) == ([holder], [behind])
        await asyncio.sleep(1)
        assert ids(await core.manager.limits.shown("pool:web")) == [gated]


async def test_a_task_shows_the_limits_that_it_has_to_do_with() -> None:
    async with running_core(options=Options(max_running=9)) as core:
        agent = await connected(core, agent_id=ME)
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        await core.manager.limits.set("key:db", 2)
        await core.manager.limits.set("pool:default", 7)
        await core.manager.limits.set(f"agent:{ME}", 3)
        await core.manager.limits.set(f"agent:{OTHER}", 0)
        [runs] = await core.submit(make_submission(limits={"db": 5}, lock="x", workspace="site"))
        await agent.task()
        [waits] = await core.submit(make_submission(limits={"db": 4, "one": 1}, workspace="site"))
        [bare] = await core.submit(make_submission(pool="web", execution=Execution.EXCLUSIVE))

        running = InForce("running", 9, 1)
        assert await in_force(core, runs) == [
            InForce("key:db", 2, 1),
            InForce("workspace:site", 1, 1),
            InForce("key:x", 1, 1),
            running,
            InForce("pool:default", 7, 1),
            InForce(f"agent:{ME}", 3, 1),
        ]
        assert await in_force(core, waits) == [
            InForce("key:db", 2, 1),
            InForce("key:one", 1, 0),
            InForce("workspace:site", 1, 1),
            running,
            InForce("pool:default", 7, 1),
        ]
        assert await in_force(core, bare) == [running]
        await core.manager.cancel(bare)
        assert await in_force(core, bare) == []
