"""Agents that a person wants to be empty.

Such an agent gets nothing new, and what it provably has not begun is handed back at once. What still runs when its
deadline is over is asked to stop. All of it follows from what is known of the agent (`AgentRecord`), so that it goes on
over restarts of either side; the deadline is in control time, so that no outage brings it nearer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from nodelink.task import DEFAULT_GRACE_MS, CancelCommand, Reason, TaskStatus
from nodelink_server.core.agents import AgentRegistry, AgentView
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.cordons import Kept, kept_of
from nodelink_server.core.leases import Leases
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.ports import AgentRecord, Clock, EventName, Notice
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Task
from nodelink_server.core.validation import check_drain

_AT_WORK = frozenset({TaskStatus.SENT, TaskStatus.IN_PROGRESS})

log = structlog.get_logger(__name__)


class Drains:
    """Empties agents. `hand_back` is called with the session of one: what it has not begun waits again."""

    def __init__(
        self,
        *,
        agents: AgentRegistry,
        leases: Leases,
        ledger: Ledger,
        clock: Clock,
        control: ControlTime,
        hand_back: Callable[[AgentSession], None],
    ) -> None:
        self._agents = agents
        self._leases = leases
        self._ledger = ledger
        self._clock = clock
        self._control = control
        self._hand_back = hand_back

    async def drain(self, agent_id: str, *, note: str, deadline_ms: int | None, by: str = "local") -> AgentView:
        """Have an agent become empty; what still runs there after so long (None: however long) is stopped.

        Said again, the note and the deadline are what was said last. Raises `InvalidTask`, `AgentNotFound`,
        `StoreUnavailable`.
        """
        check_drain(note, deadline_ms)
        self._agents.view(agent_id)
        deadline = None if deadline_ms is None else self._control.now() + deadline_ms
        before = kept_of(self._agents.record(agent_id))
        since = self._clock.now() if before.drained_at is None else before.drained_at
        kept = Kept(before.cordon, since, deadline, note)
        await self._agents.keep(agent_id, kept, kind="agent_drained", by=by)
        log.info("agent_drained", agent_id=agent_id, deadline_ms=deadline_ms)
        self._tell(self._agents.record(agent_id), deadline_ms)
        session = self._agents.session(agent_id)
        if session is not None and session.drained:
            self._take_back(session)
            self._hand_back(session)
            session.ask_drain(self._agents.drain_request(self._agents.record(agent_id)))
        self.left(agent_id)
        return self._agents.view(agent_id)

    async def undrain(self, agent_id: str, *, by: str = "local") -> AgentView:
        """Let an agent have new work again, whatever kept it from that. Raises `AgentNotFound`, `StoreUnavailable`."""
        self._agents.view(agent_id)
        await self._agents.keep(agent_id, Kept(), kind="agent_undrained", by=by)
        session = self._agents.session(agent_id)
        if session is not None:
            self._take_back(session)
        return self._agents.view(agent_id)

    def is_overdue(self, agent_id: str) -> bool:
        """Whether an agent was to be empty by now."""
        return self._agents.is_drained(agent_id) and self._has_passed(self._agents.record(agent_id))

    def stop_overdue(self) -> None:
        """Ask for the stop of what still runs on agents that were to be empty by now, until they answer."""
        for record in self._agents.drained():
            session = self._agents.session(record.id)
            if session is None or not self._has_passed(record):
                continue
            for task in self._unasked(record.id):
                if not session.is_told_to_stop(task.ref):
                    log.info("task_stopped_by_drain", task_id=task.id, agent_id=record.id)
                    session.stop(CancelCommand(task.ref, DEFAULT_GRACE_MS, Reason.DRAINED))

    def left(self, agent_id: str) -> None:
        """A task is with an agent no more. Tells when one that is drained has become empty."""
        if not self._agents.is_drained(agent_id) or self._leases.with_agent(agent_id):
            return
        record = self._agents.record(agent_id)
        self._ledger.post(notices=[Notice(EventName.AGENT_DRAINED, record.id, record.pool)])

    def _tell(self, record: AgentRecord, deadline_ms: int | None) -> None:
        said = {"note": record.drain_note or None, "deadline_ms": deadline_ms}
        data = {name: value for name, value in said.items() if value is not None}
        self._ledger.post(notices=[Notice(EventName.AGENT_DRAINING, record.id, record.pool, data or None)])

    def _take_back(self, session: AgentSession) -> None:
        """Stops for an earlier drain are not repeated: what has not heard of one need not stop."""
        session.answered(task.ref for task in self._unasked(session.agent_id))

    def _has_passed(self, record: AgentRecord) -> bool:
        return record.drain_deadline is not None and record.drain_deadline <= self._control.now()

    def _unasked(self, agent_id: str) -> Iterable[Task]:
        """What is at work on an agent, and of which nobody else wants that it stops."""
        return (task for task in self._leases.tasks_with(agent_id) if task.status in _AT_WORK)
