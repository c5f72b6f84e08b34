"""How many tasks there are that live: counted in the database, and not more often than is good for it."""

from __future__ import annotations

import asyncio

from nodelink_server.core.ports import Clock, LiveCounts, Store

FRESH_SECONDS = 1.0
REST = 10
"""Counting takes at most one part in so many of the time."""


class Levels:
    """The latest counts. They are at most a second old, or ten times as old as it takes to count."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._counts = LiveCounts(by_status={}, queued={})
        self._fresh_until = float("-inf")
        self._counting = asyncio.Lock()

    async def read(self) -> LiveCounts:
        """The counts. Whoever comes while they are being counted waits for that. Raises `StoreUnavailable`."""
        if self._clock.monotonic() < self._fresh_until:
            return self._counts
        async with self._counting:
            if self._clock.monotonic() >= self._fresh_until:
                await self._count()
        return self._counts

    async def _count(self) -> None:
        began = self._clock.monotonic()
        self._counts = await self._store.counts()
        now = self._clock.monotonic()
        self._fresh_until = now + max(FRESH_SECONDS, REST * (now - began))
