"""WorkspaceService over the core's workspaces. What it raises, `EveryCall` turns into a status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from nodelink.errors import FieldError, InvalidTask
from nodelink.task import DEFAULT_POOL, Execution
from nodelink.v1 import admin_pb2, admin_pb2_grpc
from nodelink.wire import EXECUTION_FROM_PB, EXECUTION_TO_PB, put_ms
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import Workspace, WorkspaceMode
from nodelink_server.rpc.interceptors import Context
from nodelink_server.rpc.requests import id_of, required

_MODES: Mapping[int, WorkspaceMode] = {
    admin_pb2.WORKSPACE_MODE_UNSPECIFIED: WorkspaceMode.AGENT,
    admin_pb2.WORKSPACE_MODE_LOCAL: WorkspaceMode.LOCAL,
    admin_pb2.WORKSPACE_MODE_AGENT: WorkspaceMode.AGENT,
    admin_pb2.WORKSPACE_MODE_KUBERNETES: WorkspaceMode.KUBERNETES,
}
_NUMBERS: Mapping[WorkspaceMode, admin_pb2.WorkspaceMode] = {
    WorkspaceMode.LOCAL: admin_pb2.WORKSPACE_MODE_LOCAL,
    WorkspaceMode.AGENT: admin_pb2.WORKSPACE_MODE_AGENT,
    WorkspaceMode.KUBERNETES: admin_pb2.WORKSPACE_MODE_KUBERNETES,
}


class WorkspaceService(admin_pb2_grpc.WorkspaceServiceServicer):
    """Keeps workspaces."""

    def __init__(self, manager: TaskManager) -> None:
        self._workspaces = manager.workspaces

    async def CreateWorkspace(  # noqa: N802 - the name of the call, here and below
        self, request: admin_pb2.CreateWorkspaceRequest, context: Context
    ) -> admin_pb2.CreateWorkspaceResponse:
        """A new workspace."""
        name, wanted = _read(required(request, "workspace"))
        made = await self._workspaces.create(name, **wanted)
        return admin_pb2.CreateWorkspaceResponse(workspace=_message(made))

    async def GetWorkspace(  # noqa: N802
        self, request: admin_pb2.GetWorkspaceRequest, context: Context
    ) -> admin_pb2.GetWorkspaceResponse:
        """One workspace."""
        found = self._workspaces.get(id_of(request.name, "name"))
        return admin_pb2.GetWorkspaceResponse(workspace=_message(found))

    async def ListWorkspaces(  # noqa: N802
        self, request: admin_pb2.ListWorkspacesRequest, context: Context
    ) -> admin_pb2.ListWorkspacesResponse:
        """Every workspace, by name."""
        return admin_pb2.ListWorkspacesResponse(workspaces=map(_message, self._workspaces.all()))

    async def UpdateWorkspace(  # noqa: N802
        self, request: admin_pb2.UpdateWorkspaceRequest, context: Context
    ) -> admin_pb2.UpdateWorkspaceResponse:
        """A workspace whose tasks are to run elsewhere."""
        name, wanted = _read(required(request, "workspace"))
        changed = await self._workspaces.change(name, **wanted)
        return admin_pb2.UpdateWorkspaceResponse(workspace=_message(changed))

    async def DeleteWorkspace(  # noqa: N802
        self, request: admin_pb2.DeleteWorkspaceRequest, context: Context
    ) -> admin_pb2.DeleteWorkspaceResponse:
        """A workspace that is not needed any more."""
        removed = await self._workspaces.remove(id_of(request.name, "name"))
        return admin_pb2.DeleteWorkspaceResponse(workspace=_message(removed))


class _Wanted(TypedDict):
    """Where the tasks of a workspace are to run, and as what."""

    pool: str
    mode: WorkspaceMode
    execution: Execution | None


def _read(pb: admin_pb2.Workspace) -> tuple[str, _Wanted]:
    """Its name, and the rest with what is by default. Raises `InvalidTask` for a mode or a class that is none."""
    mode = _MODES.get(pb.mode)
    if mode is None:
        raise InvalidTask(FieldError("mode", f"{pb.mode} is not known"))
    if pb.execution and pb.execution not in EXECUTION_FROM_PB:
        raise InvalidTask(FieldError("execution", f"{pb.execution} is not known"))
    execution = EXECUTION_FROM_PB.get(pb.execution)
    return pb.name, _Wanted(pool=pb.pool or DEFAULT_POOL, mode=mode, execution=execution)


def _message(workspace: Workspace) -> admin_pb2.Workspace:
    pb = admin_pb2.Workspace(name=workspace.name, pool=workspace.pool, mode=_NUMBERS[workspace.mode])
    if workspace.execution is not None:
        pb.execution = EXECUTION_TO_PB[workspace.execution]
    put_ms(pb.created_at, workspace.created_at)
    return pb
