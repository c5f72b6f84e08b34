"""Bytes on their way between a file and a server: read to be sent from any offset, and written as they come.

Everything here blocks. What cannot be read or written raises OSError.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from nodelink.errors import DigestMismatch

CHUNK_BYTES = 1 << 20
"""How many bytes travel at a time, and so how many of one transfer are in memory."""

Given = Path | str | bytes
"""Bytes, or a file that holds them."""


class Source:
    """Bytes that are to be sent. Use as a context. They are read once for their digest, and then as they are sent."""

    def __init__(self, given: Given) -> None:
        self._file: BinaryIO = io.BytesIO(given) if isinstance(given, bytes) else Path(given).open("rb")  # noqa: SIM115
        try:
            digest, size = hashlib.sha256(), 0
            while data := self._file.read(CHUNK_BYTES):
                digest.update(data)
                size += len(data)
        except BaseException:
            self._file.close()
            raise
        self.sha256 = digest.hexdigest()
        self.size = size

    def __enter__(self) -> Self:
        """The source itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the file."""
        self._file.close()

    def read(self, offset: int) -> bytes:
        """The next piece from an offset on. Raises `DigestMismatch` if the file has become shorter meanwhile."""
        self._file.seek(offset)
        data = self._file.read(min(CHUNK_BYTES, self.size - offset))
        if not data:
            raise DigestMismatch("the file became shorter while it was being sent")
        return data


class Target:
    """A file that is to hold bytes. Use as a context. It has its name when all are there and right.

    What has come before it breaks off stays beside it, and is gone on from by the next one for the same bytes.
    """

    def __init__(self, path: Path | str, sha256: str) -> None:
        self._path = Path(path)
        self._sha256 = sha256
        self._part = self._path.with_name(f".{sha256[:32]}.part")
        self._digest = hashlib.sha256()
        self._file = os.fdopen(os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")
        self.offset = 0
        """How many bytes are there."""
        while data := self._file.read(CHUNK_BYTES):
            self._count(data)

    def __enter__(self) -> Self:
        """The target itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the file."""
        self._file.close()

    def write(self, data: bytes) -> None:
        """Put the next bytes behind those that are there."""
        self._file.write(data)
        self._count(data)

    def finish(self) -> Path:
        """Give the file its name. Raises `DigestMismatch`, and removes what had come, if it is not what was wanted."""
        if self._digest.hexdigest() != self._sha256:
            self._part.unlink(missing_ok=True)
            raise DigestMismatch("the bytes that came are not those with this digest; they are removed")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self._path)
        return self._path

    def _count(self, data: bytes) -> None:
        self._digest.update(data)
        self.offset += len(data)
