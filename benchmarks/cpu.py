"""Processor time of whole trees of processes, from /proc. Standard library only: the peers' own Python loads it too."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Stat(NamedTuple):
    """Of one process: its parent, and what it and its children that have ended and been waited for have used."""

    pid: int
    parent: int
    ticks: int


def stat_of(text: str) -> Stat:
    """Read /proc/PID/stat. The name in it may hold anything, brackets and spaces too."""
    pid, _, rest = text.partition(" ")
    fields = rest[rest.rindex(")") + 2 :].split()
    return Stat(int(pid), int(fields[1]), sum(int(ticks) for ticks in fields[11:15]))


def cpu_seconds(roots: Iterable[int]) -> float:
    """What the trees below these processes have used so far, each process counted once."""
    return sum(stat.ticks for stat in _trees(roots)) / TICKS_PER_SECOND


def tree_of(roots: Iterable[int]) -> list[int]:
    """These processes and all below them."""
    return [stat.pid for stat in _trees(roots)]


def _trees(roots: Iterable[int]) -> list[Stat]:
    stats = _all()
    children = defaultdict(list)
    for stat in stats.values():
        children[stat.parent].append(stat.pid)
    waiting, seen = list(roots), dict[int, Stat]()
    while waiting:
        pid = waiting.pop()
        if pid in seen or pid not in stats:
            continue
        seen[pid] = stats[pid]
        waiting += children[pid]
    return list(seen.values())


def _all() -> dict[int, Stat]:
    stats = {}
    for path in PROC.glob("[0-9]*/stat"):
        try:
            stat = stat_of(path.read_text(errors="replace"))
        except OSError:  # it has ended meanwhile
            continue
        stats[stat.pid] = stat
    return stats
