"""Bounded output on disk: of each stream its first bytes (the head) and its last (the tail); what lay between is a gap.

Disk and memory stay bounded whatever a command prints, and nobody who prints ever waits for a reader. A disk that takes
no more makes the gap longer; it stops nothing. Standard library only: the spawner imports this file.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path
from typing import NamedTuple

HEAD_BYTES = 32 * 1024 * 1024
TAIL_BYTES = 32 * 1024 * 1024
TAIL_SEGMENTS = 8
"""The tail is kept in files of an eighth of its size; the oldest goes as a whole."""


class Extent(NamedTuple):
    """How long a stream is, and what is kept of it: [0, head_end) and [tail_start, total)."""

    total: int = 0
    head_end: int = 0
    tail_start: int = 0


class Gap(NamedTuple):
    """A run of bytes that were printed and are not kept."""

    length: int


class SpoolWriter:
    """Writes one stream into its directory, which is made for the first byte if it is not there.

    Never raises for what the disk does.
    """

    def __init__(
        self, directory: Path | str, stream: str, head_bytes: int = HEAD_BYTES, tail_bytes: int = TAIL_BYTES
    ) -> None:
        if head_bytes < 0 or tail_bytes <= 0:
            raise ValueError("a spool needs room for its tail")
        self._directory = directory
        self._stream = stream
        self._head_bytes = head_bytes
        self._segment_bytes = max(1, tail_bytes // TAIL_SEGMENTS)
        self._max_segments = -(-tail_bytes // self._segment_bytes) + 1  # the newest is still filling
        self._segments: deque[int] = deque()  # where each begins, the oldest first
        self._file: int | None = None
        self._in_head = True
        self._total = 0
        self._head_end = 0
        self._tail_start = 0

    @property
    def total(self) -> int:
        """Bytes printed, kept or not."""
        return self._total

    @property
    def tail_start(self) -> int:
        """The oldest byte kept behind the head; the head's end if there is no gap."""
        return self.extent.tail_start

    @property
    def extent(self) -> Extent:
        """What a reader must be told."""
        if self._in_head:
            return Extent(self._total, self._total, self._total)
        return Extent(self._total, self._head_end, self._tail_start)

    def append(self, data: bytes) -> None:
        """Keep what can be kept of the next bytes."""
        rest = memoryview(data)
        if self._in_head:
            rest = rest[self._append_head(rest) :]
        while rest:
            rest = rest[self._append_tail(rest) :]

    def close(self) -> None:
        """Let go of the open file. What is kept stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append_head(self, data: memoryview) -> int:
        """Write up to the head's end; the number of bytes written. A disk that takes no more ends the head early."""
        wanted = min(len(data), self._head_bytes - self._total)
        written = self._write(head_path(self._directory, self._stream), data[:wanted], self._total)
        self._total += written
        if written < wanted or self._total == self._head_bytes:
            self._end_head()
        return written

    def _end_head(self) -> None:
        self.close()
        self._in_head = False
        self._head_end = self._tail_start = self._total

    def _append_tail(self, data: memoryview) -> int:
        """Write into the newest segment; the number of bytes taken, written or given up."""
        if not self._segments or self._total - self._segments[-1] >= self._segment_bytes:
            self._open_segment()
        start = self._segments[-1]
        wanted = min(len(data), start + self._segment_bytes - self._total)
        written = self._write(_segment_path(self._directory, self._stream, start), data[:wanted], self._total - start)
        self._total += written
        if written == wanted:
            return written
        return written + self._make_room(len(data) - written)

    def _open_segment(self) -> None:
        self.close()
        self._segments.append(self._total)
        if len(self._segments) > self._max_segments:
            self._drop_oldest()

    def _make_room(self, unwritten: int) -> int:
        """After a failed write: drop the oldest segment, or, when only the newest is left, all that is in hand."""
        if len(self._segments) > 1:
            self._drop_oldest()
            return 0
        self.close()
        self._total += unwritten
        self._drop_oldest()
        return unwritten

    def _drop_oldest(self) -> None:
        path = _segment_path(self._directory, self._stream, self._segments.popleft())
        self._tail_start = self._segments[0] if self._segments else self._total
        with contextlib.suppress(
            OSError
        ):  # never made, or gone with its directory: it is outside the extent either way
            os.unlink(path)  # noqa: PTH108 - it is no Path

    def _write(self, path: str, data: memoryview, offset: int) -> int:
        """Write at an offset of a file; the number of bytes that the disk took."""
        written = 0
        if not data:
            return written
        with contextlib.suppress(OSError):  # the caller sees how much was taken, and turns the rest into a gap
            if self._file is None:
                self._file = self._open(path)
            while written < len(data):
                written += os.pwrite(self._file, data[written:], offset + written)
        return written

    def _open(self, path: str) -> int:
        if not self._total:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)  # noqa: PTH103 - most of what is printed is short
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)


class SpoolReader:
    """Reads one stream back. Holds no file open between two reads."""

    def __init__(self, directory: Path | str, stream: str) -> None:
        self._directory = directory
        self._stream = stream

    def read(self, offset: int, limit: int, extent: Extent) -> bytes | Gap:
        """Up to `limit` bytes from an offset, or the gap that begins there. Empty at the end.

        Behind the head this holds only once nobody writes any more. What the disk has lost since is a gap too.
        """
        if offset < extent.head_end:
            path = head_path(self._directory, self._stream)
            return _read(path, offset, min(limit, extent.head_end - offset))
        if offset < extent.tail_start:
            return Gap(extent.tail_start - offset)
        if offset >= extent.total:
            return b""
        start, end = self._segment_of(offset, extent)
        return _read(_segment_path(self._directory, self._stream, start), offset - start, min(limit, end - offset))

    def _segment_of(self, offset: int, extent: Extent) -> tuple[int, int]:
        """Where the segment that holds an offset begins, and where the next one does."""
        starts = _segments(self._directory, self._stream)
        start = max((s for s in starts if s <= offset), default=extent.tail_start)
        end = min((s for s in starts if s > offset), default=extent.total)
        return start, min(end, extent.total)


def kept_extent(directory: Path | str, stream: str) -> Extent:
    """How far a stream has come whose writer has died, as the files tell it: up to the last byte that was kept."""
    head = _size(head_path(directory, stream))
    starts = _segments(directory, stream)
    if not starts:
        return Extent(head, head, head)
    return Extent(starts[-1] + _size(_segment_path(directory, stream, starts[-1])), head, starts[0])


def _segments(directory: Path | str, stream: str) -> list[int]:
    """Where each segment begins, the first of them first."""
    return sorted(int(path.suffix[1:]) for path in Path(directory).glob(f"{stream}.tail.*"))


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def head_path(directory: Path | str, stream: str) -> str:
    """Where the first bytes of a stream are kept. Text: to make a Path takes as long as to look at a file."""
    return f"{directory}/{stream}.head"


def _segment_path(directory: Path | str, stream: str, start: int) -> str:
    return f"{directory}/{stream}.tail.{start}"


def _read(path: str, offset: int, length: int) -> bytes | Gap:
    """A piece of a file; a gap as long as the piece if the file does not have it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(file, length, offset) or Gap(length)
        finally:
            os.close(file)
    except OSError:
        return Gap(length)
