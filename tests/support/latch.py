"""Holding commands up until a test lets them go, and reading what they have left behind."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.processes import until


class Latch:
    """Holds up commands that read a line from `path` until they are let go, one for each line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._file = os.open(path, os.O_RDWR)

    def release(self, count: int) -> None:
        """Let so many of them go, now or when they come."""
        os.write(self._file, b"\n" * count)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


async def lines_of(path: Path, count: int) -> list[str]:
    """The lines of a file, as soon as there are so many."""

    def read() -> list[str] | None:
        lines = path.read_text().splitlines() if path.exists() else []
        return lines if len(lines) >= count else None

    return await until(read, f"{count} lines in {path}")
