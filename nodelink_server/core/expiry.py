"""What becomes of granted tasks of which nothing is heard any more: their leases run out, and their class decides."""

from __future__ import annotations

import structlog

from nodelink_server.core.brake import Brake
from nodelink_server.core.leases import Leases
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.losses import Losses
from nodelink_server.core.ports import Change, Clock
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task

MOST_PER_STEP = 1_000

log = structlog.get_logger(__name__)


class Expiry:
    """Ends leases. Called by the timers."""

    def __init__(
        self, *, leases: Leases, brake: Brake, losses: Losses, ledger: Ledger, clock: Clock, tally: Tally
    ) -> None:
        self._leases = leases
        self._brake = brake
        self._losses = losses
        self._ledger = ledger
        self._clock = clock
        self._tally = tally

    async def expire_leases(self) -> None:
        """Carry out what follows for each attempt that has gone unheard of for too long.

        What the database refuses has changed meanwhile, and is looked at again.
        """
        found = self._leases.run_out(MOST_PER_STEP)
        changes = [change for task in found if (change := self._change(task)) is not None]
        if not changes:
            return
        committed = await self._ledger.commit(changes)
        for change, revision in zip(changes, committed.revisions, strict=True):
            if revision:
                self._tally.leases_expired[change.task.phase_execution.value] += 1

    def _change(self, task: Task) -> Change | None:
        attempt = task.attempt
        assert attempt is not None
        if self._brake.is_on(task.spec.pool):
            return None
        change = self._losses.lost(task, why="nothing was heard of its agent for too long", now=self._clock.now())
        if change is not None:
            log.warning("lease_expired", task_id=task.id, attempt=attempt.number, agent_id=attempt.agent_id)
        return change
