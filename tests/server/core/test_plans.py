"""Plan, approve, apply, in a whole core: what is applied is the plan that was approved, and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from nodelink.errors import (
    CallerError,
    InvalidTask,
    NotAllowed,
    PlanChanged,
    PlanNotWaiting,
    TaskAlreadyFinished,
    TaskNotFound,
)
from nodelink.plan import PLAN, Plan
from nodelink.task import (
    AckDisposition,
    Declined,
    Execution,
    Finished,
    Gone,
    Outcome,
    Rate,
    Reason,
    RetryPolicy,
    Started,
    TaskStatus,
)
from nodelink_server.core.approvals import Named
from nodelink_server.core.assembly import Options
from nodelink_server.core.attempt import Hold
from nodelink_server.core.decisions import Resolution
from nodelink_server.core.ports import EventName
from nodelink_server.core.task import workspace_key
from nodelink_server.core.task_record import RemarkKind
from tests.support.core_parts import COMPLETED, Core, Database, eventually, make_submission
from tests.support.fake_agent import FakeAgent
from tests.support.planning import (
    NAMED,
    PLAN_A,
    PLANNED,
    make_applying,
    make_change,
    make_plan,
    make_planned,
    planning,
    sha256,
)

S = TaskStatus
DAY_MS = 24 * 3600 * 1000


async def kinds(core: Core, task_id: str) -> list[str]:
    """The events of a task, without the common part of their names."""
    return [event.name.removeprefix("task.") for event in await core.database.store().history(task_id)]


def holds(core: Core) -> dict[Hold, str]:
    """Which task has which place, by the database."""
    disk = core.database.disk
    return {hold: disk.rows[key].task.id for hold, key in disk.holds.items()}


async def test_a_plan_waits_for_its_approval_and_is_applied_as_it_was_approved() -> None:
    async with planning() as (core, agent):
        task_id, planned_by = await make_planned(core, agent)
        record = await core.manager.get(task_id)
        assert (record.task.status, record.task.reason) == (S.PLAN_COMPLETED, Reason.APPROVAL)
        assert record.task.plan is not None
        assert record.task.plan.plan == PLAN_A
        assert [past.state for past in record.earlier] == ["planned"]

        approved = await core.manager.approve(task_id, NAMED, message="looks right", by="ann")
        assert approved.task.status in {S.APPLY_PENDING, S.SENT}
        request = await agent.task(1)
        assert (request.plan, request.execution) == (PLAN_A, Execution.EXCLUSIVE)
        assert (request.ref.attempt, planned_by.attempt) == (2, 1)

        await agent.finish(request.ref)
        record = await core.manager.get(task_id)
        assert record.task.status is S.COMPLETED
        assert record.task.plan is not None
        assert (record.task.plan.approved_by, record.task.plan.attempt) == ("ann", 1)
        [remark] = record.remarks
        assert (remark.kind, remark.by) == (RemarkKind.APPROVED, "ann")
        assert remark.text == f"plan {PLAN_A.sha256}: looks right"
        after = ["plan_completed", "apply_pending", "sent", "started", "completed"]
        assert (await kinds(core, task_id))[-len(after) :] == after
        assert not core.database.disk.holds


async def test_the_plan_phase_starts_and_recovers_like_what_is_replayable() -> None:
    async with planning() as (core, agent):
        [task_id] = await core.submit(make_change())
        request = await agent.task()
        assert (request.granted, request.execution, request.plan) == (True, Execution.REPLAYABLE, None)
        assert request.lease_ms is not None

        agent.say(request.ref, Started(), Gone(agent_died=True))
        await agent.acked(request.ref)
        agent.give_credit(1)

        again = await agent.task(1)
        assert (again.ref.task_id, again.ref.attempt) == (task_id, 2)
        assert (await core.manager.get(task_id)).task.execution is Execution.EXCLUSIVE


async def test_an_apply_is_offered_before_it_is_granted() -> None:
    async with planning() as (core, agent):
        task_id, _ = await make_planned(core, agent)
        agent.accepts = False
        await core.manager.approve(task_id, NAMED)
        offer = await agent.offer()

        assert offer.plan == PLAN_A
        assert await core.status(task_id) is S.APPLY_PENDING


@pytest.mark.parametrize(
    "end",
    [
        COMPLETED,
        *(replace(PLANNED, plan=plan) for plan in (Plan("x"), Plan(sha256("a"), -1), make_plan(target="t" * 1_001))),
    ],
)
@pytest.mark.parametrize("type", ["plan", "plan_and_apply"])
async def test_whose_work_was_a_plan_has_failed_without_a_usable_one(type: str, end: Finished) -> None:
    async with planning() as (core, agent):
        [task_id] = await core.submit(make_submission(type))
        request = await agent.task()
        agent.say(request.ref, end)
        await agent.acked(request.ref)

        record = await core.manager.get(task_id)
        assert (record.task.status, record.task.reason, record.task.plan) == (S.FAILED, Reason.HANDLER_ERROR, None)


async def test_a_plan_alone_is_kept_and_applied_by_nobody() -> None:
    async with planning() as (core, agent):
        [task_id] = await core.submit(make_submission(PLAN))
        request = await agent.task()
        agent.say(request.ref, PLANNED)
        await agent.acked(request.ref)

        record = await core.manager.get(task_id)
        assert record.task.status is S.COMPLETED
        assert record.task.plan is not None
        assert record.task.plan.plan == PLAN_A
        with pytest.raises(TaskAlreadyFinished):
            await core.manager.approve(task_id, NAMED)


async def test_nobody_else_can_make_a_plan() -> None:
    async with planning() as (core, agent):
        [task_id] = await core.submit(make_submission("echo"))
        request = await agent.task()
        agent.say(request.ref, PLANNED)
        await agent.acked(request.ref)

        assert (await core.manager.get(task_id)).task.plan is None


@pytest.mark.parametrize(
    "named, error",
    [
        (Named(sha256("another")), PlanChanged),
        (Named(PLAN_A.sha256, sha256("other inputs")), PlanChanged),
        (Named(PLAN_A.sha256, "", "elsewhere"), PlanChanged),
        (Named(), InvalidTask),
        (Named(PLAN_A.sha256.upper()), InvalidTask),
        (Named(PLAN_A.sha256, "abc"), InvalidTask),
    ],
)
async def test_an_approval_of_anything_else_is_refused(named: Named, error: type[CallerError]) -> None:
    async with planning() as (core, agent):
        task_id, _ = await make_planned(core, agent)
        with pytest.raises(error):
            await core.manager.approve(task_id, named)

        assert await core.status(task_id) is S.PLAN_COMPLETED
        await core.manager.approve(task_id, Named(*PLAN_A[:1], *PLAN_A[2:4]))
        assert (await agent.task(1)).plan == PLAN_A


async def test_a_refusal_names_the_plan_that_waits() -> None:
    async with planning() as (core, agent):
        task_id, _ = await make_planned(core, agent)
        with pytest.raises(PlanChanged, match=f"has the SHA-256 '{PLAN_A.sha256}', and not '{sha256('old')}'"):
            await core.manager.approve(task_id, Named(sha256("old")))


async def test_a_plan_is_approved_once() -> None:
    async with planning() as (core, agent):
        task_id, ref = await make_applying(core, agent)
        with pytest.raises(PlanNotWaiting, match=f"{PLAN_A.sha256} was approved by 'local' before"):
            await core.manager.approve(task_id, NAMED)
        await agent.finish(ref)
        with pytest.raises(TaskAlreadyFinished):
            await core.manager.approve(task_id, NAMED)
        with pytest.raises(TaskNotFound):
            await core.manager.approve("nobody", NAMED)


async def test_nothing_is_approved_before_there_is_a_plan() -> None:
    async with planning() as (core, agent):
        [task_id] = await core.submit(make_change())
        await agent.task()
        for decide in (core.manager.approve, core.manager.reject):
            with pytest.raises(PlanNotWaiting, match="has no plan"):
                await decide(task_id, NAMED)


async def test_the_submitter_may_be_kept_from_approving() -> None:
    async with planning() as (core, agent):
        task_id, _ = await make_planned(core, agent, approval_by_other=True)
        with pytest.raises(NotAllowed, match="'local' has submitted the task"):
            await core.manager.approve(task_id, NAMED, by="local")
        assert await core.status(task_id) is S.PLAN_COMPLETED
        await core.manager.approve(task_id, NAMED, by="ann")
        await agent.task(1)


@pytest.mark.parametrize("named", [None, NAMED])
async def test_a_rejected_plan_is_never_applied_and_frees_its_lock(named: Named | None) -> None:
    async with planning() as (core, agent):
        task_id, _ = await make_planned(core, agent)
        with pytest.raises(PlanChanged):
            await core.manager.reject(task_id, Named(sha256("old")))
        record = await core.manager.reject(task_id, named, message="too much", by="ann")

        assert (record.task.status, record.task.reason) == (S.CANCELLED, Reason.APPROVAL_DENIED)
        assert (record.task.message, record.remarks[0].text) == ("too much", f"plan {PLAN_A.sha256}: too much")
        assert not holds(core)
        await asyncio.sleep(60)
        assert len(agent.tasks) == 1


async def test_an_approval_that_does_not_come_in_time_ends_the_task() -> None:
    async with planning() as (core, agent):
        task_id, _ = await make_planned(core, agent, approval_timeout_ms=90_000)
        await agent.hang_up(left=True)
        await asyncio.sleep(85)
        assert await core.status(task_id) is S.PLAN_COMPLETED
        await asyncio.sleep(10)

        record = await core.manager.get(task_id)
        assert (record.task.status, record.task.reason) == (S.TIMEOUT, Reason.APPROVAL_EXPIRED)
        assert not holds(core)
        assert core.manager.tally.approvals == {"expired": 1}


async def test_an_approval_may_take_a_day_unless_something_else_is_said() -> None:
    async with planning() as (core, agent):
        task_id, _ = await make_planned(core, agent)
        deadline = (await core.manager.get(task_id)).task.queue_deadline
        assert deadline is not None
        assert 0 <= deadline - DAY_MS <= core.manager.rooms.control.now()


async def test_how_long_plans_wait_can_be_set() -> None:
    async with planning(options=Options(approval_timeout=30)) as (core, agent):
        task_id, _ = await make_planned(core, agent)
        await asyncio.sleep(40)
        assert await core.status(task_id) is S.TIMEOUT


async def test_an_approved_plan_waits_for_an_agent_as_long_as_a_task_may() -> None:
    async with planning() as (core, agent):
        task_id, _ = await make_planned(core, agent, queue_timeout_ms=20_000, approval_timeout_ms=5_000)
        await agent.hang_up(left=True)
        await core.manager.approve(task_id, NAMED)
        await asyncio.sleep(15)
        assert await core.status(task_id) is S.APPLY_PENDING
        await asyncio.sleep(10)

        record = await core.manager.get(task_id)
        assert (record.task.status, record.task.reason) == (S.TIMEOUT, Reason.QUEUE_TIMEOUT)
        assert not holds(core)


async def test_an_agent_that_dies_as_it_applies_leaves_a_doubt_and_the_lock() -> None:
    async with planning() as (core, agent):
        task_id, ref = await make_applying(core, agent)
        agent.say(ref, Started(), Gone(message="killed", agent_died=True))
        await agent.acked(ref)

        assert await core.status(task_id) is S.UNKNOWN
        assert {hold.key for hold in holds(core)} == {f"task:{task_id}"}
        await core.manager.resolve(task_id, resolution=Resolution.COMPLETED, reason="I have seen it", by="ann")
        assert await core.status(task_id) is S.COMPLETED
        assert not holds(core)


async def test_a_rerun_of_an_apply_begins_with_another_plan() -> None:
    async with planning() as (core, agent):
        task_id, ref = await make_applying(core, agent)
        agent.say(ref, Started(), Gone(agent_died=True))
        await agent.acked(ref)
        agent.give_credit(2)
        await core.manager.resolve(task_id, resolution=Resolution.RERUN, reason="once more", by="ann")

        request = await agent.task(2)
        assert (request.plan, request.execution) == (None, Execution.REPLAYABLE)
        other = make_plan("another")
        agent.say(request.ref, replace(PLANNED, plan=other))
        await agent.acked(request.ref)
        with pytest.raises(PlanChanged):
            await core.manager.approve(task_id, NAMED)
        agent.give_credit(3)
        await core.manager.approve(task_id, Named(other.sha256))
        assert (await agent.task(3)).plan == other
        record = await core.manager.get(task_id)
        assert [past.plan.plan if past.plan else None for past in record.earlier] == [PLAN_A, PLAN_A, other]


async def test_an_apply_that_fails_is_tried_again_from_the_plan_on() -> None:
    async with planning() as (core, agent):
        retry = RetryPolicy(max_attempts=2, initial_ms=0)
        task_id, ref = await make_applying(core, agent, retry=retry)
        agent.say(ref, Finished(outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=1))
        await agent.acked(ref)
        agent.give_credit(2)

        request = await agent.task(2)
        assert (request.plan, request.ref.attempt) == (None, 3)
        assert task_id == request.ref.task_id


async def test_an_apply_that_provably_never_began_waits_on_with_its_plan() -> None:
    async with planning() as (core, agent):
        task_id, ref = await make_applying(core, agent)
        agent.say(ref, Declined(message="not now", just_this=True))
        await agent.acked(ref)
        agent.give_credit(2)

        again = await agent.task(2)
        assert (again.plan, again.ref.attempt) == (PLAN_A, 3)
        assert "apply_pending sent apply_pending sent" in " ".join(await kinds(core, task_id))
        await agent.finish(again.ref)
        assert not holds(core)


async def test_an_apply_that_never_began_is_given_out_again_after_a_restart() -> None:
    database = Database()
    async with planning(database) as (core, agent):
        task_id, _ = await make_applying(core, agent)
        await agent.hang_up()
    async with planning(database, session=2, remembers_since=1) as (core, agent):
        again = await agent.task()
        assert (again.ref.task_id, again.plan, again.ref.attempt) == (task_id, PLAN_A, 3)
        await agent.finish(again.ref)
        assert not holds(core)


async def test_a_cancel_ends_what_waits_for_an_approval() -> None:
    async with planning() as (core, agent):
        task_id, _ = await make_planned(core, agent)
        record = await core.manager.cancel(task_id)
        assert record.task.status is S.CANCELLED
        assert not holds(core)


async def test_a_plan_that_is_made_as_its_task_is_to_stop_is_not_applied() -> None:
    async with planning() as (core, agent):
        [task_id] = await core.submit(make_change())
        request = await agent.task()
        await core.manager.cancel(task_id)
        agent.say(request.ref, PLANNED)
        await agent.acked(request.ref)

        assert await core.status(task_id) is S.CANCELLED
        assert not holds(core)


async def test_a_plan_that_is_told_twice_is_one_plan() -> None:
    async with planning() as (core, agent):
        task_id, ref = await make_planned(core, agent)
        agent.acks.clear()
        agent.say(ref, replace(PLANNED, plan=make_plan("another")))

        assert await agent.acked(ref) is AckDisposition.STALE
        record = await core.manager.get(task_id)
        assert record.task.plan is not None
        assert record.task.plan.plan == PLAN_A
        assert not record.late_results


async def test_a_workspace_is_its_tasks_from_the_plan_to_the_end_of_the_apply() -> None:
    async with planning() as (core, agent):
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        first, _ = await make_planned(core, agent, workspace="site")
        [second] = await core.submit(make_change(workspace="site"))
        await asyncio.sleep(3)
        assert await core.status(second) is S.PENDING
        assert set(holds(core).values()) == {first}
        assert workspace_key("site") in {hold.key for hold in holds(core)}

        await core.manager.approve(first, NAMED)
        request = await agent.task(1)
        await asyncio.sleep(3)
        assert len(agent.tasks) == 2
        await agent.finish(request.ref)
        agent.give_credit(2)

        assert (await agent.task(2)).ref.task_id == second


async def test_a_change_counts_once_under_a_rate_as_its_plan_begins() -> None:
    async with planning() as (core, agent):
        task_id, _ = await make_planned(core, agent, rates={"mail": Rate(1, 3_600_000)})
        [other] = await core.submit(make_submission(rates={"mail": Rate(1, 3_600_000)}))

        await core.manager.approve(task_id, NAMED)

        assert (await agent.task(1)).ref.task_id == task_id
        assert await core.status(other) is S.PENDING


async def test_what_waits_for_an_approval_keeps_nobody_else_from_running() -> None:
    async with planning(options=Options(max_running=1)) as (core, agent):
        task_id, _ = await make_planned(core, agent)
        [echo] = await core.submit(make_submission())
        request = await agent.task(1)
        assert request.ref.task_id == echo
        await core.manager.approve(task_id, NAMED)
        await asyncio.sleep(3)
        assert await core.status(task_id) is S.APPLY_PENDING
        await agent.finish(request.ref)
        agent.give_credit(2)

        assert (await agent.task(2)).ref.task_id == task_id
        await agent.finish(agent.tasks[2].ref)
        assert not holds(core)
        assert core.manager.rooms.limits.is_idle


@pytest.mark.parametrize("is_approved", [False, True])
async def test_a_restart_of_the_server_changes_nothing(is_approved: bool) -> None:
    database = Database()
    async with planning(database) as (core, agent):
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        task_id, _ = await make_planned(core, agent, workspace="site")
        [second] = await core.submit(make_change(workspace="site"))
        await agent.hang_up(left=True)
        if is_approved:
            await core.manager.approve(task_id, NAMED)
    async with planning(database, session=2, remembers_since=1) as (core, agent):
        await asyncio.sleep(5)
        assert await core.status(second) is S.PENDING
        if not is_approved:
            assert await core.status(task_id) is S.PLAN_COMPLETED
            await core.manager.approve(task_id, NAMED)
        request = await agent.task()
        assert (request.ref.task_id, request.plan) == (task_id, PLAN_A)
        await agent.finish(request.ref)
        agent.give_credit(1)
        assert (await agent.task(1)).ref.task_id == second
        assert set(holds(core).values()) == {second}


async def test_an_approval_expires_across_a_restart() -> None:
    database = Database()
    async with planning(database) as (core, agent):
        task_id, _ = await make_planned(core, agent, approval_timeout_ms=30_000)
    async with planning(database, session=2) as (core, agent):
        await eventually(lambda: is_over(core, task_id), within=60)
        assert (await core.manager.get(task_id)).task.reason is Reason.APPROVAL_EXPIRED


async def is_over(core: Core, task_id: str) -> bool:
    """Whether a task has ended."""
    return (await core.manager.get(task_id)).task.is_terminal


async def test_the_blocks_of_events_tell_what_the_history_tells() -> None:
    async with planning() as (core, agent):
        task_id, ref = await make_applying(core, agent)
        agent.say(ref, Declined(just_this=True))
        await agent.acked(ref)
        agent.give_credit(2)
        await agent.finish((await agent.task(2)).ref)
        store = core.database.store()
        told = [event for event in await store.events(0, 1_000) if event.task_id == task_id]

        assert told == list(await store.history(task_id))
        [planned] = [event for event in told if event.name == EventName.TASK_PLAN_COMPLETED]
        assert planned.data == {
            "plan_sha256": PLAN_A.sha256,
            "inputs_sha256": PLAN_A.inputs_sha256,
            "target": PLAN_A.target,
        }


def _used(agent: FakeAgent) -> tuple[int, int]:
    view = agent.manager.agents.view(agent.agent_id)
    return view.used.plans, view.used.applies


async def test_it_is_seen_what_plans_and_what_applies() -> None:
    async with planning(plan_limit=7) as (core, agent):
        await core.submit(make_change(), make_submission(PLAN), make_submission())
        await agent.task(2)
        assert (_used(agent), core.manager.agents.view("a1").plan_limit) == ((2, 0), 7)
