"""Why over gRPC: the cause of a wait, how a task stands that waits for nothing, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import grpc
import pytest
from google.rpc import error_details_pb2

from nodelink.v1 import admin_pb2, task_pb2
from tests.support.doubts import started, until_told
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, refusal

UNKNOWN_ID = "01900000-0000-7000-8000-00000000dead"


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def why(door: GrpcDoor, task_id: str) -> task_pb2.ExplainTaskResponse:
    """Why a task stands where it stands."""
    request = task_pb2.ExplainTaskRequest(task_id=task_id)
    response: task_pb2.ExplainTaskResponse = await door.tasks.ExplainTask(request, timeout=WAIT_SECONDS)
    return response


async def why_agent(door: GrpcDoor, agent_id: str) -> admin_pb2.ExplainAgentResponse:
    """Why an agent has the work that it has."""
    request = admin_pb2.ExplainAgentRequest(agent_id=agent_id)
    response: admin_pb2.ExplainAgentResponse = await door.agents.ExplainAgent(request, timeout=WAIT_SECONDS)
    return response


def failing(conditions: Iterable[task_pb2.Condition]) -> list[tuple[str, str]]:
    """Those that do not hold, and what is said about them."""
    return [(one.condition, one.message) for one in conditions if not one.holds]


async def test_a_task_without_a_free_slot_is_told_its_place(door: GrpcDoor) -> None:
    async with door.agent(slots=1) as agent:
        await started(door, agent, await door.submit())
        first, second = await door.submit(), await door.submit()
        told = [await why(door, task_id) for task_id in (first, second)]

    [shown] = told[1].agents
    assert (told[1].task_id, told[1].status, told[1].reason) == (second, task_pb2.TASK_STATUS_PENDING, "agent")
    assert told[1].summary == "waits for a free slot, behind 1 other(s)"
    assert [(one.condition, one.holds) for one in told[1].conditions] == [("scheduler", True)]
    assert (shown.agent_id, shown.name, shown.fits) == ("a1", "agent a1", False)
    assert failing(shown.conditions) == [("slots", "its 1 slot(s) are taken")]
    assert (told[1].agents_total, dict(told[1].ruled_out)) == (1, {"slots": 1})
    assert [(one.HasField("ahead"), one.ahead) for one in told] == [(True, 0), (True, 1)]
    assert not told[1].HasField("starts_in")
    assert [*told[1].remedies] == ["a slot that becomes free, more slots, or another agent of its pool"]


async def test_once_such_tasks_have_run_it_is_told_about_how_long_the_wait_is(door: GrpcDoor) -> None:
    async with door.agent(slots=1) as agent:
        before = await door.submit()
        agent.finish(await started(door, agent, before), run_seconds=8.0)
        await until_told(door.manager, before, "task.completed")
        await started(door, agent, await door.submit())
        told = await why(door, await door.submit())

    assert told.starts_in.ToMilliseconds() > 0


async def test_a_lock_is_named_with_the_task_that_holds_it(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        holder = await door.submit(lock="deploy")
        await started(door, agent, holder)
        told = await why(door, await door.submit(lock="deploy"))

    assert failing(told.conditions) == [("lock", f"lock 'deploy' is held by task {holder}")]
    assert told.agents[0].fits


async def test_a_running_task_waits_for_nothing(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        await started(door, agent, task_id)
        told = await why(door, task_id)

    assert told.status == task_pb2.TASK_STATUS_IN_PROGRESS
    assert told.summary == "runs on agent a1, attempt 1, which is connected"
    assert (len(told.conditions), len(told.agents), told.HasField("ahead")) == (0, 0, False)


async def test_an_agent_is_told_with_what_waits_for_it(door: GrpcDoor) -> None:
    async with door.agent(slots=1) as agent:
        await started(door, agent, await door.submit())
        await door.submit()
        told = await why_agent(door, "a1")

    assert (told.agent_id, told.waiting) == ("a1", 1)
    assert told.summary == "is given nothing: its 1 slot(s) are taken"
    assert failing(told.conditions) == [("slots", "its 1 slot(s) are taken")]


@pytest.mark.parametrize(
    "task_id, code", [("", grpc.StatusCode.INVALID_ARGUMENT), (UNKNOWN_ID, grpc.StatusCode.NOT_FOUND)]
)
async def test_a_task_that_is_not_known_cannot_be_explained(
    door: GrpcDoor, task_id: str, code: grpc.StatusCode
) -> None:
    refused, _ = await refusal(door.tasks.ExplainTask(task_pb2.ExplainTaskRequest(task_id=task_id)))

    assert refused is code


async def test_an_agent_that_is_not_known_cannot_be_explained(door: GrpcDoor) -> None:
    code, status = await refusal(door.agents.ExplainAgent(admin_pb2.ExplainAgentRequest(agent_id="nobody")))
    nameless, _ = await refusal(door.agents.ExplainAgent(admin_pb2.ExplainAgentRequest()))

    assert code is grpc.StatusCode.NOT_FOUND
    assert detail(status, error_details_pb2.ResourceInfo).resource_type == "agent"
    assert nameless is grpc.StatusCode.INVALID_ARGUMENT
