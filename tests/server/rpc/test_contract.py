"""The contract of TaskService, call by call, without a network: grpcio-testing's server and its fake time.

Each call finds a server that has just started on the disk that the calls before it have left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import grpc
import grpc_testing
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from nodelink.v1 import task_pb2, task_pb2_grpc
from nodelink_server.clock import SystemClock
from nodelink_server.core.manager import TaskManager
from nodelink_server.rpc.tasks import TaskService
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.support.sync_facade import Handlers, handlers_of, sync_facade

SERVICE = task_pb2.DESCRIPTOR.services_by_name["TaskService"]
CALLS = SERVICE.methods_by_name
UNKNOWN_ID = "01900000-0000-7000-8000-ffffffffffff"
testing: Any = grpc_testing  # it has no types


class FakeServer:
    """grpcio-testing's server over the facade."""

    def __init__(self) -> None:
        self._disk = Disk()
        self._ids = count(1)
        self.time = testing.strict_fake_time(0.0)
        self._server = testing.server_from_dictionary({SERVICE: sync_facade(SERVICE, self._opened)}, self.time)

    def unary(self, name: str, request: Any, **metadata: str) -> tuple[Any, Any, grpc.StatusCode, str]:
        """Response, trailing metadata, code and details of a call with one request and one answer."""
        rpc = self._server.invoke_unary_unary(CALLS[name], _metadata(metadata), request, None)
        response, trailing, code, details = rpc.termination()
        return response, trailing, code, details

    def answers(self, name: str, request: Any, timeout: float | None = None) -> Any:
        """A call whose answers are a stream."""
        return self._server.invoke_unary_stream(CALLS[name], (), request, timeout)

    def both_ways(self, name: str) -> Any:
        """A call whose requests and answers are streams."""
        return self._server.invoke_stream_stream(CALLS[name], (), None)

    def submit(self) -> task_pb2.Task:
        """A task that was accepted."""
        response, _, code, details = self.unary("SubmitTask", echo())
        assert code is grpc.StatusCode.OK, details
        task: task_pb2.Task = response.task
        return task

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Handlers]:
        manager = TaskManager(store=MemoryStore(self._disk), clock=SystemClock(), new_id=self._new_id)
        await manager.restore()
        async with manager.running():
            yield handlers_of(task_pb2_grpc.add_TaskServiceServicer_to_server, TaskService(manager))

    def _new_id(self) -> str:
        return f"01900000-0000-7000-8000-{next(self._ids):012x}"


def _metadata(given: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((key.replace("_", "-"), value) for key, value in given.items())


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def echo(payload: bytes = b"1", **more: Any) -> task_pb2.SubmitTaskRequest:
    return task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type="echo", payload=payload), **more)


def frame(first: int, length: int) -> task_pb2.StreamSubmitTasksRequest:
    return task_pb2.StreamSubmitTasksRequest(requests=[echo()] * length, first_number=first)


def status_in(trailing: Any) -> status_pb2.Status:
    """The rich status in trailing metadata."""
    (packed,) = [value for key, value in trailing if key == "grpc-status-details-bin"]
    return status_pb2.Status.FromString(packed)


def told_in(trailing: Any) -> error_details_pb2.ErrorInfo:
    """The `ErrorInfo` in trailing metadata."""
    told = error_details_pb2.ErrorInfo()
    assert status_in(trailing).details[0].Unpack(told)
    return told


def test_a_bare_servicer_would_falsely_pass_where_the_facade_fails(server: FakeServer) -> None:
    bare: Any = TaskService(manager=None)  # type: ignore[arg-type]
    lying = testing.server_from_dictionary({SERVICE: bare}, server.time)
    rpc = lying.invoke_unary_unary(CALLS["GetTask"], (), task_pb2.GetTaskRequest(task_id=UNKNOWN_ID), None)
    coroutine, _, falsely, _ = rpc.termination()
    coroutine.close()
    _, _, truly, _ = server.unary("GetTask", task_pb2.GetTaskRequest(task_id=UNKNOWN_ID))

    assert (falsely, truly) == (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND)


def test_what_one_call_accepts_the_next_one_finds(server: FakeServer) -> None:
    task = server.submit()
    response, _, code, _ = server.unary("GetTask", task_pb2.GetTaskRequest(task_id=task.id))

    assert (code, response.task.id) == (grpc.StatusCode.OK, task.id)


@pytest.mark.parametrize(
    "name, request_of, code, reason",
    [
        ("SubmitTask", {"spec": task_pb2.TaskSpec(type="nosuch")}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ("BatchSubmitTasks", {}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ("GetTask", {}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ("GetTask", {"task_id": UNKNOWN_ID}, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        ("ListTasks", {"page_token": "no such"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ("WaitTask", {"task_id": UNKNOWN_ID}, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        ("WaitTasks", {"task_ids": [UNKNOWN_ID]}, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        ("WaitTasks", {}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ("CancelTask", {"task_id": UNKNOWN_ID}, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        ("AbandonTask", {"task_id": UNKNOWN_ID, "reason": "x"}, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        ("AbandonTask", {"task_id": UNKNOWN_ID}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ("AbandonTask", {"reason": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        (
            "ResolveTask",
            {"task_id": UNKNOWN_ID, "reason": "x", "resolution": task_pb2.RESOLUTION_FAILED},
            grpc.StatusCode.NOT_FOUND,
            "NOT_FOUND",
        ),
        ("ResolveTask", {"task_id": UNKNOWN_ID, "reason": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ("RetryTask", {"task_id": UNKNOWN_ID}, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        ("ApproveTask", {"task_id": UNKNOWN_ID}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ("RejectTask", {"task_id": UNKNOWN_ID}, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        ("GetPlan", {"task_id": UNKNOWN_ID}, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        ("GetTaskResult", {"task_id": UNKNOWN_ID}, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        ("CleanUpTasks", {}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
    ],
)
def test_a_refusal_has_its_code_and_its_reason(
    server: FakeServer, name: str, request_of: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    request = getattr(task_pb2, f"{name}Request")(**request_of)
    _, trailing, refused, details = server.unary(name, request, x_request_id="r-1")

    assert (refused, told_in(trailing).reason, told_in(trailing).domain) == (code, reason, "nodelink")
    assert (status_in(trailing).code, status_in(trailing).message) == (code.value[0], details)
    assert told_in(trailing).metadata["request_id"] == dict(trailing)["x-request-id"] == "r-1"


@pytest.mark.parametrize(
    "name, request_of, code, reason",
    [
        ("WatchTasks", {"after_revision": 1 << 63}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ("ReadTaskLogs", {"task_id": UNKNOWN_ID}, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        ("ReadTaskLogs", {"task_id": UNKNOWN_ID, "stream": 9}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
    ],
)
def test_a_stream_that_cannot_begin_ends_with_its_refusal(
    server: FakeServer, name: str, request_of: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    request = getattr(task_pb2, f"{name}Request")(**request_of)
    trailing, refused, _ = server.answers(name, request).termination()

    assert (refused, told_in(trailing).reason) == (code, reason)


def test_a_watch_begins_at_once_and_goes_on_until_its_caller_leaves(server: FakeServer) -> None:
    task = server.submit()
    rpc = server.answers("WatchTasks", task_pb2.WatchTasksRequest(task_id=task.id))
    first, second = rpc.take_response(), rpc.take_response()
    rpc.cancel()

    assert not first.events
    assert second.events[0].name == "task.created"


def test_a_watch_ends_with_its_deadline(server: FakeServer) -> None:
    rpc = server.answers("WatchTasks", task_pb2.WatchTasksRequest(), timeout=5.0)
    rpc.take_response()
    server.time.sleep_for(5.1)
    _, code, _ = rpc.termination()

    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_output_that_is_complete_ends_its_stream(server: FakeServer) -> None:
    task = server.submit()
    server.unary("CancelTask", task_pb2.CancelTaskRequest(task_id=task.id))
    rpc = server.answers("ReadTaskLogs", task_pb2.ReadTaskLogsRequest(task_id=task.id, follow=True))
    page = rpc.take_response()
    _, code, _ = rpc.termination()

    assert (code, page.complete, len(page.parts)) == (grpc.StatusCode.OK, True, 0)


def test_a_stream_of_submissions_is_answered_frame_by_frame_and_ends_when_it_is_closed(server: FakeServer) -> None:
    rpc = server.both_ways("StreamSubmitTasks")
    credit = rpc.take_response().submit_credit
    rpc.send_request(frame(1, 2))
    rpc.send_request(frame(3, 1))
    answers = [rpc.take_response(), rpc.take_response()]
    rpc.requests_closed()
    _, code, _ = rpc.termination()

    assert code is grpc.StatusCode.OK
    assert [(a.first_number, len(a.outcomes), a.submit_credit - credit) for a in answers] == [(1, 2, 2), (3, 1, 3)]


def test_a_frame_that_is_wrong_ends_the_stream_of_submissions_with_its_reason(server: FakeServer) -> None:
    rpc = server.both_ways("StreamSubmitTasks")
    rpc.take_response()
    rpc.send_request(frame(1, 0))
    trailing, code, _ = rpc.termination()

    assert (code, told_in(trailing).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID")


def test_a_finished_task_is_run_again_as_a_new_one(server: FakeServer) -> None:
    task = server.submit()
    server.unary("CancelTask", task_pb2.CancelTaskRequest(task_id=task.id))
    request = task_pb2.RetryTaskRequest(task_id=task.id, idempotency_key="again")
    first, _, _, _ = server.unary("RetryTask", request)
    second, _, _, _ = server.unary("RetryTask", request)

    assert first.task.retry_of == task.id != first.task.id == second.task.id
    assert (first.replayed, second.replayed) == (False, True)


def test_a_waiting_task_is_given_up_and_only_what_is_unknown_is_resolved(server: FakeServer) -> None:
    task = server.submit()
    resolution = task_pb2.ResolveTaskRequest(task_id=task.id, resolution=task_pb2.RESOLUTION_RERUN, reason="x")
    _, trailing, code, words = server.unary("ResolveTask", resolution)
    given_up, _, _, _ = server.unary("AbandonTask", task_pb2.AbandonTaskRequest(task_id=task.id, reason="enough"))
    _, again, _, _ = server.unary("AbandonTask", task_pb2.AbandonTaskRequest(task_id=task.id, reason="enough"))

    assert (code, told_in(trailing).reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT")
    assert words == "only what is unknown can be resolved; the task is pending"
    assert (given_up.task.status, given_up.task.reason) == (task_pb2.TASK_STATUS_FAILED, "abandoned")
    assert told_in(again).reason == "ALREADY_FINISHED"


def test_what_is_old_is_removed_when_it_is_asked_for(server: FakeServer) -> None:
    task = server.submit()
    server.unary("CancelTask", task_pb2.CancelTaskRequest(task_id=task.id))
    kept, _, _, _ = server.unary("CleanUpTasks", task_pb2.CleanUpTasksRequest(older_than=Duration(seconds=3600)))
    gone, _, _, _ = server.unary("CleanUpTasks", task_pb2.CleanUpTasksRequest(older_than=Duration()))
    _, _, code, _ = server.unary("GetTask", task_pb2.GetTaskRequest(task_id=task.id))

    assert (kept.removed, gone.removed, code) == (0, 1, grpc.StatusCode.NOT_FOUND)
