"""What people decide: to abandon, to resolve, to let a cordoned agent work again; and what agents are kept from."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import (
    AgentNotFound,
    HandshakeRefused,
    InvalidTask,
    TaskAlreadyFinished,
    TaskNotFound,
    TaskNotInDoubt,
)
from nodelink.task import (
    AckDisposition,
    ErrorCategory,
    Execution,
    Finished,
    HeldAttempt,
    HeldState,
    Outcome,
    Reason,
    Started,
    TaskError,
    TaskStatus,
    VerdictAction,
)
from nodelink_server.core.assembly import Options
from nodelink_server.core.cordons import MOST_FAILED_STARTS
from nodelink_server.core.decisions import Resolution
from nodelink_server.core.leases import Patience
from nodelink_server.core.ports import EventName
from nodelink_server.core.task_record import RemarkKind
from tests.support.core_parts import COMPLETED, Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

OPTIONS = Options(patience=Patience(unknown_after=5_000, grace=1_000))


async def _in_doubt(core: Core) -> tuple[FakeAgent, str]:
    agent = FakeAgent(core)
    await agent.connect()
    [task_id] = await core.submit(make_submission(execution=Execution.EXCLUSIVE, lock="db"))
    agent.say((await agent.task()).ref, Started())
    await agent.hang_up()
    await eventually(lambda: _is(core, task_id, TaskStatus.UNKNOWN))
    return agent, task_id


@pytest.mark.parametrize(
    "resolution, status", [(Resolution.COMPLETED, TaskStatus.COMPLETED), (Resolution.FAILED, TaskStatus.FAILED)]
)
async def test_a_person_says_how_a_task_in_doubt_ended(resolution: Resolution, status: TaskStatus) -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _in_doubt(core)

        record = await core.manager.resolve(task_id, resolution=resolution, reason="I looked", by="ada")

        assert (record.task.status, record.task.reason) == (status, Reason.RESOLVED)
        last = record.remarks[-1]
        assert (last.kind, last.by, last.text) == (RemarkKind.RESOLVED, "ada", "I looked")
        assert core.database.disk.holds == {}
        [verdict] = await agent.connect(held=[HeldAttempt(agent.tasks[0].ref, HeldState.RUNNING)])
        assert verdict.action is VerdictAction.STOP
        agent.say(agent.tasks[0].ref, COMPLETED)
        assert await agent.acked(agent.tasks[0].ref) is AckDisposition.STALE
        assert [late.outcome for late in (await core.manager.get(task_id)).late_results] == ["completed"]


async def test_a_rerun_leaves_the_attempt_in_doubt_behind_with_a_greater_fence() -> None:
    async with running_core(options=OPTIONS) as core:
        agent, task_id = await _in_doubt(core)
        doubted = agent.tasks[0].ref
        await core.manager.resolve(task_id, resolution=Resolution.RERUN, reason="it is safe", by="ada")

        [verdict] = await agent.connect(held=[HeldAttempt(doubted, HeldState.RUNNING)])
        assert verdict.action is VerdictAction.STOP
        again = (await agent.task(1)).ref
        assert (again.task_id, again.attempt) == (task_id, 2)
        assert again.fence > doubted.fence
        agent.say(doubted, COMPLETED)
        assert await agent.acked(doubted) is AckDisposition.STALE
        assert await core.status(task_id) in {TaskStatus.SENT, TaskStatus.IN_PROGRESS}


async def test_only_what_is_in_doubt_can_be_resolved_and_only_what_lives_abandoned() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        with pytest.raises(TaskNotInDoubt):
            await core.manager.resolve(task_id, resolution=Resolution.FAILED, reason="because")
        with pytest.raises(TaskNotFound):
            await core.manager.abandon("nothing", reason="because")
        for reason in ("", " ", "\x1e\u3000", "x" * 1_001):
            with pytest.raises(InvalidTask, match="reason"):
                await core.manager.abandon(task_id, reason=reason)
            with pytest.raises(InvalidTask, match="reason"):
                await core.manager.resolve(task_id, resolution=Resolution.FAILED, reason=reason)
        await core.manager.abandon(task_id, reason="x" * 1_000)
        with pytest.raises(TaskAlreadyFinished):
            await core.manager.abandon(task_id, reason="because")


async def test_what_is_abandoned_is_over_at_once_and_its_agent_is_told_to_stop_it() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit(make_submission(execution=Execution.ONCE))
        ref = (await agent.task()).ref
        agent.say(ref, Started())

        record = await core.manager.abandon(task_id, reason="enough", by="ada")
        assert (record.task.status, record.task.reason) == (TaskStatus.FAILED, Reason.ABANDONED)
        assert record.task.may_have_run
        assert (await agent.cancelled()).ref == ref
        agent.beat(ref)
        await eventually(lambda: agent.unknown == [ref])


async def test_decisions_are_told_and_audited() -> None:
    async with running_core(options=OPTIONS) as core:
        _, task_id = await _in_doubt(core)
        await core.manager.resolve(task_id, resolution=Resolution.COMPLETED, reason="I looked", by="ada")
        told = [event.name for event in await core.database.store().history(task_id)]
        assert told[-2:] == [EventName.TASK_UNKNOWN, EventName.TASK_COMPLETED]


def _failed_start(category: ErrorCategory) -> Finished:
    error = TaskError(category, "no room on the disk")
    return Finished(outcome=Outcome.FAILED, reason=Reason.START_ERROR, error=error)


async def _start_badly(core: Core, agent: FakeAgent, category: ErrorCategory, count: int) -> None:
    for _ in range(count):
        place = len(agent.tasks)
        await core.submit()
        ref = (await agent.task(place)).ref
        agent.say(ref, _failed_start(category))
        await agent.acked(ref)
        agent.session.credit_given(place + 2)


async def test_an_agent_that_fails_five_starts_in_a_minute_is_kept_from_work_until_a_person_lifts_it() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = FakeAgent(core)
        await agent.connect()
        await _start_badly(core, agent, ErrorCategory.RESOURCE, MOST_FAILED_STARTS)

        view = core.manager.agents.view("a1")
        assert view.status == "cordoned"
        assert "no room on the disk" in view.cordon
        [waiting] = await core.submit()
        await asyncio.sleep(2)
        assert await core.status(waiting) is TaskStatus.PENDING
    async with running_core(database) as core:
        agent = FakeAgent(core)
        agent.number = 1
        await agent.connect()
        await asyncio.sleep(2)
        assert not agent.tasks
        assert (await core.manager.undrain("a1")).status == "online"
        assert (await agent.task()).ref.task_id == waiting
    assert database.disk.agents["a1"].cordon == ""


async def test_starts_that_fail_through_no_fault_of_the_agent_cordon_nobody() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await _start_badly(core, agent, ErrorCategory.EXIT_CODE, 2 * MOST_FAILED_STARTS)
        assert core.manager.agents.view("a1").status == "online"


async def test_four_failed_starts_and_a_good_one_cordon_nobody() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        for _ in range(3):
            await _start_badly(core, agent, ErrorCategory.RESOURCE, MOST_FAILED_STARTS - 1)
            place = len(agent.tasks)
            await core.submit()
            await agent.finish((await agent.task(place)).ref)
            agent.session.credit_given(place + 2)
        assert core.manager.agents.view("a1").status == "online"


async def test_a_cordon_of_an_agent_that_nobody_knows_cannot_be_lifted() -> None:
    async with running_core() as core:
        with pytest.raises(AgentNotFound):
            await core.manager.undrain("nobody")


async def test_a_process_that_comes_back_after_another_took_its_place_is_a_clone() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        for instance in ("one", "one", "two"):
            await agent.connect(instance_id=instance)
            await agent.hang_up()
        await agent.connect(instance_id="two")

        before = core.manager.events.newest
        with pytest.raises(HandshakeRefused, match="taken its place"):
            await core.manager.connect(agent.hello(instance_id="one"))

        await core.manager.ledger.commit()
        told = [(event.name, event.data) for event in await core.database.store().events(before, 100)]
        assert [name for name, _ in told][-2:] == ["agent.error", "alert.raised"]
        await agent.hang_up()
        await asyncio.sleep(20)
        await core.manager.connect(agent.hello(instance_id="one"))


async def _is(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status
