"""Doubt over gRPC: what a task in doubt shows, what people decide about it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from nodelink.task import Gone
from nodelink.v1 import task_pb2
from tests.support.doubts import NOBODY_SAW, put_in_doubt, started
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, reason_of, refusal
from tests.support.http_door import ManualAgent

INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID")
EXCLUSIVE = task_pb2.EXECUTION_EXCLUSIVE


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def shown(door: GrpcDoor, task_id: str) -> task_pb2.Task:
    """A task as it stands."""
    response = await door.tasks.GetTask(task_pb2.GetTaskRequest(task_id=task_id), timeout=WAIT_SECONDS)
    task: task_pb2.Task = response.task
    return task


async def doubted(door: GrpcDoor, agent: ManualAgent, **spec: Any) -> str:
    """The id of a task that is in doubt."""
    payload = json.dumps({"command": "deploy"}).encode()
    task_id = await door.submit("shell", payload, execution=EXCLUSIVE, **spec)
    await put_in_doubt(door, agent, task_id)
    return task_id


async def resolved(door: GrpcDoor, task_id: str, resolution: Any, reason: str = "I looked") -> task_pb2.Task:
    """The task after a person has said what became of it."""
    request = task_pb2.ResolveTaskRequest(task_id=task_id, resolution=resolution, reason=reason)
    task: task_pb2.Task = (await door.tasks.ResolveTask(request, timeout=WAIT_SECONDS)).task
    return task


async def test_a_task_with_an_agent_shows_the_contact_the_lease_and_its_lock(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit(lock="deploy")
        await started(door, agent, task_id)
        task = await shown(door, task_id)
        [listed] = (await door.tasks.ListTasks(task_pb2.ListTasksRequest(), timeout=WAIT_SECONDS)).tasks
    gone = await shown(door, task_id)

    assert (task.contact, task.may_have_run, task.spec.lock) == ("connected", True, "deploy")
    assert task.lease_until.ToMilliseconds() > task.started_at.ToMilliseconds()
    assert task.HasField("last_contact")
    assert listed.contact == "connected"
    assert gone.contact == "lost"


async def test_a_task_that_waits_shows_no_contact_and_the_lock_that_it_has_of_its_own(door: GrpcDoor) -> None:
    task = await shown(door, await door.submit(execution=EXCLUSIVE))

    assert (task.contact, task.may_have_run, task.spec.lock) == ("", False, f"task:{task.id}")
    assert [field for field in ("last_contact", "lease_until") if task.HasField(field)] == []
    assert [*task.late_results, *task.remarks] == []


async def test_a_task_in_doubt_says_since_when_and_why(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task = await shown(door, await doubted(door, agent))

    [remark] = task.remarks
    assert (task.status, task.may_have_run) == (task_pb2.TASK_STATUS_UNKNOWN, True)
    assert (remark.kind, remark.by) == ("unknown", "")
    assert NOBODY_SAW in remark.message
    assert remark.HasField("at")


@pytest.mark.parametrize(
    "resolution, status",
    [
        (task_pb2.RESOLUTION_COMPLETED, task_pb2.TASK_STATUS_COMPLETED),
        (task_pb2.RESOLUTION_FAILED, task_pb2.TASK_STATUS_FAILED),
    ],
)
async def test_a_person_says_how_it_ended(
    door: GrpcDoor, resolution: task_pb2.Resolution, status: task_pb2.TaskStatus
) -> None:
    async with door.agent() as agent:
        task = await resolved(door, await doubted(door, agent), resolution)

    assert (task.status, task.reason, task.message) == (status, "resolved", "I looked")
    assert [(remark.kind, remark.by) for remark in task.remarks] == [("unknown", ""), ("resolved", "local")]


async def test_a_person_lets_it_run_again_and_what_the_first_attempt_tells_is_kept(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit("shell", b'{"command":"deploy"}', execution=EXCLUSIVE)
        first = await put_in_doubt(door, agent, task_id)
        await resolved(door, task_id, task_pb2.RESOLUTION_RERUN)
        second = (await agent.take()).ref
        agent.finish(first, exit_code=0)
        agent.finish(second)
        waited = task_pb2.WaitTaskRequest(task_id=task_id)
        task = (await door.tasks.WaitTask(waited, timeout=WAIT_SECONDS)).task

    [late] = task.late_results
    assert (task.status, task.attempt) == (task_pb2.TASK_STATUS_COMPLETED, 2)
    assert (late.attempt, late.agent_id, late.outcome, late.exit_code) == (1, "a1", "completed", 0)
    assert late.HasField("received_at")


async def test_a_running_task_is_given_up_and_its_agent_told_to_stop_it(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        ref = await started(door, agent, task_id)
        request = task_pb2.AbandonTaskRequest(task_id=task_id, reason="the machine burnt")
        task = (await door.tasks.AbandonTask(request, timeout=WAIT_SECONDS)).task
        stopped = await agent.told_to_stop()

    assert (task.status, task.reason, task.may_have_run) == (task_pb2.TASK_STATUS_FAILED, "abandoned", True)
    assert stopped.ref == ref


async def test_the_result_of_a_task_of_which_agents_die_calls_it_poison(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        for _ in range(2):
            agent.say((await agent.take()).ref, Gone(message=NOBODY_SAW, agent_died=True))
        await door.tasks.WaitTask(task_pb2.WaitTaskRequest(task_id=task_id), timeout=WAIT_SECONDS)
        asked = task_pb2.GetTaskResultRequest(task_id=task_id)
        result = (await door.tasks.GetTaskResult(asked, timeout=WAIT_SECONDS)).result

    assert (result.status, result.error.category) == (task_pb2.TASK_STATUS_FAILED, "poison")


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1_001])
async def test_a_decision_needs_a_reason_of_a_length_that_can_be_read(door: GrpcDoor, reason: str) -> None:
    task_id = await door.submit()
    abandon = task_pb2.AbandonTaskRequest(task_id=task_id, reason=reason)
    resolve = task_pb2.ResolveTaskRequest(task_id=task_id, reason=reason, resolution=task_pb2.RESOLUTION_FAILED)

    for call in (door.tasks.AbandonTask(abandon), door.tasks.ResolveTask(resolve)):
        code, status = await refusal(call)
        [wrong] = detail(status, error_details_pb2.BadRequest).field_violations
        assert ((code, reason_of(status)), wrong.field) == (INVALID, "reason")


async def test_a_resolution_that_is_none_is_told_what_would_be_right(door: GrpcDoor) -> None:
    task_id = await door.submit()
    for number, words in ((0, "must be given"), (9, "9 is not known")):
        request = task_pb2.ResolveTaskRequest(task_id=task_id, reason="x", resolution=number)  # type: ignore[arg-type]
        code, status = await refusal(door.tasks.ResolveTask(request))
        [wrong] = detail(status, error_details_pb2.BadRequest).field_violations

        assert (code, reason_of(status)) == INVALID
        assert (wrong.field, wrong.description) == ("resolution", f"{words}; use one of completed, failed, rerun")


async def test_what_is_not_in_doubt_is_refused_with_the_status_that_is_wrong(door: GrpcDoor) -> None:
    task_id = await door.submit()
    request = task_pb2.ResolveTaskRequest(task_id=task_id, reason="x", resolution=task_pb2.RESOLUTION_FAILED)
    code, status = await refusal(door.tasks.ResolveTask(request))
    [wrong] = detail(status, error_details_pb2.PreconditionFailure).violations

    assert (code, reason_of(status)) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT")
    assert (wrong.type, wrong.subject) == ("STATUS", "task")
    assert "the task is pending" in wrong.description


@pytest.mark.parametrize("lock", ["x" * 201, "two\nlines"])
async def test_a_lock_that_nobody_can_read_is_refused(door: GrpcDoor, lock: str) -> None:
    spec = task_pb2.TaskSpec(type="echo", payload=b"1", lock=lock)
    code, status = await refusal(door.tasks.SubmitTask(task_pb2.SubmitTaskRequest(spec=spec)))
    [wrong] = detail(status, error_details_pb2.BadRequest).field_violations

    assert ((code, reason_of(status)), wrong.field) == (INVALID, "lock")
