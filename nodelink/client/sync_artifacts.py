"""Bytes by their digest, for the synchronous client: up and down, over any number of broken connections."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

from nodelink.blob_files import Given, Source, Target
from nodelink.client import asks_blobs
from nodelink.client.blobs import (
    Artifact,
    ArtifactUsage,
    BlobRef,
    Moved,
    TaskArtifact,
    WorkspaceState,
    unwatched,
)
from nodelink.client.sync_calls import Calls
from nodelink.client.sync_uploads import Uploads


class Artifacts:
    """What a client can do with bytes. A client has one."""

    def __init__(self, calls: Calls, uploads: Uploads) -> None:
        self._calls = calls
        self._uploads = uploads

    def upload(self, given: Given, *, workspace: str = "", moved: Moved = unwatched) -> BlobRef:
        """Have the server have bytes, or those of a file: only those that it has not. A broken connection goes on.

        Raises `QuotaExceeded`, `WorkspaceNotFound`, `DigestMismatch` if the file changes meanwhile, OSError.
        """
        with Source(given) as source:
            self._uploads.upload(source, workspace, moved)
        return BlobRef(sha256=source.sha256, size=source.size)

    def download(self, sha256: str, path: Path | str, *, moved: Moved = unwatched) -> Path:
        """Have bytes in a file, checked. What an earlier try has left is gone on from.

        Raises `BlobNotFound`, `DigestMismatch`, OSError.
        """
        with Target(path, sha256) as target:
            for frame in self._calls.resumed(asks_blobs.download(sha256, target.offset)):
                target.write(frame.data)
                moved(target.offset, frame.size)
            return target.finish()

    def read(self, sha256: str, *, offset: int = 0) -> Generator[bytes, None, None]:
        """Bytes as they come, from an offset on. They are not checked."""
        for frame in self._calls.resumed(asks_blobs.download(sha256, offset)):
            yield frame.data

    def list(self, workspace: str | None = None, *, limit: int | None = None) -> Generator[Artifact, None, None]:
        """The bytes that workspaces have, or one (empty: those of none), by digest, page by page as they are taken."""
        return self._calls.pages(partial(asks_blobs.artifacts, workspace), limit=limit)

    def usage(self, workspace: str = "") -> ArtifactUsage:
        """How many bytes a workspace has, and may have."""
        return self._calls.ask(asks_blobs.usage(workspace))

    def of_task(self, task_id: str) -> Sequence[TaskArtifact]:
        """The artifacts of a task, by name and attempt. Raises `TaskNotFound`."""
        return self._calls.ask(asks_blobs.of_task(task_id))

    def attach(self, task_id: str, name: str, sha256: str) -> TaskArtifact:
        """Give bytes to a task, under a name that stands for them from then on.

        Raises `BlobConflict` if it stands for others, `BlobNotFound`, `TaskNotFound`.
        """
        return self._calls.ask(asks_blobs.attach(task_id, name, sha256))


class States:
    """What a client can do with the states of workspaces. A client has one."""

    def __init__(self, calls: Calls, artifacts: Artifacts) -> None:
        self._calls = calls
        self._artifacts = artifacts

    def get(self, workspace: str, *, version: int = 0) -> WorkspaceState:
        """The newest state of a workspace, or an earlier one. Raises `BlobNotFound`, `WorkspaceNotFound`."""
        return self._calls.ask(asks_blobs.state(workspace, version))

    def list(self, workspace: str) -> Sequence[WorkspaceState]:
        """Those that are kept, the newest first. Raises `WorkspaceNotFound`."""
        return self._calls.ask(asks_blobs.states(workspace))

    def save(self, workspace: str, given: Given, *, if_match: str, moved: Moved = unwatched) -> WorkspaceState:
        """Replace the state that `if_match` names by its etag; empty: there is none yet.

        Raises `StateChanged` if another is the newest, `WorkspaceConflict` while a task works there, and as `upload`.
        """
        blob = self._artifacts.upload(given, workspace=workspace, moved=moved)
        return self._calls.ask(asks_blobs.save_state(workspace, blob.sha256, if_match))
