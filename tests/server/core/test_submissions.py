"""How tasks come in: durable, once a key, refused by name."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import (
    IdempotencyConflict,
    InvalidTask,
    NoAgent,
    Overloaded,
    StoreUnavailable,
)
from nodelink.task import Execution, TaskStatus
from nodelink_server.core import ledger
from nodelink_server.core.assembly import Options
from nodelink_server.core.attempt import Hold
from nodelink_server.core.submissions import Accepted
from tests.support.core_parts import Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent


async def test_a_task_is_durable_when_it_is_accepted() -> None:
    database = Database()
    async with running_core(database) as core:
        [outcome] = await core.manager.submit([make_submission(payload=b'{"a": 1}')], caller="me")
        assert isinstance(outcome, Accepted)
        assert (outcome.replayed, outcome.task.status, outcome.task.caller) == (False, TaskStatus.PENDING, "me")
    async with running_core(database) as core:
        record = await core.manager.get(outcome.task.id)
        assert record.payload == b'{"a": 1}'


async def test_a_task_for_which_a_slot_is_free_is_granted_in_its_own_commit() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await asyncio.sleep(0.1)
        applied = core.database.deeds.count("applied")

        [outcome] = await core.manager.submit([make_submission()])

        assert isinstance(outcome, Accepted)
        assert outcome.task.status is TaskStatus.SENT
        assert core.database.deeds.count("applied") == applied + 1
        assert (await agent.task()).ref == outcome.task.ref
        assert core.manager.tally.assignments["on_submit"] == 1


async def test_who_has_heard_of_a_commit_is_in_time_for_the_next_one() -> None:
    """Though others, who came during the commit, wait for the next one already."""
    async with running_core() as core:

        async def submit_twice() -> None:
            await core.submit()
            await core.submit()

        core.database.hold("apply")
        twice = asyncio.ensure_future(submit_twice())
        await core.database.until_held("apply")
        other = asyncio.ensure_future(core.submit())
        await asyncio.sleep(0)
        commits = core.database.deeds.count("applied")

        core.database.let_go("apply")
        await asyncio.gather(twice, other)

        assert core.database.deeds.count("applied") == commits + 2


async def test_of_a_batch_each_is_answered_by_itself_and_in_order() -> None:
    async with running_core() as core:
        outcomes = await core.manager.submit(
            [make_submission(), make_submission("nonsense"), make_submission(), make_submission(priority=101)]
        )
        assert [type(outcome) for outcome in outcomes] == [Accepted, InvalidTask, Accepted, InvalidTask]


async def test_a_batch_of_which_nothing_is_valid_commits_nothing() -> None:
    async with running_core() as core:
        assert isinstance(await core.refused(make_submission("nonsense")), InvalidTask)
        assert core.database.disk.rows == {}


async def test_the_same_request_under_one_key_is_one_task() -> None:
    async with running_core() as core:
        first = make_submission(key="k", payload=b'{"a": 1, "b": 2}')
        again = make_submission(key="k", payload=b'{"b":2,"a":1}')

        [accepted] = await core.manager.submit([first])
        [replayed] = await core.manager.submit([again])

        assert isinstance(accepted, Accepted)
        assert isinstance(replayed, Accepted)
        assert (replayed.task.id, replayed.replayed) == (accepted.task.id, True)
        assert len(core.database.disk.rows) == 1


async def test_one_key_twice_in_a_batch_is_one_task() -> None:
    async with running_core() as core:
        assert len(set(await core.submit(make_submission(key="k"), make_submission(key="k")))) == 1


async def test_another_request_under_a_taken_key_is_refused() -> None:
    async with running_core() as core:
        await core.submit(make_submission(key="k"))
        assert isinstance(await core.refused(make_submission(key="k", priority=1)), IdempotencyConflict)


async def test_callers_have_keys_of_their_own() -> None:
    async with running_core() as core:
        await core.manager.submit([make_submission(key="k")], caller="a")
        await core.manager.submit([make_submission(key="k")], caller="b")
        assert len(core.database.disk.rows) == 2


async def test_a_key_is_remembered_over_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        [task_id] = await core.submit(make_submission(key="k"))
    async with running_core(database) as core:
        assert await core.submit(make_submission(key="k")) == [task_id]


async def test_a_slot_that_was_kept_for_a_repeated_request_is_free_again() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(key="k"))
        agent = FakeAgent(core, slots=2)
        await agent.connect()
        await agent.task()
        await asyncio.sleep(0.1)

        assert await core.submit(make_submission(key="k")) == [task_id]

        assert (agent.session.room, agent.session._reserved) == (1, 0)


async def test_a_task_that_must_not_wait_is_refused_when_nobody_has_room() -> None:
    async with running_core() as core:
        refusal = await core.refused(make_submission(queue_timeout_ms=0))
        assert isinstance(refusal, NoAgent)
        assert refusal.retry_after is not None

        agent = FakeAgent(core)
        await agent.connect()
        await asyncio.sleep(0.1)
        await core.submit(make_submission(queue_timeout_ms=0))
        assert isinstance(await core.refused(make_submission(queue_timeout_ms=0)), NoAgent)


async def test_while_the_database_is_away_nothing_is_accepted_and_everything_reserved_is_free_again() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await asyncio.sleep(0.1)
        core.database.failing.add("apply")

        with pytest.raises(StoreUnavailable):
            await core.submit(make_submission(), make_submission())

        assert (agent.session.room, agent.session._reserved) == (1, 0)
        assert not core.manager.scheduler._arriving
        core.database.failing.clear()
        await core.submit()
        await agent.task()


async def test_a_caller_that_goes_away_harms_nothing() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await asyncio.sleep(0.1)
        core.database.hold("apply")
        submit = asyncio.ensure_future(core.submit(make_submission(), make_submission()))
        await core.database.until_held("apply")
        submit.cancel()
        core.database.let_go("apply")

        await agent.finish((await agent.task()).ref)
        agent.session.credit_given(2)
        await agent.task(1)
        assert agent.session._reserved == 0
        assert not core.manager.scheduler._arriving


async def test_too_many_live_tasks_are_refused_and_room_comes_back() -> None:
    async with running_core(options=Options(max_live_tasks=3)) as core:
        ids = await core.submit(*[make_submission() for _ in range(3)])
        await asyncio.sleep(1.1)
        with pytest.raises(Overloaded) as overloaded:
            await core.submit()
        assert overloaded.value.retry_after is not None

        await core.manager.cancel(ids[0])
        await asyncio.sleep(1.1)
        await core.submit()


async def test_too_much_that_waits_for_the_disk_is_refused() -> None:
    async with running_core() as core:
        core.database.hold("apply")
        waiting = [asyncio.ensure_future(core.submit(*[make_submission() for _ in range(1_000)]))]
        await core.database.until_held("apply")
        while core.manager.ledger.queue_depth < ledger.MOST_GATHERED:
            waiting.append(asyncio.ensure_future(core.submit(*[make_submission() for _ in range(1_000)])))
            await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await core.submit()
        for each in waiting:
            each.cancel()
        core.database.let_go("apply")


async def test_a_type_that_an_agent_declares_can_be_asked_for_with_its_class() -> None:
    async with running_core() as core:
        assert isinstance(await core.refused(make_submission("render")), InvalidTask)
        await FakeAgent(core, handlers={"render": Execution.REPLAYABLE}).connect(credit=0)

        [task_id] = await core.submit(make_submission("render"))
        assert (await core.manager.get(task_id)).task.execution is Execution.REPLAYABLE


async def test_nothing_is_accepted_once_the_server_stops() -> None:
    async with running_core() as core:
        await core.manager.drain()
        with pytest.raises(StoreUnavailable):
            await core.submit()


async def test_a_submission_does_not_overtake_what_waits() -> None:
    async with running_core() as core:
        first = await core.submit(make_submission(), make_submission())
        agent = FakeAgent(core)
        await agent.connect()
        [last] = await core.submit()

        await agent.finish((await agent.task()).ref)
        agent.session.credit_given(2)
        await agent.finish((await agent.task(1)).ref)
        agent.session.credit_given(3)
        await agent.task(2)

        assert [request.ref.task_id for request in agent.tasks] == [*first, last]
        await eventually(lambda: core.manager.scheduler.waiting_front() == 0)


async def test_a_task_whose_place_is_anothers_in_the_database_is_accepted_and_waits() -> None:
    """Whatever the server believed: what it says is accepted is durable."""
    async with running_core() as core:
        agent = FakeAgent(core, slots=2)
        await agent.connect()
        [other] = await core.submit()
        await agent.task()
        await asyncio.sleep(0.1)
        core.database.disk.holds[Hold("db")] = core.database.disk.keys[other]

        [task_id] = await core.submit(make_submission(lock="db"))

        assert await core.status(task_id) is TaskStatus.PENDING
        assert (agent.session.room, agent.session._reserved) == (1, 0)
