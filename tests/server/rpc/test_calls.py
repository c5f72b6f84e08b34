"""What every call has in common: its id, its shape, and an error that says what is wrong, whatever was sent."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from nodelink.errors import FieldError, InvalidTask
from nodelink.v1 import admin_pb2, task_pb2
from nodelink_server.rpc.interceptors import EveryCall
from nodelink_server.rpc.statuses import MOST_HEADER_BYTES, rich_status
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, reason_of, refusal

RAW: Any = {"request_serializer": None, "response_deserializer": None}
UNKNOWN_ID = "01900000-0000-7000-8000-ffffffffffff"
ID = "x-request-id"
FAR = Duration(seconds=(1 << 63) - 1)
LONG_AGO = Timestamp(seconds=-(1 << 63))
FAR_AWAY = Timestamp(seconds=(1 << 63) - 1)
MOST = (1 << 64) - 1


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


def get_task(task_id: str = UNKNOWN_ID) -> task_pb2.GetTaskRequest:
    return task_pb2.GetTaskRequest(task_id=task_id)


# --- ids --------------------------------------------------------------------------------------------------------------


async def test_the_callers_own_name_for_a_call_comes_back(door: GrpcDoor) -> None:
    call = door.tasks.ListTasks(task_pb2.ListTasksRequest(), metadata=((ID, "order-17"),), timeout=WAIT_SECONDS)
    await call

    assert dict(await call.trailing_metadata())[ID] == "order-17"


async def test_a_stream_tells_its_name_before_its_first_answer(door: GrpcDoor) -> None:
    call = door.tasks.WatchTasks(task_pb2.WatchTasksRequest(), metadata=((ID, "watch-1"),), timeout=WAIT_SECONDS)

    assert dict(await call.initial_metadata())[ID] == "watch-1"
    call.cancel()


@pytest.mark.parametrize("name", ["", "x" * 65, "no spaces", "a/b"])
async def test_a_name_that_is_none_is_replaced_by_a_new_one(door: GrpcDoor, name: str) -> None:
    given = []
    for _ in range(2):
        call = door.tasks.ListTasks(task_pb2.ListTasksRequest(), metadata=((ID, name),), timeout=WAIT_SECONDS)
        await call
        given.append(dict(await call.trailing_metadata())[ID])

    assert len({name, *given}) == 3


async def test_an_error_names_its_call_in_its_details(door: GrpcDoor) -> None:
    _, status = await refusal(door.tasks.GetTask(get_task(), metadata=((ID, "r-1"),)))

    assert detail(status, error_details_pb2.ErrorInfo).metadata["request_id"] == "r-1"


async def test_what_nobody_expected_is_logged_under_the_name_of_its_call(
    door: GrpcDoor, caplog: pytest.LogCaptureFixture
) -> None:
    door.switch.error = RuntimeError("disk on fire")
    with caplog.at_level(logging.ERROR):
        await refusal(door.tasks.GetTask(get_task(), metadata=((ID, "r-2"),)))
    door.switch.error = None

    assert "request_id='r-2'" in caplog.text
    assert "disk on fire" in caplog.text


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nodelink.v1.TaskService/NoSuch", "/nodelink.v1.NoSuch/Call", "/other/Call"])
@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_call_that_nobody_serves_is_refused_by_name_in_every_shape(
    door: GrpcDoor, path: str, shape: str
) -> None:
    kind = getattr(door.channel, shape)(path, **RAW)
    call = kind(b"", timeout=WAIT_SECONDS) if shape.startswith("unary") else kind(timeout=WAIT_SECONDS)
    code, status = await refusal(call if shape.endswith("unary") else call.read())

    assert (code, reason_of(status)) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_BUILT")
    assert path in status.message


async def test_a_handler_is_prepared_once_for_all_calls_and_names_that_callers_make_up_leave_nothing_behind() -> None:
    every_call, served = EveryCall(), {"/served": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")}

    async def find(details: Any) -> Any:
        return served.get(details.method)

    async def twice(method: str) -> list[Any]:
        details: Any = SimpleNamespace(method=method)
        return [await every_call.intercept_service(find, details) for _ in range(2)]

    first, second = await twice("/served")
    assert first is second
    first, second = await twice("/made up")
    assert first is not second


async def test_a_call_that_ends_before_its_request_is_answered(door: GrpcDoor) -> None:
    begin: Any = door.channel.stream_unary("/nodelink.v1.TaskService/GetTask", **RAW)
    call = begin(timeout=WAIT_SECONDS)
    await call.done_writing()
    code, status = await refusal(call)

    assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED")


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("char", ["x", "\U0001f600", "%", "\n"])
def test_a_status_fits_into_the_metadata_of_any_client(char: str) -> None:
    wrong = [FieldError(f"field{number}", char * 10_000) for number in range(100)]
    status = rich_status(InvalidTask(*wrong), "r" * 64)

    assert len(quote(status.message)) + status.ByteSize() * 4 // 3 <= MOST_HEADER_BYTES
    assert detail(status, error_details_pb2.BadRequest).field_violations


async def test_a_refusal_full_of_odd_text_reaches_its_caller(door: GrpcDoor) -> None:
    odd = "\U0001f600" * 60
    metadata = {f"{odd}{number}": odd * 30 for number in range(64)}
    spec = task_pb2.TaskSpec(type=odd, pool=odd, payload=b"{", metadata=metadata)
    _, status = await refusal(door.tasks.SubmitTask(task_pb2.SubmitTaskRequest(spec=spec)))

    assert reason_of(status) == "INVALID"


EXTREMES: list[tuple[str, str, Any]] = [
    ("tasks", "ListTasks", task_pb2.ListTasksRequest(page_token="f" * 16)),
    ("tasks", "ListTasks", task_pb2.ListTasksRequest(page_token="-1")),
    ("tasks", "ListTasks", task_pb2.ListTasksRequest(page_token="0" * 17)),
    ("tasks", "ListTasks", task_pb2.ListTasksRequest(created_after=FAR_AWAY)),
    ("tasks", "ListTasks", task_pb2.ListTasksRequest(created_before=LONG_AGO)),
    ("tasks", "ListTasks", task_pb2.ListTasksRequest(q="\0")),
    ("tasks", "ListTasks", task_pb2.ListTasksRequest(labels={"\0": "\0"})),
    ("tasks", "GetTask", get_task("\0" * 5_000)),
    ("tasks", "WaitTask", task_pb2.WaitTaskRequest(task_id=UNKNOWN_ID, timeout=FAR)),
    ("tasks", "WaitTasks", task_pb2.WaitTasksRequest(task_ids=["\0"], timeout=FAR)),
    ("tasks", "WaitTasks", task_pb2.WaitTasksRequest(task_ids=[UNKNOWN_ID] * 1_001)),
    ("tasks", "CancelTask", task_pb2.CancelTaskRequest(task_id=UNKNOWN_ID, grace=FAR, reason="\0" * 9_000)),
    ("tasks", "CleanUpTasks", task_pb2.CleanUpTasksRequest(older_than=FAR)),
    ("tasks", "RetryTask", task_pb2.RetryTaskRequest(task_id=UNKNOWN_ID, idempotency_key="k" * 9_000)),
    ("tasks", "ReadTaskLogs", task_pb2.ReadTaskLogsRequest(task_id=UNKNOWN_ID, offset=MOST, limit=MOST)),
    ("tasks", "ReadTaskLogs", task_pb2.ReadTaskLogsRequest(task_id=UNKNOWN_ID, tail=MOST)),
    ("tasks", "WatchTasks", task_pb2.WatchTasksRequest(after_revision=MOST)),
    ("agents", "ListAgents", admin_pb2.ListAgentsRequest(status=99)),  # type: ignore[arg-type]
    ("agents", "GetAgent", admin_pb2.GetAgentRequest(agent_id="\0")),
    ("agents", "ListAgentSessions", admin_pb2.ListAgentSessionsRequest(agent_id="\0", page_token="f" * 16)),
    ("stats", "GetStats", admin_pb2.GetStatsRequest(by="\0" * 9_000)),
    ("stats", "GetStats", admin_pb2.GetStatsRequest(to=FAR_AWAY, step=FAR)),
    ("stats", "GetStats", admin_pb2.GetStatsRequest(to=LONG_AGO, step=Duration(nanos=-5))),
]


@pytest.mark.parametrize("service, name, request_of", EXTREMES, ids=lambda value: str(value)[:40].replace("\n", " "))
async def test_no_number_and_no_text_is_too_odd_to_be_answered_with_a_reason(
    door: GrpcDoor, service: str, name: str, request_of: Any
) -> None:
    call = getattr(getattr(door, service), name)(request_of, timeout=WAIT_SECONDS)
    try:
        await (call.read() if name in {"ReadTaskLogs", "WatchTasks"} else call)
    except grpc.aio.AioRpcError as error:
        code, status = error.code(), error
        assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}, status
    finally:
        call.cancel()
