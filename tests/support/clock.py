"""Clocks for tests. Time passes on the loop's own terms, or when the test says so; never by itself."""

from __future__ import annotations

import asyncio

EPOCH_MS = 1_800_000_000_000


class LoopClock:
    """A `Clock` that goes with the running loop, whose wall clock may be wrong by `skew_ms`."""

    def __init__(self, *, start: float = 0.0) -> None:
        self._start = start
        self.skew_ms = 0

    def now(self) -> int:
        """The wall clock."""
        return EPOCH_MS + self.skew_ms + round(asyncio.get_running_loop().time() * 1000)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._start + asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds of the loop."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A `Clock` that stands still until `advance`. For parts that only look at it."""

    def __init__(self, *, monotonic: float = 1_000.0) -> None:
        self._now = EPOCH_MS
        self._monotonic = monotonic

    def now(self) -> int:
        """The wall clock."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic += seconds
        self._now += round(seconds * 1000)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, and nothing else."""
        self._now += round(seconds * 1000)
