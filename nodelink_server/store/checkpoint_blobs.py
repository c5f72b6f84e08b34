"""Which blobs are in a checkpoint: those that what goes on needs. Their rows all are; their bytes, the smallest first,
as far as there is room.

What goes on are the tasks that have not ended, with their artifacts and what their payloads name, and the workspaces,
each with its newest state.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from nodelink.checkpoint import MOST_LEFT_OUT, LeftOut, LeftOutWhy
from nodelink.checkpoint_blobs import PIECE_BYTES, Piece, left_out_line, piece_line
from nodelink.checkpoint_file import BodyWriter
from nodelink.errors import StoreUnavailable
from nodelink.task import LIVE
from nodelink_server.store.blob_files import BlobFiles, read
from nodelink_server.store.payload_digests import blobs_in_payloads
from nodelink_server.store.tables import UNCOMPLETED

MOST_BLOB_BYTES = 4 << 20
MOST_BYTES = 64 << 20
MOST_BLOBS = 10_000

log = structlog.get_logger(__name__)

_STATUSES = ", ".join(f"'{status}'" for status in sorted(LIVE))
_GOING_ON = f"t.{UNCOMPLETED} AND t.status IN ({_STATUSES})"
_ARTIFACTS = f"SELECT a.* FROM artifacts a JOIN tasks t ON t.key = a.task_key WHERE {_GOING_ON}"  # noqa: S608 - names of ours
_STATES = (
    "SELECT s.* FROM workspace_states s"
    " WHERE s.version = (SELECT max(o.version) FROM workspace_states o WHERE o.workspace = s.workspace)"
)
_NEEDED = (
    f"SELECT sha256, workspace, size FROM ({_ARTIFACTS})"  # noqa: S608
    f" UNION SELECT sha256, workspace, size FROM ({_STATES})"
    " UNION SELECT sha256, workspace, size FROM blobs WHERE sha256 IN (SELECT value FROM json_each(:named))"
)
_BLOBS = f"SELECT b.* FROM ({_NEEDED}) n JOIN blobs b ON b.sha256 = n.sha256 AND b.workspace = n.workspace"  # noqa: S608
_DIGESTS = f"SELECT sha256, max(size) FROM ({_NEEDED}) GROUP BY sha256 ORDER BY 2, 1"  # noqa: S608
_A_TASK = (
    "SELECT t.id, a.name, a.workspace FROM artifacts a JOIN tasks t ON t.key = a.task_key"  # noqa: S608
    f" WHERE {_GOING_ON} AND a.sha256 = :sha256 ORDER BY t.key, a.name LIMIT 1"
)
_A_NAMING_TASK = "SELECT id, '', workspace FROM tasks WHERE key = :key"
_A_WORKSPACE = f"SELECT '', '', workspace FROM ({_STATES}) WHERE sha256 = :sha256 ORDER BY workspace LIMIT 1"  # noqa: S608

ROWS: Mapping[str, str] = {"blobs": _BLOBS, "artifacts": _ARTIFACTS, "workspace_states": _STATES}
"""The rows of each table of blobs that are kept. `:named`: the digests that payloads name, as JSON."""


class Bounds(NamedTuple):
    """How much of blobs is in a checkpoint: of how many bytes each, of how many together, and how many."""

    blob_bytes: int = MOST_BLOB_BYTES
    bytes: int = MOST_BYTES
    blobs: int = MOST_BLOBS


BOUNDS = Bounds()


@dataclass(slots=True)
class Choice:
    """The blobs whose bytes are to be written, with their sizes, and those that are left out; not all are listed.

    `named`: those that payloads name, each with the key of a task.
    """

    named: Mapping[str, int]
    chosen: list[tuple[str, int]] = field(default_factory=list)
    bytes: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    left_out_count: int = 0

    @property
    def parameters(self) -> Mapping[str, str]:
        """What the queries of `ROWS` are given."""
        return {"named": json.dumps(list(self.named))}


def choose(driver: sqlite3.Connection, files: BlobFiles, bounds: Bounds) -> Choice:
    """Look at every blob that is needed, and read those through that have room."""
    choice = Choice(named=blobs_in_payloads(driver))
    for sha256, size in driver.execute(_DIGESTS, choice.parameters):
        why = _why_not(choice, files, bounds, sha256, size)
        if why is None:
            choice.chosen.append((sha256, size))
            choice.bytes += size
            continue
        choice.left_out_count += 1
        if len(choice.left_out) < MOST_LEFT_OUT:
            if why is LeftOutWhy.DAMAGED:
                log.error("blob_damaged", sha256=sha256, size=size)
            task_id, name, workspace = _needing(driver, sha256, choice.named.get(sha256))
            left_out = LeftOut(sha256=sha256, size=size, why=why, task_id=task_id, name=name, workspace=workspace)
            choice.left_out.append(left_out)
    return choice


def write_bytes(choice: Choice, files: BlobFiles, body: BodyWriter) -> None:
    """Write which blobs are left out, and the bytes of the others. Raises `StoreUnavailable` if those have changed."""
    if choice.left_out_count:
        body.line(left_out_line(choice.left_out))
    for sha256, size in choice.chosen:
        digest = hashlib.sha256()
        for offset, data in _pieces(files, sha256, size):
            digest.update(data)
            body.line(piece_line(Piece(sha256, size, offset, data)))
        if digest.hexdigest() != sha256:
            raise StoreUnavailable(f"the bytes of the blob {sha256} have changed on the disk")


def _why_not(choice: Choice, files: BlobFiles, bounds: Bounds, sha256: str, size: int) -> LeftOutWhy | None:
    if size > bounds.blob_bytes:
        return LeftOutWhy.TOO_LARGE
    if choice.bytes + size > bounds.bytes or len(choice.chosen) >= bounds.blobs:
        return LeftOutWhy.NO_ROOM
    if files.size_of(sha256) is None:
        return LeftOutWhy.MISSING
    return None if _is_whole(files, sha256, size) else LeftOutWhy.DAMAGED


def _is_whole(files: BlobFiles, sha256: str, size: int) -> bool:
    """Whether the bytes on the disk are those of the name, and can be read."""
    digest = hashlib.sha256()
    try:
        for _, data in _pieces(files, sha256, size):
            digest.update(data)
        return files.size_of(sha256) == size and digest.hexdigest() == sha256
    except StoreUnavailable:  # the disk cannot read them: said in the log already
        return False


def _pieces(files: BlobFiles, sha256: str, size: int) -> Iterator[tuple[int, bytes]]:
    """The bytes of a blob with their places, at least one piece; fewer bytes if the file has fewer."""
    opened = files.open(sha256)
    if opened is None:
        return
    descriptor, _ = opened
    try:
        for offset in range(0, max(size, 1), PIECE_BYTES):
            yield offset, read(descriptor, offset, min(PIECE_BYTES, size - offset))
    finally:
        os.close(descriptor)


def _needing(driver: sqlite3.Connection, sha256: str, key: int | None) -> tuple[str, str, str]:
    """What needs a blob: a task by its artifact or its payload, or else a workspace; as the fields of `LeftOut`."""
    wanted = {"sha256": sha256, "key": key}
    for query in (_A_TASK, _A_NAMING_TASK, _A_WORKSPACE):
        found = driver.execute(query, wanted).fetchone()
        if found is not None:
            task_id, name, workspace = found
            return task_id, name, workspace
    return "", "", ""
