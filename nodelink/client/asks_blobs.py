"""What is asked of the server about bytes, and how its answers are read. Pure: both clients share it."""

from __future__ import annotations

from nodelink.blob_files import Source
from nodelink.client.asks import Ask, Follow, Page
from nodelink.client.blobs import Artifact, ArtifactUsage, TaskArtifact, WorkspaceState
from nodelink.client.checks import count_of, text_of
from nodelink.errors import BlobConflict, NodelinkError, Overloaded
from nodelink.v1 import data_pb2
from nodelink.wire import ms_of

MOST_ON_A_PAGE = 1_000


def announcement(source: Source, workspace: str) -> data_pb2.UploadArtifactRequest:
    """The first frame of an upload."""
    wanted = data_pb2.ArtifactAnnouncement(
        sha256=source.sha256, size=source.size, workspace=text_of("workspace", workspace)
    )
    return data_pb2.UploadArtifactRequest(announcement=wanted)


def piece(data: bytes) -> data_pb2.UploadArtifactRequest:
    """One of the next."""
    return data_pb2.UploadArtifactRequest(data=data)


def passing(error: NodelinkError) -> NodelinkError:
    """An error of an upload as one that may pass, if it is: where it goes on is another place while the last stream,
    broken for us, is still being taken in.
    """
    return Overloaded(error.message) if isinstance(error, BlobConflict) else error


def download(sha256: str, offset: int) -> Follow[data_pb2.DownloadArtifactResponse]:
    """Bytes from an offset on."""
    request = data_pb2.DownloadArtifactRequest(sha256=text_of("sha256", sha256), offset=offset)
    return Follow(lambda on: on.artifacts.DownloadArtifact, request, lambda frame: frame, _went_on)


def artifacts(workspace: str | None, left: int | None, token: str) -> Ask[Page[Artifact]]:
    """A page of the bytes that workspaces have."""
    request = data_pb2.ListArtifactsRequest(page_size=min(left or MOST_ON_A_PAGE, MOST_ON_A_PAGE), page_token=token)
    if workspace is not None:
        request.workspace = text_of("workspace", workspace)
    return Ask(
        lambda on: on.artifacts.ListArtifacts,
        request,
        lambda answer: Page([*map(_artifact_of, answer.artifacts)], answer.next_page_token),
        safe=True,
    )


def usage(workspace: str) -> Ask[ArtifactUsage]:
    """How much a workspace has."""
    request = data_pb2.ListArtifactsRequest(page_size=1, workspace=text_of("workspace", workspace))
    return Ask(
        lambda on: on.artifacts.ListArtifacts,
        request,
        lambda answer: ArtifactUsage(used=answer.used, quota=answer.quota),
        safe=True,
    )


def of_task(task_id: str) -> Ask[list[TaskArtifact]]:
    """The artifacts of a task."""
    request = data_pb2.ListTaskArtifactsRequest(task_id=text_of("task_id", task_id))
    return Ask(
        lambda on: on.artifacts.ListTaskArtifacts,
        request,
        lambda answer: [*map(_task_artifact_of, answer.artifacts)],
        safe=True,
    )


def attach(task_id: str, name: str, sha256: str) -> Ask[TaskArtifact]:
    """Bytes that become a part of a task."""
    request = data_pb2.AttachArtifactRequest(
        task_id=text_of("task_id", task_id), name=text_of("name", name), sha256=text_of("sha256", sha256)
    )
    return Ask(
        lambda on: on.artifacts.AttachArtifact, request, lambda answer: _task_artifact_of(answer.artifact), safe=True
    )


def state(workspace: str, version: int) -> Ask[WorkspaceState]:
    """A state of a workspace."""
    request = data_pb2.GetWorkspaceStateRequest(
        workspace=text_of("workspace", workspace), version=count_of("version", version)
    )
    return Ask(lambda on: on.states.GetWorkspaceState, request, lambda answer: _state_of(answer.state), safe=True)


def states(workspace: str) -> Ask[list[WorkspaceState]]:
    """Those that are kept."""
    request = data_pb2.ListWorkspaceStatesRequest(workspace=text_of("workspace", workspace))
    return Ask(
        lambda on: on.states.ListWorkspaceStates, request, lambda answer: [*map(_state_of, answer.states)], safe=True
    )


def save_state(workspace: str, sha256: str, if_match: str) -> Ask[WorkspaceState]:
    """A state that replaces another. Asked again in the same words, it is saved once."""
    request = data_pb2.SaveWorkspaceStateRequest(
        workspace=text_of("workspace", workspace), sha256=sha256, if_match=text_of("if_match", if_match)
    )
    return Ask(lambda on: on.states.SaveWorkspaceState, request, lambda answer: _state_of(answer.state), safe=True)


def _went_on(request: data_pb2.DownloadArtifactRequest, frame: data_pb2.DownloadArtifactResponse) -> bool:
    request.offset += len(frame.data)
    return request.offset >= frame.size


def _artifact_of(pb: data_pb2.Artifact) -> Artifact:
    return Artifact(
        sha256=pb.sha256,
        size=pb.size,
        workspace=pb.workspace,
        created_at=ms_of(pb.created_at),
        used_at=ms_of(pb.used_at),
    )


def _task_artifact_of(pb: data_pb2.TaskArtifact) -> TaskArtifact:
    return TaskArtifact(
        name=pb.name, attempt=pb.attempt, sha256=pb.sha256, size=pb.size, created_at=ms_of(pb.created_at)
    )


def _state_of(pb: data_pb2.WorkspaceState) -> WorkspaceState:
    return WorkspaceState(
        workspace=pb.workspace,
        version=pb.version,
        etag=pb.etag,
        sha256=pb.sha256,
        size=pb.size,
        created_at=ms_of(pb.created_at),
        task_id=pb.task_id,
    )
