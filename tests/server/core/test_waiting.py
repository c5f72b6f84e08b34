"""Waiting for the end of several tasks: nobody polls, and a thousand cost one look."""

from __future__ import annotations

import asyncio
import gc

import pytest

from nodelink.errors import InvalidTask, TaskNotFound
from nodelink.task import TaskStatus
from nodelink_server.core.changes import cancelled_by_caller
from nodelink_server.core.ports import Change
from nodelink_server.core.session import RESPONSE_WINDOW_FRAMES
from nodelink_server.core.waiting import MOST_TASKS
from tests.support.core_parts import Core, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent


async def submitted(core: Core, count: int) -> list[str]:
    return await core.submit(*[make_submission() for _ in range(count)])


async def waited(core: Core, task_ids: list[str], timeout_ms: int | None = None, *, all: bool = False) -> list[str]:
    async with asyncio.timeout(2 * 3_600):  # it answers when there is something to say, not when its time is up
        return [end.task_id for end in await core.manager.wait_many(task_ids, timeout_ms, all=all)]


async def test_the_first_end_answers_with_those_that_have_ended() -> None:
    async with running_core() as core:
        first, second, third = await submitted(core, 3)
        waiting = asyncio.ensure_future(waited(core, [third, second, first]))
        await asyncio.sleep(3_600)
        assert not waiting.done()
        await core.manager.cancel(second)

        assert await waiting == [second]
        await core.manager.cancel(third)
        assert await waited(core, [first, second, third]) == [second, third]


async def test_all_are_waited_for_if_asked() -> None:
    async with running_core() as core:
        ids = await submitted(core, 3)
        await core.manager.cancel(ids[1])
        waiting = asyncio.ensure_future(waited(core, ids, all=True))
        await asyncio.sleep(10)
        await core.manager.cancel(ids[2])
        await asyncio.sleep(10)
        assert not waiting.done()
        await core.manager.cancel(ids[0])

        assert await waiting == ids
        assert not core.manager.rooms.consequences._waiters


async def test_when_the_time_is_up_those_come_that_have_ended() -> None:
    async with running_core() as core:
        ids = await submitted(core, 2)
        assert await waited(core, ids, 5_000) == []
        await core.manager.cancel(ids[1])
        assert await waited(core, ids, 5_000, all=True) == [ids[1]]
        assert await waited(core, ids, 0) == [ids[1]]


async def test_an_end_between_the_look_and_the_wait_is_not_missed() -> None:
    async with running_core() as core:
        ids = await submitted(core, 2)
        [task] = await core.database.store().find(ids[1:])
        core.manager.registry.swap(put=(), drop=ids)
        core.database.hold("answer")
        waiting = asyncio.ensure_future(waited(core, ids))
        await core.database.until_held("answer")
        end = cancelled_by_caller(task, message="", grace_ms=0, now=core.clock.now())
        await core.manager.ledger.commit([end])
        core.database.let_go("answer")

        assert await waiting == [ids[1]]


async def test_what_left_memory_long_ago_is_found_in_the_database() -> None:
    async with running_core() as core:
        ids = await submitted(core, 2)
        await core.manager.cancel(ids[0])
        await eventually(lambda: core.manager.registry.get(ids[0]) is None)

        [end] = await core.manager.wait_many(ids, None)

        assert (end.task_id, end.status) == (ids[0], TaskStatus.CANCELLED)


async def test_a_task_named_twice_is_answered_once() -> None:
    async with running_core() as core:
        [task_id] = await submitted(core, 1)
        await core.manager.cancel(task_id)
        assert await waited(core, [task_id, task_id], all=True) == [task_id]


async def test_an_unknown_task_and_too_few_or_too_many_are_refused() -> None:
    async with running_core() as core:
        ids = await submitted(core, 1)
        with pytest.raises(TaskNotFound, match="nobody's"):
            await core.manager.wait_many([*ids, "nobody's"], None)
        for wrong in ([], [f"t{number}" for number in range(MOST_TASKS + 1)]):
            with pytest.raises(InvalidTask, match="task_ids"):
                await core.manager.wait_many(wrong, None)
        assert not core.manager.rooms.consequences._waiters


async def test_a_thousand_are_waited_for_by_no_more_than_a_few_tasks_and_looks() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=4_000)
        await agent.connect()
        ids = await submitted(core, MOST_TASKS)
        await agent.task(MOST_TASKS - 1)
        before, looks = len(asyncio.all_tasks()), core.database.deeds.count("read")
        waiting = asyncio.ensure_future(waited(core, ids, all=True))
        await asyncio.sleep(1)
        assert len(asyncio.all_tasks()) - before <= 4

        for first in range(0, MOST_TASKS, RESPONSE_WINDOW_FRAMES):
            some = agent.tasks[first : first + RESPONSE_WINDOW_FRAMES]
            await asyncio.gather(*[agent.finish(request.ref) for request in some])

        assert await waiting == ids
        assert core.database.deeds.count("read") - looks <= 2


async def test_a_server_that_drains_answers_with_how_things_stand() -> None:
    async with running_core() as core:
        ids = await submitted(core, 3)
        await core.manager.cancel(ids[2])
        waits = [asyncio.ensure_future(waited(core, ids, all=True)), asyncio.ensure_future(waited(core, ids[:2]))]
        await asyncio.sleep(1)
        await core.manager.drain()

        assert await asyncio.gather(*waits) == [[ids[2]], []]
        assert await waited(core, ids[:2]) == []


async def test_whoever_waits_for_many_keeps_no_more_than_the_last_end_in_memory() -> None:
    async with running_core() as core:
        ids = await submitted(core, 4)
        waiting = asyncio.ensure_future(waited(core, ids, all=True))
        await asyncio.sleep(1)
        for task_id in ids[1:]:
            await core.manager.cancel(task_id)
        [endings] = core.manager.rooms.consequences._waiters[ids[0]]
        within = gc.get_referents(*gc.get_referents(endings), endings)
        kept = [one for one in within if isinstance(one, Change)]
        waiting.cancel()

    assert len({id(change) for change in kept}) <= 1
