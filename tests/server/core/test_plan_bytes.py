"""A plan whose bytes are to be an artifact of its attempt is taken only if they are: else nobody could apply it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection
from dataclasses import replace

import pytest

from nodelink.plan import PLAN, PLAN_AND_APPLY, Plan
from nodelink.task import (
    AckDisposition,
    AttemptRef,
    ErrorCategory,
    Finished,
    Outcome,
    Reason,
    RetryPolicy,
    Started,
    TaskResponse,
    TaskStatus,
)
from nodelink_server.core.blob_ports import AttemptArtifact, UploadName
from nodelink_server.core.plans import without_bytes
from tests.support.core_parts import COMPLETED, Core, Database, make_submission
from tests.support.planning import make_change, planning

DATA, OTHER = b"what would change", b"something else"
PLANNED = Finished(
    outcome=Outcome.COMPLETED, plan=Plan(hashlib.sha256(DATA).hexdigest(), len(DATA)), plan_artifact="plan"
)
S = TaskStatus


async def give(core: Core, ref: AttemptRef, data: bytes = DATA, *, name: str = "plan", by_caller: bool = False) -> None:
    """Let bytes be an artifact of an attempt, or (`by_caller`) of its task."""
    upload = UploadName(hashlib.sha256(data).hexdigest(), len(data))
    if not (await core.manager.blobs.announce(upload)).is_complete:
        await core.manager.blobs.append(upload, 0, data)
    holder = None if by_caller else ref
    await core.manager.artifacts.attach(ref.task_id, name, upload.sha256, holder=holder)


@pytest.mark.parametrize("type, after", [(PLAN, S.COMPLETED), (PLAN_AND_APPLY, S.PLAN_COMPLETED)])
async def test_a_plan_that_is_an_artifact_of_its_attempt_is_taken(type: str, after: TaskStatus) -> None:
    async with planning() as (core, agent):
        [task_id] = await core.submit(make_submission(type))
        request = await agent.task()
        await give(core, request.ref)
        agent.say(request.ref, PLANNED)
        await agent.acked(request.ref)

        assert await core.status(task_id) is after


@pytest.mark.parametrize("type", [PLAN, PLAN_AND_APPLY])
async def test_a_plan_whose_bytes_never_came_is_a_failure(type: str) -> None:
    async with planning() as (core, agent):
        [task_id] = await core.submit(make_submission(type))
        request = await agent.task()
        agent.say(request.ref, PLANNED)
        assert await agent.acked(request.ref) is AckDisposition.COMMITTED

        record = await core.manager.get(task_id)
        assert (record.task.status, record.task.reason, record.task.plan) == (S.FAILED, Reason.HANDLER_ERROR, None)
        assert record.finished is not None
        assert record.finished.error is not None
        assert record.finished.error.category is ErrorCategory.INTERNAL
        assert PLANNED.plan is not None
        assert f"its plan {PLANNED.plan.sha256} is not its artifact 'plan'" in record.finished.error.message


async def test_what_is_not_this_plan_as_this_artifact_of_this_attempt_does_not_count() -> None:
    async with planning() as (core, agent):
        for number, (data, name, by_caller) in enumerate(
            [(OTHER, "plan", False), (DATA, "other", False), (DATA, "plan", True)]
        ):
            [task_id] = await core.submit(make_change())
            request = await agent.task(number)
            await give(core, request.ref, data, name=name, by_caller=by_caller)
            agent.say(request.ref, PLANNED)
            await agent.acked(request.ref)
            agent.give_credit(number + 1)

            assert await core.status(task_id) is S.FAILED


async def test_a_plan_whose_bytes_are_gone_from_the_disk_is_a_failure() -> None:
    async with planning() as (core, agent):
        [task_id] = await core.submit(make_change())
        request = await agent.task()
        await give(core, request.ref)
        core.database.disk.blobs.bytes.clear()
        agent.say(request.ref, PLANNED)
        await agent.acked(request.ref)

        assert await core.status(task_id) is S.FAILED


async def test_a_plan_that_is_kept_elsewhere_needs_no_artifact() -> None:
    async with planning() as (core, agent):
        [task_id] = await core.submit(make_change())
        request = await agent.task()
        agent.say(request.ref, replace(PLANNED, plan_artifact=""))
        await agent.acked(request.ref)

        assert await core.status(task_id) is S.PLAN_COMPLETED


async def test_it_is_planned_anew_if_the_task_may_be_tried_again() -> None:
    async with planning() as (core, agent):
        [task_id] = await core.submit(make_change(retry=RetryPolicy(max_attempts=2, initial_ms=0)))
        first = await agent.task()
        agent.say(first.ref, PLANNED)
        await agent.acked(first.ref)
        agent.give_credit(1)
        second = await agent.task(1)
        await give(core, second.ref)
        agent.say(second.ref, PLANNED)
        await agent.acked(second.ref)

        assert await core.status(task_id) is S.PLAN_COMPLETED


async def test_a_plan_waits_until_it_can_be_looked_at() -> None:
    database = Database()
    async with planning(database) as (core, agent):
        [task_id] = await core.submit(make_change())
        request = await agent.task()
        await give(core, request.ref)
        database.failing.add("read")
        agent.say(request.ref, PLANNED)
        await asyncio.sleep(5)
        assert request.ref not in agent.acks
        database.failing.discard("read")
        await agent.acked(request.ref)

        assert await core.status(task_id) is S.PLAN_COMPLETED


class CountingBlobs:
    """Of a `BlobStore`, what is asked here. Nothing is there."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def there(self, told: Collection[AttemptArtifact]) -> Collection[AttemptArtifact]:
        """None of them."""
        self.asked.append(len(told))
        return ()


async def test_only_plans_are_asked_for_and_all_of_a_round_at_once() -> None:
    refs = [AttemptRef(f"t{number}", 1, 1) for number in range(3)]
    others = [TaskResponse(ref, end) for ref in refs for end in (Started(), COMPLETED, replace(PLANNED, plan=None))]
    blobs = CountingBlobs()

    assert await without_bytes(blobs, others) == ()
    assert blobs.asked == []
    assert await without_bytes(blobs, [*others, *(TaskResponse(ref, PLANNED) for ref in refs)]) == set(refs)
    assert blobs.asked == [3]
