"""UUIDv7 ids: they sort by the time they were made, and those of one maker strictly so."""

from __future__ import annotations

from collections.abc import Callable

_LOW_BITS = 48
_HIGH_BITS = 26


class IdMaker:
    """Makes UUIDv7s (RFC 9562): within a millisecond the last 48 bits count up from chance.

    Time and chance are functions; chance is asked for once a millisecond.
    """

    def __init__(self, *, now: Callable[[], int], random_bits: Callable[[int], int]) -> None:
        self._now = now
        self._random_bits = random_bits
        self._millisecond = -1
        self._prefix = ""
        self._low = 0

    def __call__(self) -> str:
        """A new id. A clock that stands still or goes back does not make ids go back."""
        now = self._now()
        if now > self._millisecond:
            self._begin(now)
        self._low += 1
        if self._low >> _LOW_BITS:
            self._begin(self._millisecond + 1)
        return f"{self._prefix}{self._low:012x}"

    def _begin(self, millisecond: int) -> None:
        """Go on with another millisecond."""
        self._millisecond = millisecond
        self._low = self._random_bits(_LOW_BITS - 1)
        chance = self._random_bits(_HIGH_BITS)
        time, version, variant = f"{millisecond:012x}", 0x7000 | chance >> 14, 0x8000 | chance & 0x3FFF
        self._prefix = f"{time[:8]}-{time[8:]}-{version:04x}-{variant:04x}-"
