"""What only a person may decide: that a task is given up, or what became of one whose end is not known."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import structlog

from nodelink.errors import StoreConflict, TaskAlreadyFinished, TaskNotFound, TaskNotInDoubt
from nodelink.task import TaskStatus
from nodelink_server.core.attempt import Superseded
from nodelink_server.core.changes import changed
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.losses import ENDED_EVENT, remark_on
from nodelink_server.core.ports import Change, Clock, EventName, Store
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.task import Task, abandoned, rerun, resolved
from nodelink_server.core.task_record import RemarkKind
from nodelink_server.core.validation import check_reason

TRIES = 20

log = structlog.get_logger(__name__)


class Resolution(StrEnum):
    """What a person says became of a task whose end is not known. The names are public."""

    COMPLETED = "completed"
    FAILED = "failed"
    RERUN = "rerun"


class Decisions:
    """Carries out what people decide about tasks. Each decision is kept with its reason, and audited."""

    def __init__(
        self,
        *,
        store: Store,
        ledger: Ledger,
        ranking: Ranking,
        clock: Clock,
        leave_alone: Callable[[Task], None],
    ) -> None:
        """`leave_alone` is called with a task whose attempt counts no more, so that its agent can be told."""
        self._store = store
        self._ledger = ledger
        self._ranking = ranking
        self._clock = clock
        self._leave_alone = leave_alone

    async def abandon(self, task_id: str, *, reason: str, by: str) -> None:
        """End a live task as failed, whatever its agent does.

        Raises `InvalidTask`, `TaskNotFound`, `TaskAlreadyFinished`.
        """
        check_reason(reason)
        before = await self._decide(task_id, lambda task: self._abandoned(task, reason, by))
        log.warning("task_abandoned", task_id=task_id, by=by, why=reason)
        self._leave_alone(before)

    async def resolve(self, task_id: str, *, resolution: Resolution, reason: str, by: str) -> None:
        """Say what became of a task whose end is not known.

        Raises `InvalidTask`, `TaskNotFound`, `TaskAlreadyFinished`, `TaskNotInDoubt`.
        """
        check_reason(reason)
        before = await self._decide(task_id, lambda task: self._resolved(task, resolution, reason, by))
        log.warning("task_resolved", task_id=task_id, resolution=resolution, by=by, why=reason)
        self._leave_alone(before)

    async def _decide(self, task_id: str, decide: Callable[[Task], Change]) -> Task:
        """Commit a decision about a task as it stands. Returns the task as it stood before."""
        for _ in range(TRIES):
            found = await self._store.find([task_id])
            if not found:
                raise TaskNotFound(f"there is no task {task_id[:64]}")
            task = found[0]
            if task.is_terminal:
                raise TaskAlreadyFinished(f"the task has already finished: {task.status}")
            committed = await self._ledger.commit([decide(task)])
            if committed.revisions[0]:
                return task
        raise StoreConflict("the task changes faster than anything can be decided about it; try again")

    def _abandoned(self, task: Task, reason: str, by: str) -> Change:
        now = self._clock.now()
        remark = remark_on(task, RemarkKind.ABANDONED, now, text=reason, by=by)
        return changed(task, abandoned(task, message=reason, now=now), EventName.TASK_FAILED, remark=remark)

    def _resolved(self, task: Task, resolution: Resolution, reason: str, by: str) -> Change:
        if task.status is not TaskStatus.UNKNOWN:
            raise TaskNotInDoubt(f"only what is unknown can be resolved; the task is {task.status}")
        now = self._clock.now()
        if resolution is Resolution.RERUN:
            return self._rerun(task, reason, by, now)
        after = resolved(task, completed=resolution is Resolution.COMPLETED, message=reason, now=now)
        remark = remark_on(task, RemarkKind.RESOLVED, now, text=reason, by=by)
        return changed(task, after, ENDED_EVENT[after.status], remark=remark)

    def _rerun(self, task: Task, reason: str, by: str, now: int) -> Change:
        """The attempt in doubt is left behind: the next one's fence is greater."""
        assert task.attempt is not None
        deadline = self._ranking.queue_deadline(task.spec)
        return changed(
            task,
            rerun(task, queue_deadline=deadline),
            EventName.TASK_PENDING,
            superseded=Superseded(attempt=task.attempt, state="lost", ended_at=now, plan=task.plan),
            remark=remark_on(task, RemarkKind.RERUN, now, text=reason, by=by),
        )
