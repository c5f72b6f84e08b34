"""SchedulerService and CheckpointService: how things stand, what is paused, and what is kept of it."""

from __future__ import annotations

from nodelink.checkpoint import CheckpointHeader, LeftOut
from nodelink.v1 import admin_pb2, admin_pb2_grpc
from nodelink.wire import put_ms
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.pauses import Pause, scope_of
from nodelink_server.rpc.interceptors import Context
from nodelink_server.rpc.requests import id_of

PART_BYTES = 1024 * 1024


class SchedulerService(admin_pb2_grpc.SchedulerServiceServicer):
    """What waits and what runs, and what is paused."""

    def __init__(self, manager: TaskManager) -> None:
        self._manager = manager

    async def GetSchedulerStatus(  # noqa: N802 - the name of the call, here and below
        self, request: admin_pb2.GetSchedulerStatusRequest, context: Context
    ) -> admin_pb2.GetSchedulerStatusResponse:
        """The present state."""
        status = await self._manager.scheduler_status()
        response = admin_pb2.GetSchedulerStatusResponse(
            state=status.state,
            queued_tasks=status.queued_tasks,
            running_tasks=status.running_tasks,
            max_concurrent_tasks=status.max_concurrent_tasks,
            available_slots=status.available_slots,
            queue_by_priority=status.queue_by_priority,
            pauses=map(_pause, status.pauses),
        )
        if status.last_checkpoint_at is not None:
            put_ms(response.last_checkpoint_at, status.last_checkpoint_at)
        return response

    async def PauseScheduler(  # noqa: N802
        self, request: admin_pb2.PauseSchedulerRequest, context: Context
    ) -> admin_pb2.PauseSchedulerResponse:
        """The pause, and the checkpoint that goes with it."""
        scope = scope_of(pool=request.pool, type=request.type)
        pause, taken = await self._manager.pause_and_keep(scope, reason=request.reason)
        return admin_pb2.PauseSchedulerResponse(
            pause=_pause(pause),
            checkpoint=None if taken is None else _checkpoint(taken),
            content=await self._manager.checkpoints.small_content(taken),
        )

    async def ResumeScheduler(  # noqa: N802
        self, request: admin_pb2.ResumeSchedulerRequest, context: Context
    ) -> admin_pb2.ResumeSchedulerResponse:
        """What has changed."""
        resumed = await self._manager.resume_from(
            scope_of(pool=request.pool, type=request.type),
            checkpoint_id=request.checkpoint_id,
            content=request.checkpoint,
            as_waiting=request.as_waiting,
            reason=request.reason,
        )
        return admin_pb2.ResumeSchedulerResponse(
            was_paused=resumed.was_paused,
            loaded=resumed.loaded,
            checkpoint=None if resumed.checkpoint is None else _checkpoint(resumed.checkpoint),
        )


class CheckpointService(admin_pb2_grpc.CheckpointServiceServicer):
    """Takes checkpoints, and shows them."""

    def __init__(self, manager: TaskManager) -> None:
        self._checkpoints = manager.checkpoints

    async def TakeCheckpoint(  # noqa: N802
        self, request: admin_pb2.TakeCheckpointRequest, context: Context
    ) -> admin_pb2.TakeCheckpointResponse:
        """A new one."""
        return admin_pb2.TakeCheckpointResponse(checkpoint=_checkpoint(await self._checkpoints.take()))

    async def ListCheckpoints(  # noqa: N802
        self, request: admin_pb2.ListCheckpointsRequest, context: Context
    ) -> admin_pb2.ListCheckpointsResponse:
        """Those that are kept."""
        return admin_pb2.ListCheckpointsResponse(checkpoints=map(_checkpoint, await self._checkpoints.all()))

    async def VerifyCheckpoint(  # noqa: N802
        self, request: admin_pb2.VerifyCheckpointRequest, context: Context
    ) -> admin_pb2.VerifyCheckpointResponse:
        """One that is whole."""
        whole = await self._checkpoints.verify(id_of(request.id, "id"))
        return admin_pb2.VerifyCheckpointResponse(checkpoint=_checkpoint(whole))

    async def ReadCheckpoint(  # noqa: N802
        self, request: admin_pb2.ReadCheckpointRequest, context: Context
    ) -> admin_pb2.ReadCheckpointResponse:
        """A part of its file."""
        header = await self._checkpoints.get(id_of(request.id, "id"))
        data = await self._checkpoints.content(header.id, min(request.offset, header.size), PART_BYTES)
        return admin_pb2.ReadCheckpointResponse(data=data, size=header.size)


def _pause(pause: Pause) -> admin_pb2.Pause:
    pb = admin_pb2.Pause(scope=pause.scope, by=pause.by, reason=pause.reason)
    put_ms(pb.since, pause.since)
    return pb


def _checkpoint(header: CheckpointHeader) -> admin_pb2.Checkpoint:
    pb = admin_pb2.Checkpoint(
        id=header.id,
        why=header.why,
        complete=header.complete,
        waiting=header.waiting,
        running=header.running,
        bytes=header.size,
        sha256=header.sha256,
        version=header.version,
        cluster_id=header.cluster_id,
        ended_left_out=header.ended_left_out,
        blobs=header.blobs,
        blob_bytes=header.blob_bytes,
        blobs_left_out=header.blobs_left_out,
        left_out=map(_left_out, header.left_out),
    )
    put_ms(pb.taken_at, header.taken_at)
    return pb


def _left_out(one: LeftOut) -> admin_pb2.LeftOutBlob:
    return admin_pb2.LeftOutBlob(
        sha256=one.sha256,
        size=one.size,
        why=one.why,
        task_id=one.task_id,
        name=one.name,
        workspace=one.workspace,
    )
