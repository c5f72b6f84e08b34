"""The steps of tasks' lives, as changes that the core's own functions make of a stored task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext

from nodelink.task import DEFAULT_PRIORITY, Execution, Finished, LogStream, Outcome, Reason, TaskSpec, TaskStatus
from nodelink.values import evolve
from nodelink_server.core import task as moves
from nodelink_server.core.attempt import Hold, Stop, Superseded
from nodelink_server.core.changes import changed
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.fairness import Fairness
from nodelink_server.core.losses import ENDED_EVENT, Losses, found_again, never_began, remark_on
from nodelink_server.core.ports import AgentRecord, Change, EventName, IdempotencyKey, RateUse
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.task import Task, rate_key, workspace_key
from nodelink_server.core.task_record import RemarkKind

E = EventName
START_MS = 1_700_000_000_000

Step = Callable[[Task, int], Change | None]
"""What becomes of a task at a moment; None: nothing does."""


class StillClock:
    """A clock that stands: ranks need one."""

    def now(self) -> int:
        """Always the same moment."""
        return START_MS

    def monotonic(self) -> float:
        """Always the same moment."""
        return 0.0

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Nobody waits by it."""
        return nullcontext()

    async def sleep(self, seconds: float) -> None:
        """Return at once."""


_CONTROL = ControlTime(StillClock())
_LOSSES = Losses(Ranking(_CONTROL, Fairness(_CONTROL)))


def new_task(
    task_id: str,
    *,
    now: int,
    execution: Execution = Execution.REPLAYABLE,
    lock: str = "",
    rank: int = 0,
    payload: bytes = b"{}",
    metadata: Mapping[str, str] | None = None,
    fair_tag: int | None = None,
    asked: Mapping[str, object] | None = None,
) -> Task:
    """A task that is ready to run, and not stored yet. `asked`: what else its submitter asks for, by field."""
    spec = TaskSpec(
        type=execution.value,
        priority=DEFAULT_PRIORITY,
        lock=lock,
        metadata=metadata or {},
        **(asked or {}),  # type: ignore[arg-type]  # names of fields
    )
    task = Task(id=task_id, spec=spec, execution=execution, created_at=now, payload=payload)
    return moves.ready(task, rank=rank, now=now, queue_deadline=None, fair_tag=fair_tag)


def submit(task: Task, idempotency: IdempotencyKey | None = None) -> Change:
    """A new task comes in."""
    return Change(task=task, expected=0, events=(E.TASK_CREATED, E.TASK_PENDING), idempotency=idempotency)


def grant(task: Task, *, agent_id: str, fence: int, now: int, at: int = 0) -> Change:
    """It is handed to an agent, with the places that it needs: of those with several, the one with the number `at`."""
    lease = 600_000 if task.execution is Execution.REPLAYABLE else 30_000
    holds = places_for(task, at)
    after = moves.granted(task, agent_id=agent_id, session=1, fence=fence, now=now, lease_ms=lease, holds=holds)
    since = now - START_MS
    uses = [RateUse(rate_key(key), at % most, since, since + per) for key, (most, per) in task.spec.rates.items()]
    return changed(task, after, E.TASK_SENT, uses=tuple(uses))


def places_for(task: Task, at: int) -> tuple[Hold, ...]:
    """The places of a task's lock, of its limits, and of its workspace."""
    spec = task.spec
    single = [Hold(key) for key in (task.lock, spec.workspace and workspace_key(spec.workspace)) if key]
    return (*single, *(Hold(key, at % most) for key, most in spec.limits.items() if key != task.lock))


def start(task: Task, now: int) -> Change | None:
    """Its agent says that it has begun."""
    return changed(task, moves.started(task, at=now, containment="cgroup"), E.TASK_STARTED)


def complete(task: Task, now: int) -> Change | None:
    """Its agent says that it went well."""
    return _settle(task, Finished(outcome=Outcome.COMPLETED, output=b'"%d"' % now), now)


def fail(task: Task, now: int) -> Change | None:
    """Its agent says that it went wrong."""
    totals = {LogStream.STDOUT: now % 7, LogStream.STDERR: 0}
    finished = Finished(outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=7, log_totals=totals)
    return _settle(task, finished, now)


def confirm_stop(task: Task, now: int) -> Change | None:
    """Its agent has stopped it."""
    return _settle(task, Finished(outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER), now)


def give_back(task: Task, now: int) -> Change | None:
    """It never began."""
    return never_began(task, now=now)


def lose(task: Task, now: int) -> Change | None:
    """Its agent has lost it: what follows depends on its class."""
    return _LOSSES.lost(task, why="its agent does not have it any more", now=now, died=now % 2 == 0)


def find_again(task: Task, now: int) -> Change | None:
    """Its agent has it after all."""
    return found_again(task, now=now)


def stop(task: Task, now: int) -> Change | None:
    """Somebody wants it to stop."""
    asked = Stop(reason=Reason.CANCELLED_BY_CALLER, message="enough", grace_ms=500, asked_at=now)
    return changed(task, moves.stopping(task, stop=asked), E.TASK_CANCELLING)


def cancel(task: Task, now: int) -> Change | None:
    """Nobody wants it any more, before it was granted."""
    return changed(task, moves.cancelled(task, message="not needed", now=now), E.TASK_CANCELLED)


def reorder(task: Task, now: int) -> Change | None:
    """It goes before others, or behind them."""
    return changed(task, evolve(task, rank=task.rank + 2 - now % 5, fair_tag=task.fair_tag and now - START_MS))


def give_up_key(task: Task) -> Change:
    """Another is to have its unique key."""
    return changed(task, moves.key_given_up(task))


def abandon(task: Task, now: int) -> Change | None:
    """A person wants to hear no more of it."""
    remark = remark_on(task, RemarkKind.ABANDONED, now, text="given up", by="someone")
    return changed(task, moves.abandoned(task, message="given up", now=now), E.TASK_FAILED, remark=remark)


def resolve(task: Task, now: int) -> Change | None:
    """A person knows how it ended."""
    after = moves.resolved(task, completed=now % 2 == 0, message="seen", now=now)
    remark = remark_on(task, RemarkKind.RESOLVED, now, text="seen", by="someone")
    return changed(task, after, ENDED_EVENT[after.status], remark=remark)


def rerun(task: Task, now: int) -> Change | None:
    """A person wants it to run again."""
    assert task.attempt is not None
    superseded = Superseded(attempt=task.attempt, state="lost", ended_at=now)
    remark = remark_on(task, RemarkKind.RERUN, now, text="once more", by="someone")
    after = moves.rerun(task, queue_deadline=None)
    return changed(task, after, E.TASK_PENDING, superseded=superseded, remark=remark)


def _settle(task: Task, finished: Finished, now: int) -> Change:
    """Its agent's last word. One that had not said that it began says so too."""
    after = moves.settled(task, finished, now=now)
    begins = task.status is TaskStatus.SENT
    events = [E.TASK_STARTED, ENDED_EVENT[after.status]] if begins else [ENDED_EVENT[after.status]]
    return changed(task, after, *events, finished=finished)


LEGAL: Mapping[TaskStatus, tuple[Step, ...]] = {
    TaskStatus.PENDING: (cancel, abandon),
    TaskStatus.SENT: (start, complete, fail, give_back, lose, stop, abandon),
    TaskStatus.IN_PROGRESS: (complete, fail, lose, stop, abandon),
    TaskStatus.CANCELLING: (complete, fail, confirm_stop, give_back, lose, abandon),
    TaskStatus.UNKNOWN: (complete, fail, give_back, find_again, resolve, rerun, abandon),
}
"""What can happen to a task that is not granted in that moment."""


def agent_record(agent_id: str, session: int, *, now: int = START_MS) -> AgentRecord:
    """An agent that said hello."""
    return AgentRecord(
        id=agent_id,
        secret_hash=b"\x01",
        session=session,
        host_id="host",
        name="an agent",
        pool="default",
        slots=5,
        handlers={"replayable": Execution.REPLAYABLE},
        labels={},
        software_version="0",
        first_seen_at=START_MS,
        last_seen_at=now,
    )
