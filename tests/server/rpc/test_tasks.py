"""TaskService over a real server: what it accepts, answers, streams and refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from nodelink.errors import ErrorCode, StoreUnavailable
from nodelink.task import Outcome, Reason
from nodelink.v1 import task_pb2
from nodelink_server.core.validation import MAX_BATCH
from nodelink_server.rpc.statuses import STATUS_CODES
from nodelink_server.rpc.submit_stream import WINDOW
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, reason_of, refusal
from tests.support.grpc_streams import all_of, calls_under_way, read, settled

UNKNOWN_ID = "01900000-0000-7000-8000-ffffffffffff"


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


def echo(payload: bytes = b"null", **more: Any) -> task_pb2.SubmitTaskRequest:
    return task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type="echo", payload=payload), **more)


def frame(first: int, length: int) -> task_pb2.StreamSubmitTasksRequest:
    return task_pb2.StreamSubmitTasksRequest(requests=[echo()] * length, first_number=first)


# --- submit -----------------------------------------------------------------------------------------------------------


async def test_an_accepted_task_comes_back_with_its_defaults(door: GrpcDoor) -> None:
    response = await door.tasks.SubmitTask(echo(b'{"a":1}'), timeout=WAIT_SECONDS)

    task = response.task
    assert (task.status, task.reason) == (task_pb2.TASK_STATUS_PENDING, "agent")
    assert (task.spec.type, task.spec.payload, task.spec.pool, task.spec.priority) == (
        "echo",
        b'{"a":1}',
        "default",
        50,
    )
    assert task.spec.execution == task_pb2.EXECUTION_REPLAYABLE
    assert task.revision > 0
    assert task.HasField("created_at")


async def test_a_submission_that_waits_is_answered_with_the_end(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        call = door.tasks.SubmitTask(echo(wait=Duration(seconds=5)), timeout=WAIT_SECONDS)
        asked = asyncio.ensure_future(call)
        request = await agent.take()
        agent.finish(request.ref, output=b"7")

        assert (await asked).task.status == task_pb2.TASK_STATUS_COMPLETED


async def test_the_same_key_gives_the_same_task_and_another_request_under_it_a_conflict(door: GrpcDoor) -> None:
    first = await door.tasks.SubmitTask(echo(idempotency_key="k"), timeout=WAIT_SECONDS)
    again = await door.tasks.SubmitTask(echo(idempotency_key="k"), timeout=WAIT_SECONDS)
    code, status = await refusal(door.tasks.SubmitTask(echo(b"1", idempotency_key="k")))

    assert (again.task.id, again.replayed) == (first.task.id, True)
    assert (code, reason_of(status)) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_CONFLICT")


async def test_a_replay_shows_the_task_as_it_stands_now(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        first = await door.tasks.SubmitTask(echo(idempotency_key="k"), timeout=WAIT_SECONDS)
        agent.finish((await agent.take()).ref)
        await door.tasks.WaitTask(task_pb2.WaitTaskRequest(task_id=first.task.id), timeout=WAIT_SECONDS)
    again = (await door.tasks.SubmitTask(echo(idempotency_key="k"), timeout=WAIT_SECONDS)).task

    assert again.status == task_pb2.TASK_STATUS_COMPLETED
    assert again.updated_at.ToMilliseconds() >= again.finished_at.ToMilliseconds()


async def test_a_refusal_names_every_field_that_is_wrong(door: GrpcDoor) -> None:
    spec = task_pb2.TaskSpec(type="nosuch", payload=b"{", priority=101)
    code, status = await refusal(door.tasks.SubmitTask(task_pb2.SubmitTaskRequest(spec=spec)))

    violations = detail(status, error_details_pb2.BadRequest).field_violations
    assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID")
    assert {violation.field for violation in violations} == {"type", "priority", "payload"}


async def test_what_cannot_be_made_durable_is_refused_with_a_time_to_come_again(door: GrpcDoor) -> None:
    door.switch.error = StoreUnavailable(retry_after=3.0)
    code, status = await refusal(door.tasks.SubmitTask(echo()))
    door.switch.error = None

    assert (code, reason_of(status)) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert detail(status, error_details_pb2.RetryInfo).retry_delay.ToSeconds() == 3


async def test_a_batch_has_an_outcome_for_each_request_in_order(door: GrpcDoor) -> None:
    wrong = task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type="nosuch", payload=b"null"))
    unknown_class = task_pb2.SubmitTaskRequest(
        spec=task_pb2.TaskSpec(type="echo", payload=b"null", execution=cast("Any", 99))
    )
    batch = task_pb2.BatchSubmitTasksRequest(
        requests=[echo(), wrong, unknown_class, echo(wait=Duration(seconds=1)), echo()]
    )
    response = await door.tasks.BatchSubmitTasks(batch, timeout=WAIT_SECONDS)

    refused = [(outcome.refusal.code, outcome.refusal.field) for outcome in response.outcomes[1:4]]
    assert refused == [("INVALID", "type"), ("INVALID", "execution"), ("INVALID", "wait")]
    assert response.outcomes[0].task_id
    assert response.outcomes[4].task_id > response.outcomes[0].task_id


@pytest.mark.parametrize("length, reason", [(0, "INVALID"), (MAX_BATCH + 1, "TOO_LARGE")])
async def test_a_batch_that_is_empty_or_too_long_is_refused_as_a_whole(
    door: GrpcDoor, length: int, reason: str
) -> None:
    _, status = await refusal(door.tasks.BatchSubmitTasks(task_pb2.BatchSubmitTasksRequest(requests=[echo()] * length)))

    assert reason_of(status) == reason


# --- submit as a stream -----------------------------------------------------------------------------------------------


async def test_a_stream_answers_each_frame_with_its_number_and_more_credit(door: GrpcDoor) -> None:
    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        yield frame(1, 3)
        yield frame(4, 2)

    first, *answers = await all_of(door.tasks.StreamSubmitTasks(frames()))

    assert (first.submit_credit, len(first.outcomes)) == (WINDOW, 0)
    assert [(a.first_number, len(a.outcomes), a.submit_credit) for a in answers] == [
        (1, 3, WINDOW + 3),
        (4, 2, WINDOW + 5),
    ]
    assert all(outcome.task_id for answer in answers for outcome in answer.outcomes)


async def test_a_stream_whose_caller_goes_leaves_nothing_running(door: GrpcDoor) -> None:
    idle = calls_under_way()
    call = door.tasks.StreamSubmitTasks()
    await read(call)
    assert calls_under_way() > idle
    call.cancel()

    await settled(lambda: calls_under_way() == idle)


# --- look -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GetTask", "GetTaskResult", "WaitTask", "CancelTask"])
async def test_a_task_that_does_not_exist_is_not_found(door: GrpcDoor, name: str) -> None:
    request = getattr(task_pb2, f"{name}Request")(task_id=UNKNOWN_ID)
    code, status = await refusal(getattr(door.tasks, name)(request))

    assert (code, reason_of(status)) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert detail(status, error_details_pb2.ResourceInfo).resource_type == "task"


async def test_a_request_without_an_id_is_refused_by_field(door: GrpcDoor) -> None:
    _, status = await refusal(door.tasks.GetTask(task_pb2.GetTaskRequest()))

    assert detail(status, error_details_pb2.BadRequest).field_violations[0].field == "task_id"


async def test_a_task_shows_its_attempt_and_its_progress(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        request = await agent.take()
        agent.start(request.ref)
        task = await _task_that(door, task_id, lambda task: task.status == task_pb2.TASK_STATUS_IN_PROGRESS)

    assert (task.attempt, task.agent_id, task.attempts[0].state) == (1, "a1", "started")
    assert task.HasField("last_contact")


async def test_a_waiting_task_tells_how_the_tries_to_give_it_to_an_agent_stand(door: GrpcDoor) -> None:
    async with door.agent(slots=1) as agent:
        given, behind = await door.submit(), await door.submit()
        await agent.take()
        page = await door.tasks.ListTasks(task_pb2.ListTasksRequest(), timeout=WAIT_SECONDS)
        waiting = await _task_that(door, behind, lambda task: task.HasField("assignment"))
        elsewhere = await _task_that(door, await door.submit(pool="empty"), lambda task: task.HasField("assignment"))

    told = waiting.assignment
    assert told.tries >= 1
    assert told.next_at.ToMilliseconds() - waiting.created_at.ToMilliseconds() == told.tries * 10_000
    assert (told.reason, elsewhere.assignment.reason) == ("none_free", "no_pool")
    assert {task.id: task.HasField("assignment") for task in page.tasks} == {given: False, behind: True}


async def test_pages_of_tasks_go_from_the_newest_to_the_oldest(door: GrpcDoor) -> None:
    ids = [await door.submit() for _ in range(5)]
    seen: list[str] = []
    token = ""
    for _ in range(3):
        page = await door.tasks.ListTasks(task_pb2.ListTasksRequest(page_size=2, page_token=token))
        seen += [task.id for task in page.tasks]
        token = page.next_page_token

    assert (seen, token) == (ids[::-1], "")


async def test_a_page_of_large_payloads_ends_early_and_goes_on(door: GrpcDoor) -> None:
    large = b'"' + b"x" * 250_000 + b'"'
    for _ in range(12):
        await door.submit(payload=large)
    first = await door.tasks.ListTasks(task_pb2.ListTasksRequest(page_size=100))
    rest = await door.tasks.ListTasks(task_pb2.ListTasksRequest(page_size=100, page_token=first.next_page_token))

    assert 0 < len(first.tasks) < 12
    assert len(first.tasks) + len(rest.tasks) == 12


async def test_every_filter_of_a_list_must_match(door: GrpcDoor) -> None:
    await door.submit()
    wanted = await door.submit(pool="other")
    page = await door.tasks.ListTasks(
        task_pb2.ListTasksRequest(pool="other", type="echo", statuses=[task_pb2.TASK_STATUS_PENDING])
    )

    assert [task.id for task in page.tasks] == [wanted]


@pytest.mark.parametrize(
    "request_of, reason",
    [
        ({"page_size": 1_001}, "INVALID"),
        ({"page_token": "not one"}, "INVALID"),
        ({"statuses": [99]}, "INVALID"),
    ],
)
async def test_a_list_that_cannot_be_asked_for_is_refused(
    door: GrpcDoor, request_of: dict[str, Any], reason: str
) -> None:
    _, status = await refusal(door.tasks.ListTasks(task_pb2.ListTasksRequest(**request_of)))

    assert reason_of(status) == reason


async def test_a_wait_is_answered_before_its_callers_deadline(door: GrpcDoor) -> None:
    task_id = await door.submit()
    response = await door.tasks.WaitTask(task_pb2.WaitTaskRequest(task_id=task_id), timeout=1.0)

    assert response.task.status == task_pb2.TASK_STATUS_PENDING


async def test_a_wait_ends_with_the_task(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        request = await agent.take()
        waiting = asyncio.ensure_future(door.tasks.WaitTask(task_pb2.WaitTaskRequest(task_id=task_id)))
        agent.finish(request.ref)
        async with asyncio.timeout(WAIT_SECONDS):
            response = await waiting

    assert response.task.status == task_pb2.TASK_STATUS_COMPLETED


# --- results ----------------------------------------------------------------------------------------------------------


async def test_the_result_of_a_finished_task_tells_how_it_ended(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit("shell", b'{"command":["false"]}', metadata={"ticket": "7"})
        ref = (await agent.take()).ref
        agent.start(ref)
        agent.finish(ref, outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=1, cpu_seconds=0.5)
        await door.tasks.WaitTask(task_pb2.WaitTaskRequest(task_id=task_id), timeout=WAIT_SECONDS)
    response = await door.tasks.GetTaskResult(task_pb2.GetTaskResultRequest(task_id=task_id))

    result = response.result
    assert (result.status, result.exit_code, result.attempt) == (task_pb2.TASK_STATUS_FAILED, 1, 1)
    assert not result.HasField("signal")
    assert (result.metrics.cpu_seconds, dict(result.metadata)) == (0.5, {"ticket": "7"})


async def test_a_task_that_runs_has_no_result_yet(door: GrpcDoor) -> None:
    task_id = await door.submit()
    code, status = await refusal(door.tasks.GetTaskResult(task_pb2.GetTaskResultRequest(task_id=task_id)))

    assert (code, reason_of(status)) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_FINISHED")


# --- steer ------------------------------------------------------------------------------------------------------------


async def test_a_waiting_task_is_cancelled_at_once_and_only_once(door: GrpcDoor) -> None:
    task_id = await door.submit()
    request = task_pb2.CancelTaskRequest(task_id=task_id, reason="changed my mind")
    response = await door.tasks.CancelTask(request)
    code, status = await refusal(door.tasks.CancelTask(request))

    assert (response.task.status, response.task.message) == (task_pb2.TASK_STATUS_CANCELLED, "changed my mind")
    assert (code, reason_of(status)) == (grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_FINISHED")


async def test_the_grace_of_a_cancel_reaches_the_agent(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        ref = (await agent.take()).ref
        response = await door.tasks.CancelTask(task_pb2.CancelTaskRequest(task_id=task_id, grace=Duration(seconds=2)))
        command = await agent.told_to_stop()
        agent.finish(ref, outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER)

    assert response.task.status == task_pb2.TASK_STATUS_CANCELLING
    assert command.grace_ms == 2_000


async def test_a_negative_duration_is_refused(door: GrpcDoor) -> None:
    task_id = await door.submit()
    request = task_pb2.CancelTaskRequest(task_id=task_id, grace=Duration(seconds=-1))
    _, status = await refusal(door.tasks.CancelTask(request))

    assert detail(status, error_details_pb2.BadRequest).field_violations[0].field == "grace"


# --- errors -----------------------------------------------------------------------------------------------------------


async def test_what_nobody_expected_tells_nothing_of_our_insides(door: GrpcDoor) -> None:
    door.switch.error = RuntimeError("password=hunter2")
    code, status = await refusal(door.tasks.GetTask(task_pb2.GetTaskRequest(task_id=UNKNOWN_ID)))
    door.switch.error = None

    assert (code, reason_of(status)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "hunter2" not in str(status)


def test_every_code_has_a_status() -> None:
    assert set(STATUS_CODES) == set(ErrorCode)


async def _task_that(door: GrpcDoor, task_id: str, is_so: Any) -> Any:
    """The task when something is true of it."""
    call = door.tasks.WatchTasks(task_pb2.WatchTasksRequest(task_id=task_id))
    while True:
        await read(call)
        task = (await door.tasks.GetTask(task_pb2.GetTaskRequest(task_id=task_id))).task
        if is_so(task):
            call.cancel()
            return task
