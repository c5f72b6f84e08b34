"""What the server tells of pauses and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nothing starts in a `scope`: scheduler (nothing at all), pool:NAME or type:NAME."""

    scope: str
    since: int
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutBlob:
    """A blob that a checkpoint lacks, and one that needs it: a task, by a `name` if it is an artifact of it, without
    one if the payload names it; without a task, it is the state of the `workspace`.

    `why`: too large, no room, damaged or missing.
    """

    sha256: str
    size: int
    why: str
    task_id: str = ""
    name: str = ""
    workspace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A snapshot of what waits and runs. `why`: pause, asked or interval.

    `complete`: the scheduler was paused and nothing was with an agent, so that nothing of it can have happened since.
    `ended_left_out`: so many ended tasks have idempotency keys that are not in it. `blobs` are in it with their bytes;
    of the `blobs_left_out`, which have to be brought, `left_out` names up to 100.
    """

    id: str
    taken_at: int
    why: str
    complete: bool
    waiting: int
    running: int
    bytes: int
    sha256: str
    version: int
    cluster_id: str
    ended_left_out: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    blobs_left_out: int = 0
    left_out: tuple[LeftOutBlob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """A pause, and the checkpoint that was taken then; None: it could not be. `content`: its file, if it is small."""

    pause: Pause
    checkpoint: Checkpoint | None = None
    content: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """What a resumption has changed. `loaded`: whether a checkpoint was loaded now; not if it was loaded before.
    `checkpoint`: the one that was given.
    """

    was_paused: bool
    loaded: bool
    checkpoint: Checkpoint | None = None
