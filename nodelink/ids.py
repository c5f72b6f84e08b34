"""UUIDv7 ids: they sort by the time they were made, and those of one maker strictly so."""

from __future__ import annotations

from collections.abc import Callable

_COUNTER_BITS = 74


class IdMaker:
    """Makes UUIDv7s (RFC 9562), the random part counting up within a millisecond. Time and chance are functions."""

    def __init__(self, *, now: Callable[[], int], random_bits: Callable[[int], int]) -> None:
        self._now = now
        self._random_bits = random_bits
        self._millisecond = 0
        self._counter = 0

    def __call__(self) -> str:
        """A new id. A clock that stands still or goes back does not make ids go back."""
        now = self._now()
        if now > self._millisecond:
            self._millisecond = now
            self._counter = self._random_bits(_COUNTER_BITS - 1)
        else:
            self._counter += 1
        tail = self._counter
        if tail >> _COUNTER_BITS:
            self._millisecond += 1
            tail = self._counter = self._random_bits(_COUNTER_BITS - 1)
        high = f"{self._millisecond:012x}"
        low = f"{0x8000000000000000 | (tail & 0x3FFFFFFFFFFFFFFF):016x}"
        return f"{high[:8]}-{high[8:]}-7{tail >> 62:03x}-{low[:4]}-{low[4:]}"
