"""Clocks for tests. Time passes on the loop's own terms, or when the test says so; never by itself."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

EPOCH_MS = 1_800_000_000_000


class LoopClock:
    """A `Clock` that goes with the running loop, `rate` times as fast.

    Its wall clock may be wrong by `skew_ms`. It may have gone on by `jumped` seconds in which nothing ran, as
    CLOCK_BOOTTIME does while a machine is suspended.
    """

    def __init__(self, *, start: float = 0.0, rate: float = 1.0) -> None:
        self._start = start
        self._rate = rate
        self._time = self._first_time
        self.skew_ms = 0
        self.jumped = 0.0

    def now(self) -> int:
        """The wall clock."""
        return EPOCH_MS + self.skew_ms + round(self._time() * 1000)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._start + self.jumped + self._time() * self._rate

    async def sleep(self, seconds: float) -> None:
        """Return after so many of its seconds."""
        await asyncio.sleep(self.real(seconds))

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """A block that may take so many of its seconds."""
        return asyncio.timeout(self.real(seconds))

    def real(self, seconds: float) -> float:
        """How long so many of its seconds truly are."""
        return seconds / self._rate

    def _first_time(self) -> float:
        """The time of its loop: the one that runs when it is first asked."""
        self._time = asyncio.get_running_loop().time
        return self._time()


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

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """A block without a limit: it stands still."""
        return asyncio.timeout(None)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic += seconds
        self._now += round(seconds * 1000)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, and nothing else."""
        self._now += round(seconds * 1000)
