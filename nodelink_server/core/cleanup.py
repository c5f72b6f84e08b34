"""Finished tasks leave memory after a moment, and the database after their retention. Memory and disk stay flat."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import structlog

from nodelink.errors import NodelinkError, StoreError
from nodelink_server.core.ports import Clock, Store
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.tally import Tally

MOST_FINISHED = 20_000
SWEEP_BATCH = 2_000
"""Tasks of one round. With the pause behind it that is more than a server accepts meanwhile."""
EVENTS_KEPT_MS = 24 * 3600 * 1000
KEYS_KEPT_MS = 24 * 3600 * 1000
PAUSE_SECONDS = 0.05

log = structlog.get_logger(__name__)


class Cleanup:
    """Removes what is over."""

    def __init__(
        self,
        *,
        store: Store,
        registry: TaskRegistry,
        clock: Clock,
        tally: Tally,
        delay_seconds: float,
        interval_seconds: float,
        retention_seconds: float,
        tidy: Callable[[], None],
        forget_blobs: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._tally = tally
        self._delay = delay_seconds
        self._interval = interval_seconds
        self._retention_ms = int(retention_seconds * 1000)
        self._tidy = tidy
        self._forget_blobs = forget_blobs
        self._finished: deque[tuple[float, str]] = deque()
        self._sweeping = asyncio.Lock()

    def finished(self, task_ids: Sequence[str]) -> None:
        """Tasks have ended: they stay in memory for a moment, for those who ask right away."""
        now = self._clock.monotonic()
        self._finished.extend([(now, task_id) for task_id in task_ids])
        if len(self._finished) > MOST_FINISHED:
            self._forget(len(self._finished) - MOST_FINISHED)

    async def run(self) -> None:
        """Let what is over leave memory, for ever."""
        while True:
            await self._clock.sleep(min(1.0, self._interval, self._delay or 1.0))
            self.forget_old()

    async def run_sweeps(self) -> None:
        """Let what is over leave the database, for ever. Memory does not wait for that: a sweep may take long."""
        while True:
            await self._clock.sleep(self._interval)
            self._tidy()
            await self._sweep()

    def forget_old(self) -> None:
        """Let finished tasks leave memory whose moment is over."""
        oldest = self._clock.monotonic() - self._delay
        count = 0
        for finished_at, _ in self._finished:
            if finished_at > oldest:
                break
            count += 1
        self._forget(count)

    async def sweep(self) -> int:
        """Let tasks leave the database whose retention is over, batch by batch. Returns how many."""
        return await self.clean_up(self._retention_ms)

    async def clean_up(self, older_than_ms: int) -> int:
        """Let tasks leave the database that finished longer ago than this. Returns how many.

        One at a time: who comes second has less to do.
        """
        removed = 0
        async with self._sweeping:
            now = self._clock.now()
            while True:
                count = await self._store.sweep(
                    finished_before=now - max(0, older_than_ms),
                    events_before=now - EVENTS_KEPT_MS,
                    keys_before=now - KEYS_KEPT_MS,
                    sessions_before=now - self._retention_ms,
                    limit=SWEEP_BATCH,
                )
                self._tally.cleanup_removed += count
                removed += count
                if count < SWEEP_BATCH:
                    return removed
                await self._clock.sleep(PAUSE_SECONDS)

    async def _sweep(self) -> None:
        began = self._clock.monotonic()
        try:
            removed = await self.sweep()
            await self._sweep_blobs()
        except StoreError as error:
            log.warning("sweep_failed", error=error.message)
            return
        self._tally.cleanup_runs += 1
        self._tally.cleanup_seconds.observe(self._clock.monotonic() - began)
        if removed:
            log.info("tasks_swept", removed=removed)

    async def _sweep_blobs(self) -> None:
        """After the tasks, whose artifacts stand for nothing from now on."""
        try:
            blobs = await self._forget_blobs() if self._forget_blobs is not None else 0
        except NodelinkError as error:  # too much else is to be done, or the disk fails: the next time will do
            log.warning("blob_sweep_failed", error=error.message)
            return
        self._tally.blobs_removed += blobs
        if blobs:
            log.info("blobs_swept", removed=blobs)

    def _forget(self, count: int) -> None:
        if count:
            self._registry.swap(put=(), drop=[self._finished.popleft()[1] for _ in range(count)])
