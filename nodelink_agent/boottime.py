"""Time that goes on while the machine is suspended, and what tells one run of the machine from another.

Standard library only: the spawner imports this file.
"""

from __future__ import annotations

import time
from pathlib import Path

_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boottime() -> float:
    """Seconds since the machine started, those of its sleep among them."""
    return time.clock_gettime(_CLOCK)


def boot_id() -> str:
    """A name of this run of the machine. Empty where the system has none; that equals no other."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
