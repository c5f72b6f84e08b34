"""What the core needs of the place where blobs are kept, and the values that cross its border.

A blob is a number of bytes, named by their SHA-256. Each workspace that has it counts it; the bytes are kept once. It
arrives as an upload: a piece at a time, in order, and becomes a blob when all of it is there and is what was announced.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import NamedTuple, Protocol

from nodelink.task import AttemptRef
from nodelink_server.core.deeds import Deed

MAX_CHUNK_BYTES = 1 << 20
"""How many bytes travel at a time at most, and so how many of one transfer are in memory."""
MOST_ARTIFACTS = 100
"""Of one task."""
MOST_STATES = 10
"""How many states of a workspace are kept: the newest and those before it."""


class UploadName(NamedTuple):
    """What is being uploaded, as it was announced, and whose it will be; workspace empty: nobody's in particular."""

    sha256: str
    size: int
    workspace: str = ""


class Unfinished(NamedTuple):
    """An upload that an earlier start has left: how much of it is there, and when the last of it came."""

    name: UploadName
    offset: int
    touched_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes that a workspace has. `used_at`: when they were last announced, read, or seen to be needed, about."""

    sha256: str
    size: int
    workspace: str
    created_at: int
    used_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A blob as a part of a task, under a name, for ever. `attempt` 0: what a caller gave it; else who made it."""

    name: str
    attempt: int
    sha256: str
    size: int
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceState:
    """A blob as the state of a workspace. `version` counts them from 1. `task_id`: which task saved it; empty: none."""

    workspace: str
    version: int
    sha256: str
    size: int
    created_at: int
    task_id: str = ""

    @property
    def etag(self) -> str:
        """What names it among all states that the workspace had or will have, also if it is removed and made anew."""
        return f"{self.version}-{self.sha256[:16]}"


class AttemptArtifact(NamedTuple):
    """What an attempt says it has made: these bytes, as its artifact of this name."""

    ref: AttemptRef
    name: str
    sha256: str


class NewArtifact(NamedTuple):
    """A wish: that a blob be an artifact of a task. `holder`: only if this attempt is the task's, and has not ended."""

    task_id: str
    artifact: Artifact
    workspace: str
    holder: AttemptRef | None = None


class NewState(NamedTuple):
    """A wish: that a blob be the state of a workspace, if the newest has the version `after` (0: there is none).

    `holder`: only if this attempt is the task's, and has not ended; None: only if no task works in the workspace.
    """

    state: WorkspaceState
    after: int
    holder: AttemptRef | None = None


class Kept(StrEnum):
    """What became of a wish to have a blob stand for something."""

    KEPT = auto()
    ALREADY = auto()
    """It stood so before."""
    NO_TASK = auto()
    NOT_CURRENT = auto()
    """The attempt for which it was wished is not the task's current one, or has ended."""
    NO_BLOB = auto()
    TAKEN = auto()
    """The name stands for other bytes."""
    TOO_MANY = auto()
    CHANGED = auto()
    """The state is not the one that was to be replaced."""
    HELD = auto()
    """A task is with an agent that works in the workspace."""


class Swept(NamedTuple):
    """What one portion of forgetting did: how many blobs it looked at, and whose bytes nobody has any more."""

    looked_at: int
    gone: Sequence[str]


class BlobReader(Protocol):
    """A blob that is open: it can be read to its end whatever becomes of it meanwhile."""

    @property
    def size(self) -> int:
        """How many bytes it has."""

    async def read(self, offset: int, length: int) -> bytes:
        """So many bytes from an offset on, fewer at its end. Raises `StoreUnavailable`."""

    def close(self) -> None:
        """Let go of it."""


class AttemptArtifacts(Protocol):
    """What attempts have made. Raises `StoreUnavailable`."""

    async def there(self, told: Collection[AttemptArtifact]) -> Collection[AttemptArtifact]:
        """Those of them that are artifacts of their attempts, with all of their bytes."""


class BlobStore(AttemptArtifacts, Protocol):
    """Where blobs are. Raises `StoreUnavailable` when it cannot do what is asked; then nothing has changed.

    It is the caller who sees that the same upload is not touched twice at a time, and that nothing is placed, kept or
    forgotten while something else is.
    """

    # -- bytes --------------------------------------------------------------------------------------------------------

    async def unfinished(self) -> Sequence[Unfinished]:
        """The uploads that an earlier start has left."""

    async def room(self) -> int:
        """How many bytes there is room for, apart from what is kept free for everything else; may be negative."""

    async def append(self, upload: UploadName, offset: int, data: bytes) -> None:
        """Put the next bytes of an upload behind those that are there. `StoreUnavailable`: those are as they were."""

    async def seal(self, upload: UploadName) -> bool:
        """See that an upload is what was announced, and that the disk has it. False: it is not, and it is gone."""

    async def place(self, upload: UploadName) -> None:
        """Let the bytes of a sealed upload be found by their digest, durably."""

    async def drop(self, upload: UploadName) -> None:
        """Forget an upload, and its bytes."""

    async def size_of(self, sha256: str) -> int | None:
        """How many bytes a blob has, by the bytes themselves; None: there are none."""

    async def open(self, sha256: str) -> BlobReader | None:
        """Open a blob; None: its bytes are not there."""

    async def remove(self, digests: Collection[str]) -> None:
        """Remove bytes."""

    async def strays(self, number: int) -> Sequence[str]:
        """Of a 256th part of all bytes, those that no workspace has; the part with this number."""

    # -- what they stand for ------------------------------------------------------------------------------------------

    async def keep(self, blob: Blob, deed: Deed | None = None) -> None:
        """Let a workspace have a blob, and audit the deed; or note that it was used, if the workspace had it before."""

    async def find(self, sha256: str) -> Sequence[Blob]:
        """The blob as each workspace has it."""

    async def touch(self, sha256: str, now: int) -> None:
        """Note that a blob was used."""

    async def used(self, workspace: str) -> int:
        """How many bytes a workspace has."""

    async def blobs(self, workspace: str | None, after: tuple[str, str], limit: int) -> Sequence[Blob]:
        """Blobs in the order of (sha256, workspace), behind a place; None: of every workspace."""

    async def artifacts(self, task_id: str) -> Sequence[Artifact] | None:
        """The artifacts of a task by (name, attempt); None: there is no such task."""

    async def states(self, workspace: str) -> Sequence[WorkspaceState]:
        """The states of a workspace that are kept, the newest first."""

    async def forget(self, *, unused_since: int, now: int, limit: int) -> Swept:
        """Look at up to `limit` blobs that were last used before a moment: those that stand for nothing are let go."""
