"""How much memory processes have, from /proc."""

from __future__ import annotations

import re
from pathlib import Path

_RESIDENT, _OWN = (re.compile(rf"^{name}:\s*(\d+) kB$", re.MULTILINE) for name in ("VmRSS", "RssAnon"))


def resident_in(status: str) -> int:
    """KiB that are resident, of the text of /proc/PID/status; 0 for one that has ended and is not waited for yet."""
    return _number(_RESIDENT, status)


def own_in(status: str) -> int:
    """Those of them that are the process's own: not pages of files, which the kernel can have back whenever it wants.

    SQLite maps a part of its file into memory, for each connection; resident memory counts all of that.
    """
    return _number(_OWN, status)


def resident_kib(pid: int) -> int:
    """KiB of a process that are resident."""
    return resident_in(_status(pid))


def own_kib(pid: int) -> int:
    """KiB of a process that are resident, and its own."""
    return own_in(_status(pid))


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text(errors="replace")


def _number(pattern: re.Pattern[str], status: str) -> int:
    found = pattern.search(status)
    return int(found[1]) if found else 0


def per_item(before: float, after: float, items: int) -> float:
    """What one of so many things takes that came between two looks. ValueError if there are none."""
    if items < 1:
        raise ValueError("there is nothing that it could be shared by")
    return (after - before) / items


def slope(points: list[tuple[float, float]]) -> float:
    """By how much y grows with x, by least squares. ValueError if the points lie in less than two places of x."""
    if len({x for x, _ in points}) < 2:
        raise ValueError("a slope needs points in two places")
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    across = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return across / sum((x - middle_x) ** 2 for x, _ in points)
