"""`/checkpoints`: snapshots of what waits and runs, with which another server can go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from nodelink.checkpoint import CheckpointHeader, LeftOut, LeftOutWhy
from nodelink_server.core.checkpoints import Checkpoints
from nodelink_server.web.bodies import NoFields
from nodelink_server.web.times import moment
from nodelink_server.web.wiring import Manager, no_parameters

router = APIRouter(tags=["checkpoints"], dependencies=[Depends(no_parameters)])

PART_BYTES = 1 << 20
FILE = "application/octet-stream"


class LeftOutJson(BaseModel):
    """A blob that a checkpoint lacks, and one that needs it."""

    sha256: str
    size: int = Field(description="how many bytes it has")
    why: LeftOutWhy = Field(description="no room: others took it; damaged, missing: so it was on that server's disk")
    task_id: str | None = Field(description="the task that needs it; null: it is the state of the workspace")
    name: str | None = Field(
        description="the name of the task's artifact that it is; null: its payload names the digest"
    )
    workspace: str | None = Field(description="whose state it is, or the workspace of the task")


class CheckpointJson(BaseModel):
    """What a checkpoint says of itself."""

    id: str
    url: str = Field(description="where its file is")
    taken_at: str
    why: Literal["pause", "asked", "interval"] = Field(description="why it was taken")
    complete: bool = Field(
        description="the scheduler was paused and nothing was with an agent: nothing of it can have happened since"
    )
    waiting: int = Field(description="how many tasks of it waited")
    running: int = Field(description="how many were with agents")
    bytes: int = Field(description="the length of its file")
    sha256: str = Field(description="of its header and its body, as they are written there")
    version: int = Field(description="of its format")
    cluster_id: str = Field(description="of which database it is")
    ended_left_out: int = Field(description="ended tasks whose idempotency keys are not in it: there were too many")
    blobs: int = Field(description="how many blobs are in it, with their bytes")
    blob_bytes: int = Field(description="how many bytes these have together")
    blobs_left_out: int = Field(description="how many blobs are needed by what is in it, and are not")
    left_out: list[LeftOutJson] = Field(description="up to 100 of those")


class CheckpointList(BaseModel):
    """Those that are kept, the newest first."""

    checkpoints: list[CheckpointJson]


@router.get("/checkpoints")
async def list_checkpoints(manager: Manager) -> CheckpointList:
    """List the checkpoints that are kept, the newest first."""
    return CheckpointList(checkpoints=list(map(checkpoint_json, await manager.checkpoints.all())))


@router.post("/checkpoints", status_code=201)
async def take_checkpoint(manager: Manager, response: Response, body: NoFields | None = None) -> CheckpointJson:
    """Take a checkpoint now. 201: it is durable, and `Location` names it; of more than are kept the oldest has gone."""
    taken = await manager.checkpoints.take()
    response.headers["location"] = f"/api/v1/checkpoints/{taken.id}"
    return checkpoint_json(taken)


@router.get("/checkpoints/{checkpoint_id}")
async def get_checkpoint(checkpoint_id: str, manager: Manager) -> CheckpointJson:
    """Show what a checkpoint says of itself."""
    return checkpoint_json(await manager.checkpoints.get(checkpoint_id))


@router.post("/checkpoints/{checkpoint_id}/verify")
async def verify_checkpoint(checkpoint_id: str, manager: Manager, body: NoFields | None = None) -> CheckpointJson:
    """Read a checkpoint through. 422 names its defect: not a checkpoint, newer, truncated or damaged."""
    return checkpoint_json(await manager.checkpoints.verify(checkpoint_id))


@router.get("/checkpoints/{checkpoint_id}/content", response_class=Response, responses={200: {"content": {FILE: {}}}})
async def read_checkpoint(checkpoint_id: str, manager: Manager) -> Response:
    """Read the file of a checkpoint, to be kept elsewhere and given to another server."""
    header = await manager.checkpoints.get(checkpoint_id)
    headers = {"content-length": str(header.size)}
    return StreamingResponse(_parts(manager.checkpoints, header), media_type=FILE, headers=headers)


async def _parts(checkpoints: Checkpoints, header: CheckpointHeader) -> AsyncIterator[bytes]:
    for offset in range(0, header.size, PART_BYTES):
        yield await checkpoints.content(header.id, offset, PART_BYTES)


def checkpoint_json(header: CheckpointHeader) -> CheckpointJson:
    """A checkpoint as it is shown."""
    return CheckpointJson.model_validate(
        {
            "id": header.id,
            "url": f"/api/v1/checkpoints/{header.id}/content",
            "taken_at": moment(header.taken_at),
            "why": header.why,
            "complete": header.complete,
            "waiting": header.waiting,
            "running": header.running,
            "bytes": header.size,
            "sha256": header.sha256,
            "version": header.version,
            "cluster_id": header.cluster_id,
            "ended_left_out": header.ended_left_out,
            "blobs": header.blobs,
            "blob_bytes": header.blob_bytes,
            "blobs_left_out": header.blobs_left_out,
            "left_out": list(map(_left_out, header.left_out)),
        }
    )


def _left_out(one: LeftOut) -> LeftOutJson:
    return LeftOutJson(
        sha256=one.sha256,
        size=one.size,
        why=one.why,
        task_id=one.task_id or None,
        name=one.name or None,
        workspace=one.workspace or None,
    )
