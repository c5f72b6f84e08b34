"""What becomes of granted tasks of which nothing is heard any more: when, by which class, and when not."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import StoreUnavailable
from nodelink.task import (
    AckDisposition,
    Declined,
    Execution,
    Finished,
    Gone,
    HeldAttempt,
    HeldState,
    Outcome,
    Reason,
    Started,
    TaskStatus,
    VerdictAction,
)
from nodelink_server.core.assembly import Options
from nodelink_server.core.leases import Patience
from nodelink_server.core.ports import EventName
from nodelink_server.core.task_record import RemarkKind
from tests.support.core_parts import COMPLETED, Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

LEASE, LOST, UNKNOWN, GRACE = 20.0, 40.0, 30.0, 10.0
OPTIONS = Options(
    patience=Patience(lease=20_000, start_lease=5_000, lost_after=40_000, unknown_after=30_000, grace=10_000)
)
PERIODS = {Execution.REPLAYABLE: LEASE, Execution.ONCE: LOST, Execution.EXCLUSIVE: UNKNOWN}
ENDS = {
    Execution.REPLAYABLE: TaskStatus.PENDING,
    Execution.ONCE: TaskStatus.LOST,
    Execution.EXCLUSIVE: TaskStatus.UNKNOWN,
}


async def _running(core: Core, execution: Execution, agent_id: str = "a1") -> tuple[FakeAgent, str]:
    """An agent that has begun a task of a class, and the task."""
    agent = FakeAgent(core, agent_id=agent_id)
    await agent.connect()
    [task_id] = await core.submit(make_submission(execution=execution))
    agent.say((await agent.task()).ref, Started())
    await eventually(lambda: _is(core, task_id, TaskStatus.IN_PROGRESS))
    return agent, task_id


async def _is(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status


async def _beats(agent: FakeAgent, seconds: float, *, lists: bool = True) -> None:
    for _ in range(int(seconds)):
        await asyncio.sleep(1)
        agent.beat(*([request.ref for request in agent.tasks] if lists else ()))


@pytest.mark.parametrize("execution", list(Execution))
async def test_silence_of_an_agent_ends_by_the_class_and_not_a_moment_earlier(execution: Execution) -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, execution)
        heard_at = asyncio.get_running_loop().time()
        await agent.hang_up()

        await asyncio.sleep(PERIODS[execution] - 1)
        assert await core.status(task_id) is TaskStatus.IN_PROGRESS
        await eventually(lambda: _is(core, task_id, ENDS[execution]))
        assert asyncio.get_running_loop().time() - heard_at < PERIODS[execution] + 3


@pytest.mark.parametrize("execution", list(Execution))
async def test_heartbeats_extend_only_the_leases_of_what_they_list(execution: Execution) -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, execution)

        await _beats(agent, 2 * PERIODS[execution])
        assert await core.status(task_id) is TaskStatus.IN_PROGRESS

        await _beats(agent, PERIODS[execution] + 3, lists=False)
        assert await core.status(task_id) is not TaskStatus.IN_PROGRESS


async def test_what_is_lost_admits_that_it_may_have_run_and_keeps_what_its_agent_tells_later() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, Execution.ONCE)
        ref = agent.tasks[0].ref
        await agent.hang_up()
        await eventually(lambda: _is(core, task_id, TaskStatus.LOST), within=60)

        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.ENDED)])
        assert verdict.action is VerdictAction.KEEP
        agent.say(ref, Finished(outcome=Outcome.COMPLETED, exit_code=0))
        assert await agent.acked(ref) is AckDisposition.STALE

        record = await core.manager.get(task_id)
        assert (record.task.status, record.task.reason) == (TaskStatus.LOST, Reason.AGENT_LOST)
        assert record.task.may_have_run
        assert [(late.attempt, late.outcome, late.exit_code) for late in record.late_results] == [(1, "completed", 0)]


async def test_what_runs_on_although_it_is_lost_is_to_be_stopped_at_the_next_contact() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, Execution.ONCE)
        ref = agent.tasks[0].ref
        await agent.hang_up()
        await eventually(lambda: _is(core, task_id, TaskStatus.LOST), within=60)

        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.RUNNING)])
        assert verdict.action is VerdictAction.STOP


async def test_a_heartbeat_names_what_counts_no_more() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, Execution.ONCE)
        ref = agent.tasks[0].ref
        await _beats(agent, LOST + 3, lists=False)
        assert await core.status(task_id) is TaskStatus.LOST

        agent.beat(ref)
        await eventually(lambda: agent.unknown == [ref])


async def test_a_doubt_ends_when_a_heartbeat_lists_the_attempt() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, Execution.EXCLUSIVE)
        await _beats(agent, UNKNOWN + 3, lists=False)
        doubt = await core.manager.get(task_id)
        assert (doubt.task.status, doubt.task.may_have_run) == (TaskStatus.UNKNOWN, True)

        await _beats(agent, 1)
        await eventually(lambda: _is(core, task_id, TaskStatus.IN_PROGRESS))
        record = await core.manager.get(task_id)
        assert not record.task.may_have_run
        assert [remark.kind for remark in record.remarks] == [RemarkKind.UNKNOWN, RemarkKind.RECOVERED]


async def test_a_doubt_ends_with_the_result_of_the_same_attempt() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, Execution.EXCLUSIVE)
        ref = agent.tasks[0].ref
        await agent.hang_up()
        await eventually(lambda: _is(core, task_id, TaskStatus.UNKNOWN), within=60)

        await agent.connect(held=[HeldAttempt(ref, HeldState.ENDED)])
        assert await agent.finish(ref) is AckDisposition.COMMITTED
        record = await core.manager.get(task_id)
        assert (record.task.status, record.task.may_have_run) == (TaskStatus.COMPLETED, False)


async def test_what_was_in_doubt_before_it_began_is_granted_in_every_new_session_and_may_be_declined() -> None:
    async with running_core(options=OPTIONS) as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit(make_submission(execution=Execution.EXCLUSIVE))
        ref = (await agent.task()).ref
        await agent.hang_up()
        await eventually(lambda: _is(core, task_id, TaskStatus.UNKNOWN), within=60)

        sessions = []
        for _ in range(2):
            await agent.connect(held=[HeldAttempt(ref, HeldState.ACCEPTED)])
            attempt = (await core.manager.get(task_id)).task.attempt
            assert attempt is not None
            sessions.append(attempt.session)
        assert sessions[0] < sessions[1]

        agent.say(ref, Declined(just_this=True))
        assert await agent.acked(ref) is AckDisposition.COMMITTED
        task = (await core.manager.get(task_id)).task
        assert (task.status, task.reason, task.may_have_run) == (TaskStatus.FAILED, Reason.INFRASTRUCTURE, False)


async def test_a_cancel_of_what_is_in_doubt_waits_until_its_agent_has_it_again() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, Execution.EXCLUSIVE)
        ref = agent.tasks[0].ref
        await agent.hang_up()
        await eventually(lambda: _is(core, task_id, TaskStatus.UNKNOWN), within=60)

        assert (await core.manager.cancel(task_id)).task.status is TaskStatus.UNKNOWN
        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.RUNNING)])

        assert verdict.action is VerdictAction.STOP
        assert await core.status(task_id) is TaskStatus.CANCELLING
        agent.say(ref, Finished(outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER))
        await agent.acked(ref)
        assert await core.status(task_id) is TaskStatus.CANCELLED


@pytest.mark.parametrize("execution", list(Execution))
async def test_gone_ends_by_the_class(execution: Execution) -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, execution)
        ref = agent.tasks[0].ref

        agent.say(ref, Gone(message="killed"))
        assert await agent.acked(ref) is AckDisposition.COMMITTED

        expected = TaskStatus.SENT if execution is Execution.REPLAYABLE else ENDS[execution]
        agent.session.credit_given(2)
        await eventually(lambda: _is(core, task_id, expected))


async def test_a_task_of_which_two_agents_die_is_poison_and_meets_no_third() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, Execution.REPLAYABLE)
        agent.say(agent.tasks[0].ref, Gone(message="died", agent_died=True))
        agent.session.credit_given(2)
        second = (await agent.task(1)).ref

        agent.say(second, Started(), Gone(message="died", agent_died=True))
        await agent.acked(second)

        task = (await core.manager.get(task_id)).task
        assert (task.status, task.reason, task.deaths) == (TaskStatus.FAILED, Reason.POISON, 2)
        assert len(agent.tasks) == 2


async def test_an_outage_ages_no_lease_and_its_end_gives_agents_time_to_come_back() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, Execution.REPLAYABLE)
        await asyncio.sleep(LEASE - 5)
        core.database.failing.add("apply")
        await asyncio.sleep(300)
        core.database.failing.clear()

        await asyncio.sleep(GRACE - 1)
        assert await core.status(task_id) is TaskStatus.IN_PROGRESS
        await agent.connect(held=[HeldAttempt(agent.tasks[0].ref, HeldState.RUNNING)], credit=0)
        await asyncio.sleep(LEASE - 2)
        assert await core.status(task_id) is TaskStatus.IN_PROGRESS


async def test_a_start_of_the_server_renews_every_lease() -> None:
    database = Database()
    async with running_core(database, options=OPTIONS) as core:
        _, task_id = await _running(core, Execution.ONCE)
        await asyncio.sleep(LOST - 5)
        assert await core.status(task_id) is TaskStatus.IN_PROGRESS
    async with running_core(database, options=OPTIONS) as core:
        await asyncio.sleep(LOST - 2)
        assert await core.status(task_id) is TaskStatus.IN_PROGRESS
        await eventually(lambda: _is(core, task_id, TaskStatus.LOST))


async def test_when_half_of_a_pool_falls_silent_nothing_expires_and_an_alarm_is_raised() -> None:
    async with running_core(options=OPTIONS) as core:
        running = [await _running(core, Execution.REPLAYABLE, agent_id=f"a{n}") for n in range(3)]
        heard = [event async for event in _alerts(core, running)]

        assert heard == [("alert.raised", {"alert": "agents_silent"})]
        assert {await core.status(task_id) for _, task_id in running} == {TaskStatus.IN_PROGRESS}
        await asyncio.sleep(600)
        assert {await core.status(task_id) for _, task_id in running} == {TaskStatus.PENDING}


async def _alerts(core: Core, running: list[tuple[FakeAgent, str]]):  # type: ignore[no-untyped-def]  # a short story
    """Let every agent fall silent at once; what alarm that raises, some time after their leases have run out."""
    before = core.manager.events.newest
    for agent, _ in running:
        await agent.hang_up()
    await asyncio.sleep(LEASE + 30)
    for event in await core.database.store().events(before, 1_000):
        if event.name == EventName.ALERT_RAISED:
            assert event.data is not None
            yield event.name, {"alert": event.data["alert"]}


async def test_two_silent_agents_pull_no_brake() -> None:
    async with running_core(options=OPTIONS) as core:
        running = [await _running(core, Execution.REPLAYABLE, agent_id=f"a{n}") for n in range(2)]
        for agent, _ in running:
            await agent.hang_up()
        await asyncio.sleep(LEASE + 3)
        assert {await core.status(task_id) for _, task_id in running} == {TaskStatus.PENDING}


async def test_a_lease_that_runs_out_while_the_database_is_away_runs_out_later() -> None:
    async with running_core(options=OPTIONS) as core:
        _, task_id = await _running(core, Execution.ONCE)
        await asyncio.sleep(LOST - 2)
        core.database.failing.add("apply")
        with pytest.raises(StoreUnavailable):
            await core.submit()
        await asyncio.sleep(30)
        core.database.failing.clear()
        await eventually(lambda: _is(core, task_id, TaskStatus.LOST), within=GRACE + 10)


async def test_people_see_contact_lease_and_doubt() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, Execution.EXCLUSIVE)
        task = (await core.manager.get(task_id)).task
        contact = core.manager.contact(task)
        assert contact is not None
        assert contact.state == "connected"
        assert contact.lease_until is not None
        assert 25_000 < contact.lease_until - core.clock.now() <= 30_000

        await agent.hang_up()
        contact = core.manager.contact(task)
        assert contact is not None
        assert contact.state == "lost"
        [waiting] = await core.submit()
        assert core.manager.contact((await core.manager.get(waiting)).task) is None


async def test_a_result_that_comes_before_the_lease_runs_out_stands() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, Execution.ONCE)
        ref = agent.tasks[0].ref
        await agent.hang_up()
        await asyncio.sleep(LOST - 2)
        await agent.connect(held=[HeldAttempt(ref, HeldState.ENDED)])
        agent.say(ref, COMPLETED)
        assert await agent.acked(ref) is AckDisposition.COMMITTED
        await asyncio.sleep(LOST)
        assert await core.status(task_id) is TaskStatus.COMPLETED


async def test_what_is_cancelled_by_its_lease_says_that_it_may_have_run_and_keeps_what_comes_later() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _running(core, Execution.REPLAYABLE)
        ref = agent.tasks[0].ref
        await agent.hang_up()
        await core.manager.cancel(task_id)
        await eventually(lambda: _is(core, task_id, TaskStatus.CANCELLED))

        await agent.connect(held=[HeldAttempt(ref, HeldState.ENDED)])
        assert await agent.finish(ref) is AckDisposition.STALE
        record = await core.manager.get(task_id)
        assert record.task.may_have_run
        assert [late.outcome for late in record.late_results] == ["completed"]
