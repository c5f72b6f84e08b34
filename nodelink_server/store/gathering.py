"""Adding rows of statistics up, wherever they are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from nodelink_server.core.statistics import HOUR_MS, Counts, StatsKey, StatsRange, check_groups

MERGED = 0
"""The series of the rows of hours: those of all series together."""

T = TypeVar("T")


def hour_of(key: StatsKey) -> StatsKey:
    """The row of the hour into which the row of a minute goes."""
    return key._replace(start=key.start - key.start % HOUR_MS, series=MERGED)


def gather(
    rows: Iterable[tuple[StatsKey, T]], wanted: StatsRange, add: Callable[[Counts, T], None]
) -> dict[tuple[int, str], Counts]:
    """Add rows up by bucket and group. Raises `InvalidTask` if there are too many of them."""
    found: dict[tuple[int, str], Counts] = {}
    for key, content in rows:
        if key in wanted.without:
            continue
        place = wanted.bucket(key.start), wanted.group(key.type, key.pool, key.agent_id)
        counts = found.get(place)
        if counts is None:
            counts = found[place] = Counts()
            check_groups(len(found))
        add(counts, content)
    return found
