"""What a hello means for the tasks that are believed to be with an agent, and for the attempts that it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from nodelink.task import (
    AttemptRef,
    CancelCommand,
    Execution,
    HeldAttempt,
    HeldState,
    LogAck,
    LogStream,
    TaskStatus,
    Verdict,
    VerdictAction,
)
from nodelink_server.core.agents import AgentRegistry
from nodelink_server.core.grants import never_began
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.logbook import LogBook
from nodelink_server.core.ports import Change, Clock, EventName, Store
from nodelink_server.core.processor import ENDED_EVENT
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Superseded, Task, exhausted, lost, replayed, started, stopped

MOST_LOSSES = 5
"""How often a replayable task may be lost with its agent before it fails: its infrastructure budget."""

log = structlog.get_logger(__name__)


class Reconciler:
    """Answers a hello: a verdict for each held attempt, and the class's rule for each that is missing."""

    def __init__(
        self,
        *,
        store: Store,
        ledger: Ledger,
        agents: AgentRegistry,
        logbook: LogBook,
        ranking: Ranking,
        clock: Clock,
    ) -> None:
        self._ranking = ranking
        self._store = store
        self._ledger = ledger
        self._agents = agents
        self._logbook = logbook
        self._clock = clock

    async def answer(self, session: AgentSession, held: Sequence[HeldAttempt]) -> list[Verdict]:
        """Make durable what follows from a hello, and return the verdicts in its order. Raises `StoreUnavailable`."""
        states = {attempt.ref: attempt.state for attempt in held}
        believed = set(self._agents.granted(session.agent_id))
        ids = believed | {ref.task_id for ref in states}
        tasks = await self._settle(session, states, ids)
        return [await self._verdict(session, ref, tasks.get(ref.task_id)) for ref in states]

    async def _settle(
        self, session: AgentSession, states: Mapping[AttemptRef, HeldState], ids: set[str]
    ) -> Mapping[str, Task]:
        """Commit what follows until no guard refuses. Returns the tasks as they stand then."""
        tasks: dict[str, Task] = {}
        while ids:
            found = await self._store.find(list(ids))
            tasks.update((task.id, task) for task in found)
            changes = [c for task in found if (c := self._change(session, states, task)) is not None]
            if not changes:
                break
            committed = await self._ledger.commit(changes)
            done = {c.task.id for c, revision in zip(changes, committed.revisions, strict=True) if revision}
            tasks.update((c.task.id, c.task) for c in changes if c.task.id in done)
            ids = {change.task.id for change in changes} - done
        return tasks

    def _change(self, session: AgentSession, states: Mapping[AttemptRef, HeldState], task: Task) -> Change | None:
        attempt = task.attempt
        if attempt is None or task.is_terminal or task.is_waiting or attempt.agent_id != session.agent_id:
            return None
        if attempt.session >= session.number:
            return None  # granted after this hello was written, which can prove nothing about it
        state = states.get(task.ref)
        if state is None:
            return self._missing(session, task)
        if state is HeldState.RUNNING and task.status is TaskStatus.SENT:  # one that has ended may have been declined
            after = started(task, at=self._clock.now())
            return Change(task=after, expected=task.revision, events=(EventName.TASK_STARTED,))
        return None

    def _missing(self, session: AgentSession, task: Task) -> Change | None:
        """What becomes of a granted task that its agent does not have."""
        attempt, now = task.attempt, self._clock.now()
        assert attempt is not None
        if attempt.session >= session.remembers_since and attempt.started_at is None:
            return never_began(task, now=now)
        superseded = Superseded(attempt=attempt, state="lost", ended_at=now)
        log.warning("attempt_missing", task_id=task.id, attempt=attempt.number, agent_id=session.agent_id)
        if task.execution is not Execution.REPLAYABLE:
            return Change(task=lost(task, now=now), expected=task.revision, events=(EventName.TASK_LOST,))
        if task.status is TaskStatus.CANCELLING:
            after = stopped(task, now=now)
            return Change(task=after, expected=task.revision, events=(ENDED_EVENT[after.status],))
        if task.losses >= MOST_LOSSES:
            return Change(task=exhausted(task, now=now), expected=task.revision, events=(EventName.TASK_FAILED,))
        _, deadline = self._ranking.of(task.spec)
        after = replayed(task, queue_deadline=deadline)
        return Change(task=after, expected=task.revision, events=(EventName.TASK_PENDING,), superseded=superseded)

    async def _verdict(self, session: AgentSession, ref: AttemptRef, task: Task | None) -> Verdict:
        current = task is not None and task.attempt is not None and task.ref == ref
        if task is None or task.attempt is None or not current or task.attempt.agent_id != session.agent_id:
            return Verdict(ref, VerdictAction.FORGET)
        ends = await self._logbook.ends(task)
        logs = (LogAck(ref, LogStream.STDOUT, ends.stdout), LogAck(ref, LogStream.STDERR, ends.stderr))
        has_ended = task.id not in self._agents.granted(session.agent_id)  # while the log was looked up
        if task.status is TaskStatus.CANCELLING and task.stop is not None and not has_ended:
            session.stop(CancelCommand(ref, task.stop.grace_ms, task.stop.reason))
            return Verdict(ref, VerdictAction.STOP, logs)
        return Verdict(ref, VerdictAction.KEEP, logs)
