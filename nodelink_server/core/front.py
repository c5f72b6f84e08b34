"""The front of a queue that the database holds whole.

Everything whose place is before the *horizon* is here; everything behind it is in the database only. No horizon:
nothing is behind. So memory is bounded whatever waits, and the order is that of one single queue.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from nodelink_server.core.ports import Place

T = TypeVar("T")
MOST_PER_READ = 1_000


class Front(Generic[T]):
    """Entries in order of place, the first `capacity` or so of them.

    Entries that are no longer wanted are the taker's to skip.
    """

    def __init__(self, capacity: int, *, all_behind: bool = False) -> None:
        self._capacity = capacity
        self._per_read = min(capacity, MOST_PER_READ)
        self._heap: list[tuple[Place, T]] = []
        self._horizon: Place | None = Place(-(1 << 63), 0) if all_behind else None
        self._first_kept_out: Place | None = None
        self._refilling_from: Place | None = None

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def is_whole(self) -> bool:
        """Whether nothing waits behind the horizon."""
        return self._horizon is None

    @property
    def first(self) -> Place | None:
        """The first place, or None if the front is empty."""
        return self._heap[0][0] if self._heap else None

    @property
    def bound(self) -> Place | None:
        """Nothing that waits goes before this: the first place, or else the horizon; None: nothing waits."""
        return self._heap[0][0] if self._heap else self._horizon

    def offer(self, place: Place, entry: T) -> tuple[bool, Sequence[T]]:
        """Put an entry in, unless it belongs behind the horizon.

        Returns whether it is in, and the entries pushed out by it. One that was read as well may be in twice; one that
        is in at another place as well is pushed out there.
        """
        if not self.reaches(place):
            if self._first_kept_out is None or place < self._first_kept_out:
                self._first_kept_out = place
            return False, ()
        heapq.heappush(self._heap, (place, entry))
        if len(self._heap) <= 2 * self._capacity:
            return True, ()
        pushed_out = self._shorten()
        return self.reaches(place), pushed_out

    def reaches(self, place: Place) -> bool:
        """Whether what has this place is in the front, and not behind the horizon."""
        return self._horizon is None or place <= self._horizon

    def peek(self) -> T:
        """The first entry. Only if there is one."""
        return self._heap[0][1]

    def in_order(self) -> Iterator[tuple[Place, T]]:
        """Its entries from the first on, which stay: looked for one after the other. Not over any change."""
        nearest = [(self._heap[0], 0)] if self._heap else []
        while nearest:
            entry, at = heapq.heappop(nearest)
            yield entry
            for child in (2 * at + 1, 2 * at + 2):  # where a heap has what comes behind an entry
                if child < len(self._heap):
                    heapq.heappush(nearest, (self._heap[child], child))

    def take(self) -> T:
        """Remove and return the first entry. Only if there is one."""
        return heapq.heappop(self._heap)[1]

    @property
    def wants_refill(self) -> bool:
        """Whether the database holds more, half of the front is used up, and nobody is fetching."""
        fetching = self._refilling_from is not None
        return self._horizon is not None and not fetching and len(self._heap) <= self._capacity // 2

    def begin_refill(self) -> tuple[Place, int]:
        """Behind which place to read on, and how many entries to read. Only if it wants a refill."""
        assert self._horizon is not None
        self._refilling_from = self._horizon
        self._first_kept_out = None
        return self._horizon, self._per_read

    def end_refill(self, fetched: Sequence[tuple[Place, T]]) -> int:
        """Put in what was read. Returns how many of the first of it are in.

        What was kept out meanwhile may be missing from what was read, so the horizon stays before it. If the front
        was shortened meanwhile, what was read does not join on to it.
        """
        joins, self._refilling_from = self._refilling_from == self._horizon, None
        if not joins:
            return 0
        barrier = self._first_kept_out
        certain = [item for item in fetched if barrier is None or item[0] < barrier]
        for item in certain:
            heapq.heappush(self._heap, item)
        if barrier is None and len(fetched) < self._per_read:
            self._horizon = None
        elif certain:
            self._horizon = certain[-1][0]
        return len(certain)

    def abandon_refill(self) -> None:
        """The read has failed; nothing has changed."""
        self._refilling_from = None

    def _shorten(self) -> list[T]:
        ordered = sorted(self._heap, key=_place_of)
        self._heap = ordered[: self._capacity]
        horizon = self._horizon = self._heap[-1][0]
        return [entry for place, entry in ordered[self._capacity :] if place != horizon]  # it may be in twice


def _place_of(item: tuple[Place, T]) -> Place:
    return item[0]
