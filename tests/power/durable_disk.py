"""A disk for the agent's journal that loses its power, fills up, and fails: a twin of `nodelink_agent.journal.disk`."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from random import Random

from tests.power.durable_file import Cut, Directory, Inode, Truncate, Write


class PowerCut(Exception):
    """The power has failed in the middle of a call."""


class DurableDisk:
    """The files of one directory. The power fails at the `cut_at`-th call that changes anything, before it or in it.

    `trouble`: how probable it is that a call which changes something fails instead, unless it is one of the `healthy`.
    """

    def __init__(
        self,
        random: Random,
        files: Mapping[str, bytes] | None = None,
        *,
        cut_at: int | None = None,
        healthy: frozenset[str] = frozenset(),
    ) -> None:
        self._random = random
        self._directory = Directory(files)
        self._cut_at = cut_at
        self._healthy = healthy
        self.trouble = 0.0
        self.calls = 0

    def left(self) -> dict[str, bytes]:
        """What is there once the power is back."""
        return self._directory.left_of(Cut(self._random, torn_anywhere=True, in_order=True))

    def names(self) -> list[str]:
        """What files there are."""
        return sorted(self._directory.now)

    def read(self, name: str) -> bytes | None:
        """All of a file; None if there is none."""
        file = self._directory.now.get(name)
        return None if file is None else file.now()

    def size(self, name: str) -> int:
        """The length of a file; 0 if there is none."""
        file = self._directory.now.get(name)
        return 0 if file is None else len(file.now())

    def append(self, name: str, data: bytes) -> None:
        """Add to the end of a file. In trouble, a part is added."""
        file = self._file(name)
        failing = self._begins("append")
        part = data if failing is None else data[: self._random.randint(0, len(data))]
        file.do(Write(len(file.now()), part))
        self._ends(failing)

    def sync(self, name: str) -> None:
        """Make the content of a file durable. In trouble, nobody knows what is on the disk."""
        file = self._file(name)
        failing = self._begins("sync")
        if failing is None:
            file.sync()
        else:
            file.fail_to_sync(Cut(self._random))
        self._ends(failing)

    def truncate(self, name: str, size: int) -> None:
        """Cut a file off."""
        file = self._file(name)
        failing = self._begins("truncate")
        if failing is None:
            file.do(Truncate(size))
        self._ends(failing)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        if old not in self._directory.now:
            raise FileNotFoundError(errno.ENOENT, "no such file", old)
        failing = self._begins("rename")
        if failing is None:
            self._directory.rename(old, new)
        self._ends(failing)

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        if name not in self._directory.now:
            return
        failing = self._begins("remove")
        if failing is None:
            self._directory.remove(name)
        self._ends(failing)

    def allocate(self, name: str, size: int) -> None:
        """Make a file of this size."""
        failing = self._begins("allocate")
        if failing is None:
            self._file(name).do(Truncate(size))
        self._ends(failing)

    def sync_directory(self) -> None:
        """Make durable which files there are."""
        failing = self._begins("sync_directory")
        if failing is None:
            self._directory.sync()
        self._ends(failing)

    def close(self) -> None:
        """Nothing is open here."""

    def _file(self, name: str) -> Inode:
        return self._directory.now.get(name) or self._directory.create(name)

    def _begins(self, call: str) -> OSError | None:
        """A call that changes something begins. Returns what it fails with. The power may fail before it."""
        self.calls += 1
        if self.calls == self._cut_at and self._random.random() < 0.5:
            raise PowerCut
        if call in self._healthy or self._random.random() >= self.trouble:
            return None
        number = self._random.choice((errno.ENOSPC, errno.EIO))
        return OSError(number, "the disk is in trouble")

    def _ends(self, failing: OSError | None) -> None:
        """The call has done what it does. The power may fail before anybody hears of it."""
        if self.calls == self._cut_at:
            raise PowerCut
        if failing is not None:
            raise failing
