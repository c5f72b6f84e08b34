"""Pauses and checkpoints, as they are asked for and told. Pure: both clients share it."""

from __future__ import annotations

from nodelink.client.pausing import Checkpoint, LeftOutBlob, Pause, Paused, Resumed
from nodelink.errors import FieldError, InvalidTask
from nodelink.v1 import admin_pb2
from nodelink.wire import ms_of


def pause_of(pb: admin_pb2.Pause) -> Pause:
    """Where nothing starts."""
    return Pause(scope=pb.scope, since=ms_of(pb.since), by=pb.by, reason=pb.reason)


def checkpoint_of(pb: admin_pb2.Checkpoint) -> Checkpoint:
    """What one says of itself."""
    return Checkpoint(
        id=pb.id,
        taken_at=ms_of(pb.taken_at),
        why=pb.why,
        complete=pb.complete,
        waiting=pb.waiting,
        running=pb.running,
        bytes=pb.bytes,
        sha256=pb.sha256,
        version=pb.version,
        cluster_id=pb.cluster_id,
        ended_left_out=pb.ended_left_out,
        blobs=pb.blobs,
        blob_bytes=pb.blob_bytes,
        blobs_left_out=pb.blobs_left_out,
        left_out=tuple(map(_left_out_of, pb.left_out)),
    )


def paused_of(pb: admin_pb2.PauseSchedulerResponse) -> Paused:
    """A pause with its checkpoint."""
    taken = checkpoint_of(pb.checkpoint) if pb.HasField("checkpoint") else None
    return Paused(pause=pause_of(pb.pause), checkpoint=taken, content=pb.content)


def resumed_of(pb: admin_pb2.ResumeSchedulerResponse) -> Resumed:
    """What has changed."""
    given = checkpoint_of(pb.checkpoint) if pb.HasField("checkpoint") else None
    return Resumed(was_paused=pb.was_paused, loaded=pb.loaded, checkpoint=given)


def resume_message(
    *, pool: str, type: str, reason: str, checkpoint: str | bytes | None, as_waiting: bool
) -> admin_pb2.ResumeSchedulerRequest:
    """A request to resume. A checkpoint is named by its id, or given as the bytes of its file."""
    if checkpoint is not None and not checkpoint:
        raise InvalidTask(FieldError("checkpoint", "must not be empty"))
    request = admin_pb2.ResumeSchedulerRequest(pool=pool, type=type, reason=reason, as_waiting=as_waiting)
    if isinstance(checkpoint, bytes):
        request.checkpoint = checkpoint
    elif checkpoint is not None:
        request.checkpoint_id = checkpoint
    return request


def _left_out_of(pb: admin_pb2.LeftOutBlob) -> LeftOutBlob:
    return LeftOutBlob(
        sha256=pb.sha256, size=pb.size, why=pb.why, task_id=pb.task_id, name=pb.name, workspace=pb.workspace
    )
