"""How late the server's event loop was meanwhile, by its own metrics."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import Mapping
from itertools import pairwise

_BUCKET = re.compile(r'^nodelink_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)


async def lags_so_far(http: str) -> Mapping[float, float]:
    """How often it was at most so many seconds late, since the server started."""
    page = await asyncio.to_thread(_page, f"{http}/metrics")
    return {float(bound): float(count) for bound, count in _BUCKET.findall(page)}


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the server that was just started
        return str(answer.read().decode())


def lag_between(before: Mapping[float, float], after: Mapping[float, float], percent: float) -> float:
    """Seconds that so many of a hundred looks did not exceed between two `lags_so_far`, as Prometheus reckons it: as if
    the looks of a bucket lay evenly in it.
    """
    counts = [(0.0, 0.0), *sorted((bound, count - before.get(bound, 0.0)) for bound, count in after.items())]
    wanted = counts[-1][1] * percent / 100
    for (low, below), (high, upto) in pairwise(counts):
        if upto >= wanted:
            return (
                low if upto == below or high == float("inf") else low + (high - low) * (wanted - below) / (upto - below)
            )
    return counts[-2][0]
