"""How much is loaded for one answer."""

from __future__ import annotations

from collections.abc import Iterable

from nodelink_server.core.ports import PAGE_BYTES


def fitting(sizes: Iterable[int]) -> int:
    """How many tasks of these sizes make one answer: up to the one that reaches the bound."""
    count = total = 0
    for size in sizes:
        count += 1
        total += size
        if total >= PAGE_BYTES:
            break
    return count
