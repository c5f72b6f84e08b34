"""Other limits for what is with an agent, whoever wants them, and what is refused."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import CallerError, CannotExtend, InvalidTask, TaskAlreadyFinished, TaskNotFound
from nodelink.task import (
    Execution,
    ExtendCommand,
    Extended,
    Finished,
    HeldAttempt,
    HeldState,
    Outcome,
    Reason,
    RetryPolicy,
    Started,
    TaskRequest,
    TaskStatus,
)
from nodelink_server.core.assembly import Options
from nodelink_server.core.attempt import Extension
from nodelink_server.core.extensions import BY_WORK, MOST_EXTENSIONS, NewLimits
from nodelink_server.core.leases import Patience
from nodelink_server.core.task_record import RemarkKind
from nodelink_server.core.timers import OVERDUE_SECONDS
from tests.support.core_parts import COMPLETED, Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

DAY_MS = 24 * 3600 * 1000
FAILED = Finished(outcome=Outcome.FAILED, exit_code=3)


async def _agent(core: Core, **hello: object) -> FakeAgent:
    agent = FakeAgent(core, slots=5)
    await agent.connect(**hello)  # type: ignore[arg-type]  # names of fields
    return agent


async def _sent(core: Core, agent: FakeAgent, **fields: object) -> TaskRequest:
    before = len(agent.tasks)
    await core.submit(make_submission(**fields))  # type: ignore[arg-type]  # names of fields
    return await agent.task(before)


async def _running(core: Core, agent: FakeAgent, **fields: object) -> TaskRequest:
    request = await _sent(core, agent, **fields)
    agent.say(request.ref, Started())
    await eventually(lambda: _stands(core, request.ref.task_id, TaskStatus.IN_PROGRESS))
    return request


async def _stands(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status


async def _extend(core: Core, request: TaskRequest, **limits: int) -> None:
    await core.manager.extend(request.ref.task_id, NewLimits(**limits))


async def _beat_for(agent: FakeAgent, seconds: float) -> None:
    """Let time pass while the agent is heard of."""
    until = asyncio.get_running_loop().time() + seconds
    while (left := until - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(min(4.0, left))
        agent.beat(*(task.ref for task in agent.tasks))


# -- what is told and kept -------------------------------------------------------------------------------------------


async def test_the_agent_is_told_and_the_task_remembers_who_wanted_it() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent, timeout_ms=60_000)
        limits = NewLimits(timeout_ms=600_000, heartbeat_timeout_ms=30_000)
        record = await core.manager.extend(request.ref.task_id, limits, by="ann")
        assert await agent.extended() == ExtendCommand(request.ref, 1, 600_000, 30_000)
        [remark] = record.remarks
        assert (remark.kind, remark.by, remark.attempt) == (RemarkKind.EXTENDED, "ann", 1)
        assert remark.text == "timeout 10m, heartbeat timeout 30s"
        assert record.task.status is TaskStatus.IN_PROGRESS
        assert record.task.spec.timeout_ms == 60_000


async def test_what_is_sent_can_be_extended_before_it_has_begun() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _sent(core, agent, timeout_ms=60_000)
        await _extend(core, request, timeout_ms=600_000)
        assert await agent.extended() == ExtendCommand(request.ref, 1, 600_000)
        assert await core.status(request.ref.task_id) is TaskStatus.SENT
        assert await agent.finish(request.ref)


async def test_each_extension_counts_and_leaves_what_it_does_not_name() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent)
        await _extend(core, request, timeout_ms=600_000)
        await asyncio.sleep(10)
        await _extend(core, request, heartbeat_timeout_ms=30_000)
        number, timeout_ms, heartbeat_ms, heard = (await agent.extended(1))[1:]
        assert (number, heartbeat_ms, heard) == (2, 30_000, 0)
        assert timeout_ms is not None
        assert 580_000 < timeout_ms <= 591_000
        await _extend(core, request, timeout_ms=1_000)
        assert await agent.extended(2) == ExtendCommand(request.ref, 3, 1_000, 30_000)


async def test_an_agent_is_told_again_in_every_session_of_the_time_that_is_left() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent)
        await agent.hang_up()
        await _extend(core, request, timeout_ms=600_000)
        assert agent.extends == []
        await asyncio.sleep(30)
        for place in range(2):
            await agent.connect(held=[HeldAttempt(request.ref, HeldState.RUNNING)])
            ref, number, timeout_ms, *_ = await agent.extended(place)
            assert (ref, number) == (request.ref, 1)
            assert timeout_ms is not None
            assert timeout_ms <= 571_000
            await agent.hang_up()


async def test_a_time_that_is_over_when_the_agent_comes_back_is_told_as_nothing() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent)
        await agent.hang_up()
        await _extend(core, request, timeout_ms=10_000)
        await asyncio.sleep(30)
        await agent.connect(held=[HeldAttempt(request.ref, HeldState.RUNNING)])
        assert (await agent.extended()).timeout_ms == 0


async def test_an_extension_is_durable() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        request = await _running(core, agent)
        await _extend(core, request, timeout_ms=600_000, heartbeat_timeout_ms=30_000)
        await agent.hang_up()
    await asyncio.sleep(10_000)  # the server is away, and its clock stands still
    async with running_core(database) as core:
        agent = FakeAgent(core, slots=5)
        agent.number = 1
        await agent.connect(held=[HeldAttempt(request.ref, HeldState.RUNNING)])
        ref, number, timeout_ms, heartbeat_ms, _ = await agent.extended()
        assert (ref, number, heartbeat_ms) == (request.ref, 1, 30_000)
        assert timeout_ms is not None
        assert 500_000 < timeout_ms <= 600_000


async def test_the_next_attempt_has_the_limits_that_the_task_asks_for() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        policy = RetryPolicy(initial_ms=0)
        request = await _running(core, agent, timeout_ms=60_000, retry=policy)
        await _extend(core, request, timeout_ms=600_000)
        agent.say(request.ref, FAILED)
        again = await agent.task(1)
        assert again.spec.timeout_ms == 60_000
        await agent.hang_up()
        await agent.connect(held=[HeldAttempt(again.ref, HeldState.RUNNING)])
        await agent.finish(again.ref)
        assert len(agent.extends) == 1


# -- what is refused -------------------------------------------------------------------------------------------------


async def _refused(core: Core, task_id: str, limits: NewLimits) -> CallerError:
    with pytest.raises(CallerError) as refused:
        await core.manager.extend(task_id, limits)
    return refused.value


@pytest.mark.parametrize(
    "limits, field",
    [
        (NewLimits(), "timeout"),
        (NewLimits(timeout_ms=0), "timeout"),
        (NewLimits(timeout_ms=7 * DAY_MS + 1), "timeout"),
        (NewLimits(total_timeout_ms=0), "total_timeout"),
        (NewLimits(total_timeout_ms=366 * DAY_MS + 1), "total_timeout"),
        (NewLimits(heartbeat_timeout_ms=999), "heartbeat_timeout"),
        (NewLimits(heartbeat_timeout_ms=7 * DAY_MS + 1), "heartbeat_timeout"),
    ],
)
async def test_limits_have_bounds(limits: NewLimits, field: str) -> None:
    async with running_core() as core:
        refusal = await _refused(core, "whatever", limits)
        assert isinstance(refusal, InvalidTask)
        assert [error.field for error in refusal.errors] == [field]


async def test_the_longest_limits_are_taken() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent)
        await _extend(
            core, request, timeout_ms=7 * DAY_MS, total_timeout_ms=366 * DAY_MS, heartbeat_timeout_ms=7 * DAY_MS
        )
        assert (await agent.extended()).timeout_ms == 7 * DAY_MS


async def test_only_what_is_with_an_agent_can_be_extended() -> None:
    limits = NewLimits(total_timeout_ms=60_000)
    async with running_core() as core:
        assert isinstance(await _refused(core, "nothing", limits), TaskNotFound)
        [task_id] = await core.submit()
        refusal = await _refused(core, task_id, limits)
        assert isinstance(refusal, CannotExtend)
        assert "pending" in refusal.message
        agent = await _agent(core)
        ref = (await agent.task()).ref
        agent.say(ref, Started())
        await core.manager.cancel(task_id)
        refusal = await _refused(core, task_id, limits)
        assert isinstance(refusal, CannotExtend)
        assert "cancelling" in refusal.message
        agent.say(ref, COMPLETED)
        await agent.acked(ref)
        refusal = await _refused(core, task_id, limits)
        assert isinstance(refusal, TaskAlreadyFinished)
        assert "completed" in refusal.message


async def test_what_is_in_doubt_cannot_be_extended() -> None:
    async with running_core(options=Options(patience=Patience(unknown_after=2_000, grace=1_000))) as core:
        agent = await _agent(core)
        request = await _sent(core, agent, execution=Execution.EXCLUSIVE)
        await agent.hang_up()
        await eventually(lambda: _stands(core, request.ref.task_id, TaskStatus.UNKNOWN))
        refusal = await _refused(core, request.ref.task_id, NewLimits(timeout_ms=60_000))
        assert isinstance(refusal, CannotExtend)
        assert "unknown" in refusal.message


async def test_an_agent_of_an_older_version_keeps_its_limits_and_only_the_time_in_all_can_change() -> None:
    async with running_core() as core:
        agent = await _agent(core, features=())
        request = await _running(core, agent)
        for limits in (NewLimits(timeout_ms=60_000), NewLimits(60_000, 60_000), NewLimits(heartbeat_timeout_ms=1_000)):
            refusal = await _refused(core, request.ref.task_id, limits)
            assert isinstance(refusal, CannotExtend)
            assert "older version" in refusal.message
        await _extend(core, request, total_timeout_ms=5_000)
        assert (await agent.cancelled()).reason is Reason.TOTAL_TIMEOUT
        assert agent.extends == []


async def test_what_an_agent_knows_is_remembered_while_it_is_away_and_over_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        request = await _running(core, agent)
        await agent.hang_up()
    async with running_core(database) as core:
        await _extend(core, request, timeout_ms=600_000)


async def test_an_attempt_is_extended_only_so_often() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent)
        for _ in range(MOST_EXTENSIONS):
            await _extend(core, request, timeout_ms=600_000)
        refusal = await _refused(core, request.ref.task_id, NewLimits(timeout_ms=600_000))
        assert isinstance(refusal, CannotExtend)
        assert "1,000 times" in refusal.message
        agent.say(request.ref, Extended(number=1, timeout_ms=60_000))
        await agent.finish(request.ref)
        assert len((await core.manager.get(request.ref.task_id)).remarks) == MOST_EXTENSIONS


# -- time in all, and the server's own patience -----------------------------------------------------------------------


async def test_the_time_in_all_counts_anew_from_the_extension() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent, total_timeout_ms=10_000)
        await _beat_for(agent, 8)
        await _extend(core, request, total_timeout_ms=20_000)
        await _beat_for(agent, 17)
        assert agent.cancels == []
        await _beat_for(agent, 5)
        assert (await agent.cancelled()).reason is Reason.TOTAL_TIMEOUT


async def test_the_time_in_all_may_be_shortened_and_given_for_the_first_time() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        first = await _running(core, agent, total_timeout_ms=3_600_000)
        second = await _running(core, agent)
        await _extend(core, first, total_timeout_ms=3_000)
        await _extend(core, second, total_timeout_ms=3_000)
        await _beat_for(agent, 6)
        assert {command.ref for command in agent.cancels} == {first.ref, second.ref}


async def test_a_longer_time_in_all_is_kept_over_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _agent(core)
        request = await _running(core, agent, total_timeout_ms=10_000)
        await _extend(core, request, total_timeout_ms=60_000)
    async with running_core(database) as core:
        await asyncio.sleep(30)
        assert (await core.manager.get(request.ref.task_id)).task.stop is None
        await eventually(lambda: _is_stopped(core, request), within=40)


async def _is_stopped(core: Core, request: TaskRequest) -> bool:
    return (await core.manager.get(request.ref.task_id)).task.stop is not None


async def test_the_server_waits_for_the_agent_as_long_as_the_run_may_take_now() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent, timeout_ms=10_000)
        await _extend(core, request, timeout_ms=100_000)
        await _beat_for(agent, 100 + OVERDUE_SECONDS - 5)
        assert agent.cancels == []
        await _beat_for(agent, 15)
        assert (await agent.cancelled()).reason is Reason.RUN_TIMEOUT


async def test_the_server_waits_no_longer_than_a_shorter_run_may_take() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent, timeout_ms=3_600_000)
        unlimited = await _running(core, agent)
        await _extend(core, request, timeout_ms=5_000)
        await _extend(core, unlimited, timeout_ms=5_000)
        await _beat_for(agent, 5 + OVERDUE_SECONDS - 2)
        assert agent.cancels == []
        await _beat_for(agent, 6)
        assert {command.ref for command in agent.cancels} == {request.ref, unlimited.ref}


async def test_who_is_extended_again_and_again_goes_on() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent, timeout_ms=10_000)
        for _ in range(30):
            await _extend(core, request, timeout_ms=10_000)
            await _beat_for(agent, 8)
        assert agent.cancels == []
        await _beat_for(agent, 10 + OVERDUE_SECONDS + 2)
        assert len({command.ref for command in agent.cancels}) == 1


# -- what work says of itself -----------------------------------------------------------------------------------------


async def test_work_that_gives_itself_other_limits_is_heard_once() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent)
        said = Extended(number=1, timeout_ms=600_000, heartbeat_timeout_ms=30_000)
        agent.say(request.ref, said)
        assert await agent.extended() == ExtendCommand(request.ref, 1, 600_000, 30_000, heard=1)
        agent.say(request.ref, said)
        agent.say(request.ref, Extended(number=2, heartbeat_timeout_ms=40_000))
        number, _, heartbeat_ms, heard = (await agent.extended(1))[1:]
        assert (number, heartbeat_ms, heard) == (2, 40_000, 2)
        remarks = (await core.manager.get(request.ref.task_id)).remarks
        assert [(remark.kind, remark.by, remark.text) for remark in remarks] == [
            (RemarkKind.EXTENDED, BY_WORK, "timeout 10m, heartbeat timeout 30s"),
            (RemarkKind.EXTENDED, BY_WORK, "heartbeat timeout 40s"),
        ]


async def test_everything_that_comes_in_one_frame_counts() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _sent(core, agent)
        first, second = Extended(number=1, timeout_ms=600_000), Extended(number=2, total_timeout_ms=5_000)
        agent.say(request.ref, Started(), first, second)
        assert (await agent.extended(1)).heard == 2
        task = (await core.manager.get(request.ref.task_id)).task
        assert task.status is TaskStatus.IN_PROGRESS
        assert task.attempt is not None
        assert task.attempt.extension is not None
        assert (task.attempt.extension.number, task.attempt.extension.heard) == (2, 2)
        assert (await agent.cancelled()).reason is Reason.TOTAL_TIMEOUT


async def test_an_extension_that_comes_with_the_end_changes_nothing_about_it() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _sent(core, agent, retry=RetryPolicy(initial_ms=0))
        agent.say(request.ref, Extended(number=1, timeout_ms=600_000), FAILED)
        again = await agent.task(1)
        agent.say(again.ref, Extended(number=1, timeout_ms=600_000), COMPLETED)
        await agent.acked(again.ref)
        record = await core.manager.get(request.ref.task_id)
        assert record.task.status is TaskStatus.COMPLETED
        assert [(remark.kind, remark.attempt) for remark in record.remarks] == [
            (RemarkKind.EXTENDED, 1),
            (RemarkKind.EXTENDED, 2),
        ]


@pytest.mark.parametrize(
    "said",
    [
        Extended(number=0, timeout_ms=1_000),
        Extended(number=1),
        Extended(number=1, timeout_ms=0),
        Extended(number=1, timeout_ms=7 * DAY_MS + 1),
        Extended(number=1, heartbeat_timeout_ms=1),
    ],
)
async def test_what_work_says_that_cannot_be_counts_for_nothing(said: Extended) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent)
        agent.say(request.ref, said)
        await agent.finish(request.ref)
        assert (await core.manager.get(request.ref.task_id)).remarks == ()
        assert agent.extends == []


async def test_what_is_being_stopped_gets_no_other_limits() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent)
        await core.manager.cancel(request.ref.task_id)
        agent.say(request.ref, Extended(number=1, timeout_ms=600_000))
        agent.say(request.ref, Finished(outcome=Outcome.CANCELLED))
        await agent.acked(request.ref)
        record = await core.manager.get(request.ref.task_id)
        assert (record.task.status, record.remarks) == (TaskStatus.CANCELLED, ())


async def test_what_comes_from_an_attempt_that_counts_no_more_is_stale() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent, retry=RetryPolicy(initial_ms=0))
        agent.say(request.ref, FAILED)
        again = await agent.task(1)
        agent.say(request.ref, Extended(number=1, timeout_ms=600_000))
        await agent.finish(again.ref)
        assert (await core.manager.get(request.ref.task_id)).remarks == ()


async def test_an_outage_of_the_database_loses_no_word_of_the_work() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        request = await _running(core, agent)
        core.database.failing.add("apply")
        agent.say(request.ref, Extended(number=1, timeout_ms=600_000))
        await asyncio.sleep(5)
        assert agent.extends == []
        core.database.failing.clear()
        assert (await agent.extended()).heard == 1


def test_an_extension_says_what_it_is() -> None:
    assert str(NewLimits(600_000, 3_600_000, 30_000)) == "timeout 10m, total timeout 1h, heartbeat timeout 30s"
    assert Extension(1) == Extension(1, None, None, 0)
