"""Statistics that grow old: minutes become hours after two days, and go with the tasks they tell of."""

from __future__ import annotations

import asyncio

import structlog

from nodelink.errors import StoreError
from nodelink_server.core.accounts import Accounts
from nodelink_server.core.clock import set_within
from nodelink_server.core.ledger import Committed, Ledger
from nodelink_server.core.ports import Clock, Store
from nodelink_server.core.statistics import HOUR_MS

MINUTES_KEPT_MS = 48 * HOUR_MS
ROWS_AT_ONCE = 500
PAUSE_SECONDS = 0.05
FLUSH_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Archive:
    """Sees to it that what was counted is kept, and not for ever."""

    def __init__(
        self,
        *,
        store: Store,
        accounts: Accounts,
        ledger: Ledger,
        clock: Clock,
        interval_seconds: float,
        retention_seconds: float,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._ledger = ledger
        self._clock = clock
        self._interval = interval_seconds
        self._retention_ms = int(retention_seconds * 1000)

    async def run(self) -> None:
        """Make old rows coarser and forget the oldest, for ever."""
        while True:
            await self._clock.sleep(self._interval)
            try:
                await self.sweep()
            except StoreError as error:
                log.warning("statistics_sweep_failed", error=error.message)

    async def sweep(self) -> None:
        """Make old rows coarser and forget the oldest, in small steps, so that no commit waits long."""
        now = self._clock.now()
        settled, series = self._accounts.settled()
        old = min(now - MINUTES_KEPT_MS, settled)
        while True:
            found = await self._store.coarsen(
                before=old - old % HOUR_MS,
                series=series,
                forget_before=now - self._retention_ms,
                limit=ROWS_AT_ONCE,
            )
            if found < ROWS_AT_ONCE:
                return
            await self._clock.sleep(PAUSE_SECONDS)

    async def flush(self) -> None:
        """Let what was counted last become durable, unless the database takes too long or is away."""
        deadline = self._clock.monotonic() + FLUSH_SECONDS
        while self._accounts.unwritten() and not self._ledger.failing:
            self._accounts.hurry()
            if not await self._is_committed_by(deadline):
                log.warning("statistics_not_flushed", rows=len(self._accounts.unwritten()))
                return

    async def _is_committed_by(self, deadline: float) -> bool:
        """Have something committed. Returns whether there was an answer in time."""
        answered = asyncio.Event()

        def done(_outcome: Committed | StoreError) -> None:
            answered.set()

        self._ledger.post(done=done)
        return await set_within(answered, self._clock, deadline - self._clock.monotonic())
