"""Control time, waiting with a bound, and moments in words. Wall clocks decide nothing here."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

from nodelink_server.core.ports import Clock

LONGEST_GAP_MS = 3_000


class ControlTime:
    """Milliseconds in which this server could commit, counted over all its starts.

    It stands still while the database is away and while no server runs, so that an outage ages nothing.
    """

    def __init__(self, clock: Clock, *, start_ms: int = 0) -> None:
        self._clock = clock
        self._base = start_ms
        self._mark = clock.monotonic()
        self._gap_ended_at = start_ms

    def now(self) -> int:
        """The count. More than three seconds without a commit are not counted."""
        elapsed = int((self._clock.monotonic() - self._mark) * 1000)
        return self._base + min(elapsed, LONGEST_GAP_MS)

    @property
    def gap_ended_at(self) -> int:
        """Since when, in control time, nothing was in its way: the end of the last outage, or the start. In an outage,
        or when one may just have ended without a commit to show it: now.
        """
        elapsed_ms = (self._clock.monotonic() - self._mark) * 1000
        return self.now() if elapsed_ms > LONGEST_GAP_MS else self._gap_ended_at

    def committed(self) -> None:
        """A commit has succeeded: what has passed counts."""
        elapsed_ms = (self._clock.monotonic() - self._mark) * 1000
        self._base = self.now()
        self._mark = self._clock.monotonic()
        if elapsed_ms > LONGEST_GAP_MS:
            self._gap_ended_at = self._base

    def resume(self, start_ms: int) -> None:
        """Go on from what an earlier start has made durable."""
        self._base = max(start_ms, self._base)
        self._mark = self._clock.monotonic()
        self._gap_ended_at = self._base


async def set_within(event: asyncio.Event, clock: Clock, seconds: float) -> bool:
    """Wait for an event, but not longer than so many seconds. Returns whether it came."""
    if event.is_set():
        return True
    if seconds <= 0:
        return False
    with suppress(TimeoutError):
        async with clock.timeout(seconds):
            await event.wait()
    return event.is_set()


def moment_text(ms: int) -> str:
    """Milliseconds since the epoch as people read them."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
