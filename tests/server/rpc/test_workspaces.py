"""WorkspaceService over a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2

from nodelink.v1 import admin_pb2, task_pb2
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, reason_of, refusal


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


def create_request(
    name: str = "site", pool: str = "web", mode: int = admin_pb2.WORKSPACE_MODE_LOCAL, execution: int = 0
) -> admin_pb2.CreateWorkspaceRequest:
    workspace = admin_pb2.Workspace(name=name, pool=pool)
    workspace.mode = mode  # type: ignore[assignment]  # also numbers that are none
    workspace.execution = execution  # type: ignore[assignment]
    return admin_pb2.CreateWorkspaceRequest(workspace=workspace)


async def create(door: GrpcDoor, **given: str) -> admin_pb2.Workspace:
    response = await door.workspaces.CreateWorkspace(create_request(**given), timeout=WAIT_SECONDS)  # type: ignore[arg-type]
    workspace: admin_pb2.Workspace = response.workspace
    return workspace


async def names(door: GrpcDoor) -> list[str]:
    response = await door.workspaces.ListWorkspaces(admin_pb2.ListWorkspacesRequest(), timeout=WAIT_SECONDS)
    return [workspace.name for workspace in response.workspaces]


async def test_workspaces_are_made_listed_shown_changed_and_removed(door: GrpcDoor) -> None:
    made = await create(door)
    assert (made.name, made.pool, made.mode) == ("site", "web", admin_pb2.WORKSPACE_MODE_LOCAL)
    assert made.HasField("created_at")
    await create(door, name="lab")
    assert await names(door) == ["lab", "site"]

    change = admin_pb2.UpdateWorkspaceRequest(
        workspace=admin_pb2.Workspace(name="site", pool="p", mode=admin_pb2.WORKSPACE_MODE_AGENT)
    )
    changed = (await door.workspaces.UpdateWorkspace(change, timeout=WAIT_SECONDS)).workspace
    shown = (await door.workspaces.GetWorkspace(admin_pb2.GetWorkspaceRequest(name="site"))).workspace
    assert shown == changed
    assert (shown.pool, shown.mode, shown.created_at) == ("p", admin_pb2.WORKSPACE_MODE_AGENT, made.created_at)

    removed = await door.workspaces.DeleteWorkspace(admin_pb2.DeleteWorkspaceRequest(name="site"))
    assert removed.workspace == shown
    assert await names(door) == ["lab"]


async def test_what_is_left_out_is_the_default_pool_and_any_agent_of_it(door: GrpcDoor) -> None:
    request = admin_pb2.CreateWorkspaceRequest(workspace=admin_pb2.Workspace(name="site"))
    made = (await door.workspaces.CreateWorkspace(request, timeout=WAIT_SECONDS)).workspace
    assert (made.pool, made.mode) == ("default", admin_pb2.WORKSPACE_MODE_AGENT)


async def test_a_workspace_gives_its_tasks_a_class(door: GrpcDoor) -> None:
    wanted = admin_pb2.Workspace(name="site", execution=task_pb2.EXECUTION_ONCE)
    made = (await door.workspaces.CreateWorkspace(admin_pb2.CreateWorkspaceRequest(workspace=wanted))).workspace
    task_id = await door.submit(workspace="site")
    assert made.execution == task_pb2.EXECUTION_ONCE
    task = (await door.tasks.GetTask(task_pb2.GetTaskRequest(task_id=task_id), timeout=WAIT_SECONDS)).task
    assert task.spec.execution == task_pb2.EXECUTION_ONCE
    assert (await create(door, name="lab")).execution == task_pb2.EXECUTION_UNSPECIFIED


@pytest.mark.parametrize(
    "request_, field",
    [
        (admin_pb2.CreateWorkspaceRequest(), "workspace"),
        (create_request(name=""), "name"),
        (create_request(pool="a b"), "pool"),
        (create_request(mode=9), "mode"),
        (create_request(execution=9), "execution"),
    ],
)
async def test_a_wrong_field_is_named(door: GrpcDoor, request_: admin_pb2.CreateWorkspaceRequest, field: str) -> None:
    code, status = await refusal(door.workspaces.CreateWorkspace(request_))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert [wrong.field for wrong in detail(status, error_details_pb2.BadRequest).field_violations] == [field]


async def test_kubernetes_is_refused_by_name(door: GrpcDoor) -> None:
    code, status = await refusal(
        door.workspaces.CreateWorkspace(create_request(mode=admin_pb2.WORKSPACE_MODE_KUBERNETES))
    )
    assert (code, reason_of(status)) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_BUILT")
    assert "kubernetes" in status.message


async def test_what_is_there_is_not_made_again_and_what_is_not_there_is_not_found(door: GrpcDoor) -> None:
    await create(door)
    code, status = await refusal(door.workspaces.CreateWorkspace(create_request()))
    assert (code, reason_of(status)) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT")
    assert detail(status, error_details_pb2.ResourceInfo).resource_type == "workspace"

    nobody = admin_pb2.Workspace(name="nobody")
    for call in (
        door.workspaces.GetWorkspace(admin_pb2.GetWorkspaceRequest(name="nobody")),
        door.workspaces.UpdateWorkspace(admin_pb2.UpdateWorkspaceRequest(workspace=nobody)),
        door.workspaces.DeleteWorkspace(admin_pb2.DeleteWorkspaceRequest(name="nobody")),
    ):
        code, status = await refusal(call)
        assert code is grpc.StatusCode.NOT_FOUND
        assert detail(status, error_details_pb2.ResourceInfo).resource_type == "workspace"
    code, _ = await refusal(door.workspaces.GetWorkspace(admin_pb2.GetWorkspaceRequest()))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_workspace_with_a_live_task_stays_and_its_tasks_are_listed(door: GrpcDoor) -> None:
    await create(door)
    task_id, _ = await door.submit(workspace="site"), await door.submit()
    listed = await door.tasks.ListTasks(task_pb2.ListTasksRequest(workspace="site"), timeout=WAIT_SECONDS)
    assert [task.id for task in listed.tasks] == [task_id]
    assert listed.tasks[0].spec.pool == "web"

    code, status = await refusal(door.workspaces.DeleteWorkspace(admin_pb2.DeleteWorkspaceRequest(name="site")))
    assert (code, reason_of(status)) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT")


async def test_a_task_of_no_such_workspace_is_refused_and_told_which_field(door: GrpcDoor) -> None:
    request = task_pb2.SubmitTaskRequest(
        spec=task_pb2.TaskSpec(type="echo", payload=b"1", workspace="nobody"), idempotency_key="k"
    )
    code, status = await refusal(door.tasks.SubmitTask(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert [wrong.field for wrong in detail(status, error_details_pb2.BadRequest).field_violations] == ["workspace"]
