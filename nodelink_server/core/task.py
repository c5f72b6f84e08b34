"""Task and Attempt: frozen values. Every move is a function from a value to the next one, and asks the table first.

Moments are wall-clock milliseconds, for people; `rank` and `queue_deadline` are in control time (`core/clock.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from nodelink.task import (
    TERMINAL,
    AttemptRef,
    Execution,
    Finished,
    LogStream,
    Outcome,
    Reason,
    TaskSpec,
    TaskStatus,
)
from nodelink.values import evolve, value
from nodelink_server.core.states import WAITING, Verb, target


@value
class Attempt:
    """One try at a task on one agent, granted in one of its sessions."""

    number: int
    fence: int
    agent_id: str
    session: int
    sent_at: int
    started_at: int | None = None
    containment: str = ""


@value
class Superseded:
    """An attempt that its task has left behind. `state`: void (proved never to have begun) or lost."""

    attempt: Attempt
    state: str
    ended_at: int


@value
class Stop:
    """That a granted task shall stop: asked once, repeated to the agent until it answers."""

    reason: Reason
    message: str
    grace_ms: int
    asked_at: int


@value
class Task:
    """A task as it stands. `revision` 0: not yet committed; `payload` None: in the database only."""

    id: str
    spec: TaskSpec
    execution: Execution
    created_at: int
    caller: str = "local"
    status: TaskStatus = TaskStatus.CREATED
    reason: Reason = Reason.NONE
    message: str = ""
    due_at: int | None = None
    rank: int = 0
    ready_at: int | None = None
    queue_deadline: int | None = None
    attempt: Attempt | None = None
    grants: int = 0
    losses: int = 0
    stop: Stop | None = None
    finished_at: int | None = None
    may_have_run: bool = False
    payload: bytes | None = None
    traceparent: str = ""
    retry_of: str = ""
    key: int = 0
    revision: int = 0

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended for ever."""
        return self.status in TERMINAL

    @property
    def is_waiting(self) -> bool:
        """Whether no attempt of it is granted."""
        return self.status in WAITING

    @property
    def ref(self) -> AttemptRef:
        """The name of the current execution. Only for a task that has an attempt."""
        assert self.attempt is not None
        return AttemptRef(self.id, self.attempt.number, self.attempt.fence)


def stamp(task: Task, *, key: int, revision: int) -> None:
    """Write down what the database gave a value at its commit: once, before anybody else has seen the value."""
    object.__setattr__(task, "key", key)
    object.__setattr__(task, "revision", revision)


def drop_payload(task: Task) -> None:
    """Let go of a payload that has been handed on and is too large to keep; it is in the database."""
    object.__setattr__(task, "payload", None)


def scheduled(task: Task, *, due_at: int) -> Task:
    """A new task that waits for its time."""
    return evolve(task, status=target(task.status, Verb.SCHEDULE), reason=Reason.TIME, due_at=due_at)


def ready(task: Task, *, rank: int, now: int, queue_deadline: int | None) -> Task:
    """A task that waits for nothing but room."""
    return evolve(
        task,
        status=target(task.status, Verb.READY),
        reason=Reason.AGENT,
        rank=rank,
        ready_at=now,
        queue_deadline=queue_deadline,
    )


def granted_at_once(
    task: Task, *, rank: int, queue_deadline: int | None, agent_id: str, session: int, fence: int, now: int
) -> Task:
    """A new task for which a slot is free: ready and granted in one step, and in one commit."""
    waiting = target(task.status, Verb.READY)
    attempt = Attempt(number=1, fence=fence, agent_id=agent_id, session=session, sent_at=now)
    return evolve(
        task,
        status=target(waiting, Verb.GRANT),
        rank=rank,
        queue_deadline=queue_deadline,
        ready_at=now,
        attempt=attempt,
        grants=1,
    )


def granted(task: Task, *, agent_id: str, session: int, fence: int, now: int) -> Task:
    """A task handed to an agent: its next attempt."""
    attempt = Attempt(number=task.grants + 1, fence=fence, agent_id=agent_id, session=session, sent_at=now)
    return evolve(
        task,
        status=target(task.status, Verb.GRANT),
        reason=Reason.NONE,
        attempt=attempt,
        grants=attempt.number,
    )


def started(task: Task, *, at: int, containment: str = "") -> Task:
    """The agent says that the work has begun. A task that is being stopped keeps its status."""
    assert task.attempt is not None
    status = task.status if task.status is TaskStatus.CANCELLING else target(task.status, Verb.START)
    return evolve(task, status=status, attempt=evolve(task.attempt, started_at=at, containment=containment))


def given_back(task: Task) -> Task:
    """A granted task whose work provably never began waits again, at its old place."""
    return evolve(task, status=target(task.status, Verb.GIVE_BACK), reason=Reason.AGENT, attempt=None)


def replayed(task: Task, *, queue_deadline: int | None) -> Task:
    """A replayable task whose agent does not have it any more waits again: at its old place, with a wait of its own."""
    return evolve(
        task,
        status=target(task.status, Verb.REPLAY),
        reason=Reason.AGENT,
        attempt=None,
        losses=task.losses + 1,
        queue_deadline=queue_deadline,
    )


def exhausted(task: Task, *, now: int) -> Task:
    """A replayable task that was lost with its agent too often."""
    return _ended(task, Verb.EXHAUST, Reason.INFRASTRUCTURE, "lost with its agent too often", now, may_have_run=True)


def lost(task: Task, *, now: int) -> Task:
    """A `once` task whose agent does not have it any more: nobody knows whether it ran."""
    unconfirmed = task.status is TaskStatus.CANCELLING
    reason = Reason.CANCEL_UNCONFIRMED if unconfirmed else Reason.AGENT_LOST
    return _ended(task, Verb.LOSE, reason, "its agent restarted and cannot tell", now, may_have_run=True)


def cancelled(task: Task, *, message: str, now: int) -> Task:
    """A waiting task that nobody wants any more."""
    return _ended(task, Verb.CANCEL, Reason.CANCELLED_BY_CALLER, message, now)


def stopping(task: Task, *, stop: Stop) -> Task:
    """A granted task that shall stop. Its agent is told until it answers."""
    return evolve(task, status=target(task.status, Verb.STOP), reason=stop.reason, message=stop.message, stop=stop)


def stopped(task: Task, *, now: int) -> Task:
    """A task that was being stopped and provably runs no more: cancelled, or timed out if a timer asked for it."""
    assert task.stop is not None
    by_caller = task.stop.reason is Reason.CANCELLED_BY_CALLER
    verb = Verb.CONFIRM_CANCEL if by_caller else Verb.CONFIRM_TIMEOUT
    return _ended(task, verb, task.stop.reason, task.stop.message, now)


def expired(task: Task, *, reason: Reason, message: str, now: int) -> Task:
    """A waiting task whose time is up."""
    return _ended(task, Verb.EXPIRE, reason, message, now)


def settled(task: Task, finished: Finished, *, now: int) -> Task:
    """A granted task as its agent's final word leaves it. Whether it had said that it began does not matter."""
    assert task.attempt is not None
    attempt = task.attempt
    if attempt.started_at is None:
        attempt = evolve(attempt, started_at=max(attempt.sent_at, now - int(finished.run_seconds * 1000)))
    begun = target(task.status, Verb.START) if task.status is TaskStatus.SENT else task.status
    return evolve(
        task,
        status=target(begun, _verb_of(task, begun, finished)),
        reason=_reason_of(task, finished),
        message=_message_of(task, finished),
        attempt=attempt,
        finished_at=now,
        payload=None,
    )


def _verb_of(task: Task, begun: TaskStatus, finished: Finished) -> Verb:
    """How an outcome settles a task. A stop that nobody here asked for is a failure, whatever the agent calls it."""
    if finished.outcome is Outcome.COMPLETED:
        return Verb.COMPLETE
    if finished.outcome is Outcome.FAILED or not finished.tree_gone:
        return Verb.FAIL
    if finished.outcome is Outcome.TIMEOUT and begun is TaskStatus.IN_PROGRESS:
        return Verb.TIME_OUT
    if task.stop is None:
        return Verb.FAIL
    by_caller = task.stop.reason is Reason.CANCELLED_BY_CALLER and finished.outcome is Outcome.CANCELLED
    return Verb.CONFIRM_CANCEL if by_caller else Verb.CONFIRM_TIMEOUT


def _reason_of(task: Task, finished: Finished) -> Reason:
    if finished.outcome is Outcome.CANCELLED and task.stop is not None and finished.tree_gone:
        return task.stop.reason
    return finished.reason


def _message_of(task: Task, finished: Finished) -> str:
    """What went wrong in the agent's words; without any, why a task was to stop that has stopped."""
    if finished.error is not None:
        return finished.error.message
    return task.stop.message if task.stop is not None and finished.outcome is Outcome.CANCELLED else ""


def _ended(task: Task, verb: Verb, reason: Reason, message: str, now: int, *, may_have_run: bool = False) -> Task:
    return evolve(
        task,
        status=target(task.status, verb),
        reason=reason,
        message=message,
        finished_at=now,
        may_have_run=may_have_run,
        payload=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """Everything that is known of a task, for people: its value, its payload, its end, its earlier attempts."""

    task: Task
    payload: bytes
    updated_at: int
    finished: Finished | None = None
    earlier: tuple[Superseded, ...] = ()

    @property
    def log_totals(self) -> dict[LogStream, int] | None:
        """The lengths of the output, or None while they are not known."""
        return dict(self.finished.log_totals) if self.finished else None
