"""`/workspaces`: where the tasks of each run, one at a time."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field, StrictStr, WithJsonSchema

from nodelink.task import DEFAULT_POOL, Execution
from nodelink_server.core.ports import Workspace, WorkspaceMode
from nodelink_server.core.workspaces import LOCAL_LABEL, MODES
from nodelink_server.web.times import moment
from nodelink_server.web.values import POOL, Class, Pool
from nodelink_server.web.wiring import Manager, no_parameters

router = APIRouter(tags=["workspaces"], dependencies=[Depends(no_parameters)])

_WHERE = f"agent: on any agent of the pool; local: on those that have the label {LOCAL_LABEL}, on the server's machine"
_CLASS = "the execution class of those of its tasks that name none; null: that of their type"

Mode = Annotated[StrictStr, WithJsonSchema({"enum": [mode.value for mode in MODES]})]
Name = Annotated[StrictStr, WithJsonSchema({"type": "string", "pattern": POOL})]


class WorkspaceFields(BaseModel):
    """Where the tasks of a workspace run."""

    model_config = ConfigDict(extra="forbid")

    pool: Pool = Field(default=DEFAULT_POOL, description="the pool of its tasks")
    mode: Mode = Field(default=WorkspaceMode.AGENT.value, description=_WHERE)
    execution: Class = Field(default=None, description=_CLASS)


class NewWorkspace(WorkspaceFields):
    """A workspace that is not there yet."""

    name: Name = Field(description="by which tasks name it")


class WorkspaceChange(WorkspaceFields):
    """A workspace as it is to be, but for its name: what is left out is as by default."""


class WorkspaceJson(BaseModel):
    """Where its tasks run, one at a time."""

    name: str
    pool: str
    mode: Literal["local", "agent", "kubernetes"] = Field(description=_WHERE)
    execution: Execution | None = Field(description=_CLASS)
    created_at: str


class WorkspaceList(BaseModel):
    """Every workspace, by name."""

    workspaces: list[WorkspaceJson]


@router.post("/workspaces", status_code=201)
async def create_workspace(body: NewWorkspace, manager: Manager, response: Response) -> WorkspaceJson:
    """Keep a new workspace. 201: it is durable, and `Location` names it."""
    made = await manager.workspaces.create(body.name, pool=body.pool, mode=body.mode, execution=body.execution)
    response.headers["location"] = f"/api/v1/workspaces/{made.name}"
    return _json(made)


@router.get("/workspaces")
async def list_workspaces(manager: Manager) -> WorkspaceList:
    """List every workspace, by name."""
    return WorkspaceList(workspaces=list(map(_json, manager.workspaces.all())))


@router.get("/workspaces/{name}")
async def get_workspace(name: Annotated[Name, Path()], manager: Manager) -> WorkspaceJson:
    """Show one workspace."""
    return _json(manager.workspaces.get(name))


@router.put("/workspaces/{name}")
async def change_workspace(name: Annotated[Name, Path()], body: WorkspaceChange, manager: Manager) -> WorkspaceJson:
    """Let the tasks that come in from now on run elsewhere. What has come in already stays where it is."""
    changed = await manager.workspaces.change(name, pool=body.pool, mode=body.mode, execution=body.execution)
    return _json(changed)


@router.delete("/workspaces/{name}")
async def remove_workspace(name: Annotated[Name, Path()], manager: Manager) -> WorkspaceJson:
    """Let there be no such workspace any more, and tell what it was. 409 while a live task names it."""
    return _json(await manager.workspaces.remove(name))


def _json(workspace: Workspace) -> WorkspaceJson:
    return WorkspaceJson(
        name=workspace.name,
        pool=workspace.pool,
        mode=workspace.mode.value,
        execution=workspace.execution,
        created_at=moment(workspace.created_at),
    )
