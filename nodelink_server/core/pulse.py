"""What a heartbeat means for the attempts that it lists: their leases go on, doubts end, and what counts no more is
named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nodelink.task import AttemptRef, TaskStatus
from nodelink_server.core.counting import Counting
from nodelink_server.core.leases import Leases
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.losses import found_again, is_current
from nodelink_server.core.ports import Clock
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Task


class Pulse:
    """Hears heartbeats. `is_offered` tells whether a session has an open offer, or one whose grant is under way."""

    def __init__(
        self,
        *,
        registry: TaskRegistry,
        leases: Leases,
        ledger: Ledger,
        clock: Clock,
        counting: Counting,
        is_offered: Callable[[AttemptRef, AgentSession], bool],
    ) -> None:
        self._registry = registry
        self._leases = leases
        self._ledger = ledger
        self._clock = clock
        self._counting = counting
        self._is_offered = is_offered

    def beat(self, session: AgentSession, running: Sequence[AttemptRef]) -> Sequence[AttemptRef]:
        """An agent has these attempts. Returns those that count no more."""
        current: list[Task] = []
        offered: dict[AttemptRef, Task] = {}
        unknown: list[AttemptRef] = []
        for ref in running:
            task = self._registry.get(ref.task_id)
            if task is not None and not task.is_terminal and is_current(task, ref, session.agent_id):
                current.append(task)
            elif not self._is_offered(ref, session):
                unknown.append(ref)
            elif task is not None:
                offered[ref] = task
        self._leases.renew(session.agent_id, [task.id for task in current])
        doubted = [task for task in current if task.status is TaskStatus.UNKNOWN]
        if doubted:
            self._ledger.post([found_again(task, now=self._clock.now()) for task in doubted])
        self._counting.compare(session, {**self._given(session, current), **offered}, stops=bool(unknown))
        return unknown

    def _given(self, session: AgentSession, listed: Sequence[Task]) -> dict[AttemptRef, Task]:
        """What the agent should have: what it lists, and all that was granted in this session. What was granted before
        and is not listed is in doubt, and left to its lease.
        """
        given = self._leases.tasks_with(session.agent_id)
        in_session = [task for task in given if task.attempt is not None and task.attempt.session == session.number]
        return {task.ref: task for task in (*listed, *in_session)}
