"""Task and Attempt: frozen values. Every move is a function from a value to the next one, and asks the table first.

Moments are wall-clock milliseconds, for people; `rank` and `queue_deadline` are in control time (`core/clock.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from nodelink.plan import PLAN_AND_APPLY
from nodelink.task import (
    TERMINAL,
    AttemptRef,
    Execution,
    Finished,
    Outcome,
    Reason,
    TaskSpec,
    TaskStatus,
)
from nodelink.values import evolve, value
from nodelink_server.core.attempt import Attempt, Extension, Hold, Planned, Stop
from nodelink_server.core.states import GRANTED, HOLDING, WAITING, Verb, target


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
    deaths: int = 0
    failures: int = 0
    """How many attempts have failed or run out of time, after each of which it was, or is to be, tried again."""
    retry_at: int | None = None
    """When it is to be tried again, in control time; None: it waits for no such time."""
    total_deadline: int | None = None
    """When it has to have ended, in control time; None: never."""
    fair_tag: int | None = None
    """Its place in the line in which the fairness keys of its pool take turns, in control time; None: it has no key."""
    given_up_key: bool = False
    """Whether another task has its unique key by now, though it has not ended itself."""
    stop: Stop | None = None
    finished_at: int | None = None
    may_have_run: bool = False
    payload: bytes | None = None
    traceparent: str = ""
    retry_of: str = ""
    plan: Planned | None = None
    """The plan that it has made; once it is approved, what is to be applied."""
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
    def has_plan(self) -> bool:
        """Whether it has made a plan."""
        return self.plan is not None

    @property
    def phase_execution(self) -> Execution:
        """The class by which it starts and recovers now: as long as a plan_and_apply plans, it can be started again."""
        if self.execution is Execution.EXCLUSIVE and self.plan is None and self.spec.type == PLAN_AND_APPLY:
            return Execution.REPLAYABLE
        return self.execution

    @property
    def holds(self) -> tuple[Hold, ...]:
        """The places that it has: of its attempt, and between its plan and its apply what it keeps."""
        if self.status not in HOLDING:
            return ()
        if self.attempt is not None:
            return self.attempt.holds
        return self.plan.holds if self.plan is not None else ()

    @property
    def lock(self) -> str:
        """The lock that it must hold while it is with an agent; empty: none."""
        if self.execution is Execution.EXCLUSIVE and not self.spec.lock:
            return f"task:{self.id}"
        return self.spec.lock

    @property
    def unique_key(self) -> str:
        """The key of which it is the only live task; empty: it needs none, or has it no more."""
        return "" if self.is_terminal or self.given_up_key else self.spec.unique_key

    @property
    def shared_keys(self) -> Sequence[str]:
        """The keys that it names beside its lock: of limits, of rates, of its workspace."""
        spec = self.spec
        if not (spec.limits or spec.rates or spec.workspace):
            return ()
        workspace = [workspace_key(spec.workspace)] if spec.workspace else []
        return [*spec.limits, *(rate_key(name) for name in spec.rates), *workspace]

    @property
    def ref(self) -> AttemptRef:
        """The name of the current execution. Only for a task that has an attempt."""
        assert self.attempt is not None
        return AttemptRef(self.id, self.attempt.number, self.attempt.fence)


ASKED_FOR = frozenset({Reason.CANCELLED_BY_CALLER, Reason.SUPERSEDED})
"""Why a task is to stop that ends as cancelled. What a timer stops ends as timed out."""


def workspace_key(name: str) -> str:
    """The key that the tasks of a workspace share. No caller can write it: it begins with a control character."""
    return f"\x1fworkspace:{name}"


def rate_key(name: str) -> str:
    """The key of a rate; that of a limit of the same name is another."""
    return f"\x1frate:{name}"


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


def ready(task: Task, *, rank: int, now: int, queue_deadline: int | None, fair_tag: int | None = None) -> Task:
    """A task that waits for nothing but room."""
    return evolve(
        task,
        status=target(task.status, Verb.READY),
        reason=Reason.AGENT,
        message="",
        retry_at=None,
        rank=rank,
        ready_at=now,
        queue_deadline=queue_deadline,
        fair_tag=fair_tag,
    )


def granted_at_once(
    task: Task,
    *,
    rank: int,
    queue_deadline: int | None,
    agent_id: str,
    session: int,
    fence: int,
    now: int,
    lease_ms: int | None = None,
    fair_tag: int | None = None,
    holds: tuple[Hold, ...] = (),
) -> Task:
    """A new task for which a slot is free: ready and granted in one step, and in one commit."""
    waiting = target(task.status, Verb.READY)
    attempt = Attempt(
        number=1, fence=fence, agent_id=agent_id, session=session, sent_at=now, lease_ms=lease_ms, holds=holds
    )
    return evolve(
        task,
        status=target(waiting, Verb.GRANT),
        rank=rank,
        fair_tag=fair_tag,
        queue_deadline=queue_deadline,
        ready_at=now,
        attempt=attempt,
        grants=1,
    )


def granted(
    task: Task,
    *,
    agent_id: str,
    session: int,
    fence: int,
    now: int,
    lease_ms: int | None = None,
    holds: tuple[Hold, ...] = (),
) -> Task:
    """A task handed to an agent: its next attempt. `holds`: the places that it was given."""
    attempt = Attempt(
        number=task.grants + 1,
        fence=fence,
        agent_id=agent_id,
        session=session,
        sent_at=now,
        lease_ms=lease_ms,
        holds=holds,
    )
    return evolve(
        task,
        status=target(task.status, Verb.GRANT),
        reason=Reason.NONE,
        attempt=attempt,
        grants=attempt.number,
    )


def granted_again(task: Task, *, session: int) -> Task:
    """A granted task whose agent has accepted it and has not heard of the grant: the same attempt, in a new session."""
    assert task.attempt is not None
    return evolve(task, attempt=evolve(task.attempt, session=session))


def started(task: Task, *, at: int, containment: str = "") -> Task:
    """The agent says that the work has begun. A task that runs already, or is being stopped, keeps its status."""
    assert task.attempt is not None
    status = target(task.status, Verb.START) if task.status is TaskStatus.SENT else task.status
    return evolve(task, status=status, attempt=evolve(task.attempt, started_at=at, containment=containment))


def extended(task: Task, *, extension: Extension, total_deadline: int | None) -> Task:
    """A task that is with an agent has other limits."""
    assert task.attempt is not None
    return evolve(
        task,
        status=target(task.status, Verb.EXTEND),
        attempt=evolve(task.attempt, extension=extension),
        total_deadline=total_deadline,
    )


def given_back(task: Task) -> Task:
    """A granted task whose work provably never began waits again, at its old place."""
    verb = Verb.GIVE_BACK_APPLY if task.has_plan else Verb.GIVE_BACK
    return evolve(task, status=target(task.status, verb), reason=Reason.AGENT, attempt=None)


def replayed(task: Task, *, queue_deadline: int | None, died: bool = False) -> Task:
    """A replayable task whose agent does not have it any more waits again: at its old place, with a wait of its own."""
    return evolve(
        task,
        status=target(task.status, Verb.REPLAY),
        reason=Reason.AGENT,
        attempt=None,
        losses=task.losses + 1,
        deaths=task.deaths + died,
        queue_deadline=queue_deadline,
    )


def drained(task: Task, *, queue_deadline: int | None) -> Task:
    """A replayable task that was stopped because its agent is drained waits again: at its old place, with a wait of its
    own. It has not failed, and was not lost.
    """
    return evolve(
        task,
        status=target(task.status, Verb.DRAIN),
        reason=Reason.AGENT,
        message="",
        attempt=None,
        queue_deadline=queue_deadline,
    )


def prioritized(task: Task, *, priority: int, rank: int) -> Task:
    """A task without an agent that is more or less important from now on. It waits as before, at another place."""
    spec = evolve(task.spec, priority=priority)
    return evolve(task, status=target(task.status, Verb.PRIORITIZE), spec=spec, rank=rank)


def retried(task: Task, *, retry_at: int, message: str) -> Task:
    """A granted task that has failed and is to be tried again, at a moment of control time: from its beginning, with
    another plan if it makes one.
    """
    return evolve(
        task,
        status=target(task.status, Verb.RETRY),
        reason=Reason.RETRY,
        message=message,
        attempt=None,
        failures=task.failures + 1,
        due_at=None,
        retry_at=retry_at,
        queue_deadline=None,
        plan=None,
    )


def exhausted(task: Task, *, now: int) -> Task:
    """A replayable task that was lost with its agent too often."""
    return _ended(task, Verb.EXHAUST, Reason.INFRASTRUCTURE, "lost with its agent too often", now, may_have_run=True)


def poisoned(task: Task, *, now: int) -> Task:
    """A replayable task during which agents have died: no other one is to die of it."""
    message = f"{task.deaths + 1} agents died while they ran it"
    return _ended(evolve(task, deaths=task.deaths + 1), Verb.EXHAUST, Reason.POISON, message, now, may_have_run=True)


def lost(task: Task, *, message: str, now: int) -> Task:
    """A `once` task of which its agent cannot tell any more: nobody knows whether it ran."""
    unconfirmed = task.status is TaskStatus.CANCELLING
    reason = Reason.CANCEL_UNCONFIRMED if unconfirmed else Reason.AGENT_LOST
    return _ended(task, Verb.LOSE, reason, message, now, may_have_run=True)


def doubted(task: Task, *, message: str) -> Task:
    """An exclusive task of which its agent cannot tell: it keeps its lock until the agent can, or a person decides."""
    return evolve(
        task, status=target(task.status, Verb.DOUBT), reason=Reason.AGENT_LOST, message=message, may_have_run=True
    )


def recovered(task: Task) -> Task:
    """A task in doubt whose agent has it after all. If it is to stop, it goes on being stopped."""
    after = evolve(task, status=target(task.status, Verb.RECOVER), reason=Reason.NONE, message="", may_have_run=False)
    return after if task.stop is None else stopping(after, stop=task.stop)


def abandoned(task: Task, *, message: str, now: int) -> Task:
    """A live task of which a person wants to hear no more."""
    may_have_run = task.status in GRANTED or task.losses > 0
    return _ended(task, Verb.ABANDON, Reason.ABANDONED, message, now, may_have_run=may_have_run)


def resolved(task: Task, *, completed: bool, message: str, now: int) -> Task:
    """A task in doubt of which a person knows how it ended."""
    verb = Verb.RESOLVE_COMPLETED if completed else Verb.RESOLVE_FAILED
    return _ended(task, verb, Reason.RESOLVED, message, now)


def rerun(task: Task, *, queue_deadline: int | None) -> Task:
    """A task in doubt that a person wants to run again, however long that takes. The attempt in doubt counts no more,
    and nor does a stop, or a plan.
    """
    return evolve(
        task,
        status=target(task.status, Verb.RERUN),
        reason=Reason.AGENT,
        message="",
        attempt=None,
        stop=None,
        total_deadline=None,
        may_have_run=False,
        losses=task.losses + 1,
        queue_deadline=queue_deadline,
        plan=None,
    )


def revived(task: Task, *, queue_deadline: int | None) -> Task:
    """A granted task of a checkpoint of which a person says that nothing of it runs any more: it waits again, from its
    beginning.
    """
    return evolve(
        task,
        status=target(task.status, Verb.REVIVE),
        reason=Reason.AGENT,
        message="",
        attempt=None,
        queue_deadline=queue_deadline,
        plan=None,
    )


def stop_wanted(task: Task, *, stop: Stop) -> Task:
    """A task in doubt that shall stop, should its agent have it after all."""
    return evolve(task, stop=stop)


def cancelled(task: Task, *, message: str, now: int, reason: Reason = Reason.CANCELLED_BY_CALLER) -> Task:
    """A waiting task that nobody wants any more."""
    return _ended(task, Verb.CANCEL, reason, message, now)


def key_given_up(task: Task) -> Task:
    """A live task whose unique key is another's from now on."""
    return evolve(task, given_up_key=True)


def stopping(task: Task, *, stop: Stop) -> Task:
    """A granted task that shall stop. Its agent is told until it answers."""
    return evolve(task, status=target(task.status, Verb.STOP), reason=stop.reason, message=stop.message, stop=stop)


def stopped(task: Task, *, now: int, may_have_run: bool = False) -> Task:
    """A task that was being stopped and provably runs no more: cancelled, or timed out if a timer asked for it.

    `may_have_run`: it had begun, and how far it came is not known.
    """
    assert task.stop is not None
    verb = Verb.CONFIRM_CANCEL if task.stop.reason in ASKED_FOR else Verb.CONFIRM_TIMEOUT
    return _ended(task, verb, task.stop.reason, task.stop.message, now, may_have_run=may_have_run)


def skipped(task: Task, *, now: int) -> Task:
    """A task that is ready, that does not wait for places, and for which there are none."""
    message = "what it may not wait for was taken when it was ready"
    return evolve(_ended(task, Verb.SKIP, Reason.LIMIT, message, now), payload=task.payload)


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
    is_done = finished.outcome is Outcome.COMPLETED
    return evolve(
        task,
        status=target(begun, Verb.COMPLETE if is_done else _verb_of(task, begun, finished)),
        reason=finished.reason if is_done else _reason_of(task, finished),
        message="" if is_done and finished.error is None else _message_of(task, finished),
        attempt=attempt,
        finished_at=now,
        may_have_run=False,
        payload=None,
    )


def never_ran(task: Task, *, message: str, now: int) -> Task:
    """A task in doubt of which its agent can prove that it never began."""
    if task.stop is not None:
        return stopped(task, now=now)
    return _ended(task, Verb.FAIL, Reason.INFRASTRUCTURE, message, now)


def _verb_of(task: Task, begun: TaskStatus, finished: Finished) -> Verb:
    """How an outcome other than completion settles a task. A stop that nobody here asked for is a failure, whatever
    the agent calls it.
    """
    if finished.outcome is Outcome.FAILED or not finished.tree_gone:
        return Verb.FAIL
    if finished.outcome is Outcome.TIMEOUT and begun is TaskStatus.IN_PROGRESS:
        return Verb.TIME_OUT
    if finished.outcome is Outcome.TIMEOUT and begun is TaskStatus.UNKNOWN:
        return Verb.CONFIRM_TIMEOUT
    if task.stop is None:
        return Verb.FAIL
    is_asked_for = task.stop.reason in ASKED_FOR and finished.outcome is Outcome.CANCELLED
    return Verb.CONFIRM_CANCEL if is_asked_for else Verb.CONFIRM_TIMEOUT


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
