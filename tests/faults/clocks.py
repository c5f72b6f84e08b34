"""Wall clocks that can be set while processes run, one for each machine of a run: libfaketime reads them from a file.

Only the wall clock is false. The clocks that count (CLOCK_MONOTONIC, CLOCK_BOOTTIME) are the system's own, and so are
the times of files; a command that an agent runs sees none of it, because its environment is made anew. Under this
library `time.sleep` fails, which no service of ours calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

HOUR, YEAR = 3600, 365 * 24 * 3600
JUMPS: Mapping[str, int] = {"+1h": HOUR, "-1h": -HOUR, "+1y": YEAR, "-1y": -YEAR}
SEEN_SECONDS = 1.0
"""So long it can take until a process sees that its clock was set: it reads the file again once in a second."""

_PLACES = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime")
_NAME = "libfaketimeMT.so.1"
_SHARED = ("faketime_shm_{}", "sem.faketime_sem_{}")


class WallClock:
    """The clock of one machine."""

    def __init__(self, path: Path, library: Path) -> None:
        self._path = path
        self._library = library
        path.parent.mkdir(parents=True, exist_ok=True)
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes a process look at it."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": str(round(SEEN_SECONDS)),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, seconds: int) -> None:
        """Let it be so far ahead of the true time; negative: behind."""
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self._path)


def faketime() -> Path | None:
    """The library, if it is installed."""
    for place in _PLACES:
        for found in sorted(Path("/").glob(f"{place[1:]}/{_NAME}")):
            return found
    return None


def sweep(pids: Sequence[int]) -> None:
    """Remove what the library leaves behind of processes that were killed."""
    for pid in pids:
        for name in _SHARED:
            Path("/dev/shm", name.format(pid)).unlink(missing_ok=True)
