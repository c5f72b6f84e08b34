"""Many tasks at once over gRPC: what selects them, what is told, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from nodelink.v1 import admin_pb2, task_pb2
from nodelink_server.core import bulk
from nodelink_server.core.bulk import MOST_IDS
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, reason_of, refusal

CANCEL, RETRY, SET_PRIORITY = (
    task_pb2.BULK_ACTION_CANCEL,
    task_pb2.BULK_ACTION_RETRY,
    task_pb2.BULK_ACTION_SET_PRIORITY,
)
ECHO = task_pb2.BulkFilter(type="echo")


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def do(door: GrpcDoor, action: Any, wanted: task_pb2.BulkFilter, **more: Any) -> task_pb2.BulkTasksResponse:
    """What comes of one call."""
    request = task_pb2.BulkTasksRequest(action=action, filter=wanted, **more)
    response: task_pb2.BulkTasksResponse = await door.tasks.BulkTasks(request, timeout=WAIT_SECONDS)
    return response


async def shown(door: GrpcDoor, task_id: str) -> task_pb2.Task:
    """A task as it stands."""
    response = await door.tasks.GetTask(task_pb2.GetTaskRequest(task_id=task_id), timeout=WAIT_SECONDS)
    task: task_pb2.Task = response.task
    return task


async def test_tasks_are_stopped_by_a_filter(door: GrpcDoor) -> None:
    red, blue = await door.submit(metadata={"team": "red"}), await door.submit()
    wanted = task_pb2.BulkFilter(labels={"team": "red"})

    tried = await do(door, CANCEL, wanted, dry_run=True)
    done = await do(door, CANCEL, wanted, reason="not needed", grace=Duration(seconds=1))
    named = await do(door, CANCEL, task_pb2.BulkFilter(ids=[red, "nothing"]))

    assert tried == done == task_pb2.BulkTasksResponse(matched=1, done=1, ids=[red])
    assert (named.matched, named.done, dict(named.skipped)) == (1, 0, {"already finished": 1})
    assert (await shown(door, red)).message == "not needed"
    assert (await shown(door, blue)).status == task_pb2.TASK_STATUS_PENDING


@pytest.mark.parametrize(
    "wanted",
    [
        ECHO,
        task_pb2.BulkFilter(statuses=[task_pb2.TASK_STATUS_PENDING]),
        task_pb2.BulkFilter(pool="default"),
        task_pb2.BulkFilter(created_after=Timestamp(seconds=1)),
        task_pb2.BulkFilter(created_before=Timestamp(seconds=1 << 32)),
        task_pb2.BulkFilter(q="echo"),
    ],
)
async def test_any_one_filter_is_enough(door: GrpcDoor, wanted: task_pb2.BulkFilter) -> None:
    task_id = await door.submit()
    assert (await do(door, CANCEL, wanted)).ids == [task_id]


async def test_tasks_get_another_priority_and_are_run_again(door: GrpcDoor) -> None:
    task_id = await door.submit(priority=10)
    assert (await do(door, SET_PRIORITY, ECHO, priority=90)).done == 1
    task = await shown(door, task_id)
    assert (task.spec.priority, task.remarks[0].kind) == (90, "reprioritized")
    await door.manager.abandon(task_id, reason="a test")
    [again] = (await do(door, RETRY, ECHO)).ids
    assert (await shown(door, again)).retry_of == task_id


async def test_the_tasks_of_a_workspace_are_selected(door: GrpcDoor) -> None:
    site = admin_pb2.CreateWorkspaceRequest(workspace=admin_pb2.Workspace(name="site"))
    await door.workspaces.CreateWorkspace(site, timeout=WAIT_SECONDS)
    await door.submit()
    task_id = await door.submit(workspace="site")
    assert not (await do(door, CANCEL, task_pb2.BulkFilter(workspace="sit"))).matched
    assert (await do(door, CANCEL, task_pb2.BulkFilter(workspace="site"))).ids == [task_id]


async def test_the_tasks_of_an_agent_are_selected(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        await agent.take()
        assert (await do(door, CANCEL, task_pb2.BulkFilter(agent_id="a1"))).ids == [task_id]


async def test_one_call_goes_so_far_and_its_token_goes_on(door: GrpcDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_TASKS", 1)
    monkeypatch.setattr(bulk, "MOST_PER_COMMIT", 1)
    ids = [await door.submit() for _ in range(2)]
    first = await do(door, SET_PRIORITY, ECHO, priority=90)
    rest = await do(door, SET_PRIORITY, ECHO, priority=90, page_token=first.next_page_token)
    assert (list(first.ids), first.more) == (ids[1:], True)
    assert (list(rest.ids), rest.more, rest.next_page_token) == (ids[:1], False, "")


@pytest.mark.parametrize(
    "request_, field",
    [
        (task_pb2.BulkTasksRequest(action=CANCEL), "filter"),
        (task_pb2.BulkTasksRequest(action=CANCEL, filter=task_pb2.BulkFilter()), "filter"),
        (task_pb2.BulkTasksRequest(filter=ECHO), "action"),
        (task_pb2.BulkTasksRequest(filter=ECHO, action=9), "action"),  # type: ignore[arg-type]
        (task_pb2.BulkTasksRequest(action=CANCEL, filter=task_pb2.BulkFilter(q="a b")), "filter.q"),
        (
            task_pb2.BulkTasksRequest(action=CANCEL, filter=task_pb2.BulkFilter(statuses=[0])),  # type: ignore[list-item]
            "filter.statuses",
        ),
        (
            task_pb2.BulkTasksRequest(
                action=CANCEL, filter=task_pb2.BulkFilter(created_after=Timestamp(seconds=1 << 60))
            ),
            "filter.created_after",
        ),
        (
            task_pb2.BulkTasksRequest(
                action=CANCEL, filter=task_pb2.BulkFilter(labels={str(n): "" for n in range(65)})
            ),
            "filter.label",
        ),
        (task_pb2.BulkTasksRequest(action=CANCEL, filter=ECHO, page_token="?"), "page_token"),
        (task_pb2.BulkTasksRequest(action=CANCEL, filter=ECHO, reason="x" * 1_001), "reason"),
        (task_pb2.BulkTasksRequest(action=CANCEL, filter=ECHO, grace=Duration(seconds=3_601)), "grace"),
        (task_pb2.BulkTasksRequest(action=CANCEL, filter=ECHO, grace=Duration(seconds=-1)), "grace"),
        (task_pb2.BulkTasksRequest(action=CANCEL, filter=ECHO, priority=50), "priority"),
        (task_pb2.BulkTasksRequest(action=SET_PRIORITY, filter=ECHO), "priority"),
        (task_pb2.BulkTasksRequest(action=SET_PRIORITY, filter=ECHO, priority=101), "priority"),
        (task_pb2.BulkTasksRequest(action=RETRY, filter=ECHO, reason="x"), "reason"),
    ],
)
async def test_a_wrong_order_is_refused_by_name(
    door: GrpcDoor, request_: task_pb2.BulkTasksRequest, field: str
) -> None:
    await door.submit()
    code, status = await refusal(door.tasks.BulkTasks(request_))
    [wrong] = detail(status, error_details_pb2.BadRequest).field_violations
    assert (code, reason_of(status), wrong.field) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID", field)


async def test_so_many_tasks_may_be_named_and_not_one_more(door: GrpcDoor) -> None:
    names = [f"t{number}" for number in range(MOST_IDS + 1)]
    assert (await do(door, CANCEL, task_pb2.BulkFilter(ids=names[1:]))).matched == 0
    past = task_pb2.BulkTasksRequest(action=CANCEL, filter=task_pb2.BulkFilter(ids=names))
    _, status = await refusal(door.tasks.BulkTasks(past))
    assert reason_of(status) == "TOO_LARGE"


async def test_under_the_same_key_it_is_done_once(door: GrpcDoor) -> None:
    await door.submit()
    first = await do(door, CANCEL, ECHO, idempotency_key="release 7")
    later = await door.submit()
    again = await do(door, CANCEL, ECHO, idempotency_key="release 7")
    other = task_pb2.BulkTasksRequest(action=RETRY, filter=ECHO, idempotency_key="release 7")
    _, status = await refusal(door.tasks.BulkTasks(other))

    assert (first.done, first.replayed, again.replayed) == (1, False, True)
    again.replayed = False
    assert again == first
    assert reason_of(status) == "IDEMPOTENCY_CONFLICT"
    assert (await shown(door, later)).status == task_pb2.TASK_STATUS_PENDING
    too_long = task_pb2.BulkTasksRequest(action=RETRY, filter=ECHO, idempotency_key="x" * 256)
    _, status = await refusal(door.tasks.BulkTasks(too_long))
    assert [one.field for one in detail(status, error_details_pb2.BadRequest).field_violations] == ["idempotency_key"]
