"""`/artifacts`: bytes by their digest, in and out; `/tasks/{id}/artifacts`: those that are parts of tasks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictStr, WithJsonSchema

from nodelink.failpoints import hit
from nodelink_server.core.blob_ports import MAX_CHUNK_BYTES, Artifact, Blob, UploadName
from nodelink_server.core.blobs import DIGEST, MAX_BLOB_BYTES, Upload
from nodelink_server.web.blob_response import OCTETS, RANGE_ABOUT, BlobResponse
from nodelink_server.web.times import moment
from nodelink_server.web.values import PLAIN_DIGITS, POOL, Whole
from nodelink_server.web.wiring import Closing, Manager, no_parameters

router = APIRouter(tags=["artifacts"])

RAW_PATHS = ("/artifacts/{sha256}",)
"""Where a body is bytes, by PUT."""

Digest = Annotated[StrictStr, WithJsonSchema({"type": "string", "pattern": f"^{DIGEST.pattern}$"})]
Name = Annotated[StrictStr, WithJsonSchema({"type": "string", "pattern": POOL})]
WorkspaceName = Annotated[StrictStr, WithJsonSchema({"type": "string", "pattern": rf"^$|{POOL}"})]
ByteRangeHeader = Annotated[str, Header(alias="Range", description=RANGE_ABOUT)]

RAW_BODY = {
    "requestBody": {
        "description": f"at most {MAX_CHUNK_BYTES} bytes",
        "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}},
    }
}


class NewArtifact(BaseModel):
    """Bytes that are to come."""

    model_config = ConfigDict(extra="forbid")

    sha256: Digest = Field(description="their digest, by which they are checked when all have come")
    size: Annotated[int, Field(strict=True, ge=0, le=MAX_BLOB_BYTES)] = Field(description="how many they are")
    workspace: WorkspaceName = Field(default="", description="whose they are, and against whose quota they count")


class ChunkPlace(BaseModel):
    """Where in the bytes that were announced a piece belongs."""

    model_config = ConfigDict(extra="forbid")

    offset: Whole = Field(ge=0, le=MAX_BLOB_BYTES, description="how many bytes come before it: those that are there")
    size: Whole = Field(ge=0, le=MAX_BLOB_BYTES, description="how many there are altogether, as announced")
    workspace: WorkspaceName = Field(default="", description="whose they are, as announced")


class UploadJson(BaseModel):
    """How far bytes have come."""

    sha256: str
    size: int
    workspace: str
    offset: int = Field(description="how many are there: what comes next begins here")
    complete: bool = Field(description="all are there and right, durably")


class ArtifactListQuery(BaseModel):
    """Which to list."""

    model_config = ConfigDict(extra="forbid")

    workspace: WorkspaceName | None = Field(default=None, description="only those of this one; empty: of none")
    page_size: Whole = Field(default=50, ge=1, le=1000)
    page_token: str = ""


class BlobJson(BaseModel):
    """Bytes that a workspace has."""

    sha256: str
    size: int
    workspace: str
    created_at: str
    used_at: str = Field(description="when they were last announced, read, or seen to be needed, about")


class ArtifactList(BaseModel):
    """Bytes by digest; `used` is null unless one workspace was asked for."""

    artifacts: list[BlobJson]
    next_page_token: str
    used: int | None = Field(description="how many bytes the workspace has, those that are to come among them")
    quota: int = Field(description="how many bytes a workspace may have")


class AttachedArtifact(BaseModel):
    """Bytes that are to be a part of a task."""

    model_config = ConfigDict(extra="forbid")

    sha256: Digest


class ArtifactJson(BaseModel):
    """Bytes as a part of a task."""

    name: str
    attempt: int = Field(description="which attempt made it; 0: a caller gave it to the task")
    sha256: str
    size: int
    created_at: str


class TaskArtifacts(BaseModel):
    """The artifacts of a task, by name and attempt."""

    artifacts: list[ArtifactJson]


class AttemptQuery(BaseModel):
    """Whose artifact to read."""

    model_config = ConfigDict(extra="forbid")

    attempt: Annotated[int, Field(ge=0, le=1 << 31), PLAIN_DIGITS] | None = Field(
        default=None, description="0: what a caller gave; else what this attempt made; not given: the last"
    )


@router.post("/artifacts", dependencies=[Depends(no_parameters)])
async def announce_artifact(body: NewArtifact, manager: Manager, response: Response) -> UploadJson:
    """Announce bytes, and hear how many of them are there. Complete: they need not come at all."""
    upload = await manager.blobs.announce(UploadName(body.sha256, body.size, body.workspace))
    if upload.is_complete:
        response.headers["location"] = f"/api/v1/artifacts/{body.sha256}"
    return _upload_json(upload)


@router.get("/artifacts")
async def list_artifacts(asked: Annotated[ArtifactListQuery, Query()], manager: Manager) -> ArtifactList:
    """List the bytes that workspaces have, by digest, page by page."""
    blobs, token = await manager.blobs.page(asked.workspace, asked.page_token, asked.page_size)
    used = None if asked.workspace is None else await manager.blobs.used(asked.workspace)
    shown = [_blob_json(blob) for blob in blobs]
    return ArtifactList(artifacts=shown, next_page_token=token, used=used, quota=manager.blobs.quota)


@router.put("/artifacts/{sha256}", openapi_extra=RAW_BODY)
async def put_artifact(
    sha256: Annotated[Digest, Path()], place: Annotated[ChunkPlace, Query()], request: Request, manager: Manager
) -> UploadJson:
    """Send the next piece of announced bytes. 409: it does not begin where the last one ended; announce them again."""
    name = UploadName(sha256, place.size, place.workspace)
    upload = await manager.blobs.append(name, place.offset, await request.body())
    if upload.is_complete:
        hit("server.upload.before_answer")
    return _upload_json(upload)


@router.get("/artifacts/{sha256}", response_class=Response, dependencies=[Depends(no_parameters)])
async def get_artifact(
    sha256: Annotated[Digest, Path()], manager: Manager, closing: Closing, byte_range: ByteRangeHeader = ""
) -> Response:
    """Read bytes, all of them or a range."""
    reading = await manager.blobs.open(sha256)
    return BlobResponse(reading, byte_range, closing=closing, headers={"etag": f'"{sha256}"'})


@router.get("/tasks/{task_id}/artifacts", dependencies=[Depends(no_parameters)])
async def list_task_artifacts(task_id: str, manager: Manager) -> TaskArtifacts:
    """List what was given to a task, and what its attempts have made."""
    return TaskArtifacts(artifacts=[_artifact_json(one) for one in await manager.artifacts.list(task_id)])


@router.put("/tasks/{task_id}/artifacts/{artifact_name}", dependencies=[Depends(no_parameters)])
async def attach_artifact(
    task_id: str, artifact_name: Annotated[Name, Path()], body: AttachedArtifact, manager: Manager
) -> ArtifactJson:
    """Give bytes that the server has to a task, under a name that stands for them from then on."""
    artifact = await manager.artifacts.attach(task_id, artifact_name, body.sha256)
    hit("server.artifact.before_answer")
    return _artifact_json(artifact)


@router.get("/tasks/{task_id}/artifacts/{artifact_name}", response_class=Response)
async def get_task_artifact(
    task_id: str,
    artifact_name: Annotated[Name, Path()],
    asked: Annotated[AttemptQuery, Query()],
    manager: Manager,
    closing: Closing,
    byte_range: ByteRangeHeader = "",
) -> Response:
    """Read an artifact of a task, all of it or a range."""
    found = await manager.artifacts.get(task_id, artifact_name, attempt=asked.attempt)
    reading = await manager.blobs.open(found.sha256)
    saved_as = {"content-disposition": f'attachment; filename="{found.name}"', "etag": f'"{found.sha256}"'}
    return BlobResponse(reading, byte_range, closing=closing, headers=saved_as)


def _upload_json(upload: Upload) -> UploadJson:
    name = upload.name
    return UploadJson(
        sha256=name.sha256,
        size=name.size,
        workspace=name.workspace,
        offset=upload.offset,
        complete=upload.is_complete,
    )


def _blob_json(blob: Blob) -> BlobJson:
    return BlobJson(
        sha256=blob.sha256,
        size=blob.size,
        workspace=blob.workspace,
        created_at=moment(blob.created_at),
        used_at=moment(blob.used_at),
    )


def _artifact_json(artifact: Artifact) -> ArtifactJson:
    return ArtifactJson(
        name=artifact.name,
        attempt=artifact.attempt,
        sha256=artifact.sha256,
        size=artifact.size,
        created_at=moment(artifact.created_at),
    )
