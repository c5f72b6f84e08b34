"""Where a task runs, beside whom and in whose turn: as gRPC takes it and shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from nodelink.task import DEFAULT_PRIORITY, TaskSpec
from nodelink.v1 import task_pb2
from nodelink.values import evolve
from nodelink.wire import spec_of
from tests.shared.test_wire import FULL_SPEC
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, reason_of, refusal

AGENT = "0190f3a2-7c1e-7abc-8def-0123456789ab"
MINUTE = Duration(seconds=60)


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def shown(door: GrpcDoor, task_id: str) -> task_pb2.Task:
    """A task as it stands."""
    response = await door.tasks.GetTask(task_pb2.GetTaskRequest(task_id=task_id), timeout=WAIT_SECONDS)
    task: task_pb2.Task = response.task
    return task


PLACED = TaskSpec(
    type="echo",
    **{
        name: getattr(FULL_SPEC, name)
        for name in (
            *("agent_id", "selector", "slots", "resources", "limits", "rates", "when_taken", "workspace"),
            *("unique_key", "on_conflict", "fairness_key", "fairness_weight", "heartbeat_timeout_ms"),
        )
    },
)


async def test_what_is_asked_is_shown(door: GrpcDoor) -> None:
    await door.manager.workspaces.create("site", pool="default", mode="agent")
    task_id = await door.submit(
        agent_id=AGENT,
        selector="env = prod, ! spot",
        slots=4_096,
        resources={"cpu": 500, "memory": 1 << 53},
        limits={"database": 4},
        rates={
            "mail": task_pb2.Rate(most=10, per=MINUTE),
            "é": task_pb2.Rate(most=1, per=Duration(seconds=1, nanos=500_000_000)),
        },
        when_taken=task_pb2.WHEN_TAKEN_REPLACE,
        workspace="site",
        unique_key="nightly",
        on_conflict=task_pb2.ON_CONFLICT_USE_EXISTING,
        fairness_key="team blue",
        fairness_weight=1_000,
        heartbeat_timeout=Duration(seconds=5, nanos=1_000_000),
    )
    task = await shown(door, task_id)
    spec, _ = spec_of(task.spec)

    assert spec == evolve(PLACED, priority=DEFAULT_PRIORITY, execution=spec.execution)
    assert task.agent_id == ""


async def test_what_is_not_asked_goes_without_saying(door: GrpcDoor) -> None:
    task = await shown(door, await door.submit())
    spec, _ = spec_of(task.spec)

    assert spec == TaskSpec(type="echo", priority=DEFAULT_PRIORITY, execution=spec.execution)
    assert not task.spec.HasField("heartbeat_timeout")


@pytest.mark.parametrize(
    "asked, field",
    [
        ({"agent_id": "build-1"}, "agent_id"),
        ({"selector": "a in (b)"}, "labels"),
        ({"slots": 4_097}, "slots"),
        ({"resources": {"cpu": 0}}, "resources.cpu"),
        ({"resources": {"cpu": (1 << 53) + 1}}, "resources.cpu"),
        ({"limits": {"k": 0}}, "limits.k"),
        ({"rates": {"k": task_pb2.Rate(per=MINUTE)}}, "rate.k"),
        ({"rates": {"k": task_pb2.Rate(most=1)}}, "rate.k"),
        ({"when_taken": task_pb2.WHEN_TAKEN_SKIP}, "when_taken"),
        ({"when_taken": 9, "lock": "l"}, "when_taken"),
        ({"workspace": "../x"}, "workspace"),
        ({"unique_key": "a\n"}, "unique_key"),
        ({"on_conflict": task_pb2.ON_CONFLICT_REPLACE}, "on_conflict"),
        ({"on_conflict": 9, "unique_key": "k"}, "on_conflict"),
        ({"fairness_key": "k" * 201}, "fairness_key"),
        ({"fairness_weight": 2}, "fairness_weight"),
        ({"heartbeat_timeout": Duration(nanos=999_000_000)}, "heartbeat_timeout"),
    ],
)
async def test_what_is_wrong_is_named(door: GrpcDoor, asked: dict[str, Any], field: str) -> None:
    spec = task_pb2.TaskSpec(type="echo", payload=b"1", **asked)
    code, status = await refusal(door.tasks.SubmitTask(task_pb2.SubmitTaskRequest(spec=spec)))
    [wrong] = detail(status, error_details_pb2.BadRequest).field_violations

    assert (code, reason_of(status), wrong.field) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID", field)


async def test_a_selector_is_a_part_of_what_a_key_stands_for_however_it_is_written(door: GrpcDoor) -> None:
    async def submit(selector: str) -> task_pb2.SubmitTaskResponse:
        spec = task_pb2.TaskSpec(type="echo", payload=b"1", selector=selector)
        request = task_pb2.SubmitTaskRequest(spec=spec, idempotency_key="k")
        response: task_pb2.SubmitTaskResponse = await door.tasks.SubmitTask(request, timeout=WAIT_SECONDS)
        return response

    first, second = await submit("a=1,b=2"), await submit("b == 2, a=1")
    code, status = await refusal(submit("a=1"))

    assert (first.task.id, second.replayed) == (second.task.id, True)
    assert (code, reason_of(status)) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_CONFLICT")


async def test_a_live_unique_key_is_refused_by_a_code_of_its_own(door: GrpcDoor) -> None:
    first = await door.submit(unique_key="nightly")
    spec = task_pb2.TaskSpec(type="echo", payload=b"1", unique_key="nightly")
    code, status = await refusal(door.tasks.SubmitTask(task_pb2.SubmitTaskRequest(spec=spec)))

    assert (code, reason_of(status)) == (grpc.StatusCode.ALREADY_EXISTS, "UNIQUE_KEY_TAKEN")
    assert first in status.message
