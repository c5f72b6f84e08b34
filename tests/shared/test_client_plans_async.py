"""Plans through the handles of the asynchronous client, against a real server: looked at, approved, rejected."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from nodelink.client import AsyncClient, AsyncTaskHandle
from nodelink.errors import InvalidTask, PlanChanged, PlanNotWaiting, TaskNotFound
from nodelink.plan import PLAN_AND_APPLY
from nodelink.task import TaskRequest, TaskStatus
from tests.support.doubts import until_told
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, grpc_door
from tests.support.http_door import ManualAgent
from tests.support.planning import HANDLERS, PLAN_A, sha256


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
async def agent(door: GrpcDoor) -> AsyncIterator[ManualAgent]:
    async with door.agent(handlers=HANDLERS) as agent:
        yield agent


@pytest.fixture
async def client(door: GrpcDoor) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(str(door.address), timeout=WAIT_SECONDS) as client:
        yield client


async def planning(client: AsyncClient, agent: ManualAgent) -> tuple[AsyncTaskHandle, TaskRequest]:
    """A task that is to make a plan."""
    handle = await client.submit(PLAN_AND_APPLY)
    return handle, await agent.take()


async def planned(door: GrpcDoor, client: AsyncClient, agent: ManualAgent) -> AsyncTaskHandle:
    """A task whose plan waits for an approval."""
    handle, request = await planning(client, agent)
    agent.finish(request.ref, plan=PLAN_A)
    await until_told(door.manager, handle.id, "task.plan_completed")
    return handle


async def test_a_handle_reads_the_plan_of_its_task(door: GrpcDoor, client: AsyncClient, agent: ManualAgent) -> None:
    handle = await planned(door, client, agent)
    plan = await handle.plan()

    assert (plan.task_id, plan.status, plan.attempt) == (handle.id, "plan_completed", 1)
    assert (plan.sha256, plan.inputs_sha256, plan.target) == (PLAN_A.sha256, PLAN_A.inputs_sha256, PLAN_A.target)
    assert plan.summary == PLAN_A.summary


async def test_a_handle_approves_the_plan_of_its_task_and_no_other(
    door: GrpcDoor, client: AsyncClient, agent: ManualAgent
) -> None:
    handle = await planned(door, client, agent)
    for other in (
        {"plan_sha256": sha256("another")},
        {"plan_sha256": PLAN_A.sha256, "inputs_sha256": sha256("other inputs")},
        {"plan_sha256": PLAN_A.sha256, "target": "elsewhere"},
    ):
        with pytest.raises(PlanChanged):
            await handle.approve(**other)

    task = await handle.approve(
        plan_sha256=PLAN_A.sha256, inputs_sha256=PLAN_A.inputs_sha256, target=PLAN_A.target, message="looks right"
    )
    assert task.id == handle.id
    assert [(one.kind, one.message) for one in task.remarks] == [("approved", f"plan {PLAN_A.sha256}: looks right")]
    request = await agent.take()
    assert request.plan == PLAN_A
    with pytest.raises(PlanNotWaiting):
        await handle.approve(plan_sha256=PLAN_A.sha256)
    agent.finish(request.ref)
    assert (await handle.result(WAIT_SECONDS)).status == TaskStatus.COMPLETED


@pytest.mark.parametrize("named", [{}, {"plan_sha256": PLAN_A.sha256}], ids=["any", "by digest"])
async def test_a_handle_rejects_the_plan_of_its_task(
    door: GrpcDoor, client: AsyncClient, agent: ManualAgent, named: dict[str, str]
) -> None:
    handle = await planned(door, client, agent)
    with pytest.raises(PlanChanged):
        await handle.reject(plan_sha256=sha256("another"))

    task = await handle.reject(message="too much", **named)
    assert (task.id, task.status, task.reason, task.message) == (handle.id, "cancelled", "approval_denied", "too much")


async def test_without_a_plan_there_is_nothing_to_decide(client: AsyncClient, agent: ManualAgent) -> None:
    handle, _ = await planning(client, agent)
    with pytest.raises(TaskNotFound):
        await handle.plan()
    with pytest.raises(PlanNotWaiting):
        await handle.reject()
    with pytest.raises(InvalidTask):
        await handle.approve(plan_sha256="")
