"""Grants that were committed and never reached their agent. They provably never began, and are taken back here,
however often the database fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from nodelink.errors import StoreError
from nodelink.task import AttemptRef
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.losses import never_began
from nodelink_server.core.ports import Change, Clock, Store
from nodelink_server.core.task import Task

RETRY_SECONDS = 0.5

log = structlog.get_logger(__name__)


class TakeBacks:
    """What was granted in vain, each in one session."""

    def __init__(self, *, store: Store, ledger: Ledger, clock: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._vain: dict[AttemptRef, int] = {}
        self._wake = asyncio.Event()
        self.rounds = 0
        """How often grants that came to nothing were taken back."""

    def __len__(self) -> int:
        return len(self._vain)

    def add(self, session: int, refs: Sequence[AttemptRef]) -> None:
        """These grants of a session never reached their agent."""
        for ref in refs:
            self._vain[ref] = session
        if refs:
            self._wake.set()

    def nudge(self) -> None:
        """Have it looked for what was granted in vain."""
        self._wake.set()

    async def run(self) -> None:
        """Take back what was granted in vain, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._take_back()
                self.rounds += 1
            except StoreError as error:
                log.warning("take_back_failed", tasks=len(self._vain), error=error.message)
                await self._clock.sleep(RETRY_SECONDS)
                self._wake.set()

    async def _take_back(self) -> None:
        refs = list(self._vain)
        if not refs:
            return
        tasks = {task.id: task for task in await self._store.find([ref.task_id for ref in refs])}
        changes = []
        for ref in refs:
            change = self._change(ref, tasks.get(ref.task_id))
            if change is None:
                del self._vain[ref]
            else:
                changes.append((ref, change))
        if not changes:
            return
        committed = await self._ledger.commit([change for _, change in changes])
        for (ref, _), revision in zip(changes, committed.revisions, strict=True):
            if revision:
                self._vain.pop(ref, None)
            else:
                self._wake.set()

    def _change(self, ref: AttemptRef, task: Task | None) -> Change | None:
        """What takes a grant back; None: it is another's by now, or its agent has been given it again."""
        if task is None or task.attempt is None or task.ref != ref or task.attempt.session != self._vain[ref]:
            return None
        return never_began(task, now=self._clock.now())
