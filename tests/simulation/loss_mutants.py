"""Servers that break a rule about what becomes of work when contact is lost: leases, classes, locks, people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nodelink.task import (
    ErrorCategory,
    Execution,
    Finished,
    Gone,
    HeldAttempt,
    Outcome,
    Reason,
    TaskError,
    TaskResponse,
    TaskStatus,
    Verdict,
    VerdictAction,
)
from nodelink.values import evolve
from nodelink_server.core.ports import Batch, Change, EventName, Receipt
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import RemarkKind

# -- leases -----------------------------------------------------------------------------------------------------------


def forgets_the_grace_after_an_outage(manager: Any) -> None:
    """Leases run out as soon as the server can commit again, before the agents can have come back."""
    manager.rooms.leases._spared_until = lambda: 0


def never_pulls_the_brake(manager: Any) -> None:
    """When everybody falls silent, everything expires."""
    manager.agents._brake.fell_silent = lambda pool, agent_id, connected: False
    manager.agents._brake.is_on = lambda pool: False


def counts_outages(manager: Any) -> None:
    """Time in which nothing could be committed ages the leases."""
    control, clock = manager.rooms.control, manager._clock
    control.now = lambda: int(clock.monotonic() * 1000)
    control.resume = lambda start_ms: None


def counts_leases_by_the_wall_clock(manager: Any) -> None:
    """Whoever sets the clock decides who loses a task."""
    leases, clock = manager.rooms.leases, manager._clock

    class Wall:
        gap_ended_at = 0

        def now(self) -> int:
            return int(clock.now())

    leases._control = Wall()


def extends_what_a_heartbeat_does_not_list(manager: Any) -> None:
    """Whatever is believed to be with an agent is believed for ever, if only the agent lives."""
    pulse = manager.rooms.leases
    renew = pulse.renew
    pulse.renew = lambda agent_id, task_ids: renew(agent_id, [*task_ids, *pulse.with_agent(agent_id)])


def gives_up_whoever_is_silent(manager: Any) -> None:
    """A lost stream is lost work."""
    manager.rooms.leases._limit_of = lambda task: 6_000
    manager.rooms.leases._shortest = 6_000


# -- classes ----------------------------------------------------------------------------------------------------------


def hides_that_it_may_have_run(manager: Any) -> None:
    """A lost task is shown as if it had never begun."""
    _after_loss(manager, lambda change: replace(change, task=evolve(change.task, may_have_run=False)))


def frees_the_lock_in_doubt(manager: Any) -> None:
    """A task in doubt lets its lock go."""

    def freed(change: Change) -> Change:
        attempt = change.task.attempt
        if change.task.status is not TaskStatus.UNKNOWN or attempt is None:
            return change
        return replace(change, frees=attempt.holds)

    _after_loss(manager, freed)


def _after_loss(manager: Any, spoil: Any) -> None:
    losses = manager.rooms.reconciler._losses
    lost = losses.lost

    def spoiled(task: Task, **why: Any) -> Change | None:
        change: Change | None = lost(task, **why)
        return None if change is None else spoil(change)

    losses.lost = spoiled


def takes_gone_for_failed(manager: Any) -> None:
    """That nobody saw how work ended is taken for its failure."""
    consider = manager.rooms.processor._consider
    error = TaskError(ErrorCategory.INFRASTRUCTURE, "gone")

    def rash(session: AgentSession, response: TaskResponse, round: Any) -> None:
        if isinstance(response.update, Gone):
            failed = Finished(outcome=Outcome.FAILED, reason=Reason.INFRASTRUCTURE, error=error)
            response = response._replace(update=failed)
        consider(session, response, round)

    manager.rooms.processor._consider = rash


def forgets_who_died(manager: Any) -> None:
    """However many agents a task has killed, it gets another one."""
    losses = manager.rooms.reconciler._losses
    lost = losses.lost
    losses.lost = lambda task, *, why, now, died=False: lost(task, why=why, now=now, died=False)


def throws_late_results_away(manager: Any) -> None:
    """What comes too late to count is not even kept beside."""
    apply = manager._store.apply

    async def forgetful(batch: Batch) -> Receipt:
        receipt: Receipt = await apply(replace(batch, evidence=()))
        return receipt

    manager._store.apply = forgetful


# -- locks, cancels, people -------------------------------------------------------------------------------------------


def takes_no_lock_in_the_commit(manager: Any) -> None:
    """Who holds a lock is known to memory alone."""
    apply, boot = manager._store.apply, manager._store.boot

    async def careless(batch: Batch) -> Receipt:
        changes = [replace(change, takes=(), frees=(), uses=()) for change in batch.changes]
        receipt: Receipt = await apply(replace(batch, changes=changes))
        return receipt

    async def forgetful(now: int) -> Any:
        return replace(await boot(now), holds={}, rates={})

    manager._store.apply, manager._store.boot = careless, forgetful


def runs_again_under_the_same_fence(manager: Any) -> None:
    """A person's rerun is the same execution by name."""
    grants, disk = manager.rooms.grants, manager._store._disk
    change_of = grants._granted

    def again(session: AgentSession, task: Task, fence: int) -> Change:
        change: Change = change_of(session, task, fence)
        row = disk.rows.get(disk.keys.get(task.id, 0))
        if row is None or not any(note.remark.kind is RemarkKind.RERUN for note in row.notes):
            return change
        assert change.task.attempt is not None
        first = row.past[0].superseded.attempt
        attempt = evolve(change.task.attempt, number=first.number, fence=first.fence)
        return replace(change, task=evolve(change.task, attempt=attempt))

    def offer(session: AgentSession, task: Task) -> bool:
        return task.execution is not Execution.REPLAYABLE and not task.losses

    def give(session: AgentSession, tasks: Sequence[Task]) -> None:
        for task in tasks:
            if offer(session, task):
                grants._offer(session, task)
            else:
                grants._grant(session, [task])

    grants._granted, grants.give = again, give


def cancels_without_asking(manager: Any) -> None:
    """A task is shown as cancelled while its agent still runs it."""
    commit = manager.ledger.commit

    def hasty(change: Change) -> Change:
        task = change.task
        if task.status is not TaskStatus.CANCELLING or task.reason is not Reason.CANCELLED_BY_CALLER:
            return change
        over = evolve(task, status=TaskStatus.CANCELLED, finished_at=manager._clock.now())
        holds = task.attempt.holds if task.attempt is not None else ()
        return replace(change, task=over, events=(*change.events, EventName.TASK_CANCELLED), frees=holds)

    async def commits(changes: Sequence[Change] = (), **others: Any) -> Any:
        return await commit([hasty(change) for change in changes], **others)

    manager.ledger.commit = commits


def says_that_nothing_is_unknown(manager: Any) -> None:
    """What counts no more is never named to the agent that runs it; and its hello is answered with: keep."""
    reconciler = manager.rooms.reconciler
    open_session = manager.agents._open

    def deaf(*who: Any) -> AgentSession:
        session: AgentSession = open_session(*who)
        beat = session._on_beat
        session._on_beat = lambda session, running: (beat(session, running), ())[1]
        return session

    async def keep(held: HeldAttempt, task: Task | None) -> Verdict:
        return Verdict(held.ref, VerdictAction.KEEP)

    manager.agents._open, reconciler._verdict_on_old = deaf, keep


def puts_doubts_to_rest_by_itself(manager: Any) -> None:
    """An exclusive task in doubt is run again without a person."""
    losses = manager.rooms.reconciler._losses
    lost = losses._lost_replayable

    def careless(task: Task, *, why: str, now: int, died: bool = False) -> Change | None:
        change: Change | None = lost(task, now=now, died=died)
        return change

    known = losses.lost
    losses.lost = lambda task, **why: (careless if task.execution == "exclusive" else known)(task, **why)
