"""One thing done to many tasks: what is matched, what it is done to and what not, and that nothing waits for ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from nodelink.errors import InvalidTask, Overloaded, StoreUnavailable, TooLarge
from nodelink.task import AckDisposition, Declined, Execution, Started, TaskStatus
from nodelink_server.core import bulk
from nodelink_server.core.assembly import Options
from nodelink_server.core.bulk import MOST_IDS, MOST_PER_COMMIT, BulkAction, BulkOrder, BulkOutcome
from nodelink_server.core.ports import Change, EventName, TaskQuery
from nodelink_server.core.task_record import RemarkKind
from nodelink_server.core.validation import MAX_GRACE_MS, MAX_METADATA, MAX_REASON_CHARS
from tests.support.core_parts import COMPLETED, Core, Database, eventually, make_submission, make_task, running_core
from tests.support.fake_agent import FakeAgent

ECHO = TaskQuery(type="echo")


async def do(core: Core, action: BulkAction, query: TaskQuery = ECHO, **more: Any) -> BulkOutcome:
    """What comes of one call."""
    return await core.manager.bulk(BulkOrder(query=query, action=action, **more))


async def cancel(core: Core, query: TaskQuery = ECHO, **more: Any) -> BulkOutcome:
    return await do(core, BulkAction.CANCEL, query, **more)


async def prioritize(core: Core, priority: int, query: TaskQuery = ECHO, **more: Any) -> BulkOutcome:
    return await do(core, BulkAction.SET_PRIORITY, query, priority=priority, **more)


async def statuses(core: Core, ids: Sequence[str]) -> list[str]:
    return [(await core.status(task_id)).value for task_id in ids]


async def begun(core: Core, agent: FakeAgent) -> str:
    """The id of a task that an agent runs."""
    place = len(agent.tasks)
    [task_id] = await core.submit()
    agent.say((await agent.task(place)).ref, Started())
    await eventually(lambda: _is(core, task_id, TaskStatus.IN_PROGRESS))
    return task_id


async def _is(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status


# --- stopping -------------------------------------------------------------------------------------------------------


async def test_every_task_that_matches_is_stopped_in_one_commit() -> None:
    database = Database()
    async with running_core(database) as core:
        ids = await core.submit(*[make_submission() for _ in range(5)])
        [other] = await core.submit(make_submission(pool="gpu"))
        database.deeds.clear()

        outcome = await cancel(core, TaskQuery(pool="default"), reason="not needed")

        assert (outcome.matched, outcome.done, outcome.skipped, outcome.next_key) == (5, 5, {}, 0)
        assert outcome.ids == ids[::-1]
        assert database.deeds.count("apply") == 1
        assert await statuses(core, [*ids, other]) == [*["cancelled"] * 5, "pending"]
        assert (await core.manager.get(ids[0])).task.message == "not needed"


async def test_what_is_with_an_agent_is_asked_to_stop_with_the_grace_that_was_said() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        running = await begun(core, agent)

        first = await cancel(core, grace_ms=3_000)
        again = await cancel(core)

        assert (first.done, first.ids, await core.status(running)) == (1, [running], TaskStatus.CANCELLING)
        assert (await agent.cancelled()).grace_ms == 3_000
        assert (again.matched, again.done, again.skipped) == (1, 0, {"already being stopped": 1})


async def test_what_is_named_is_told_of_whatever_its_status() -> None:
    async with running_core() as core:
        ended, waits = await core.submit(make_submission(), make_submission())
        await core.manager.cancel(ended)

        outcome = await cancel(core, TaskQuery(ids=frozenset({ended, waits, "nothing"})))
        by_status = await cancel(core, TaskQuery(statuses=frozenset({TaskStatus.CANCELLED})))

        assert (outcome.matched, outcome.done, outcome.skipped) == (2, 1, {"already finished": 1})
        assert (by_status.matched, by_status.done, by_status.skipped) == (2, 0, {"already finished": 2})


async def test_every_given_filter_must_match() -> None:
    async with running_core() as core:
        red, blue = await core.submit(make_submission(metadata={"team": "red"}), make_submission())
        labelled = TaskQuery(labels=frozenset({("team", "red")}), ids=frozenset({red, blue}))
        assert (await cancel(core, labelled)).ids == [red]
        assert (await cancel(core, TaskQuery(q=blue, type="shell"))).matched == 0


async def test_what_changes_meanwhile_is_looked_at_once_more() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = FakeAgent(core)
        await agent.connect()
        runs = await begun(core, agent)
        [waits] = await core.submit()
        pending = TaskQuery(statuses=frozenset({TaskStatus.PENDING, TaskStatus.IN_PROGRESS}))
        database.hold("apply")
        core.manager.ledger.nudge()
        await database.until_held("apply")
        agent.say(agent.tasks[0].ref, COMPLETED)
        await asyncio.sleep(0.1)
        doing = asyncio.ensure_future(cancel(core, pending))
        await asyncio.sleep(0.1)
        database.let_go("apply")
        outcome = await doing

        assert (outcome.matched, outcome.done, outcome.ids) == (2, 1, [waits])
        assert outcome.skipped == {"changed meanwhile": 1}
        assert await statuses(core, [runs, waits]) == ["completed", "cancelled"]


async def test_what_has_begun_meanwhile_is_stopped_if_it_still_matches() -> None:
    database = Database()
    async with running_core(database) as core:
        [task_id] = await core.submit()
        agent = FakeAgent(core)
        database.hold("apply")
        core.manager.ledger.nudge()
        await database.until_held("apply")
        connecting = asyncio.ensure_future(agent.connect())
        await asyncio.sleep(0)
        database.let_go("apply")
        await connecting
        database.hold("apply")
        await database.until_held("apply")
        doing = asyncio.ensure_future(cancel(core))
        await asyncio.sleep(0.1)
        database.let_go("apply")
        assert (await doing).done == 1
        assert (await agent.cancelled()).ref.task_id == task_id


# --- running again --------------------------------------------------------------------------------------------------


async def test_what_went_wrong_is_run_again_as_new_tasks() -> None:
    async with running_core() as core:
        failed = await core.submit(make_submission(payload=b'{"n":1}'), make_submission(payload=b'{"n":2}'))
        for task_id in failed:
            await core.manager.abandon(task_id, reason="a test")
        [cancelled, waits] = await core.submit(make_submission(), make_submission())
        await core.manager.cancel(cancelled)

        tried = await do(core, BulkAction.RETRY, dry_run=True)
        outcome = await do(core, BulkAction.RETRY)
        named = await do(core, BulkAction.RETRY, TaskQuery(ids=frozenset({cancelled, waits})))

        assert (tried.matched, tried.done, tried.ids) == (2, 2, failed[::-1])
        assert (outcome.matched, outcome.done, outcome.skipped) == (2, 2, {})
        again = [await core.manager.get(task_id) for task_id in outcome.ids]
        assert [(one.task.retry_of, one.payload) for one in again] == [(failed[1], b'{"n":2}'), (failed[0], b'{"n":1}')]
        assert (named.matched, named.done, named.skipped) == (2, 1, {"not finished yet": 1})


async def test_what_is_refused_when_it_is_run_again_is_told_by_why() -> None:
    async with running_core() as core:
        first, second = await core.submit(make_submission(unique_key="k"), make_submission())
        await core.manager.cancel(first)
        await core.submit(make_submission(unique_key="k"))
        await core.manager.cancel(second)
        outcome = await do(core, BulkAction.RETRY, TaskQuery(ids=frozenset({first, second})))
        assert (outcome.matched, outcome.done, outcome.skipped) == (2, 1, {"refused: UNIQUE_KEY_TAKEN": 1})


async def test_too_many_live_tasks_keep_the_first_page_from_being_run_again() -> None:
    async with running_core(options=Options(max_live_tasks=1)) as core:
        [task_id] = await core.submit()
        await core.manager.cancel(task_id)
        await asyncio.sleep(5)
        await core.submit()
        await asyncio.sleep(5)
        with pytest.raises(Overloaded):
            await do(core, BulkAction.RETRY, TaskQuery(ids=frozenset({task_id})))


# --- other priorities -----------------------------------------------------------------------------------------------


async def test_tasks_of_another_priority_go_in_that_order() -> None:
    async with running_core() as core:
        ids = await core.submit(*[make_submission(priority=priority) for priority in (50, 60, 70)])

        raised = await prioritize(core, 90, TaskQuery(ids=frozenset({ids[0]})), reason="the boss asks")
        lowered = await prioritize(core, 10, TaskQuery(ids=frozenset({ids[2]})))

        assert (raised.done, lowered.done) == (1, 1)
        agent = FakeAgent(core)
        await agent.connect()
        order = []
        for place in range(3):
            ref = (await agent.task(place)).ref
            order.append(ref.task_id)
            await agent.finish(ref)
            agent.session.credit_given(place + 2)
        assert order == [ids[0], ids[1], ids[2]]


async def test_a_new_priority_is_shown_and_kept_with_its_reason_and_who_said_it() -> None:
    database = Database()
    async with running_core(database) as core:
        [task_id] = await core.submit(make_submission(priority=50))
        told = await database.store().history(task_id)
        rank = (await core.manager.get(task_id)).task.rank

        outcome = await core.manager.bulk(
            BulkOrder(query=ECHO, action=BulkAction.SET_PRIORITY, priority=80, reason="soon"), caller="ada"
        )
        same = await prioritize(core, 80)
        record = await core.manager.get(task_id)

        [remark] = record.remarks
        assert (outcome.done, same.done, same.skipped) == (1, 0, {"already of this priority": 1})
        assert (record.task.spec.priority, rank - record.task.rank) == (80, 30 * 60_000)
        assert (remark.kind, remark.by, remark.text) == (RemarkKind.REPRIORITIZED, "ada", "from 50 to 80: soon")
        assert await database.store().history(task_id) == told
        await core.manager.cancel(task_id)
        assert [event.priority for event in await database.store().history(task_id)] == [50, 50, 80]
        assert await core.manager.counts() == {}


async def test_a_critical_task_goes_before_all_and_its_place_comes_back() -> None:
    async with running_core() as core:
        [task_id] = await core.submit(make_submission(priority=50))
        before = (await core.manager.get(task_id)).task.rank
        await prioritize(core, 100)
        above = (await core.manager.get(task_id)).task.rank
        await prioritize(core, 50)
        assert above < -(1 << 51)
        assert (await core.manager.get(task_id)).task.rank == before


async def test_what_waits_for_its_time_gets_its_rank_then() -> None:
    async with running_core() as core:
        [later] = await core.submit(make_submission(delay_ms=5_000))
        assert (await prioritize(core, 90)).done == 1
        [plain] = await core.submit(make_submission(priority=80))
        await eventually(lambda: _is(core, later, TaskStatus.PENDING))
        ranks = [(await core.manager.get(task_id)).task.rank for task_id in (later, plain)]
        assert ranks[0] < ranks[1]


async def test_what_is_blocked_goes_on_being_blocked() -> None:
    async with running_core() as core:
        blocked = make_task("blocked", status=TaskStatus.BLOCKED)
        await core.manager.ledger.commit([Change(task=blocked, expected=0, events=(EventName.TASK_CREATED,))])
        core.manager.registry.swap(put=(), drop=["blocked"])
        assert (await prioritize(core, 90)).done == 1
        assert (await core.manager.get("blocked")).task.spec.priority == 90
        assert core.manager.registry.get("blocked") is None


async def test_what_is_with_an_agent_keeps_its_priority() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=2)
        agent.accepts = False
        await agent.connect()
        runs = await begun(core, agent)
        [offered] = await core.submit(make_submission(execution=Execution.ONCE))
        await agent.offer()

        narrowed = await prioritize(core, 90)
        named = await prioritize(core, 90, TaskQuery(ids=frozenset({runs, offered})))

        assert (narrowed.matched, narrowed.skipped) == (1, {"about to start": 1})
        assert (named.done, named.skipped) == (0, {"already with an agent": 1, "about to start": 1})


@pytest.mark.parametrize("execution", [Execution.REPLAYABLE, Execution.ONCE])
@pytest.mark.parametrize("accepts", [True, False])
async def test_a_task_that_is_given_away_while_its_priority_changes_is_given_once_more(
    execution: Execution, accepts: bool
) -> None:
    database = Database()
    async with running_core(database) as core:
        agent = FakeAgent(core, slots=2)
        agent.accepts = accepts
        await agent.connect(credit=0)
        [task_id] = await core.submit(make_submission(execution=execution))
        database.hold("apply")
        changing = asyncio.ensure_future(prioritize(core, 90))
        await database.until_held("apply")
        agent.session.credit_given(1)
        await asyncio.sleep(0.1)
        database.let_go("apply")
        assert (await changing).done == 1
        if execution is Execution.ONCE and not accepts:
            agent.say((await agent.offer()).ref, Declined(just_this=True))
        agent.accepts = True
        agent.session.credit_given(2)

        task = (await agent.task()).ref
        assert task.task_id == task_id
        assert await agent.finish(task) is AckDisposition.COMMITTED
        assert (await core.manager.get(task_id)).task.spec.priority == 90


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_priorities_change_everything_is_run(seed: int) -> None:
    """A small window, so that most of what waits is in the database alone; priorities change as tasks are taken."""
    chance = random.Random(seed)
    async with running_core(options=Options(window=chance.choice([1, 3, 10]))) as core:
        ids = await core.submit(*[make_submission(priority=chance.randint(1, 100)) for _ in range(60)])
        agents = [FakeAgent(core, agent_id=f"a{number}", slots=2) for number in range(2)]
        for agent in agents:
            agent.handlers = {"echo": chance.choice([Execution.REPLAYABLE, Execution.ONCE])}
            await agent.connect()
        working = [asyncio.create_task(_work(agent, chance)) for agent in agents]

        for _ in range(30):
            some = frozenset(chance.sample(ids, chance.randint(1, 30)))
            await prioritize(core, chance.randint(1, 100), TaskQuery(ids=some))
            await asyncio.sleep(chance.random() * 0.02)
        await eventually(lambda: _all_completed(core, ids), within=120)
        for work in working:
            work.cancel()


async def _work(agent: FakeAgent, chance: random.Random) -> None:
    """Do what comes, for ever."""
    for place in range(1_000):
        ref = (await agent.task(place)).ref
        await asyncio.sleep(chance.random() * 0.05)
        agent.say(ref, COMPLETED)
        agent.session.credit_given(agent.slots + place + 1)


async def _all_completed(core: Core, ids: Sequence[str]) -> bool:
    return all([await _is(core, task_id, TaskStatus.COMPLETED) for task_id in ids])


# --- how far one call goes ------------------------------------------------------------------------------------------


async def test_a_trial_changes_nothing() -> None:
    database = Database()
    async with running_core(database) as core:
        ids = await core.submit(make_submission(), make_submission())
        database.deeds.clear()
        for action, priority in ((BulkAction.CANCEL, None), (BulkAction.SET_PRIORITY, 90)):
            outcome = await do(core, action, dry_run=True, priority=priority)
            assert (outcome.matched, outcome.done, outcome.ids) == (2, 2, ids[::-1])
        assert "apply" not in database.deeds
        assert await statuses(core, ids) == ["pending", "pending"]


async def test_many_tasks_are_done_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database()
    async with running_core(database) as core:
        count = 2 * MOST_PER_COMMIT + 1
        await core.submit(*[make_submission() for _ in range(MOST_PER_COMMIT)])
        await core.submit(*[make_submission() for _ in range(MOST_PER_COMMIT)])
        await core.submit()
        database.deeds.clear()
        outcome = await cancel(core)
        assert (outcome.matched, outcome.done, outcome.next_key) == (count, count, 0)
        assert len(outcome.ids) == MOST_IDS
        assert database.deeds.count("apply") == 3


async def test_one_call_goes_so_far_and_the_next_goes_on_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_TASKS", 2)
    monkeypatch.setattr(bulk, "MOST_PER_COMMIT", 2)
    async with running_core() as core:
        ids = await core.submit(*[make_submission() for _ in range(3)])
        first = await prioritize(core, 90)
        rest = await prioritize(core, 90, TaskQuery(type="echo", before_key=first.next_key))
        assert (first.ids, bool(first.next_key)) == (ids[:0:-1], True)
        assert (rest.ids, rest.next_key) == (ids[:1], 0)


async def test_a_call_that_takes_too_long_says_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_PER_COMMIT", 1)
    database = Database()
    async with running_core(database) as core:
        ids = await core.submit(make_submission(), make_submission())
        database.hold("apply")
        doing = asyncio.ensure_future(cancel(core))
        await database.until_held("apply")
        await asyncio.sleep(bulk.MOST_SECONDS + 1)
        database.let_go("apply")
        outcome = await doing
        assert (outcome.ids, bool(outcome.next_key)) == (ids[1:], True)


class FailsOnTheWay(Database):
    """Takes nothing any more once its second task is cancelled."""

    is_mended = False

    def _fault(self, kind: str) -> None:
        second = self.disk.rows.get(2)
        if kind == "apply" and second is not None and second.task.is_terminal and not self.is_mended:
            raise StoreUnavailable("the database is away")


async def test_what_fails_on_the_way_leaves_the_rest_to_another_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_PER_COMMIT", 1)
    database = FailsOnTheWay()
    async with running_core(database) as core:
        ids = await core.submit(make_submission(), make_submission())
        outcome = await cancel(core)
        database.is_mended = True
        rest = await cancel(core, TaskQuery(type="echo", before_key=outcome.next_key))
        assert (outcome.matched, outcome.ids) == (1, ids[1:])
        assert (rest.ids, rest.next_key) == (ids[:1], 0)


async def test_what_cannot_be_made_durable_is_refused() -> None:
    database = Database()
    async with running_core(database) as core:
        [task_id] = await core.submit()
        database.failing.add("apply")
        with pytest.raises(StoreUnavailable):
            await cancel(core)
        database.failing.clear()
        assert await core.status(task_id) is TaskStatus.PENDING


# --- what is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action, query, more, field",
    [
        (BulkAction.CANCEL, TaskQuery(), {}, "filter"),
        (BulkAction.CANCEL, TaskQuery(before_key=7), {}, "filter"),
        (BulkAction.CANCEL, TaskQuery(q="a b"), {}, "filter.q"),
        (
            BulkAction.CANCEL,
            TaskQuery(labels=frozenset((str(n), "") for n in range(MAX_METADATA + 1))),
            {},
            "filter.label",
        ),
        (BulkAction.CANCEL, ECHO, {"reason": "x" * (MAX_REASON_CHARS + 1)}, "reason"),
        (BulkAction.CANCEL, ECHO, {"grace_ms": MAX_GRACE_MS + 1}, "grace"),
        (BulkAction.CANCEL, ECHO, {"grace_ms": -1}, "grace"),
        (BulkAction.CANCEL, ECHO, {"priority": 50}, "priority"),
        (BulkAction.RETRY, ECHO, {"reason": "x"}, "reason"),
        (BulkAction.RETRY, ECHO, {"grace_ms": 1}, "grace"),
        (BulkAction.RETRY, ECHO, {"priority": 50}, "priority"),
        (BulkAction.SET_PRIORITY, ECHO, {}, "priority"),
        (BulkAction.SET_PRIORITY, ECHO, {"priority": 0}, "priority"),
        (BulkAction.SET_PRIORITY, ECHO, {"priority": 101}, "priority"),
        (BulkAction.SET_PRIORITY, ECHO, {"priority": 50, "grace_ms": 1}, "grace"),
    ],
)
async def test_a_wrong_order_is_refused_by_name(
    action: BulkAction, query: TaskQuery, more: dict[str, Any], field: str
) -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        with pytest.raises(InvalidTask) as refused:
            await do(core, action, query, **more)
        assert [error.field for error in refused.value.errors] == [field]
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_so_many_tasks_may_be_named_and_not_one_more() -> None:
    async with running_core() as core:
        names = frozenset(f"t{number}" for number in range(MOST_IDS))
        assert (await cancel(core, TaskQuery(ids=names))).matched == 0
        with pytest.raises(TooLarge, match=r"filter\.ids"):
            await cancel(core, TaskQuery(ids=names | {"one more"}))
