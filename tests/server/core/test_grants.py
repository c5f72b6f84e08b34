"""Grants: durable before anything leaves, given back when nothing comes of them."""

from __future__ import annotations

import asyncio
import random

from nodelink.task import TaskStatus
from nodelink_server.core.assembly import Options
from tests.support.core_parts import (
    Core,
    Database,
    eventually,
    make_session,
    make_submission,
    make_task,
    running_core,
)
from tests.support.fake_agent import FakeAgent

LARGE = b'"' + b"x" * 5_000 + b'"'


def _stored(core: Core, task_id: str) -> TaskStatus:
    return core.database.disk.rows[core.database.disk.keys[task_id]].task.status


async def test_nothing_is_handed_over_before_its_grant_is_durable() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        agent = FakeAgent(core)
        await agent.connect(credit=0)
        core.database.hold("apply")
        agent.session.credit_given(1)
        await core.database.until_held("apply")
        await asyncio.sleep(3)
        assert _stored(core, task_id) is TaskStatus.PENDING
        assert agent.tasks == []

        core.database.let_go("apply")
        assert (await agent.task()).ref.task_id == task_id
        assert _stored(core, task_id) is TaskStatus.SENT


async def test_every_start_of_the_server_draws_greater_fences() -> None:
    database = Database()
    fences: list[int] = []
    for _ in range(3):
        async with running_core(database) as core:
            agent = FakeAgent(core, agent_id=f"a{len(fences)}")
            await agent.connect()
            await core.submit()
            fences.append((await agent.task()).ref.fence)
    assert fences == sorted(set(fences))


async def test_a_large_payload_is_read_from_the_database_when_it_is_needed() -> None:
    database = Database()
    async with running_core(database) as core:
        await core.submit(make_submission(payload=LARGE))
    async with running_core(database) as core:
        agent = FakeAgent(core)
        await agent.connect()
        assert (await agent.task()).payload == LARGE
        shown = core.manager.registry.get((await agent.task()).ref.task_id)
        assert shown is not None
        assert shown.payload is None


async def test_a_task_whose_payload_cannot_be_read_now_keeps_its_place_and_its_slot_is_free() -> None:
    database = Database()
    async with running_core(database) as core:
        [task_id] = await core.submit(make_submission(payload=LARGE))
    async with running_core(database) as core:
        await eventually(lambda: core.manager.scheduler.waiting_front() == 1)
        agent = FakeAgent(core)
        await agent.connect(credit=0)
        core.database.failing.add("read")
        agent.session.credit_given(1)
        await asyncio.sleep(3)
        assert agent.tasks == []
        assert agent.session._reserved == 0

        core.database.failing.clear()
        assert (await agent.task()).ref.task_id == task_id


async def test_a_session_that_ends_while_a_payload_is_read_gives_the_task_back() -> None:
    database = Database()
    async with running_core(database) as core:
        [task_id] = await core.submit(make_submission(payload=LARGE))
    async with running_core(database) as core:
        await eventually(lambda: core.manager.scheduler.waiting_front() == 1)
        agent, other = FakeAgent(core), FakeAgent(core, agent_id="a2")
        await agent.connect(credit=0)
        await other.connect()
        core.database.hold("read")
        agent.session.credit_given(1)
        await core.database.until_held("read")
        await agent.hang_up()
        core.database.let_go("read")
        assert (await other.task()).ref.task_id == task_id


async def test_a_grant_that_cannot_be_committed_is_tried_again() -> None:
    async with running_core() as core:
        ids = await core.submit(make_submission(), make_submission())
        agent = FakeAgent(core, slots=2)
        await agent.connect(credit=0)
        core.database.failing.add("apply")
        agent.session.credit_given(2)
        core.database.deeds.clear()
        await asyncio.sleep(10)
        assert agent.tasks == []
        assert core.database.deeds.count("apply") < 40

        core.database.failing.clear()
        assert [(await agent.task(place)).ref.task_id for place in range(2)] == ids
        assert agent.session._reserved == 0


async def test_a_task_that_is_given_back_to_a_full_window_leaves_memory_and_has_its_turn() -> None:
    database = Database()
    async with running_core(database) as core:
        [task_id] = await core.submit(make_submission(payload=LARGE, priority=1))
    async with running_core(database, options=Options(window=1)) as core:
        await eventually(lambda: core.manager.scheduler.waiting_front() == 1)
        agent = FakeAgent(core)
        await agent.connect(credit=0)
        database.hold("read")
        agent.session.credit_given(1)
        await database.until_held("read")
        ids = await core.submit(*[make_submission(priority=90) for _ in range(5)])
        database.failing.add("read")
        database.let_go("read")
        await asyncio.sleep(0.2)
        assert core.manager.registry.get(task_id) is None

        database.failing.clear()
        for place in range(6):
            await agent.finish((await agent.task(place)).ref)
            agent.session.credit_given(place + 2)
        assert [request.ref.task_id for request in agent.tasks] == [*ids, task_id]


async def test_a_task_that_is_cancelled_while_it_is_granted_is_not_handed_over() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        agent = FakeAgent(core)
        await agent.connect(credit=0)
        core.database.hold("apply")
        cancel = asyncio.ensure_future(core.manager.cancel(task_id))
        await core.database.until_held("apply")
        agent.session.credit_given(1)
        await asyncio.sleep(0.1)
        core.database.let_go("apply")

        assert (await cancel).task.status is TaskStatus.CANCELLED
        await asyncio.sleep(1)
        assert agent.tasks == []
        assert (agent.session.room, agent.session._reserved) == (1, 0)
        assert core.manager.tally.assignments["refused"] == 1


async def test_what_was_granted_in_vain_is_taken_back_however_often_the_database_fails() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await asyncio.sleep(0.1)
        core.database.hold("applied")
        submit = asyncio.ensure_future(core.submit())
        await core.database.until_held("applied")
        await agent.hang_up()
        core.database.failing.update({"apply", "read"})
        core.database.let_go("applied")
        [task_id] = await submit
        await asyncio.sleep(5)
        assert _stored(core, task_id) is TaskStatus.SENT

        core.database.failing.clear()
        await eventually(lambda: _stored(core, task_id) is TaskStatus.PENDING)
        assert not core.manager.rooms.takebacks


async def test_a_queue_that_cannot_be_read_is_read_later() -> None:
    database = Database()
    async with running_core(database) as core:
        ids = await core.submit(*[make_submission() for _ in range(3)])
    async with running_core(database) as core:
        core.database.failing.add("read")
        agent = FakeAgent(core, slots=3)
        await agent.connect()
        await asyncio.sleep(5)
        core.database.failing.clear()
        assert [(await agent.task(place)).ref.task_id for place in range(3)] == ids


async def test_the_roster_forgets_sessions_that_sleep_no_more() -> None:
    chance = random.Random(3)
    async with running_core() as core:
        has_room = core.manager.scheduler.has_room
        sessions = [make_session(f"a{number}", slots=50, on_room=has_room) for number in range(10)]
        task = make_task()
        feeders = [asyncio.ensure_future(core.manager.feed(session)) for session in sessions]
        await asyncio.sleep(1)
        for _ in range(2_000):
            session = chance.choice(sessions)
            session.reserve(task) if session.room > 25 else session.release([task])
            has_room(session)
        assert len(core.manager.scheduler._roster["default"]) <= 2 * len(sessions) + 65
        for feeder in feeders:
            feeder.cancel()
