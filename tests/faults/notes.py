"""What the harness writes down while it goes on: one line of JSON for each thing, so that a run can be judged later.

Every note has `at` (CLOCK_BOOTTIME, seconds) and `note`, its kind. They are: begin, asked, answer, unknown, refused,
cancel, sight, deed, life, injury, swept, alive, end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NAME = "notes.jsonl"

Note = dict[str, Any]


class Notes:
    """A file of notes. `shown` is called with each one."""

    def __init__(self, directory: Path, shown: Callable[[Note], None] | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = (directory / NAME).open("a", buffering=1)
        self._shown = shown
        self.pids: list[int] = []
        """Whose lives were written down."""

    def write(self, name: str, /, **words: Any) -> Note:
        """Write something down, now."""
        note = {"at": round(now(), 6), "note": name, **words}
        self._file.write(json.dumps(note) + "\n")
        if name == "life":
            self.pids.append(words["pid"])
        if self._shown is not None:
            self._shown(note)
        return note

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def now() -> float:
    """The one clock of a run."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_notes(directory: Path) -> Iterator[Note]:
    """All notes, in order."""
    with (directory / NAME).open() as file:
        for line in file:
            yield json.loads(line)
