"""DataService, and the two calls of AgentService that carry bytes: what attempts work on, and what they leave.

An agent asks for the sake of an attempt that it has. It names digests and artifacts, never a workspace or a place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from nodelink.errors import WorkspaceNotFound
from nodelink.failpoints import hit
from nodelink.v1 import agent_pb2, data_pb2, data_pb2_grpc
from nodelink.wire import ref_of
from nodelink_server.core.artifacts import check_artifact_name
from nodelink_server.core.attempt_access import AgentProof
from nodelink_server.core.blob_ports import UploadName
from nodelink_server.core.deeds import by_agent
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.task import Task
from nodelink_server.rpc.blob_views import put_artifact, put_state
from nodelink_server.rpc.interceptors import Context
from nodelink_server.rpc.requests import given
from nodelink_server.rpc.transfers import announcement_of, pieces, take_in


class AgentBlobs:
    """Bytes in and out, for attempts."""

    def __init__(self, manager: TaskManager) -> None:
        self._manager = manager
        self._blobs = manager.blobs
        self._stopping = manager.stopping

    async def put(self, frames: AsyncIterator[agent_pb2.PutBlobRequest]) -> AsyncIterator[agent_pb2.PutBlobResponse]:
        """Bytes in, which the task's workspace has from then on."""
        wanted: agent_pb2.BlobAnnouncement = await announcement_of(frames, self._stopping)
        if wanted.artifact_name:
            check_artifact_name(wanted.artifact_name)
        task = await _task_of(self._manager, wanted.proof)
        by = by_agent(wanted.proof.agent_id)
        upload = await self._blobs.announce(UploadName(wanted.sha256, wanted.size, task.spec.workspace), by=by)
        if not upload.is_complete:
            yield agent_pb2.PutBlobResponse(offset=upload.offset)
            upload = await take_in(frames, self._blobs, upload, self._stopping, by=by)
        if upload.is_complete and wanted.artifact_name:
            await self._manager.artifacts.attach(
                task.id, wanted.artifact_name, wanted.sha256, holder=ref_of(wanted.proof.ref), by=by
            )
            hit("server.artifact.before_answer")
        if upload.is_complete:
            hit("server.upload.before_answer")
        yield agent_pb2.PutBlobResponse(offset=upload.offset, complete=upload.is_complete)

    async def get(self, request: agent_pb2.GetBlobRequest) -> AsyncIterator[agent_pb2.GetBlobResponse]:
        """Bytes out."""
        task = await _task_of(self._manager, request.proof)
        reading = await self._blobs.open(request.sha256, workspaces={"", task.spec.workspace})
        async with aclosing(pieces(reading, request.offset, self._stopping)) as parts:
            async for data in parts:
                yield agent_pb2.GetBlobResponse(size=reading.size, data=data)


class DataService(data_pb2_grpc.DataServiceServicer):
    """What attempts work on, by name."""

    def __init__(self, manager: TaskManager) -> None:
        self._manager = manager

    async def LoadTaskData(  # noqa: N802 - the name of the call, here and below
        self, request: data_pb2.LoadTaskDataRequest, context: Context
    ) -> data_pb2.LoadTaskDataResponse:
        """What there is."""
        task = await _task_of(self._manager, request.proof)
        response = data_pb2.LoadTaskDataResponse(workspace=task.spec.workspace)
        for artifact in await self._manager.artifacts.list(task.id):
            put_artifact(response.artifacts.add(), artifact)
        if task.spec.workspace:
            for state in (await self._manager.workspace_states.list(task.spec.workspace))[:1]:
                put_state(response.state, state)
        return response

    async def SaveState(  # noqa: N802
        self, request: data_pb2.SaveStateRequest, context: Context
    ) -> data_pb2.SaveStateResponse:
        """A state that replaces another."""
        task = await _task_of(self._manager, request.proof)
        if not task.spec.workspace:
            raise WorkspaceNotFound("the task names no workspace, so it has no state")
        state = await self._manager.workspace_states.save(
            task.spec.workspace,
            request.sha256,
            if_match=given(request, "if_match"),
            holder=ref_of(request.proof.ref),
            by=by_agent(request.proof.agent_id),
        )
        hit("server.state.before_answer")
        response = data_pb2.SaveStateResponse()
        put_state(response.state, state)
        return response


async def _task_of(manager: TaskManager, proof: agent_pb2.AttemptProof) -> Task:
    given_proof = AgentProof(agent_id=proof.agent_id, secret=proof.secret, ref=ref_of(proof.ref))
    return await manager.attempt_access.task_of(given_proof)
