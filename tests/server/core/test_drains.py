"""Agents that a person wants to be empty: nothing new, what has not begun handed back, what runs stopped in time."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import AgentNotFound, InvalidTask, StoreUnavailable
from nodelink.task import (
    Accepted,
    AckDisposition,
    AttemptRef,
    Declined,
    ErrorCategory,
    Execution,
    Finished,
    HeldAttempt,
    HeldState,
    LogStream,
    Outcome,
    Reason,
    RetryPolicy,
    Started,
    TaskStatus,
    VerdictAction,
)
from nodelink.values import evolve
from nodelink_server.core.ports import TaskEvent
from nodelink_server.core.session import DrainRequest
from nodelink_server.core.statistics import Grouping, StatsQuery
from nodelink_server.core.validation import MAX_DRAIN_MS, MAX_REASON_CHARS
from tests.support.core_parts import Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

ONCE = make_submission(execution=Execution.ONCE)
STOPPED = Finished(outcome=Outcome.CANCELLED, reason=Reason.DRAINED, signal=15)
"""What an agent says of what it has stopped because it is drained."""


async def _agent(core: Core, agent_id: str = "a1", *, accepts: bool = True, **hello: object) -> FakeAgent:
    agent = FakeAgent(core, agent_id=agent_id, slots=2)
    agent.accepts = accepts
    await agent.connect(**hello)  # type: ignore[arg-type]  # names of fields
    return agent


async def _running(core: Core, agent: FakeAgent, **spec: object) -> AttemptRef:
    """A task that an agent runs."""
    place = len(agent.tasks)
    await core.submit(make_submission(**spec))  # type: ignore[arg-type]  # names of fields
    ref = (await agent.task(place)).ref
    agent.say(ref, Started())
    await eventually(lambda: _is(core, ref.task_id, TaskStatus.IN_PROGRESS))
    return ref


async def _is(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status


def _status(core: Core, agent_id: str = "a1") -> str:
    return core.manager.agents.view(agent_id).status


async def _told(core: Core, since: int = 0) -> list[TaskEvent]:
    """The events behind a revision that are about agents that are drained."""
    await core.manager.ledger.commit()
    events = await core.database.store().events(since, 1_000)
    return [event for event in events if event.name.startswith("agent.drain")]


# --- nothing new ----------------------------------------------------------------------------------------------------


async def test_a_drained_agent_gets_nothing_new_until_that_is_lifted() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        view = await core.manager.drain_agent("a1", note="a new disk", deadline_ms=60_000)
        assert (view.status, view.drain_note, view.drained_at) == ("cordoned", "a new disk", core.clock.now())
        assert view.drain_deadline == core.clock.now() + 60_000
        [first, second] = await core.submit(make_submission(), ONCE)
        await asyncio.sleep(5)
        assert not agent.tasks
        assert not agent.offers

        view = await core.manager.undrain("a1")
        assert (view.status, view.drained_at, view.drain_deadline, view.drain_note) == ("online", None, None, "")
        assert {(await agent.task(place)).ref.task_id for place in range(2)} == {first, second}


async def test_a_drain_lasts_over_restarts_of_both_sides() -> None:
    database = Database()
    async with running_core(database) as core:
        await _agent(core)
        await core.manager.drain_agent("a1", note="a new disk", deadline_ms=60_000)
    async with running_core(database) as core:
        assert core.manager.agents.view("a1").drain_note == "a new disk"
        agent = FakeAgent(core)
        agent.number = 1
        await agent.connect()
        await core.submit()
        await asyncio.sleep(2)
        assert not agent.tasks
        await agent.hang_up()
        await agent.connect()
        await asyncio.sleep(2)
        assert not agent.tasks
        assert [request.reason for request in agent.drains] == ["a new disk"] * 2
        await core.manager.undrain("a1")
        await agent.task()
        await agent.hang_up()
        await agent.connect()
        assert len(agent.drains) == 2


async def test_an_agent_that_comes_while_it_is_being_drained_is_drained() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        await agent.hang_up()
        await core.manager.ledger.commit()
        database.hold("apply")
        core.manager.ledger.nudge()
        await database.until_held("apply")
        coming = asyncio.ensure_future(agent.connect())
        await asyncio.sleep(0)
        draining = asyncio.ensure_future(core.manager.drain_agent("a1", note="now"))
        await asyncio.sleep(0)
        database.let_go("apply")
        await asyncio.gather(coming, draining)
        assert agent.session.drained
        record = database.disk.agents["a1"]
        assert (record.session, record.drain_note, record.drained_at is not None) == (2, "now", True)


class HoldsBack(Database):
    """Takes nothing any more once the agent's second session is durable, until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def _pause(self, kind: str) -> None:
        agent = self.disk.agents.get("a1")
        if kind == "apply" and agent is not None and agent.session == 2:
            await self.may.wait()
        await super()._pause(kind)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_drain_is_answered_when_it_is_durable_for_the_session_that_comes(is_cancelled: bool) -> None:
    database = HoldsBack()
    async with running_core(database) as core:
        agent = await _agent(core)
        await agent.hang_up()
        await core.manager.ledger.commit()
        database.hold("apply")
        core.manager.ledger.nudge()
        await database.until_held("apply")
        coming = asyncio.ensure_future(agent.connect())
        await asyncio.sleep(0)
        draining = asyncio.ensure_future(core.manager.drain_agent("a1", note="now"))
        await asyncio.sleep(0)
        if is_cancelled:
            draining.cancel()
        database.let_go("apply")
        await coming
        await asyncio.sleep(1)
        assert draining.done() is is_cancelled
        assert database.disk.agents["a1"].drained_at is None
        database.may.set()
        await asyncio.gather(draining, return_exceptions=True)
        await core.manager.ledger.commit()
        assert database.disk.agents["a1"].drain_note == "now"


async def test_an_agent_whose_hello_is_durable_and_unheard_is_drained_for_good() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        await agent.hang_up()
        database.hold("applied")
        coming = asyncio.ensure_future(core.manager.connect(agent.hello()))
        await database.until_held("applied")
        draining = asyncio.ensure_future(core.manager.drain_agent("a1"))
        await asyncio.sleep(0)
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        database.let_go("applied")
        await draining
        record = database.disk.agents["a1"]
        assert (record.session, record.drained_at is not None) == (2, True)


async def test_a_drain_that_cannot_be_made_durable_is_none() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        database.failing.add("apply")
        with pytest.raises(StoreUnavailable):
            await core.manager.drain_agent("a1")
        database.failing.clear()
        assert _status(core) == "online"
        await core.submit()
        await agent.task()
        assert not await _told(core)


async def test_an_undrain_lifts_a_cordon_too() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        core.manager.agents.cordon("a1", "five bad starts")
        await core.manager.drain_agent("a1", note="a new disk")
        assert core.manager.agents.view("a1").cordon == "five bad starts"
        await core.manager.undrain("a1")
        await core.submit()
        await agent.task()


# --- what has not begun ---------------------------------------------------------------------------------------------


async def test_what_is_offered_to_it_goes_to_another_at_once() -> None:
    async with running_core() as core:
        agent = await _agent(core, accepts=False)
        [task_id] = await core.submit(ONCE)
        ref = (await agent.offer()).ref
        other = await _agent(core, "a2")

        await core.manager.drain_agent("a1")

        assert (await other.task()).ref.task_id == task_id
        assert (await agent.cancelled()).ref == ref
        agent.say(ref, Accepted())
        await asyncio.sleep(1)
        assert not agent.tasks
        assert core.manager.tally.offers["drained"] == 1


async def test_what_is_being_loaded_for_it_is_not_given_to_it() -> None:
    database = Database()
    large = make_submission(payload=b'"' + b"x" * 2_000 + b'"')
    async with running_core(database) as core:
        ids = await core.submit(large, evolve(large, spec=evolve(large.spec, execution=Execution.ONCE)))
    async with running_core(database) as core:
        agent = FakeAgent(core, slots=2)
        agent.accepts = False
        await agent.connect(credit=0)
        await eventually(lambda: core.manager.scheduler.waiting_front() == 2)
        database.hold("answer")
        agent.session.credit_given(2)
        await eventually(lambda: core.manager.rooms.grants.feeding_since() is not None)
        await core.manager.drain_agent("a1")
        database.let_go("answer")
        await asyncio.sleep(1)
        assert not agent.tasks
        assert not agent.offers
        other = await _agent(core, "a2")
        assert {(await other.task(place)).ref.task_id for place in range(2)} == set(ids)


async def test_what_is_on_its_way_to_an_agent_that_reads_nothing_goes_to_another() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=3)
        agent._session, _ = await core.manager.connect(agent.hello())
        feeding = asyncio.ensure_future(core.manager.feed(agent.session))
        agent.session.credit_given(3)
        [granted, offered, accepted] = await core.submit(make_submission(), ONCE, ONCE)
        await asyncio.sleep(1)
        refs = agent.session._handover.refs()
        [started] = [ref for ref in refs if ref.task_id == accepted]
        agent.say(started, Accepted())
        await eventually(lambda: _is(core, accepted, TaskStatus.SENT))

        await core.manager.drain_agent("a1")
        other = await _agent(core, "a2")

        assert {(await other.task(place)).ref.task_id for place in range(2)} < {granted, offered, accepted}
        other.session.credit_given(3)
        await other.task(2)
        frame = await agent.session.outgoing()
        assert (frame.tasks, frame.starts) == ([], [])
        assert {stop.ref for stop in frame.cancels} == {ref for ref in refs if ref.task_id != granted}
        assert frame.drain is not None
        await core.manager.undrain("a1")
        assert agent.session.room == 3
        feeding.cancel()


@pytest.mark.parametrize("execution", [Execution.REPLAYABLE, Execution.ONCE])
async def test_what_is_being_granted_to_it_goes_to_another(execution: Execution) -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core, accepts=False)
        offered: AttemptRef | None = None
        if execution is Execution.ONCE:
            submitting = asyncio.ensure_future(core.submit(ONCE))
            offered = (await agent.offer()).ref
            database.hold("apply")
            agent.say(offered, Accepted())
        else:
            database.hold("apply")
            submitting = asyncio.ensure_future(core.submit())
        await database.until_held("apply")
        draining = asyncio.ensure_future(core.manager.drain_agent("a1"))
        await asyncio.sleep(0)
        database.let_go("apply")
        await draining
        [task_id] = await submitting
        await eventually(lambda: _is(core, task_id, TaskStatus.PENDING))
        assert not agent.tasks
        [void] = (await core.manager.get(task_id)).earlier
        assert void.state == "void"
        if offered is not None:
            assert (await agent.cancelled()).ref == offered

        other = await _agent(core, "a2")
        assert (await other.task()).ref.task_id == task_id
        assert agent.session.use.extra_slots == 0


async def test_what_it_gives_back_waits_again_and_its_room_is_as_before() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.submit(ONCE)
        ref = (await agent.task()).ref

        await core.manager.drain_agent("a1", note="a new disk", deadline_ms=60_000)
        await eventually(lambda: agent.drains == [DrainRequest("a new disk", 60_000)])
        agent.say(ref, Declined(just_this=True))
        assert await agent.acked(ref) is AckDisposition.COMMITTED
        assert await core.status(ref.task_id) is TaskStatus.PENDING

        await core.manager.undrain("a1")
        agent.session.credit_given(3)
        again = (await agent.task(1)).ref
        assert (again.task_id, again.attempt) == (ref.task_id, 2)


async def test_what_it_has_accepted_and_not_begun_is_handed_back_when_it_comes_again() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        await core.submit(ONCE)
        ref = (await agent.task()).ref
        await agent.hang_up()
        await core.manager.drain_agent("a1")
        assert _status(core) == "unreachable"

        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.ACCEPTED)])

        assert verdict.action is VerdictAction.FORGET
        assert await core.status(ref.task_id) is TaskStatus.PENDING
        assert len(agent.starts) == 1


async def test_an_offer_that_is_declined_while_it_is_being_granted_waits_again() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core, accepts=False)
        [task_id] = await core.submit(ONCE)
        ref = (await agent.offer()).ref
        database.hold("apply")
        agent.say(ref, Accepted())
        await database.until_held("apply")
        agent.say(ref, Declined(just_this=True))
        await asyncio.sleep(0.1)
        database.let_go("apply")

        await eventually(lambda: len(agent.offers) == 2)
        assert not agent.starts
        assert list(agent.offers)[1].task_id == task_id


# --- what runs ------------------------------------------------------------------------------------------------------


async def test_what_runs_goes_on_and_the_agent_is_empty_when_it_ends() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ref = await _running(core, agent)
        since = core.manager.events.newest

        await core.manager.drain_agent("a1", note="a new disk", deadline_ms=60_000)
        assert _status(core) == "draining"
        assert [(e.name, e.agent_id, e.data) for e in await _told(core, since)] == [
            ("agent.draining", "a1", {"note": "a new disk", "deadline_ms": 60_000})
        ]
        since = core.manager.events.newest
        assert not agent.cancels
        await agent.finish(ref)
        assert _status(core) == "cordoned"
        assert [event.name for event in await _told(core, since)] == ["agent.drained"]
        await agent.hang_up(left=True)
        assert _status(core) == "offline"


async def test_an_agent_that_has_nothing_is_empty_at_once() -> None:
    async with running_core() as core:
        await _agent(core)
        await core.manager.drain_agent("a1")
        assert [(event.name, event.data) for event in await _told(core)] == [
            ("agent.draining", None),
            ("agent.drained", None),
        ]


async def test_what_still_runs_at_the_deadline_is_asked_to_stop_until_it_answers() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ref = await _running(core, agent, execution=Execution.ONCE)
        await core.manager.drain_agent("a1", deadline_ms=5_000)
        await asyncio.sleep(4.5)
        assert not agent.cancels

        await asyncio.sleep(2)
        assert [(stop.ref, stop.reason) for stop in agent.cancels] == [(ref, Reason.DRAINED)]
        assert await core.status(ref.task_id) is TaskStatus.IN_PROGRESS
        await asyncio.sleep(2)
        assert len(agent.cancels) == 1
        agent.beat(ref)
        await eventually(lambda: len(agent.cancels) == 2)


async def test_a_replayable_task_that_is_stopped_so_waits_again_and_has_not_failed() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        ref = await _running(core, agent, retry=RetryPolicy(max_attempts=2), queue_timeout_ms=60_000)
        await core.manager.drain_agent("a1", deadline_ms=0)
        await agent.cancelled()
        agent.say(ref, evolve(STOPPED, log_totals={LogStream.STDOUT: 8}))
        assert await agent.acked(ref) is AckDisposition.COMMITTED
        agent.print(ref, 0, b"not done")
        await agent.log_acked(ref, 8)

        record = await core.manager.get(ref.task_id)
        task, [past] = record.task, record.earlier
        assert (task.status, task.reason, task.attempt) == (TaskStatus.PENDING, Reason.AGENT, None)
        assert (task.failures, task.losses, task.stop) == (0, 0, None)
        assert (past.state, past.has_failed, past.attempt.number) == ("drained", False, 1)
        assert past.failure is not None
        assert (past.failure.reason, past.failure.signal) == ("drained", 15)
        assert not record.may_have_run
        page = await core.manager.logs.read(ref.task_id, attempt=1)
        assert page.complete
        told = [event.name for event in await database.store().history(ref.task_id)]
        assert told[-3:] == ["task.sent", "task.started", "task.pending"]
        assert core.manager.tally.retries == {}
        stats = await core.manager.stats(StatsQuery(by=Grouping.AGENT, until=core.clock.now() + 60_000))
        assert [(group.assigned, group.returned) for group in stats.buckets[0].groups if group.key == "a1"] == [(1, 1)]

        other = await _agent(core, "a2")
        again = (await other.task()).ref
        assert again == AttemptRef(ref.task_id, 2, again.fence)
        await other.finish(again)
        assert await core.status(ref.task_id) is TaskStatus.COMPLETED


async def test_its_start_may_be_told_with_its_end() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        await core.submit()
        ref = (await agent.task()).ref
        await core.manager.drain_agent("a1", deadline_ms=0)
        await agent.cancelled()
        agent.say(ref, STOPPED)
        await agent.acked(ref)
        await core.manager.ledger.commit()
        events = [e for e in await database.store().events(0, 100) if e.task_id == ref.task_id]
        assert [event.name for event in events][-3:] == ["task.sent", "task.started", "task.pending"]
        assert events == await database.store().history(ref.task_id)


@pytest.mark.parametrize("execution", [Execution.ONCE, Execution.EXCLUSIVE])
async def test_any_other_task_that_is_stopped_so_has_failed(execution: Execution) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ref = await _running(core, agent, execution=execution, lock="db")
        await core.manager.drain_agent("a1", deadline_ms=0)
        await agent.cancelled()
        agent.say(ref, STOPPED)
        await agent.acked(ref)

        record = await core.manager.get(ref.task_id)
        assert (record.task.status, record.task.reason) == (TaskStatus.FAILED, Reason.DRAINED)
        assert record.finished is not None
        assert record.finished.error is not None
        assert record.finished.error.category is ErrorCategory.INFRASTRUCTURE
        assert record.task.message == record.finished.error.message == "it was stopped because its agent is drained"
        assert core.database.disk.holds == {}


async def test_its_own_policy_may_try_it_again() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        policy = RetryPolicy(max_attempts=2, initial_ms=1_000, on=("infrastructure",))
        ref = await _running(core, agent, execution=Execution.ONCE, retry=policy)
        await core.manager.drain_agent("a1", deadline_ms=0)
        await agent.cancelled()
        agent.say(ref, STOPPED)
        await agent.acked(ref)
        task = (await core.manager.get(ref.task_id)).task
        assert (task.status, task.reason, task.failures) == (TaskStatus.SCHEDULED, Reason.RETRY, 1)


async def test_an_older_agent_that_does_not_say_why_it_stopped_is_understood() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        early = await _running(core, agent)
        agent.say(early, Finished(outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER))
        await agent.acked(early)
        assert await core.status(early.task_id) is TaskStatus.FAILED
        agent.session.credit_given(3)

        ref = await _running(core, agent)
        await core.manager.drain_agent("a1", deadline_ms=0)
        await agent.cancelled()
        agent.say(ref, Finished(outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER))
        await agent.acked(ref)
        assert await core.status(ref.task_id) is TaskStatus.PENDING


@pytest.mark.parametrize(
    "end, status",
    [
        (Finished(outcome=Outcome.COMPLETED), TaskStatus.COMPLETED),
        (Finished(outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=3), TaskStatus.FAILED),
        (Finished(outcome=Outcome.TIMEOUT, reason=Reason.RUN_TIMEOUT), TaskStatus.TIMEOUT),
        (Finished(outcome=Outcome.CANCELLED, reason=Reason.DRAINED, tree_gone=False), TaskStatus.FAILED),
    ],
)
async def test_an_end_of_its_own_stands(end: Finished, status: TaskStatus) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ref = await _running(core, agent)
        await core.manager.drain_agent("a1", deadline_ms=0)
        await agent.cancelled()
        agent.say(ref, end)
        await agent.acked(ref)
        assert await core.status(ref.task_id) is status


@pytest.mark.parametrize("before", [True, False])
async def test_what_its_caller_has_cancelled_is_cancelled(before: bool) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ref = await _running(core, agent)
        if before:
            await core.manager.cancel(ref.task_id)
        await core.manager.drain_agent("a1", deadline_ms=0)
        await agent.cancelled()
        if not before:
            await core.manager.cancel(ref.task_id)
        await asyncio.sleep(2)
        reasons = {stop.reason for stop in agent.cancels}
        assert reasons == {Reason.CANCELLED_BY_CALLER} | (set() if before else {Reason.DRAINED})

        agent.say(ref, STOPPED)
        await agent.acked(ref)
        task = (await core.manager.get(ref.task_id)).task
        assert (task.status, task.reason) == (TaskStatus.CANCELLED, Reason.CANCELLED_BY_CALLER)


async def test_what_is_lost_while_it_is_being_stopped_follows_its_class() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ref = await _running(core, agent)
        await core.manager.drain_agent("a1", deadline_ms=0)
        await agent.cancelled()
        await agent.hang_up()
        await agent.connect(process_since=2)
        record = await core.manager.get(ref.task_id)
        assert (record.task.status, record.task.losses) == (TaskStatus.PENDING, 1)
        assert record.earlier[0].state == "lost"


async def test_who_was_away_at_the_deadline_is_asked_to_stop_when_it_comes_again() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ref = await _running(core, agent, execution=Execution.ONCE)
        await agent.hang_up()
        await core.manager.drain_agent("a1", deadline_ms=5_000)
        await asyncio.sleep(10)
        await agent.connect(held=[HeldAttempt(ref, HeldState.RUNNING)])
        assert (await agent.cancelled()).reason is Reason.DRAINED
        assert agent.drains == [DrainRequest("", 0)]


@pytest.mark.parametrize("is_lifted", [True, False])
async def test_an_undrain_and_a_later_deadline_take_back_stops_that_were_not_heard(is_lifted: bool) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ref = await _running(core, agent)
        await core.manager.drain_agent("a1", deadline_ms=0)
        await agent.cancelled()
        if is_lifted:
            await core.manager.undrain("a1")
        else:
            await core.manager.drain_agent("a1", deadline_ms=60_000)
        agent.cancels.clear()
        agent.beat(ref)
        await asyncio.sleep(2)
        assert not agent.cancels
        assert await core.status(ref.task_id) is TaskStatus.IN_PROGRESS


# --- the deadline ---------------------------------------------------------------------------------------------------


async def _away(core: Core, agent: FakeAgent, ref: AttemptRef, seconds: int) -> None:
    """The database is away for so long; the agent is heard of all the time."""
    core.database.failing.add("apply")
    for _ in range(seconds):
        await asyncio.sleep(1)
        agent.beat(ref)
    core.database.failing.clear()


async def test_an_outage_brings_the_deadline_no_nearer() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        ref = await _running(core, agent)
        await core.manager.drain_agent("a1", deadline_ms=20_000)
        await _away(core, agent, ref, 120)
        core.clock.skew_ms += 3_600_000
        await asyncio.sleep(10)
        assert not agent.cancels
        agent.beat(ref)
        await asyncio.sleep(10)
        assert (await agent.cancelled()).reason is Reason.DRAINED


async def test_the_deadline_goes_on_after_a_restart_where_it_stood() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        ref = await _running(core, agent)
        await core.manager.drain_agent("a1", deadline_ms=20_000)
        await asyncio.sleep(10)
    await asyncio.sleep(3_600)
    async with running_core(database) as core:
        again = FakeAgent(core, slots=2)
        again.number = 1
        await again.connect(held=[HeldAttempt(ref, HeldState.RUNNING)])
        await asyncio.sleep(7)
        assert not again.cancels
        again.beat(ref)
        await asyncio.sleep(5)
        assert (await again.cancelled()).ref == ref


async def test_what_is_said_last_counts_and_since_when_stays() -> None:
    async with running_core() as core:
        await _agent(core)
        first = await core.manager.drain_agent("a1", note="a new disk", deadline_ms=1_000)
        await asyncio.sleep(2)
        second = await core.manager.drain_agent("a1")
        assert (second.drained_at, second.drain_deadline, second.drain_note) == (first.drained_at, None, "")


# --- what is wrong --------------------------------------------------------------------------------------------------


async def test_a_drain_of_nobody_and_one_past_the_limits_is_refused() -> None:
    async with running_core() as core:
        with pytest.raises(AgentNotFound):
            await core.manager.drain_agent("nobody")
        await _agent(core)
        for wrong, field in (
            ({"note": "x" * (MAX_REASON_CHARS + 1)}, "note"),
            ({"deadline_ms": MAX_DRAIN_MS + 1}, "deadline"),
            ({"deadline_ms": -1}, "deadline"),
        ):
            with pytest.raises(InvalidTask, match=field):
                await core.manager.drain_agent("a1", **wrong)
        assert _status(core) == "online"
        await core.manager.drain_agent("a1", note="x" * MAX_REASON_CHARS, deadline_ms=MAX_DRAIN_MS)
