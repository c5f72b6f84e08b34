"""ArtifactService and WorkspaceStateService over the core. What it raises, `EveryCall` turns into a status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from nodelink.v1 import data_pb2, data_pb2_grpc
from nodelink_server.core.blob_ports import UploadName
from nodelink_server.core.manager import TaskManager
from nodelink_server.rpc.blob_views import put_artifact, put_blob, put_state
from nodelink_server.rpc.interceptors import Context
from nodelink_server.rpc.requests import given, id_of, page_size_of
from nodelink_server.rpc.transfers import announcement_of, pieces, take_in


class ArtifactService(data_pb2_grpc.ArtifactServiceServicer):
    """Takes bytes in, gives them out, and says what they are parts of."""

    def __init__(self, manager: TaskManager) -> None:
        self._manager = manager
        self._blobs = manager.blobs
        self._stopping = manager.stopping

    async def UploadArtifact(  # noqa: N802 - the name of the call, here and below
        self, request_iterator: AsyncIterator[data_pb2.UploadArtifactRequest], context: Context
    ) -> AsyncIterator[data_pb2.UploadArtifactResponse]:
        """Bytes in."""
        wanted = await announcement_of(request_iterator, self._stopping)
        upload = await self._blobs.announce(UploadName(wanted.sha256, wanted.size, wanted.workspace))
        yield data_pb2.UploadArtifactResponse(offset=upload.offset, complete=upload.is_complete)
        if not upload.is_complete:
            upload = await take_in(request_iterator, self._blobs, upload, self._stopping)
            yield data_pb2.UploadArtifactResponse(offset=upload.offset, complete=upload.is_complete)

    async def DownloadArtifact(  # noqa: N802
        self, request: data_pb2.DownloadArtifactRequest, context: Context
    ) -> AsyncIterator[data_pb2.DownloadArtifactResponse]:
        """Bytes out."""
        reading = await self._blobs.open(request.sha256)
        async with aclosing(pieces(reading, request.offset, self._stopping)) as parts:
            async for data in parts:
                yield data_pb2.DownloadArtifactResponse(size=reading.size, data=data)

    async def ListArtifacts(  # noqa: N802
        self, request: data_pb2.ListArtifactsRequest, context: Context
    ) -> data_pb2.ListArtifactsResponse:
        """The bytes that workspaces have."""
        workspace = request.workspace if request.HasField("workspace") else None
        blobs, token = await self._blobs.page(workspace, request.page_token, page_size_of(request.page_size))
        response = data_pb2.ListArtifactsResponse(next_page_token=token, quota=self._blobs.quota)
        for blob in blobs:
            put_blob(response.artifacts.add(), blob)
        if workspace is not None:
            response.used = await self._blobs.used(workspace)
        return response

    async def ListTaskArtifacts(  # noqa: N802
        self, request: data_pb2.ListTaskArtifactsRequest, context: Context
    ) -> data_pb2.ListTaskArtifactsResponse:
        """The artifacts of a task."""
        response = data_pb2.ListTaskArtifactsResponse()
        for artifact in await self._manager.artifacts.list(id_of(request.task_id, "task_id")):
            put_artifact(response.artifacts.add(), artifact)
        return response

    async def AttachArtifact(  # noqa: N802
        self, request: data_pb2.AttachArtifactRequest, context: Context
    ) -> data_pb2.AttachArtifactResponse:
        """Bytes that become a part of a task."""
        task_id = id_of(request.task_id, "task_id")
        artifact = await self._manager.artifacts.attach(task_id, request.name, request.sha256)
        response = data_pb2.AttachArtifactResponse()
        put_artifact(response.artifact, artifact)
        return response


class WorkspaceStateService(data_pb2_grpc.WorkspaceStateServiceServicer):
    """Keeps the states of workspaces."""

    def __init__(self, manager: TaskManager) -> None:
        self._states = manager.workspace_states

    async def GetWorkspaceState(  # noqa: N802
        self, request: data_pb2.GetWorkspaceStateRequest, context: Context
    ) -> data_pb2.GetWorkspaceStateResponse:
        """One state."""
        response = data_pb2.GetWorkspaceStateResponse()
        workspace = id_of(request.workspace, "workspace")
        put_state(response.state, await self._states.get(workspace, version=request.version))
        return response

    async def ListWorkspaceStates(  # noqa: N802
        self, request: data_pb2.ListWorkspaceStatesRequest, context: Context
    ) -> data_pb2.ListWorkspaceStatesResponse:
        """Those that are kept."""
        response = data_pb2.ListWorkspaceStatesResponse()
        for state in await self._states.list(id_of(request.workspace, "workspace")):
            put_state(response.states.add(), state)
        return response

    async def SaveWorkspaceState(  # noqa: N802
        self, request: data_pb2.SaveWorkspaceStateRequest, context: Context
    ) -> data_pb2.SaveWorkspaceStateResponse:
        """A state that replaces another."""
        workspace = id_of(request.workspace, "workspace")
        state = await self._states.save(workspace, request.sha256, if_match=given(request, "if_match"))
        response = data_pb2.SaveWorkspaceStateResponse()
        put_state(response.state, state)
        return response
