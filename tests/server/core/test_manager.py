"""The one door: asking, waiting, cancelling, and the ways in which a server goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodelink.errors import InvalidTask, StoreUnavailable, TaskAlreadyFinished, TaskNotFound
from nodelink.task import Execution, Finished, Outcome, Reason, Started, TaskStatus
from nodelink_server.core.ports import TaskQuery
from nodelink_server.core.validation import MAX_GRACE_MS, MAX_REASON_CHARS
from tests.support.core_parts import eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

CANCELLED = Finished(outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER)


async def test_a_task_that_waits_is_cancelled_at_once() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        record = await core.manager.cancel(task_id, message="no more")

        assert (record.task.status, record.task.message) == (TaskStatus.CANCELLED, "no more")
        agent = FakeAgent(core)
        await agent.connect()
        await asyncio.sleep(5)
        assert agent.tasks == []


async def test_an_agent_hears_of_a_cancel_however_long_reading_takes() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        request = await agent.task()
        core.database.hold("read")
        cancelling = asyncio.ensure_future(core.manager.cancel(task_id))

        assert (await agent.cancelled()).ref == request.ref

        core.database.let_go("read")
        assert (await cancelling).task.status is TaskStatus.CANCELLING


async def test_a_delayed_task_is_cancelled_at_once_and_never_becomes_due() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(delay_ms=5_000))
        await core.manager.cancel(task_id)
        await asyncio.sleep(10)
        assert await core.status(task_id) is TaskStatus.CANCELLED


async def test_a_task_that_runs_is_cancelled_when_its_agent_confirms_it() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        agent.say(ref, Started())

        record = await core.manager.cancel(task_id, grace_ms=500)
        assert record.task.status is TaskStatus.CANCELLING
        command = await agent.cancelled()
        assert (command.ref, command.grace_ms, command.reason) == (ref, 500, Reason.CANCELLED_BY_CALLER)

        agent.say(ref, CANCELLED)
        await agent.acked(ref)
        assert await core.status(task_id) is TaskStatus.CANCELLED


async def test_an_agent_is_told_again_until_it_answers() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        await core.manager.cancel(task_id)
        for _ in range(3):
            agent.beat()
            await asyncio.sleep(5)
        assert len(agent.cancels) == 4

        agent.say(ref, CANCELLED)
        await agent.acked(ref)
        agent.beat()
        await asyncio.sleep(1)
        assert len(agent.cancels) == 4


async def test_cancelling_again_changes_nothing() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        await agent.task()
        first = await core.manager.cancel(task_id, grace_ms=5)
        again = await core.manager.cancel(task_id, grace_ms=99)
        assert first.task.revision == again.task.revision


async def test_what_has_finished_cannot_be_cancelled() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        await core.manager.cancel(task_id)
        with pytest.raises(TaskAlreadyFinished):
            await core.manager.cancel(task_id)
        with pytest.raises(TaskNotFound):
            await core.manager.cancel("nobody's")


@pytest.mark.parametrize(
    "field, wish",
    [
        ("grace", {"grace_ms": MAX_GRACE_MS + 1}),
        ("grace", {"grace_ms": -1}),
        ("reason", {"message": "x" * (MAX_REASON_CHARS + 1)}),
    ],
)
async def test_a_wish_to_cancel_is_bounded(field: str, wish: dict[str, Any]) -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        await agent.task()
        with pytest.raises(InvalidTask) as refused:
            await core.manager.cancel(task_id, **wish)
        assert [error.field for error in refused.value.errors] == [field]
        assert (await core.manager.get(task_id)).task.stop is None


async def test_the_longest_grace_and_the_longest_reason_are_taken() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        await agent.task()
        record = await core.manager.cancel(task_id, message="x" * MAX_REASON_CHARS, grace_ms=MAX_GRACE_MS)
        assert record.task.stop is not None
        assert record.task.stop.grace_ms == MAX_GRACE_MS


async def test_a_task_granted_in_vain_and_cancelled_meanwhile_ends_cancelled() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        await agent.task()
        await agent.hang_up()
        await core.manager.cancel(task_id)
        assert await core.status(task_id) is TaskStatus.CANCELLING

        await agent.connect()
        assert await core.status(task_id) is TaskStatus.CANCELLED


async def test_a_cancel_and_a_grant_at_one_time_leave_one_of_two_ends() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        agent = FakeAgent(core)
        core.database.hold("read")
        cancel = asyncio.ensure_future(core.manager.cancel(task_id))
        await core.database.until_held("read")
        connect = asyncio.ensure_future(agent.connect())
        await asyncio.sleep(1)
        core.database.let_go("read")
        await connect
        record = await cancel

        assert record.task.status in {TaskStatus.CANCELLED, TaskStatus.CANCELLING}


async def test_waiting_ends_with_the_task_or_with_the_time() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        record = await core.manager.wait(task_id, 5_000)
        assert record.task.status is TaskStatus.PENDING

        waiting = asyncio.ensure_future(core.manager.wait(task_id, None))
        await asyncio.sleep(3_600)
        await core.manager.cancel(task_id)
        assert (await waiting).task.status is TaskStatus.CANCELLED
        assert (await core.manager.wait(task_id, 0)).task.status is TaskStatus.CANCELLED
        assert not core.manager.rooms.consequences._waiters


async def test_waiting_for_a_task_that_left_memory_ends_at_once() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        await core.manager.cancel(task_id)
        await eventually(lambda: core.manager.registry.get(task_id) is None)
        assert (await core.manager.wait(task_id, None)).task.status is TaskStatus.CANCELLED
        with pytest.raises(TaskNotFound):
            await core.manager.wait("nobody's", None)


async def test_a_task_that_waits_says_why() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        assert "no agent of pool 'default'" in (await core.manager.get(task_id)).task.message

        agent = FakeAgent(core, handlers={"render": Execution.ONCE})
        await agent.connect()
        assert "handles type 'echo'" in (await core.manager.get(task_id)).task.message

        busy = FakeAgent(core, agent_id="a2")
        await busy.connect(credit=0)
        [listed] = await core.manager.list(TaskQuery())
        assert "free slot among 1" in listed.task.message


async def test_counts_are_at_most_a_second_old() -> None:
    async with running_core() as core:
        await core.submit(make_submission(), make_submission(pool="big"))
        assert dict(await core.manager.counts()) == {("pending", "default"): 1, ("pending", "big"): 1}
        await core.submit()
        assert (await core.manager.counts())["pending", "default"] == 1
        await asyncio.sleep(1.1)
        assert (await core.manager.counts())["pending", "default"] == 2


async def test_health_follows_the_database() -> None:
    async with running_core() as core:
        assert core.manager.health().database
        core.database.failing.add("apply")
        await asyncio.sleep(3)
        health = core.manager.health()
        assert (health.database, health.dispatch) == (False, True)
        assert health.message.endswith("the database is away")
        core.database.failing.clear()
        await asyncio.sleep(3)
        assert core.manager.health().database


async def test_a_loop_that_hangs_shows_in_health() -> None:
    async with running_core() as core:
        await core.submit(make_submission(delay_ms=1))
        core.database.hold("read")
        await asyncio.sleep(30)
        assert not core.manager.health().dispatch
        core.database.let_go("read")


async def test_draining_says_goodbye_and_takes_no_more() -> None:
    async with running_core() as core:
        session, _ = await core.manager.connect(FakeAgent(core).hello())
        await core.manager.drain()

        assert (await session.outgoing()).goodbye
        assert core.manager.health().draining
        with pytest.raises(StoreUnavailable):
            await core.manager.connect(FakeAgent(core, agent_id="a2").hello())


async def test_whoever_waits_for_a_commit_when_the_server_stops_is_told() -> None:
    async with running_core() as core:
        core.database.hold("apply")
        first = asyncio.ensure_future(core.submit())
        await core.database.until_held("apply")
        second = asyncio.ensure_future(core.submit())
        await asyncio.sleep(0.1)
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, StoreUnavailable]
