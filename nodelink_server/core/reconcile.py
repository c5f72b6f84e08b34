"""What a hello means for the tasks that are believed to be with an agent, and for the attempts that it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from nodelink.task import (
    AttemptRef,
    CancelCommand,
    Execution,
    ExtendCommand,
    HeldAttempt,
    HeldState,
    LogAck,
    LogStream,
    StartCommand,
    TaskStatus,
    Verdict,
    VerdictAction,
)
from nodelink_server.core.changes import changed
from nodelink_server.core.grants import FIRST_LEASED_PROTOCOL
from nodelink_server.core.leases import Leases
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.logbook import LogBook
from nodelink_server.core.losses import Losses, found_again, is_current, never_began
from nodelink_server.core.ports import Change, Clock, EventName, Store
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Task, granted_again, started

log = structlog.get_logger(__name__)

_TO_START = frozenset({TaskStatus.SENT, TaskStatus.IN_PROGRESS})
"""What an agent that has accepted it may yet have to start: in progress, if a doubt about it was put to rest."""


class Reconciler:
    """Answers a hello: a verdict for each held attempt, and the class's rule for each that is missing."""

    def __init__(
        self,
        *,
        store: Store,
        ledger: Ledger,
        leases: Leases,
        logbook: LogBook,
        losses: Losses,
        clock: Clock,
        start_of: Callable[[AgentSession, Task], StartCommand],
        extend_command: Callable[[Task], ExtendCommand | None],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._leases = leases
        self._logbook = logbook
        self._losses = losses
        self._clock = clock
        self._start_of = start_of
        self._extend_command = extend_command

    async def answer(self, session: AgentSession, held: Sequence[HeldAttempt]) -> Sequence[Verdict]:
        """The verdicts, once everything that follows from the hello is durable. Raises `StoreUnavailable`."""
        states = {one.ref: one.state for one in held}
        ids = {ref.task_id for ref in states} | set(self._leases.with_agent(session.agent_id))
        tasks = await self._settle(session, states, ids)
        self._leases.renew(session.agent_id, (ref.task_id for ref in states if _is_with(session, tasks, ref)))
        return [await self._verdict(session, one, tasks.get(one.ref.task_id)) for one in held]

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
        if session.drained and state is HeldState.ACCEPTED and task.status is TaskStatus.SENT:
            return never_began(task, now=self._clock.now())
        # What is to be started once more is granted once more: its grant may be being taken back at this moment.
        to_start = session.number if state is HeldState.ACCEPTED else None
        if task.status is TaskStatus.UNKNOWN and state is not HeldState.ENDED:
            return found_again(task, now=self._clock.now(), session=to_start)
        if to_start is not None and attempt.started_at is None and task.status in _TO_START:
            return changed(task, granted_again(task, session=to_start))
        if state is HeldState.RUNNING and task.status is TaskStatus.SENT:  # one that has ended may have been declined
            return changed(task, started(task, at=self._clock.now()), EventName.TASK_STARTED)
        return None

    def _missing(self, session: AgentSession, task: Task) -> Change | None:
        """What becomes of a granted task that its agent does not have.

        Nothing, unless the agent can know of it: what was granted on another host, or before its journal began, may
        run on somewhere. That is left to its lease.
        """
        attempt, now = task.attempt, self._clock.now()
        assert attempt is not None
        origin, is_leased = session.origin, session.protocol >= FIRST_LEASED_PROTOCOL
        if is_leased and attempt.session < max(origin.host_since, origin.remembers_since):
            return None
        recorded = task.phase_execution is not Execution.REPLAYABLE  # what is replayable may run without a record
        remembers_since = origin.remembers_since if recorded else origin.process_since
        if attempt.session >= remembers_since and attempt.started_at is None:
            return never_began(task, now=now)
        log.warning("attempt_missing", task_id=task.id, attempt=attempt.number, agent_id=session.agent_id)
        died = attempt.started_at is not None and attempt.session < origin.process_since
        return self._losses.lost(task, why="its agent restarted and cannot tell", now=now, died=died)

    async def _verdict(self, session: AgentSession, held: HeldAttempt, task: Task | None) -> Verdict:
        ref = held.ref
        if task is None or not is_current(task, ref, session.agent_id) or task.is_terminal:
            return await self._verdict_on_old(held, task)
        logs = await self._logs(ref, task)
        if not self._leases.holds(session.agent_id, task.id):
            return Verdict(ref, VerdictAction.KEEP, logs)  # it has ended while its log was looked up
        if task.stop is not None:
            session.stop(CancelCommand(ref, task.stop.grace_ms, task.stop.reason))
            return Verdict(ref, VerdictAction.STOP, logs)
        if held.state is HeldState.ACCEPTED:
            session.start(self._start_of(session, task))
        command = self._extend_command(task)
        if command is not None:
            session.extend(command)
        return Verdict(ref, VerdictAction.KEEP, logs)

    async def _verdict_on_old(self, held: HeldAttempt, task: Task | None) -> Verdict:
        """What counts no more may still be told of, if anybody could want to know; it must not go on."""
        ref, has_begun = held.ref, held.state not in (HeldState.ACCEPTED, HeldState.WAITING)
        if task is None or not has_begun:
            return Verdict(ref, VerdictAction.FORGET)
        action = VerdictAction.STOP if held.state is HeldState.RUNNING else VerdictAction.KEEP
        return Verdict(ref, action, await self._logs(ref, task))

    async def _logs(self, ref: AttemptRef, task: Task) -> tuple[LogAck, ...]:
        """Where the output of an attempt goes on, if anybody can want it."""
        ends = await self._logbook.ends(task, ref)
        if ends is None:
            return ()
        return (LogAck(ref, LogStream.STDOUT, ends.stdout), LogAck(ref, LogStream.STDERR, ends.stderr))


def _is_with(session: AgentSession, tasks: Mapping[str, Task], ref: AttemptRef) -> bool:
    task = tasks.get(ref.task_id)
    return task is not None and is_current(task, ref, session.agent_id)
