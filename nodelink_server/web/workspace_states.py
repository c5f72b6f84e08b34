"""`/workspaces/{name}/state`: the state of a workspace, which is replaced only by who knows it, by its `ETag`."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictStr, WithJsonSchema

from nodelink.errors import FieldError, InvalidTask
from nodelink.failpoints import hit
from nodelink_server.core.blob_ports import UploadName, WorkspaceState
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.workspace_states import NO_STATE
from nodelink_server.web.artifacts import RAW_BODY, ByteRangeHeader, Digest
from nodelink_server.web.blob_response import BlobResponse
from nodelink_server.web.times import moment
from nodelink_server.web.values import MAX_WHOLE, POOL, Whole
from nodelink_server.web.wiring import Closing, Manager, no_parameters

router = APIRouter(tags=["workspaces"])

RAW_PATHS = ("/workspaces/{name}/state",)
"""Where a body is bytes, by PUT."""

_ETAG = re.compile(r'"([^"]*)"')

Name = Annotated[StrictStr, WithJsonSchema({"type": "string", "pattern": POOL})]


class VersionQuery(BaseModel):
    """Which of the states that are kept."""

    model_config = ConfigDict(extra="forbid")

    version: Whole = Field(default=0, ge=0, le=MAX_WHOLE, description="0: the newest")


class NewStateQuery(BaseModel):
    """Which bytes are the state, if they are not the body."""

    model_config = ConfigDict(extra="forbid")

    sha256: Digest | None = Field(default=None, description="bytes that the server has; then there is no body")


class StateJson(BaseModel):
    """A state of a workspace."""

    workspace: str
    version: int = Field(description="counts them from 1")
    etag: str = Field(description="names it: If-Match has it in quotes")
    sha256: str
    size: int
    created_at: str
    task_id: str | None = Field(description="which task saved it")


class StateList(BaseModel):
    """The states that are kept, the newest first."""

    states: list[StateJson]


@router.get("/workspaces/{name}/state", response_class=Response, responses={304: {"description": "It is the same"}})
async def get_state(
    name: Annotated[Name, Path()],
    asked: Annotated[VersionQuery, Query()],
    manager: Manager,
    closing: Closing,
    byte_range: ByteRangeHeader = "",
    if_none_match: Annotated[str, Header(description="the ETag of the state that the caller has")] = "",
) -> Response:
    """Read the state of a workspace, all of it or a range. `ETag` names it."""
    state = await manager.workspace_states.get(name, version=asked.version)
    headers = {"etag": f'"{state.etag}"', "x-state-version": str(state.version)}
    if state.etag in _ETAG.findall(if_none_match):
        return Response(status_code=304, headers=headers)
    reading = await manager.blobs.open(state.sha256)
    return BlobResponse(reading, byte_range, closing=closing, headers=headers)


@router.put("/workspaces/{name}/state", openapi_extra=RAW_BODY)
async def save_state(
    name: Annotated[Name, Path()],
    asked: Annotated[NewStateQuery, Query()],
    request: Request,
    manager: Manager,
    response: Response,
    if_match: Annotated[str | None, Header(description="the ETag of the state that is replaced")] = None,
    if_none_match: Annotated[str | None, Header(description="* : only if there is none yet")] = None,
) -> StateJson:
    """Save the state of a workspace: the body, or bytes that the server has. 412: another one is the newest.

    428 without `If-Match` or `If-None-Match`.
    """
    expected = _expected(if_match, if_none_match)
    await manager.workspace_states.expect(name, expected)
    sha256 = await _kept(manager, name, asked.sha256, await request.body())
    state = await manager.workspace_states.save(name, sha256, if_match=expected)
    hit("server.state.before_answer")
    response.headers["etag"] = f'"{state.etag}"'
    return _json(state)


@router.get("/workspaces/{name}/states", dependencies=[Depends(no_parameters)])
async def list_states(name: Annotated[Name, Path()], manager: Manager) -> StateList:
    """List the states of a workspace that are kept, the newest first."""
    return StateList(states=[_json(state) for state in await manager.workspace_states.list(name)])


def _expected(if_match: str | None, if_none_match: str | None) -> str | None:
    """What names the state that is replaced; None: it is not said. Raises `InvalidTask` for what names none."""
    if if_none_match is not None:
        if if_match is not None or if_none_match.strip() != "*":
            raise InvalidTask(FieldError("If-None-Match", "must be *, and alone"))
        return NO_STATE
    if if_match is None:
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None or not found[1]:
        raise InvalidTask(FieldError("If-Match", "must be the ETag of one state, in quotes"))
    return found[1]


async def _kept(manager: TaskManager, workspace: str, sha256: str | None, body: bytes) -> str:
    """The digest of what is to be saved, which the server has from now on."""
    if sha256 is not None:
        if body:
            raise InvalidTask(FieldError("sha256", "cannot be given together with a body"))
        return sha256
    name = UploadName(hashlib.sha256(body).hexdigest(), len(body), workspace)
    upload = await manager.blobs.announce(name)
    if not upload.is_complete:
        await manager.blobs.append(name, upload.offset, body[upload.offset :])
    return name.sha256


def _json(state: WorkspaceState) -> StateJson:
    return StateJson(
        workspace=state.workspace,
        version=state.version,
        etag=state.etag,
        sha256=state.sha256,
        size=state.size,
        created_at=moment(state.created_at),
        task_id=state.task_id or None,
    )
