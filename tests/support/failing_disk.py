"""A directory of real files whose disk can be full, or fail, at a moment that the test chooses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from nodelink_agent.journal.disk import Disk


class FailingDisk:
    """A real disk that takes so many bytes more, or refuses to sync. A file that is removed makes room."""

    def __init__(self, directory: Path) -> None:
        self._disk = Disk(directory)
        self.room: int | None = None
        """Bytes that still fit; None: any number."""
        self.fails_to_sync = False
        self.syncs = 0

    def names(self) -> list[str]:
        """What files there are."""
        return self._disk.names()

    def read(self, name: str) -> bytes | None:
        """All of a file."""
        return self._disk.read(name)

    def append(self, name: str, data: bytes) -> None:
        """Add what fits."""
        fits = len(data) if self.room is None else min(self.room, len(data))
        self._take(fits)
        self._disk.append(name, data[:fits])
        if fits < len(data):
            raise _full()

    def sync(self, name: str) -> None:
        """Make a file durable, or fail."""
        self.syncs += 1
        if self.fails_to_sync:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._disk.sync(name)

    def truncate(self, name: str, size: int) -> None:
        """Cut a file off."""
        self._give(self._disk.size(name) - size)
        self._disk.truncate(name, size)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        self._give(self._disk.size(new))
        self._disk.rename(old, new)

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._give(self._disk.size(name))
        self._disk.remove(name)

    def allocate(self, name: str, size: int) -> None:
        """Make a file that has its place."""
        if self.room is not None and size > self.room:
            raise _full()
        self._take(size)
        self._disk.allocate(name, size)

    def size(self, name: str) -> int:
        """The length of a file."""
        return self._disk.size(name)

    def sync_directory(self) -> None:
        """Make durable which files there are."""
        self._disk.sync_directory()

    def close(self) -> None:
        """Let go of what is open."""
        self._disk.close()

    def _take(self, size: int) -> None:
        if self.room is not None:
            self.room -= size

    def _give(self, size: int) -> None:
        if self.room is not None:
            self.room += size


def _full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
