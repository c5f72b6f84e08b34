"""What the server tells of bytes: whose they are, which of them are parts of tasks, and which states of workspaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Moved = Callable[[int, int], None]
"""Is told, of a transfer under way, how many bytes have gone over, of how many. Be quick about it."""


def unwatched(_offset: int, _size: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """Bytes that the server has."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Bytes that a workspace has; empty: nobody in particular. `used_at`: when they were last used, about."""

    sha256: str
    size: int
    workspace: str
    created_at: int
    used_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactUsage:
    """How many bytes a workspace has, those that are to come among them, and how many it may have."""

    used: int
    quota: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskArtifact:
    """Bytes as a part of a task. `attempt` 0: a caller gave it to the task; else which attempt made it."""

    name: str
    attempt: int
    sha256: str
    size: int
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceState:
    """Bytes as the state of a workspace. `etag` names it to who replaces it; `task_id`: which task saved it, if one."""

    workspace: str
    version: int
    etag: str
    sha256: str
    size: int
    created_at: int
    task_id: str
