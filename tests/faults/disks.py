"""Small disks of their own for the data of a server and its agents, which can be filled, and freed again.

Only root can mount them. What they hold is kept where they were when they are taken away, for whoever judges the run.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.faults.notes import now

BALLAST = "ballast"
SERVER_MIB, AGENT_MIB = 128, 32
LEAST_BYTES = 512
"""Ballast is put down in pieces down to this size."""


class SmallDisk:
    """A file system in memory, mounted on a directory that is made for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._spells: list[list[float]] = []

    def mount(self, mib: int) -> None:
        """Put it in place. CalledProcessError: that is not allowed."""
        self.directory.mkdir(parents=True, exist_ok=True)
        options = f"size={mib}m,mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.directory)], check=True)

    def unmount(self) -> None:
        """Take it away, and leave what it held in its directory."""
        kept = self.directory.with_suffix(".kept")
        shutil.copytree(self.directory, kept, ignore=_not_kept, symlinks=True)
        subprocess.run(["umount", "--lazy", str(self.directory)], check=True)
        self.directory.rmdir()
        kept.rename(self.directory)

    def fill(self, *, but: int = 0) -> None:
        """Leave no room, or so many bytes of it. Others may write meanwhile."""
        self._spells.append([now(), math.inf])
        piece = 1 << 20
        with (self.directory / BALLAST).open("wb", buffering=0) as ballast:
            while piece >= LEAST_BYTES:
                try:
                    os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), piece)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece //= 2
            ballast.truncate(max(0, ballast.seek(0, os.SEEK_END) - but))

    def free(self) -> None:
        """Make room again."""
        (self.directory / BALLAST).unlink(missing_ok=True)
        self._spells[-1][1] = now()

    def was_full(self, since: float, until: float) -> bool:
        """Whether it was full at some time."""
        return any(begin <= until and end >= since for begin, end in self._spells)


@asynccontextmanager
async def small_disks(directories: Mapping[str, Path]) -> AsyncIterator[Mapping[str, SmallDisk]]:
    """A disk for each directory, by the name of who lives there. They are taken away in the end."""
    disks = {name: SmallDisk(directory) for name, directory in directories.items()}
    mounted: list[SmallDisk] = []
    try:
        for name, disk in disks.items():
            await asyncio.to_thread(disk.mount, SERVER_MIB if name == "server" else AGENT_MIB)
            mounted.append(disk)
        yield disks
    finally:
        for disk in mounted:
            await asyncio.to_thread(disk.unmount)


def _not_kept(directory: str, names: list[str]) -> list[str]:
    """Ballast, and sockets, whose owners are dead."""
    return [name for name in names if name == BALLAST or Path(directory, name).is_socket()]


def may_mount() -> bool:
    """Whether this process is allowed to."""
    return os.geteuid() == 0 and shutil.which("mount") is not None
