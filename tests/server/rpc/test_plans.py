"""Plans over gRPC: shown, approved and rejected; and how they travel to agents and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from nodelink.plan import PLAN_AND_APPLY
from nodelink.task import Execution
from nodelink.v1 import task_pb2
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.doubts import until_told
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, grpc_door, reason_of, refusal
from tests.support.http_door import ManualAgent
from tests.support.planning import HANDLERS, PLAN_A, sha256

UNKNOWN_ID = "01900000-0000-7000-8000-000000000000"


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
async def agents() -> AsyncIterator[AgentDoor]:
    async with agent_door() as door:
        yield door


async def make_planned(door: GrpcDoor, agent: ManualAgent, **fields: Any) -> str:
    """The id of a task whose plan waits for an approval."""
    task_id = await door.submit(PLAN_AND_APPLY, **fields)
    agent.finish((await agent.take()).ref, plan=PLAN_A)
    await until_told(door.manager, task_id, "task.plan_completed")
    return task_id


async def test_a_plan_is_shown_approved_and_applied(door: GrpcDoor) -> None:
    async with door.agent(handlers=HANDLERS) as agent:
        task_id = await make_planned(door, agent, approval=task_pb2.Approval(timeout=Duration(seconds=60)))
        shown = (await door.tasks.GetPlan(task_pb2.GetPlanRequest(task_id=task_id), timeout=WAIT_SECONDS)).plan
        assert (shown.task_id, shown.status) == (task_id, task_pb2.TASK_STATUS_PLAN_COMPLETED)
        assert (shown.plan.sha256, shown.plan.target) == (PLAN_A.sha256, "site")
        assert 50 < shown.expires_at.seconds - shown.planned_at.seconds < 70

        request = task_pb2.ApproveTaskRequest(task_id=task_id, plan_sha256=PLAN_A.sha256, message="fine")
        task = (await door.tasks.ApproveTask(request, timeout=WAIT_SECONDS)).task
        assert (task.plan.plan.sha256, task.plan.approved_by) == (PLAN_A.sha256, "local")
        assert task.spec.approval.timeout.seconds == 60
        assert (await agent.take()).plan == PLAN_A


async def test_a_plan_is_rejected(door: GrpcDoor) -> None:
    async with door.agent(handlers=HANDLERS) as agent:
        task_id = await make_planned(door, agent)
        asked = task_pb2.RejectTaskRequest(task_id=task_id, message="no")
        task = (await door.tasks.RejectTask(asked, timeout=WAIT_SECONDS)).task
        assert (task.status, task.reason) == (task_pb2.TASK_STATUS_CANCELLED, "approval_denied")


async def test_plans_are_listed_page_by_page(door: GrpcDoor) -> None:
    async with door.agent(handlers=HANDLERS) as agent:
        first, second = [await make_planned(door, agent) for _ in range(2)]
        page = await door.tasks.ListPlans(task_pb2.ListPlansRequest(page_size=1), timeout=WAIT_SECONDS)
        rest = await door.tasks.ListPlans(
            task_pb2.ListPlansRequest(page_size=1, page_token=page.next_page_token), timeout=WAIT_SECONDS
        )
        assert [one.task_id for one in (*page.plans, *rest.plans)] == [second, first]
        statuses = [task_pb2.TASK_STATUS_COMPLETED]
        none = await door.tasks.ListPlans(task_pb2.ListPlansRequest(statuses=statuses), timeout=WAIT_SECONDS)
        assert not none.plans


async def test_another_plan_is_refused_by_name(door: GrpcDoor) -> None:
    async with door.agent(handlers=HANDLERS) as agent:
        task_id = await make_planned(door, agent)
        asked = task_pb2.ApproveTaskRequest(task_id=task_id, plan_sha256=sha256("old"))
        code, status = await refusal(door.tasks.ApproveTask(asked))
        assert (code, reason_of(status)) == (grpc.StatusCode.FAILED_PRECONDITION, "PLAN_CHANGED")
    waits = await door.submit()
    asked = task_pb2.ApproveTaskRequest(task_id=waits, plan_sha256=PLAN_A.sha256)
    code, status = await refusal(door.tasks.ApproveTask(asked))
    assert (code, reason_of(status)) == (grpc.StatusCode.FAILED_PRECONDITION, "PLAN_NOT_WAITING")
    code, _ = await refusal(door.tasks.GetPlan(task_pb2.GetPlanRequest(task_id=UNKNOWN_ID)))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_a_plan_travels_to_an_agent_and_back(agents: AgentDoor) -> None:
    async with agents.agent(handlers=HANDLERS, plan_limit=2) as agent:
        task_id = await agents.submit(PLAN_AND_APPLY)
        ref = (await agent.take()).ref
        await agent.finish(ref, plan=PLAN_A)
        await agent.acked()
        [view] = agents.manager.agents.views()
        assert view.plan_limit == 2
        record = await agents.manager.get(task_id)
        assert record.task.execution is Execution.EXCLUSIVE
        assert record.task.plan is not None
        assert record.task.plan.plan == PLAN_A
