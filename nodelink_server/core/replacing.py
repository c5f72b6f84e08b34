"""Tasks that do not wait for a place but have those stopped that are in their way (`WhenTaken.REPLACE`).

It looks once, when such a task becomes ready: who has what it lacks then, the longest there first, is asked to stop,
and the task waits for that like any other. Who gets the place before it is not stopped for it again. A task that became
ready just before the server stopped, and was not looked at any more, only waits.
"""

from __future__ import annotations

import asyncio

import structlog

from nodelink.errors import StoreError
from nodelink.task import TaskStatus, WhenTaken
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.limits import Limits
from nodelink_server.core.ports import Change, Clock, Store
from nodelink_server.core.superseding import superseded
from nodelink_server.core.task import Task

TRIES = 20
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Replacing:
    """Has those stopped that are in the way of tasks that want it so."""

    def __init__(self, *, store: Store, ledger: Ledger, limits: Limits, clock: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._limits = limits
        self._clock = clock
        self._ready: dict[str, None] = {}
        self._wake = asyncio.Event()

    def ready(self, task: Task) -> None:
        """A task has become ready."""
        if task.spec.when_taken is WhenTaken.REPLACE:
            self._ready[task.id] = None
            self._wake.set()

    async def run(self) -> None:
        """Look at those that have become ready, for ever. A database that is away delays it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for task_id in self._take():
                await self._look(task_id)

    def _take(self) -> list[str]:
        ready, self._ready = list(self._ready), {}
        return ready

    async def _look(self, task_id: str) -> None:
        while True:
            try:
                await self._make_way(task_id)
                return
            except StoreError as error:
                log.warning("replacing_failed", task_id=task_id, error=error.message)
                await self._clock.sleep(RETRY_SECONDS)

    async def _make_way(self, task_id: str) -> None:
        """Ask those to stop that are in the way of a task. What changes meanwhile is looked at again."""
        for _ in range(TRIES):
            changes = await self._stops(task_id)
            if not changes:
                return
            committed = await self._ledger.commit(changes)
            if all(committed.revisions):
                log.info("others_superseded", task_id=task_id, others=len(changes))
                return
        log.warning("replacing_given_up", task_id=task_id)

    async def _stops(self, task_id: str) -> list[Change]:
        """The stops of those that are in the way of a task, if it still waits for them."""
        waiting = [task for task in await self._store.find([task_id]) if task.status is TaskStatus.PENDING]
        ids = self._limits.in_the_way(waiting[0]) if waiting and self._limits.blocking(waiting[0]) else ()
        if not ids:
            return []
        live = [task for task in await self._store.find(ids) if not task.is_terminal]
        stops = (superseded(task, by=task_id, now=self._clock.now()) for task in live)
        return [stop for stop in stops if stop is not None]
