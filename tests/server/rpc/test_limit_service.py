"""LimitService over a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2

from nodelink.v1 import admin_pb2, task_pb2
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, refusal


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def listed(door: GrpcDoor, name: str = "") -> admin_pb2.ListLimitsResponse:
    response: admin_pb2.ListLimitsResponse = await door.limits.ListLimits(
        admin_pb2.ListLimitsRequest(name=name), timeout=WAIT_SECONDS
    )
    return response


async def test_a_limit_is_set_shown_and_removed(door: GrpcDoor) -> None:
    request = admin_pb2.SetLimitRequest(name="pool:default", most=0)
    limit = (await door.limits.SetLimit(request, timeout=WAIT_SECONDS)).limit
    assert (limit.name, limit.HasField("most"), limit.most, limit.taken) == ("pool:default", True, 0, 0)
    assert not limit.HasField("settings_most")
    response = await listed(door)
    assert ([one.name for one in response.limits], response.total) == (["pool:default"], 1)

    removed = (await door.limits.RemoveLimit(admin_pb2.RemoveLimitRequest(name="pool:default"))).limit
    assert not removed.HasField("most")
    assert not (await listed(door)).limits
    assert [one.name for one in (await listed(door, "pool:default")).limits] == ["pool:default"]


async def test_who_has_a_place_is_shown_with_its_agent(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit(lock="db")
        await agent.take()
        behind = await door.submit(lock="db", priority=80)
        (limit,) = (await listed(door, "key:db")).limits
        task = (await door.tasks.GetTask(task_pb2.GetTaskRequest(task_id=behind), timeout=WAIT_SECONDS)).task

    assert (limit.taken, limit.HasField("most")) == (1, False)
    assert [(one.task_id, one.priority, one.HasField("since")) for one in limit.waiting] == [(behind, 80, True)]
    assert [(one.name, one.most, one.taken) for one in task.in_force] == [("key:db", 1, 1)]
    assert [(one.task_id, one.agent_id, one.HasField("since")) for one in limit.holders] == [(task_id, "a1", True)]


@pytest.mark.parametrize(
    "request_, field",
    [
        (admin_pb2.SetLimitRequest(most=1), "name"),
        (admin_pb2.SetLimitRequest(name="queue:x", most=1), "name"),
        (admin_pb2.SetLimitRequest(name="running"), "most"),
        (admin_pb2.SetLimitRequest(name="running", most=1_000_001), "most"),
        (admin_pb2.SetLimitRequest(name="running", most=(1 << 64) - 1), "most"),
    ],
)
async def test_a_wrong_field_is_named(door: GrpcDoor, request_: admin_pb2.SetLimitRequest, field: str) -> None:
    code, status = await refusal(door.limits.SetLimit(request_))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert [wrong.field for wrong in detail(status, error_details_pb2.BadRequest).field_violations] == [field]


async def test_a_name_that_is_none_is_neither_shown_nor_removed(door: GrpcDoor) -> None:
    for call in (
        door.limits.ListLimits(admin_pb2.ListLimitsRequest(name="pool")),
        door.limits.RemoveLimit(admin_pb2.RemoveLimitRequest(name="pool")),
        door.limits.RemoveLimit(admin_pb2.RemoveLimitRequest()),
    ):
        code, _ = await refusal(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
