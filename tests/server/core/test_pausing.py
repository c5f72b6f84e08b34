"""Under a pause nothing new starts, what runs goes on, and it lasts until somebody ends it."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import InvalidTask, NoAgent, StoreUnavailable
from nodelink.task import Accepted, Execution, Finished, Outcome, Reason, RetryPolicy, TaskStatus
from nodelink_server.core.assembly import Options
from nodelink_server.core.pauses import MOST_PAUSES, SCHEDULER, Pause, scope_of
from nodelink_server.core.ports import EventName
from nodelink_server.core.task import drop_payload
from tests.support.core_parts import Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

ONCE = make_submission("shell", payload=b'{"command":"x"}', execution=Execution.ONCE)


async def _agent(core: Core, *, slots: int = 4) -> FakeAgent:
    agent = FakeAgent(core, slots=slots)
    await agent.connect()
    return agent


@pytest.mark.parametrize("scope", [SCHEDULER, "pool:default", "type:echo"])
async def test_under_a_pause_nothing_new_starts_and_what_runs_goes_on(scope: str) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.submit()
        running = await agent.task()

        await core.manager.pause(scope)
        [task_id] = await core.submit()
        await agent.finish(running.ref)
        await asyncio.sleep(5)
        assert len(agent.tasks) == 1
        assert await core.status(task_id) is TaskStatus.PENDING

        assert await core.manager.resume(scope)
        assert (await agent.task(1)).ref.task_id == task_id


async def test_what_is_not_paused_overtakes_what_is() -> None:
    async with running_core() as core:
        agent = await _agent(core, slots=1)
        await core.manager.pause("type:shell")
        await core.submit(ONCE)

        [task_id] = await core.submit(make_submission(queue_timeout_ms=0))

        assert (await agent.task()).ref.task_id == task_id


async def test_a_task_that_will_not_wait_is_refused_under_a_pause() -> None:
    async with running_core() as core:
        await _agent(core)
        await core.manager.pause(SCHEDULER)

        assert isinstance(await core.refused(make_submission(queue_timeout_ms=0)), NoAgent)


async def test_an_offer_is_taken_back_by_a_pause_and_a_late_yes_starts_nothing() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        agent.accepts = False
        await agent.connect()
        [task_id] = await core.submit(make_submission(execution=Execution.ONCE))
        ref = (await agent.offer()).ref

        await core.manager.pause("pool:default")
        agent.say(ref, Accepted())
        await asyncio.sleep(5)
        assert not agent.tasks
        assert await core.status(task_id) is TaskStatus.PENDING
        assert core.manager.tally.offers["paused"] == 1

        agent.accepts = True
        agent.session.credit_given(2)  # for the one that it has forgotten
        await core.manager.resume("pool:default")
        assert (await agent.task()).ref.task_id == task_id


async def test_what_was_leased_when_the_pause_came_is_not_granted() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        await core.manager.pause(SCHEDULER)
        await core.submit(make_submission(payload=b'"' + b"x" * 5_000 + b'"'))
        [task] = core.manager.registry
        drop_payload(task)
        database.hold("read")
        await core.manager.resume(SCHEDULER)
        await database.until_held("read")  # the task is leased, and its payload is being read

        await core.manager.pause(SCHEDULER)
        database.let_go("read")
        await asyncio.sleep(5)
        assert not agent.tasks
        await core.manager.resume(SCHEDULER)
        await agent.task()


async def test_a_promise_made_before_the_pause_is_not_kept_under_it() -> None:
    """The task is committed as waiting, and would have been offered when that is through."""
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        database.hold("apply")
        submitting = asyncio.ensure_future(core.submit(make_submission(execution=Execution.ONCE)))
        await database.until_held("apply")

        pausing = asyncio.ensure_future(core.manager.pause(SCHEDULER))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        database.let_go("apply")
        await submitting
        await pausing
        await asyncio.sleep(5)
        assert not agent.offers
        await core.manager.resume(SCHEDULER)
        await agent.task()


async def test_retries_wait() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        retry = RetryPolicy(max_attempts=3, initial_ms=1_000)
        [task_id] = await core.submit(make_submission(retry=retry))
        running = await agent.task()

        await core.manager.pause("type:echo")
        agent.say(running.ref, Finished(outcome=Outcome.FAILED))
        await asyncio.sleep(5)
        assert len(agent.tasks) == 1
        task = (await core.manager.get(task_id)).task
        assert (task.status, task.reason) == (TaskStatus.PENDING, Reason.PAUSED)

        await core.manager.resume("type:echo")
        await agent.task(1)


async def test_every_pause_has_to_end_before_a_task_starts() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        for scope in (SCHEDULER, "pool:default", "type:echo"):
            await core.manager.pause(scope)
        [task_id] = await core.submit()
        why = await core.manager.why(task_id)
        assert why.remedies == (
            "nodelink scheduler resume",
            "nodelink scheduler resume --pool default",
            "nodelink scheduler resume --type echo",
        )

        for scope in (SCHEDULER, "type:echo"):
            await core.manager.resume(scope)
        await asyncio.sleep(5)
        assert not agent.tasks
        assert (await core.manager.get(task_id)).task.message == "waits: pool 'default' is paused"
        assert core.manager.agent_why("a1").summary == "is given nothing: pool 'default' is paused"

        await core.manager.resume("pool:default")
        await agent.task()


async def test_a_pause_outlives_the_server_with_its_reason() -> None:
    database = Database()
    async with running_core(database) as core:
        pause = await core.manager.pause("type:echo", reason="the mail is down", by="ada")
        await core.submit()

    async with running_core(database) as core:
        assert (await core.manager.scheduler_status()).pauses == (pause,)
        assert pause == Pause("type:echo", pause.since, "ada", "the mail is down")
        agent = await _agent(core)
        await asyncio.sleep(5)
        assert not agent.tasks
        await core.manager.resume("type:echo")
        await agent.task()
    assert not database.disk.pauses


async def test_pausing_twice_changes_nothing_and_so_does_resuming_what_is_not_paused() -> None:
    async with running_core() as core:
        first = await core.manager.pause(SCHEDULER, reason="one", by="ada")
        assert await core.manager.pause(SCHEDULER, reason="two", by="bob") == first
        assert await core.manager.resume(SCHEDULER)
        assert not await core.manager.resume(SCHEDULER)
        assert (await core.manager.scheduler_status()).state == "running"


async def test_listeners_hear_of_pauses() -> None:
    async with running_core() as core:
        await core.manager.pause("pool:gpu", reason="hot")
        await core.manager.resume("pool:gpu", by="ada")

        events = [event for _, _, block in core.database.disk.blocks for event in block]
        assert [(event.name, event.pool, event.data) for event in events] == [
            (
                EventName.SCHEDULER_STATUS,
                "gpu",
                {"scope": "pool:gpu", "state": "paused", "by": "local", "reason": "hot"},
            ),
            (EventName.SCHEDULER_STATUS, "gpu", {"scope": "pool:gpu", "state": "running", "by": "ada"}),
        ]


async def test_a_pause_that_cannot_be_made_durable_is_none() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        database.failing.add("apply")
        with pytest.raises(StoreUnavailable):
            await core.manager.pause(SCHEDULER)
        database.failing.clear()

        await eventually(lambda: not core.manager.ledger.failing, within=60)
        await core.submit()
        await agent.task()


async def test_a_server_can_be_set_to_start_paused_and_stays_so() -> None:
    database = Database()
    async with running_core(database, options=Options(start_paused=True)) as core:
        await core.submit()
        agent = await _agent(core)
        await asyncio.sleep(5)
        assert not agent.tasks
        [pause] = (await core.manager.scheduler_status()).pauses
        assert (pause.by, pause.reason) == ("settings", "scheduler_start is paused")

    async with running_core(database) as core:
        assert (await core.manager.scheduler_status()).state == "paused"


async def test_there_is_a_bound_to_what_can_be_paused() -> None:
    async with running_core() as core:
        for number in range(MOST_PAUSES):
            core.manager.rooms.pauses.begin(Pause(f"type:t{number}", 0))

        with pytest.raises(InvalidTask) as refusal:
            await core.manager.pause("pool:one-too-many")
        assert [error.field for error in refusal.value.errors] == ["pool"]
        assert await core.manager.pause("type:t1")


@pytest.mark.parametrize(
    "scope, field",
    [({"pool": "a", "type": "b"}, "type"), ({"pool": "a b"}, "pool"), ({"type": "x" * 64}, "type")],
)
def test_a_scope_is_a_pool_or_a_type_or_neither(scope: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidTask) as refusal:
        scope_of(**scope)
    assert [error.field for error in refusal.value.errors] == [field]
    assert (scope_of(), scope_of(pool="p"), scope_of(type="x" * 63)) == (SCHEDULER, "pool:p", "type:" + "x" * 63)


async def test_too_many_words_are_refused() -> None:
    async with running_core() as core:
        with pytest.raises(InvalidTask):
            await core.manager.pause(SCHEDULER, reason="x" * 1_001)
        await core.manager.pause(SCHEDULER, reason="x" * 1_000)
