"""Moments at which attempts are to be looked at again, in monotonic time. Kept in memory only."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable

from nodelink.task import AttemptRef

LEAST = 10_000

Moment = tuple[float, AttemptRef]


class Moments:
    """Attempts by the moment at which each is due. Most end long before theirs: those are let go of as they pile up, so
    that memory follows what is under way. Of two moments of one attempt only the earlier counts.

    `matters`: whether an attempt is still to be looked at.
    """

    def __init__(self, matters: Callable[[AttemptRef], bool]) -> None:
        self._matters = matters
        self._heap: list[Moment] = []
        self._at: dict[AttemptRef, float] = {}
        self._most = LEAST

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> float | None:
        """When the first one is due, or was; None: there is none."""
        return self._heap[0][0] if self._heap else None

    def add(self, at: float, ref: AttemptRef) -> None:
        """Have an attempt looked at then, unless it is looked at before."""
        if self._at.get(ref, math.inf) <= at:
            return
        if len(self._heap) >= self._most:
            self._let_go()
        self._at[ref] = at
        heapq.heappush(self._heap, (at, ref))

    def take(self, now: float) -> list[Moment]:
        """Those that are due."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            at, ref = heapq.heappop(self._heap)
            if self._at.get(ref) == at:
                del self._at[ref]
                due.append((at, ref))
        return due

    def put_back(self, moments: Iterable[Moment]) -> None:
        """What was taken could not be dealt with."""
        for at, ref in moments:
            self.add(at, ref)

    def _let_go(self) -> None:
        """Keep only what is still to be looked at."""
        self._heap = [(at, ref) for at, ref in self._heap if self._at.get(ref) == at and self._matters(ref)]
        self._at = {ref: at for at, ref in self._heap}
        heapq.heapify(self._heap)
        self._most = max(LEAST, 2 * len(self._heap))
