"""The lines of a checkpoint that are about blobs: which were left out, and the bytes of the others. Pure.

They come before the rows. The bytes of one blob follow each other, a piece a line, and their digest is its name: so a
blob that is not what it was is found by name, whatever the file as a whole says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import takewhile
from typing import Any, NamedTuple

from nodelink.checkpoint import CheckpointHeader, CheckpointRefused, Defect, LeftOut, LeftOutWhy

PIECE_BYTES = 48_000
"""A line is made without a pause: whoever shares the interpreter must not wait long for it."""
LEFT_OUT = "left_out"
BLOB = "blob"

_DIGEST = re.compile(r"[0-9a-f]{64}")

Line = Mapping[str, Any]


class Piece(NamedTuple):
    """Some bytes of a blob; with the last ones `is_last`, and all of it is what its name says."""

    sha256: str
    size: int
    offset: int
    data: bytes

    @property
    def is_last(self) -> bool:
        """Whether nothing of the blob follows."""
        return self.offset + len(self.data) == self.size


def left_out_line(left_out: Sequence[LeftOut]) -> Line:
    """The first line, if any were left out."""
    return {LEFT_OUT: [asdict(one) for one in left_out]}


def piece_line(piece: Piece) -> Line:
    """A line with bytes."""
    data = base64.b64encode(piece.data).decode("ascii")
    return {BLOB: piece.sha256, "size": piece.size, "offset": piece.offset, "data": data}


def is_about_blobs(line: Line) -> bool:
    """Whether a line is one of those that come before the rows."""
    return isinstance(line, dict) and (BLOB in line or LEFT_OUT in line)


def left_out_of(lines: Iterable[Line]) -> tuple[LeftOut, ...]:
    """The blobs that were left out, of the beginning of a body. Raises `CheckpointRefused`."""
    try:
        return tuple(_left_out(told) for told in next(iter(lines))[LEFT_OUT])
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise _damaged("it does not say which blobs it lacks") from error


def pieces_of(lines: Iterable[Line]) -> Iterator[Piece]:
    """The bytes of the blobs, in order, each blob from its beginning to its end.

    Raises `CheckpointRefused` for a blob that is not whole, by its digest.
    """
    reading: _Reading | None = None
    for line in takewhile(is_about_blobs, lines):
        if BLOB not in line:
            continue
        piece = _piece(line)
        if reading is None:
            reading = _Reading(piece.sha256, piece.size)
        reading.take(piece)
        yield piece
        if piece.is_last:
            reading = None
    if reading is not None:
        raise _damaged(f"the blob {reading.sha256} has no end")


def check_blobs(header: CheckpointHeader, lines: Iterable[Line]) -> None:
    """Read all blobs through. Raises `CheckpointRefused` if they are not those of which the header speaks."""
    last = [(piece.sha256, piece.size) for piece in pieces_of(lines) if piece.is_last]
    if (len(last), sum(size for _, size in last)) != (header.blobs, header.blob_bytes):
        raise _damaged(f"it has {len(last):,} blobs of the {header.blobs:,} that it speaks of")


class _Reading:
    """A blob of which not all has been read."""

    def __init__(self, sha256: str, size: int) -> None:
        self.sha256 = sha256
        self._size = size
        self._offset = 0
        self._digest = hashlib.sha256()

    def take(self, piece: Piece) -> None:
        """The next piece. Raises `CheckpointRefused` if it cannot be that, or with it the blob is another one."""
        end = piece.offset + len(piece.data)
        if (piece.sha256, piece.size, piece.offset) != (self.sha256, self._size, self._offset) or end > self._size:
            raise _damaged(f"the bytes of the blob {self.sha256} are not in order")
        self._offset = end
        self._digest.update(piece.data)
        if piece.is_last and self._digest.hexdigest() != self.sha256:
            raise _damaged(f"the bytes of the blob {self.sha256} have another digest")


def _piece(line: Line) -> Piece:
    sha256, size, offset, data = (line.get(name) for name in (BLOB, "size", "offset", "data"))
    if not isinstance(sha256, str) or not _DIGEST.fullmatch(sha256):
        raise _damaged("the name of a blob in it is no SHA-256")
    if type(size) is not int or type(offset) is not int or not isinstance(data, str):
        raise _damaged("a line with bytes of a blob is not as such lines are")
    try:
        return Piece(sha256, size, offset, base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError) as error:
        raise _damaged(f"the bytes of the blob {sha256} cannot be read") from error


def _left_out(told: Mapping[str, Any]) -> LeftOut:
    one = LeftOut(**{**told, "why": LeftOutWhy(told["why"])})
    words = (one.sha256, one.task_id, one.name, one.workspace)
    if type(one.size) is not int or not all(isinstance(word, str) for word in words):
        raise ValueError("it is not as such are")
    return one


def _damaged(why: str) -> CheckpointRefused:
    return CheckpointRefused(Defect.DAMAGED, why)
