"""What a checkpoint says of itself: the line of text with which its file begins. Pure.

Behind the header comes the body: JSON lines, compressed with gzip. First, if there are blobs, what was left out of them
and their bytes (`checkpoint_blobs.py`); then the rows of tables. The digest covers header and body, so that a file is
whole or refused, by the name of what is wrong with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from nodelink.errors import FieldError, InvalidTask

FORMAT = "nodelink-checkpoint"
VERSION = 2
"""The newest that is known. Each file has the least that it needs: without blobs an older NodeLink reads it as well."""
HEADER_BYTES = 2_048
MOST_LEFT_OUT = 100
"""So many of the blobs that are not in a checkpoint are named in it; all are counted."""

_SINCE_2 = frozenset({"blobs", "blob_bytes", "blobs_left_out"})


class Defect(StrEnum):
    """What can be wrong with a checkpoint. The names are public."""

    NOT_A_CHECKPOINT = "not a checkpoint"
    NEWER = "newer"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"


class CheckpointRefused(InvalidTask):
    """The checkpoint cannot be used."""

    def __init__(self, defect: Defect, why: str) -> None:
        super().__init__(FieldError("checkpoint", f"{defect}: {why}"))
        self.defect = defect


class LeftOutWhy(StrEnum):
    """Why a blob is not in a checkpoint. The names are public."""

    TOO_LARGE = "too large"
    NO_ROOM = "no room"
    """Those that are in it are as many, or as large together, as they may be."""
    DAMAGED = "damaged"
    """The bytes on the disk were not those of its name, or could not be read."""
    MISSING = "missing"
    """They were not on the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A blob that is needed and not in a checkpoint, and one that needs it: a task, by a `name` if it has it as an
    artifact, without one if its payload names it; or else the state of a `workspace`.
    """

    sha256: str
    size: int
    why: LeftOutWhy
    task_id: str = ""
    name: str = ""
    workspace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointHeader:
    """Of which server a checkpoint is, of when, and how much is in it. Moments are wall-clock milliseconds.

    `why`: pause, asked or interval. `complete`: the scheduler was paused and nothing was with an agent, so that nothing
    of it can have happened since. `fingerprint` changes with what is in it. `schema`: of which tables. `blobs` are in
    it with their bytes; of `blobs_left_out` some are named in `left_out`, which is no part of the line of text.
    """

    id: str
    cluster_id: str
    start_number: int
    control_ms: int
    revision: int
    last_key: int
    taken_at: int
    why: str
    complete: bool
    waiting: int
    running: int
    tasks: int
    ended_left_out: int = 0
    schema: str = ""
    fingerprint: str = ""
    body_bytes: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    blobs_left_out: int = 0
    sha256: str = ""
    left_out: tuple[LeftOut, ...] = ()

    @property
    def version(self) -> int:
        """Of the format: the least that can say it."""
        return 2 if self.blobs or self.blobs_left_out else 1

    @property
    def size(self) -> int:
        """How many bytes the whole file has."""
        return HEADER_BYTES + self.body_bytes


def digest_of(header: CheckpointHeader) -> Any:
    """A SHA-256 that has seen a header, and is to see the body."""
    return hashlib.sha256(_text(replace(header, sha256="")).encode() + b"\n")


def encode_header(header: CheckpointHeader) -> bytes:
    """The line, filled up with spaces: its length is known before what it says is."""
    line = _text(header).encode()
    if len(line) >= HEADER_BYTES:
        raise ValueError(f"a header of {len(line)} bytes is too long")
    return line.ljust(HEADER_BYTES - 1) + b"\n"


def decode_header(line: bytes) -> CheckpointHeader:
    """What a file says of itself, of its beginning. Raises `CheckpointRefused`."""
    told = _told(line)
    version = told.pop("version", None)
    if type(version) is not int or version < 1:
        raise CheckpointRefused(Defect.DAMAGED, "its header has no version")
    if version > VERSION:
        known = f"this one knows versions up to {VERSION}"
        raise CheckpointRefused(Defect.NEWER, f"it is of version {version}, from a newer NodeLink; {known}")
    if len(line) < HEADER_BYTES:
        raise CheckpointRefused(Defect.TRUNCATED, f"it ends within its header, after {len(line)} bytes")
    wanted = _fields_of(version)
    if told.keys() != wanted.keys() or any(type(told[name]).__name__ != kind for name, kind in wanted.items()):
        raise CheckpointRefused(Defect.DAMAGED, "its header is not as headers are")
    return CheckpointHeader(**told)


def _told(line: bytes) -> dict[str, Any]:
    if not line.startswith(b'{"format":"%b"' % FORMAT.encode()):
        beginning = f"does not begin like one (with {FORMAT!r})"
        raise CheckpointRefused(Defect.NOT_A_CHECKPOINT, "it is empty" if not line else f"it {beginning}")
    try:
        told = json.loads(line)
    except ValueError as error:
        if len(line) < HEADER_BYTES:
            raise CheckpointRefused(Defect.TRUNCATED, f"it ends within its header, after {len(line)} bytes") from error
        raise CheckpointRefused(Defect.DAMAGED, "its header is not as headers are") from error
    del told["format"]
    return dict(told)


def _text(header: CheckpointHeader) -> str:
    told = {name: getattr(header, name) for name in _fields_of(header.version)}
    return json.dumps({"format": FORMAT, "version": header.version, **told}, separators=(",", ":"))


def _fields_of(version: int) -> Mapping[str, str]:
    """What a header of a version says, and of which types that is."""
    without = {"left_out"} if version >= 2 else {"left_out", *_SINCE_2}
    return {field.name: str(field.type) for field in fields(CheckpointHeader) if field.name not in without}
