"""Other limits for running tasks over gRPC, and how they travel to agents."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from nodelink.task import ExtendCommand, Extended
from nodelink.v1 import task_pb2
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.doubts import started
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, reason_of, refusal

UNKNOWN_ID = "01900000-0000-7000-8000-000000000000"


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
async def agents() -> AsyncIterator[AgentDoor]:
    async with agent_door() as door:
        yield door


def request(task_id: str, **limits: Duration) -> task_pb2.ExtendTaskRequest:
    return task_pb2.ExtendTaskRequest(task_id=task_id, **limits)


async def test_a_running_task_gets_other_limits_and_says_so(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        ref = await started(door, agent, task_id)
        asked = request(task_id, timeout=Duration(seconds=600), heartbeat_timeout=Duration(seconds=30))
        task = (await door.tasks.ExtendTask(asked, timeout=WAIT_SECONDS)).task
        command = await agent.extended()

    assert task.status == task_pb2.TASK_STATUS_IN_PROGRESS
    [remark] = task.remarks
    assert (remark.kind, remark.by, remark.message) == ("extended", "local", "timeout 10m, heartbeat timeout 30s")
    assert (command.ref, command.number, command.heartbeat_timeout_ms) == (ref, 1, 30_000)


async def test_what_is_not_with_an_agent_has_no_limits_to_change(door: GrpcDoor) -> None:
    task_id = await door.submit()
    code, status = await refusal(door.tasks.ExtendTask(request(task_id, timeout=Duration(seconds=1))))
    assert (code, reason_of(status)) == (grpc.StatusCode.FAILED_PRECONDITION, "CANNOT_EXTEND")
    assert "pending" in status.message
    code, status = await refusal(door.tasks.ExtendTask(request(UNKNOWN_ID, timeout=Duration(seconds=1))))
    assert (code, reason_of(status)) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


@pytest.mark.parametrize(
    "limits, field",
    [
        ({}, "timeout"),
        ({"timeout": Duration(seconds=-1)}, "timeout"),
        ({"timeout": Duration()}, "timeout"),
        ({"timeout": Duration(seconds=7 * 86_400, nanos=1_000_000)}, "timeout"),
        ({"total_timeout": Duration(seconds=366 * 86_400, nanos=1_000_000)}, "total_timeout"),
        ({"heartbeat_timeout": Duration(nanos=999_000_000)}, "heartbeat_timeout"),
    ],
)
async def test_a_wrong_limit_is_refused_by_name(door: GrpcDoor, limits: dict[str, Duration], field: str) -> None:
    task_id = await door.submit()
    code, status = await refusal(door.tasks.ExtendTask(request(task_id, **limits)))
    [wrong] = detail(status, error_details_pb2.BadRequest).field_violations
    assert ((code, reason_of(status)), wrong.field) == ((grpc.StatusCode.INVALID_ARGUMENT, "INVALID"), field)


async def test_a_task_must_be_named(door: GrpcDoor) -> None:
    code, _ = await refusal(door.tasks.ExtendTask(request("", timeout=Duration(seconds=1))))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_agent_is_told_on_its_stream_and_what_it_says_is_heard(agents: AgentDoor) -> None:
    async with agents.agent(features=["extend", "telepathy"]) as agent:
        assert list(agent.welcome.features) == ["extend"]
        await agents.submit()
        ref = (await agent.take()).ref
        await agent.start(ref)
        await agent.say(ref, Extended(number=1, timeout_ms=600_000, heartbeat_timeout_ms=30_000))
        number, timeout_ms, heartbeat_ms, heard = (await agent.extended())[1:]
        assert (number, heartbeat_ms, heard) == (1, 30_000, 1)
        assert timeout_ms is not None
        assert 500_000 < timeout_ms <= 600_000
        await agent.finish(ref)


async def test_an_agent_without_features_is_welcomed_without_them(agents: AgentDoor) -> None:
    async with agents.agent() as agent:
        assert list(agent.welcome.features) == []


async def test_numbers_that_cannot_be_true_do_no_harm(agents: AgentDoor) -> None:
    async with agents.agent(features=["extend"]) as agent:
        task_id = await agents.submit()
        ref = (await agent.take()).ref
        await agent.start(ref)
        await agent.say(ref, Extended(number=1, timeout_ms=-5), Extended(number=2, total_timeout_ms=10**15))
        await agent.say(ref, Extended(number=3, heartbeat_timeout_ms=1_000))
        assert await agent.extended() == ExtendCommand(ref, 1, None, 1_000, heard=3)
        await agent.finish(ref, retry_after_ms=10**15)
        await agent.acked()
        assert await agents.status(task_id) == "completed"
