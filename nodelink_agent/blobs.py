"""What attempts may have of the server's blobs: what there is to work on, bytes down and up, the workspace's state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nodelink.blob_files import Given
from nodelink.task import AttemptRef


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskArtifact:
    """Bytes that are a part of the task. `attempt` 0: a caller gave it; else which attempt made it."""

    name: str
    attempt: int
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRef:
    """Bytes that are the state of the workspace. `etag` names it to who replaces it."""

    version: int
    etag: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInputs:
    """What an attempt is to work on. `state` None: the workspace has none, or there is no workspace."""

    artifacts: Sequence[TaskArtifact]
    workspace: str
    state: StateRef | None


class Blobs(Protocol):
    """The server's blobs, for one attempt. Every call goes on over broken connections for as long as the attempt does.

    What the server refuses is raised as a `NodelinkError`: `NotAllowed` if the attempt is not its task's any more.
    """

    async def load(self) -> TaskInputs:
        """What there is to work on."""

    async def get(self, sha256: str, path: Path | str) -> Path:
        """Have bytes in a file, checked. Raises `BlobNotFound`, `DigestMismatch`, OSError."""

    async def put(self, given: Given, *, name: str = "") -> str:
        """Have the server have bytes, or those of a file, and (`name`) as an artifact of the attempt.

        Returns their SHA-256. Raises `QuotaExceeded`, `BlobConflict` if the name stands for other bytes, OSError.
        """

    async def save_state(self, sha256: str, *, if_match: str) -> StateRef:
        """Let bytes that the server has be the state of the workspace. Raises `StateChanged`, `WorkspaceNotFound`."""


OpenBlobs = Callable[[AttemptRef, Callable[[], None]], Blobs]
"""Makes the blobs of an attempt. What is called with every piece says that the attempt lives."""


class State:
    """The state of the workspace in which an attempt works. It is loaded before it is saved, so that none is lost."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._etag: str | None = None

    async def load(self, path: Path | str) -> StateRef | None:
        """Have the state in a file; None: there is none yet, and no file. Raises as `Blobs.get`."""
        state = (await self._blobs.load()).state
        if state is not None:
            await self._blobs.get(state.sha256, path)
        self._etag = "" if state is None else state.etag
        return state

    def take_up(self, etag: str) -> None:
        """Go on from a state that an earlier process of the agent has loaded. `etag` empty: there was none."""
        self._etag = etag

    async def save(self, given: Given) -> StateRef:
        """Replace the state that was loaded, or saved last. RuntimeError: none was loaded. Raises as `Blobs.put`."""
        if self._etag is None:
            raise RuntimeError("load the state before you save it: else another one could be lost")
        state = await self._blobs.save_state(await self._blobs.put(given), if_match=self._etag)
        self._etag = state.etag
        return state
