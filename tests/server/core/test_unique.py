"""Unique keys: of the live tasks one has a key; who wants it is refused, is given that task, or takes its place."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodelink.errors import IdempotencyConflict, NoAgent, Overloaded, StoreUnavailable, UniqueKeyTaken
from nodelink.task import (
    DEFAULT_GRACE_MS,
    Execution,
    Finished,
    OnConflict,
    Outcome,
    Reason,
    RetryPolicy,
    Started,
    Submission,
    TaskStatus,
    WhenTaken,
)
from nodelink_server.core import submissions
from nodelink_server.core.assembly import Options
from nodelink_server.core.leases import Patience
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task import Task
from tests.support.core_parts import Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

KEY = "nightly"
STOPPED = Finished(outcome=Outcome.CANCELLED, reason=Reason.SUPERSEDED)
FAILED = Finished(outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=1)
S = TaskStatus


def unique(on_conflict: OnConflict = OnConflict.FAIL, *, unique_key: str = KEY, **fields: object) -> Submission:
    """A task that is to be the only live one with its key."""
    return make_submission(unique_key=unique_key, on_conflict=on_conflict, **fields)  # type: ignore[arg-type]


def replacing(**fields: object) -> Submission:
    """One that takes the place of the one that has its key."""
    return unique(OnConflict.REPLACE, **fields)  # type: ignore[arg-type]  # names of fields


async def accepted(core: Core, submission: Submission) -> Accepted:
    [outcome] = await core.manager.submit([submission])
    assert isinstance(outcome, Accepted), outcome
    return outcome


async def stored(core: Core, task_id: str) -> Task:
    return (await core.manager.get(task_id)).task


async def running(core: Core, agent: FakeAgent, submission: Submission) -> str:
    """The next task that an agent was given, and has begun."""
    place = len(agent.tasks)
    [task_id] = await core.submit(submission)
    agent.say((await agent.task(place)).ref, Started())
    await eventually(lambda: stands(core, task_id, S.IN_PROGRESS))
    return task_id


async def connected(core: Core, *, slots: int = 4, agent_id: str = "a1") -> FakeAgent:
    agent = FakeAgent(core, slots=slots, agent_id=agent_id)
    await agent.connect()
    await asyncio.sleep(0.1)
    return agent


async def stands(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status


async def test_while_a_task_lives_another_with_its_key_is_refused_and_told_which() -> None:
    async with running_core() as core:
        [first] = await core.submit(unique())

        refusal = await core.refused(unique(priority=90))

        assert isinstance(refusal, UniqueKeyTaken)
        assert first in refusal.message
        assert KEY in refusal.message
        assert len(core.database.disk.rows) == 1
        await core.submit(unique(unique_key="weekly"), make_submission())


async def test_a_key_is_free_again_when_its_task_has_ended() -> None:
    async with running_core() as core:
        [first] = await core.submit(unique())
        await core.manager.cancel(first)
        [second] = await core.submit(unique())
        assert second != first


async def test_a_key_is_one_for_all_callers() -> None:
    async with running_core() as core:
        await core.manager.submit([unique()], caller="anna")
        [outcome] = await core.manager.submit([unique()], caller="bert")
        assert isinstance(outcome, UniqueKeyTaken)


@pytest.mark.parametrize("fields", [{"delay_ms": 3_600_000}, {"lock": "db"}, {}])
async def test_a_task_has_its_key_while_it_waits_for_its_time_for_a_place_or_for_room(fields: dict[str, Any]) -> None:
    async with running_core() as core:
        await core.submit(unique(**fields))
        assert isinstance(await core.refused(unique()), UniqueKeyTaken)


async def test_a_task_keeps_its_key_between_two_tries_in_doubt_and_over_a_restart() -> None:
    database, options = Database(), Options(patience=Patience(unknown_after=5_000, grace=1_000))
    async with running_core(database, options=options) as core:
        agent = await connected(core)
        again = await running(core, agent, unique(retry=RetryPolicy(initial_ms=3_600_000, max_ms=3_600_000)))
        doubted = await running(core, agent, unique(unique_key="apply", execution=Execution.EXCLUSIVE))
        agent.say((await agent.task(0)).ref, FAILED)
        await eventually(lambda: stands(core, again, S.SCHEDULED))
        await agent.hang_up()
        await eventually(lambda: stands(core, doubted, S.UNKNOWN))
        assert isinstance(await core.refused(unique()), UniqueKeyTaken)
    async with running_core(database, options=options) as core:
        for task_id, key in ((again, KEY), (doubted, "apply")):
            assert task_id in (await core.refused(unique(unique_key=key))).message


async def test_a_retry_keeps_the_key_and_is_refused_while_another_has_it() -> None:
    async with running_core() as core:
        [first] = await core.submit(unique())
        await core.manager.cancel(first)

        again = await core.manager.retry(first)
        assert again.task.spec.unique_key == KEY
        with pytest.raises(UniqueKeyTaken, match=again.task.id):
            await core.manager.retry(first)


async def test_of_those_in_one_batch_the_first_is_accepted() -> None:
    async with running_core() as core:
        outcomes = await core.manager.submit([unique(), make_submission(), unique()])
        assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, UniqueKeyTaken]


async def test_a_slot_and_a_place_that_were_kept_for_what_is_refused_are_free_again() -> None:
    async with running_core() as core:
        agent = await connected(core, slots=3)
        await core.submit(unique())
        await agent.task()
        await asyncio.sleep(0.1)

        assert isinstance(await core.refused(unique(lock="db")), UniqueKeyTaken)

        assert (agent.session.room, agent.session._reserved) == (2, 0)
        assert core.manager.rooms.limits.is_idle


# -- the existing one -------------------------------------------------------------------------------------------------


async def test_who_takes_the_existing_one_is_answered_with_it_as_long_as_it_lives() -> None:
    async with running_core() as core:
        agent = await connected(core)
        first = await running(core, agent, unique())

        answer = await accepted(core, unique(OnConflict.USE_EXISTING, payload=b"[1]"))
        assert (answer.task.id, answer.replayed, answer.task.status) == (first, True, S.IN_PROGRESS)
        assert len(core.database.disk.rows) == 1

        await agent.finish((await agent.task()).ref)
        answer = await accepted(core, unique(OnConflict.USE_EXISTING))
        assert (answer.task.id != first, answer.replayed) == (True, False)


async def test_who_takes_the_existing_one_which_ends_meanwhile_is_a_new_one() -> None:
    async with running_core() as core:
        [first] = await core.submit(unique())
        core.database.hold("read")
        submit = asyncio.ensure_future(core.manager.submit([unique(OnConflict.USE_EXISTING)]))
        await core.database.until_held("read")
        cancel = asyncio.ensure_future(core.manager.cancel(first))
        core.database.let_go("read")
        await cancel

        [outcome] = await submit

        assert isinstance(outcome, Accepted)
        assert (outcome.task.id == first) is outcome.replayed


async def test_of_those_in_one_batch_that_take_the_existing_one_the_first_is_it() -> None:
    async with running_core() as core:
        outcomes = await core.manager.submit([unique(OnConflict.USE_EXISTING) for _ in range(3)])
        assert [outcome.replayed for outcome in outcomes if isinstance(outcome, Accepted)] == [False, True, True]
        assert len({outcome.task.id for outcome in outcomes if isinstance(outcome, Accepted)}) == 1


# -- in its place -----------------------------------------------------------------------------------------------------


async def test_a_task_that_waits_is_cancelled_in_the_commit_in_which_another_takes_its_place() -> None:
    async with running_core() as core:
        [first] = await core.submit(unique())
        applied = core.database.deeds.count("applied")

        second = (await accepted(core, replacing())).task.id

        old = await stored(core, first)
        assert (old.status, old.reason) == (S.CANCELLED, Reason.SUPERSEDED)
        assert second in old.message
        assert await core.status(second) is S.PENDING
        assert core.database.deeds.count("applied") == applied + 2  # the first try found the key taken
        assert old.revision < (await stored(core, second)).revision


async def test_a_delayed_task_is_replaced_and_never_becomes_due() -> None:
    async with running_core() as core:
        [first] = await core.submit(unique(delay_ms=5_000))
        [second] = await core.submit(replacing(delay_ms=60_000))
        await asyncio.sleep(10)
        assert await core.status(first) is S.CANCELLED
        assert await core.status(second) is S.SCHEDULED


async def test_a_task_that_runs_gives_up_its_key_at_once_and_ends_when_its_agent_has_stopped_it() -> None:
    async with running_core() as core:
        agent = await connected(core)
        first = await running(core, agent, unique())

        second = (await accepted(core, replacing())).task.id

        old = await stored(core, first)
        assert (old.status, old.reason, old.unique_key) == (S.CANCELLING, Reason.SUPERSEDED, "")
        assert second in old.message
        command = await agent.cancelled()
        assert (command.grace_ms, command.reason) == (DEFAULT_GRACE_MS, Reason.SUPERSEDED)
        assert (await agent.task(1)).ref.task_id == second  # it does not wait for the other
        assert second in (await core.refused(unique())).message

        agent.say((await agent.task()).ref, STOPPED)
        await agent.acked((await agent.task()).ref)
        old = await stored(core, first)
        assert (old.status, old.reason) == (S.CANCELLED, Reason.SUPERSEDED)
        assert old.spec.unique_key == KEY
        assert second in (await core.refused(unique())).message


async def test_what_was_replaced_and_has_ended_well_before_it_heard_of_it_has_ended_well() -> None:
    async with running_core() as core:
        agent = await connected(core)
        first = await running(core, agent, unique(retry=RetryPolicy()))
        await core.submit(replacing())
        await agent.finish((await agent.task()).ref)
        assert await core.status(first) is S.COMPLETED


async def test_what_was_replaced_is_not_tried_again() -> None:
    async with running_core() as core:
        agent = await connected(core)
        first = await running(core, agent, unique(retry=RetryPolicy()))
        await core.submit(replacing())
        agent.say((await agent.task()).ref, FAILED)
        await agent.acked((await agent.task()).ref)
        assert await core.status(first) is S.FAILED


async def test_what_is_being_stopped_already_only_gives_up_its_key() -> None:
    async with running_core() as core:
        agent = await connected(core)
        first = await running(core, agent, unique())
        await core.manager.cancel(first, message="enough", grace_ms=5)

        [second] = await core.submit(replacing())

        old = await stored(core, first)
        assert old.stop is not None
        assert (old.stop.reason, old.stop.grace_ms, old.message) == (Reason.CANCELLED_BY_CALLER, 5, "enough")
        assert second in (await core.refused(unique())).message


async def test_what_is_in_doubt_is_to_stop_should_its_agent_come_back_with_it() -> None:
    options = Options(patience=Patience(unknown_after=5_000, grace=1_000))
    async with running_core(options=options) as core:
        agent = await connected(core)
        first = await running(core, agent, unique(execution=Execution.EXCLUSIVE))
        await agent.hang_up()
        await eventually(lambda: stands(core, first, S.UNKNOWN))

        [second] = await core.submit(replacing())

        old = await stored(core, first)
        assert old.stop is not None
        assert (old.status, old.stop.reason, old.unique_key) == (S.UNKNOWN, Reason.SUPERSEDED, "")
        assert second in (await core.refused(unique())).message


async def test_a_task_that_is_replaced_while_it_is_offered_never_starts() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=2)
        agent.accepts = False
        await agent.connect()
        [first] = await core.submit(unique(execution=Execution.ONCE))
        assert (await agent.offer()).ref.task_id == first
        agent.accepts = True

        [second] = await core.submit(replacing())

        assert (await agent.task()).ref.task_id == second
        assert await core.status(first) is S.CANCELLED


async def test_of_many_that_replace_one_another_at_once_the_last_one_lives_and_all_were_accepted() -> None:
    async with running_core() as core:
        await core.submit(unique())
        outcomes = await asyncio.gather(*[accepted(core, replacing()) for _ in range(10)])

        ids = [outcome.task.id for outcome in outcomes]
        assert len(set(ids)) == 10
        states = [(await stored(core, task_id)).status for task_id in ids]
        assert sorted(states) == [S.CANCELLED] * 9 + [S.PENDING]


async def test_of_a_batch_that_replace_one_another_each_takes_the_place_of_the_one_before() -> None:
    async with running_core() as core:
        ids = await core.submit(*[replacing() for _ in range(submissions.TRIES + 10)])
        assert len(ids) == submissions.TRIES + 10
        states = [await core.status(task_id) for task_id in ids]
        assert sorted(states) == [S.CANCELLED] * (len(ids) - 1) + [S.PENDING]


@pytest.mark.parametrize("end", ["cancel", "finish"])
async def test_what_ends_in_the_moment_in_which_it_is_replaced_has_one_end_and_the_key_one_owner(end: str) -> None:
    async with running_core() as core:
        agent = await connected(core)
        first = await running(core, agent, unique())
        core.database.hold("apply")
        nudge = asyncio.ensure_future(core.submit())
        await core.database.until_held("apply")
        replace = asyncio.ensure_future(core.manager.submit([replacing()]))
        await asyncio.sleep(0.01)
        if end == "finish":
            agent.say((await agent.task()).ref, Finished(outcome=Outcome.COMPLETED))
            ended = None
        else:
            ended = asyncio.ensure_future(core.manager.cancel(first))
        core.database.let_go("apply")
        await nudge
        [outcome] = await replace
        if ended is not None:
            await ended

        assert isinstance(outcome, Accepted)
        assert outcome.task.id in (await core.refused(unique())).message
        wanted = {S.COMPLETED} if end == "finish" else {S.CANCELLING}
        await eventually(lambda: _is_one_of(core, first, wanted))


async def _is_one_of(core: Core, task_id: str, statuses: set[TaskStatus]) -> bool:
    return await core.status(task_id) in statuses


async def test_nobody_makes_way_for_what_was_accepted_before() -> None:
    async with running_core() as core:
        [second] = await core.submit(replacing(key="again"))
        [third] = await core.submit(replacing())

        answer = await accepted(core, replacing(key="again"))

        assert (answer.task.id, answer.replayed) == (second, True)
        assert await core.status(third) is S.PENDING


async def test_nobody_makes_way_for_a_key_that_means_another_request_by_then() -> None:
    async with running_core() as core:
        [first] = await core.submit(unique())
        core.database.hold("read")
        replace = asyncio.ensure_future(core.manager.submit([replacing(key="k")]))
        await core.database.until_held("read")  # its first try has found the key taken
        [other] = await core.submit(make_submission(key="k", priority=1))
        core.database.let_go("read")

        [outcome] = await replace

        assert isinstance(outcome, IdempotencyConflict)
        assert await core.status(first) is S.PENDING
        assert await core.status(other) is S.PENDING


async def test_nobody_makes_way_for_what_finds_nobody_to_run_it() -> None:
    async with running_core() as core:
        agent = await connected(core, slots=1)
        first = await running(core, agent, unique())
        assert isinstance(await core.refused(replacing(queue_timeout_ms=0)), NoAgent)
        assert await core.status(first) is S.IN_PROGRESS


async def test_nobody_makes_way_for_what_is_skipped() -> None:
    async with running_core() as core:
        agent = await connected(core)
        await running(core, agent, make_submission(lock="db"))
        first = await running(core, agent, unique())

        answer = await accepted(core, replacing(lock="db", when_taken=WhenTaken.SKIP))

        assert answer.task.status is S.SKIPPED
        assert await core.status(first) is S.IN_PROGRESS
        assert first in (await core.refused(unique())).message


async def test_while_the_database_is_away_nobody_makes_way_and_everything_reserved_is_free_again() -> None:
    async with running_core() as core:
        agent = await connected(core, slots=2)
        first = await running(core, agent, unique())
        core.database.hold("read")
        replace = asyncio.ensure_future(core.manager.submit([replacing(lock="db")]))
        await core.database.until_held("read")
        core.database.failing.add("apply")
        core.database.let_go("read")

        with pytest.raises(StoreUnavailable):
            await replace

        core.database.failing.clear()
        assert (agent.session.room, agent.session._reserved) == (1, 0)
        assert core.manager.rooms.limits.is_idle
        assert await core.status(first) is S.IN_PROGRESS
        [second] = await core.submit(replacing())
        assert (await agent.task(1)).ref.task_id == second


async def test_of_a_batch_of_which_something_is_accepted_the_rest_is_told_to_come_again_if_the_database_goes() -> None:
    async with running_core() as core:
        await core.submit(unique())
        core.database.hold("read")
        submit = asyncio.ensure_future(core.manager.submit([make_submission(), replacing()]))
        await core.database.until_held("read")
        core.database.failing.add("read")
        core.database.let_go("read")

        outcomes = await submit

        assert [type(outcome) for outcome in outcomes] == [Accepted, Overloaded]
        assert isinstance(outcomes[1], Overloaded)
        assert outcomes[1].retry_after is not None


async def test_a_caller_that_goes_away_between_two_tries_harms_nothing() -> None:
    async with running_core() as core:
        agent = await connected(core, slots=2)
        first = await running(core, agent, unique())
        core.database.hold("read")
        replace = asyncio.ensure_future(core.manager.submit([replacing()]))
        await core.database.until_held("read")
        replace.cancel()
        core.database.let_go("read")
        await asyncio.sleep(1)

        assert (agent.session.room, agent.session._reserved) == (1, 0)
        assert await core.status(first) is S.IN_PROGRESS


async def test_an_event_tells_that_a_task_is_to_stop_for_another() -> None:
    async with running_core() as core:
        agent = await connected(core)
        first = await running(core, agent, unique())
        [second] = await core.submit(replacing())
        agent.say((await agent.task()).ref, STOPPED)
        await agent.acked((await agent.task()).ref)

        history = await core.database.store().history(first)
        told = [(event.name, event.reason, (event.data or {}).get("message")) for event in history[-2:]]
        assert told == [
            ("task.cancelling", "superseded", f"task {second} takes its place"),
            ("task.cancelled", "superseded", f"task {second} takes its place"),
        ]
