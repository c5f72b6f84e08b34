"""What becomes of a task whose attempt is lost, by its execution class. The one place where a class makes a difference
then, whoever found out: a hello, the agent's own word, or the lease.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from nodelink.task import (
    AttemptRef,
    ErrorCategory,
    Execution,
    Finished,
    LogStream,
    Outcome,
    Reason,
    TaskError,
    TaskStatus,
)
from nodelink.values import evolve
from nodelink_server.core.attempt import DRAINED, Failure, Superseded
from nodelink_server.core.changes import changed
from nodelink_server.core.ports import Change, EventName
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.task import (
    Task,
    doubted,
    drained,
    exhausted,
    given_back,
    granted_again,
    lost,
    never_ran,
    poisoned,
    recovered,
    replayed,
    stopped,
)
from nodelink_server.core.task_record import Remark, RemarkKind

MOST_LOSSES = 5
"""How often a replayable task may be lost with its agent before it fails: its infrastructure budget."""
MOST_DEATHS = 2
"""How many agents may die while they run a task; then it is poison."""

ENDED_EVENT: Mapping[TaskStatus, EventName] = {
    TaskStatus.COMPLETED: EventName.TASK_COMPLETED,
    TaskStatus.FAILED: EventName.TASK_FAILED,
    TaskStatus.TIMEOUT: EventName.TASK_TIMEOUT,
    TaskStatus.CANCELLED: EventName.TASK_CANCELLED,
    TaskStatus.LOST: EventName.TASK_LOST,
}


class Losses:
    """Says what follows when an attempt is lost, or when it is found again."""

    def __init__(self, ranking: Ranking) -> None:
        self._ranking = ranking

    def lost(self, task: Task, *, why: str, now: int, died: bool = False) -> Change | None:
        """What follows from the loss of the current attempt of a granted task; None: nothing does.

        `died`: the agent's own process ended while the work ran in it.
        """
        if task.phase_execution is Execution.REPLAYABLE:
            return self._lost_replayable(task, now=now, died=died)
        if task.status is TaskStatus.UNKNOWN:
            return None
        if task.phase_execution is Execution.ONCE:
            return changed(task, lost(task, message=why, now=now), EventName.TASK_LOST)
        return changed(
            task,
            doubted(task, message=why),
            EventName.TASK_UNKNOWN,
            remark=remark_on(task, RemarkKind.UNKNOWN, now, text=why),
        )

    def _lost_replayable(self, task: Task, *, now: int, died: bool) -> Change:
        """It runs again, or its budget is used up. By its own clock, its agent has stopped it by now."""
        assert task.attempt is not None
        if task.status is TaskStatus.CANCELLING:
            after = stopped(task, now=now, may_have_run=True)
            return changed(task, after, ENDED_EVENT[after.status])
        if died and task.deaths + 1 >= MOST_DEATHS:
            return changed(task, poisoned(task, now=now), EventName.TASK_FAILED)
        if task.losses >= MOST_LOSSES:
            return changed(task, exhausted(task, now=now), EventName.TASK_FAILED)
        deadline = self._ranking.queue_deadline(task.spec)
        after = replayed(task, queue_deadline=deadline, died=died)
        superseded = Superseded(attempt=task.attempt, state="lost", ended_at=now)
        return changed(task, after, EventName.TASK_PENDING, superseded=superseded)

    def drained(self, task: Task, finished: Finished, *, now: int) -> Change:
        """A replayable task waits again that was stopped because its agent is drained. It has not failed by that."""
        assert task.attempt is not None
        begun = task.attempt
        if begun.started_at is None:
            begun = evolve(begun, started_at=max(begun.sent_at, now - int(finished.run_seconds * 1000)))
        end = Failure(
            reason=finished.reason,
            message=finished.error.message if finished.error is not None else "",
            next_at=now,
            exit_code=finished.exit_code,
            signal=finished.signal,
            stdout_total=finished.log_totals.get(LogStream.STDOUT),
            stderr_total=finished.log_totals.get(LogStream.STDERR),
        )
        after = drained(task, queue_deadline=self._ranking.queue_deadline(task.spec))
        superseded = Superseded(attempt=begun, state=DRAINED, ended_at=now, failure=end)
        return changed(task, after, EventName.TASK_PENDING, superseded=superseded)


def is_drained(task: Task, finished: Finished, is_overdue: Callable[[str], bool]) -> bool:
    """Whether an attempt was stopped because its agent is drained, and nothing of it is left.

    `is_overdue` tells whether an agent was to be empty by now: an older one does not say why it has stopped something.
    """
    if finished.outcome is not Outcome.CANCELLED or not finished.tree_gone or task.stop is not None:
        return False
    attempt = task.attempt
    return finished.reason is Reason.DRAINED or (attempt is not None and is_overdue(attempt.agent_id))


def failed_by_drain(finished: Finished) -> Finished:
    """The end of an attempt that was stopped because its agent is drained, as a failure of the infrastructure."""
    error = TaskError(ErrorCategory.INFRASTRUCTURE, "it was stopped because its agent is drained")
    return replace(finished, outcome=Outcome.FAILED, reason=Reason.DRAINED, error=error)


def never_began(task: Task, *, now: int) -> Change | None:
    """What follows from the proof that the current attempt of a task never began; None if nothing does."""
    if task.attempt is None:
        return None
    if task.status is TaskStatus.SENT:
        superseded = Superseded(attempt=task.attempt, state="void", ended_at=now, plan=task.plan)
        event = EventName.TASK_APPLY_PENDING if task.has_plan else EventName.TASK_PENDING
        return changed(task, given_back(task), event, superseded=superseded)
    if task.status is TaskStatus.CANCELLING:
        after = stopped(task, now=now)
        return changed(task, after, ENDED_EVENT[after.status])
    if task.status in (TaskStatus.UNKNOWN, TaskStatus.IN_PROGRESS):  # in progress: after a doubt, yet to be started
        after = never_ran(task, message="contact was lost before it began; it never ran", now=now)
        return changed(task, after, ENDED_EVENT[after.status])
    return None


def found_again(task: Task, *, now: int, session: int | None = None) -> Change:
    """A task in doubt is with its agent after all. `session`: it has yet to be started, in this one."""
    after = recovered(task)
    if session is not None:
        after = granted_again(after, session=session)
    events = [EventName.TASK_RECOVERED]
    if after.status is TaskStatus.CANCELLING:
        events.append(EventName.TASK_CANCELLING)
    return changed(task, after, *events, remark=remark_on(task, RemarkKind.RECOVERED, now))


def remark_on(task: Task, kind: RemarkKind, now: int, *, text: str = "", by: str = "") -> Remark:
    """Something that happens to a task now."""
    number, agent_id = (task.attempt.number, task.attempt.agent_id) if task.attempt is not None else (0, "")
    return Remark(kind, now, text, by, number, agent_id)


def is_current(task: Task | None, ref: AttemptRef, agent_id: str) -> bool:
    """Whether a name means the execution that counts now, on this agent."""
    attempt = task.attempt if task is not None else None
    return (
        attempt is not None
        and task is not None
        and (attempt.number, attempt.fence, attempt.agent_id) == (ref.attempt, ref.fence, agent_id)
        and task.id == ref.task_id
    )
