"""The files of one directory, as the journal uses them: everything that it asks of a disk, and nothing else.

All calls block, and are made by one thread at a time. A twin that loses what was not synced takes its place in tests.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class Files(Protocol):
    """What the journal asks of a disk; each call may raise OSError."""

    def names(self) -> list[str]:
        """What files there are."""

    def read(self, name: str) -> bytes | None:
        """All of a file; None if there is none."""

    def append(self, name: str, data: bytes) -> None:
        """Add to the end of a file, which is made if need be."""

    def sync(self, name: str) -> None:
        """Make the content of a file durable."""

    def truncate(self, name: str, size: int) -> None:
        """Cut a file off."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""

    def allocate(self, name: str, size: int) -> None:
        """Make a file of this size that really has its place."""

    def size(self, name: str) -> int:
        """The length of a file; 0 if there is none."""

    def sync_directory(self) -> None:
        """Make durable which files there are."""

    def close(self) -> None:
        """Let go of what is open."""


class Disk:
    """A directory. Names are those of files in it. Every call may raise OSError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, int] = {}

    def names(self) -> list[str]:
        """What files there are."""
        return sorted(path.name for path in self._directory.iterdir())

    def read(self, name: str) -> bytes | None:
        """All of a file; None if there is none."""
        try:
            return (self._directory / name).read_bytes()
        except FileNotFoundError:
            return None

    def append(self, name: str, data: bytes) -> None:
        """Add to the end of a file, which is made if need be. OSError: a part may have been added."""
        file = self._file(name)
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]

    def sync(self, name: str) -> None:
        """Make the content of a file durable."""
        os.fdatasync(self._file(name))

    def truncate(self, name: str, size: int) -> None:
        """Cut a file off."""
        os.ftruncate(self._file(name), size)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of what had it before. Durable with the directory."""
        self._forget(old)
        self._forget(new)
        (self._directory / old).replace(self._directory / new)

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        self._forget(name)
        (self._directory / name).unlink(missing_ok=True)

    def allocate(self, name: str, size: int) -> None:
        """Make a file of this size that really has its place on the disk, or none at all."""
        file = os.open(self._directory / name, _APPEND, 0o600)
        try:
            os.posix_fallocate(file, 0, size)
        except OSError:
            self.remove(name)
            raise
        finally:
            os.close(file)

    def size(self, name: str) -> int:
        """The length of a file; 0 if there is none."""
        with contextlib.suppress(FileNotFoundError):
            return (self._directory / name).stat().st_size
        return 0

    def sync_directory(self) -> None:
        """Make durable which files there are, and under which names."""
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        """Let go of what is open."""
        for name in list(self._open):
            self._forget(name)

    def _file(self, name: str) -> int:
        file = self._open.get(name)
        if file is None:
            file = self._open[name] = os.open(self._directory / name, _APPEND, 0o600)
        return file

    def _forget(self, name: str) -> None:
        file = self._open.pop(name, None)
        if file is not None:
            os.close(file)
