"""What blobs stand for, as messages."""

from __future__ import annotations

from nodelink.v1 import data_pb2
from nodelink.wire import put_ms
from nodelink_server.core.blob_ports import Artifact, Blob, WorkspaceState


def put_blob(pb: data_pb2.Artifact, blob: Blob) -> None:
    """Write bytes that a workspace has."""
    pb.sha256, pb.size, pb.workspace = blob.sha256, blob.size, blob.workspace
    put_ms(pb.created_at, blob.created_at)
    put_ms(pb.used_at, blob.used_at)


def put_artifact(pb: data_pb2.TaskArtifact, artifact: Artifact) -> None:
    """Write bytes that are a part of a task."""
    pb.name, pb.attempt, pb.sha256, pb.size = artifact.name, artifact.attempt, artifact.sha256, artifact.size
    put_ms(pb.created_at, artifact.created_at)


def put_state(pb: data_pb2.WorkspaceState, state: WorkspaceState) -> None:
    """Write a state of a workspace."""
    pb.workspace, pb.version, pb.etag = state.workspace, state.version, state.etag
    pb.sha256, pb.size, pb.task_id = state.sha256, state.size, state.task_id
    put_ms(pb.created_at, state.created_at)
