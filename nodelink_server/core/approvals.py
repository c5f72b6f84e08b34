"""What people say about plans: this one may be applied, or not. Each word is kept with the digest of the plan, and
audited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import structlog

from nodelink.errors import (
    FieldError,
    InvalidTask,
    NotAllowed,
    PlanChanged,
    PlanNotWaiting,
    StoreConflict,
    TaskAlreadyFinished,
    TaskNotFound,
)
from nodelink.task import Reason, TaskStatus
from nodelink_server.core.attempt import Planned
from nodelink_server.core.changes import changed
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.losses import remark_on
from nodelink_server.core.plans import SHA256, approved
from nodelink_server.core.ports import Change, Clock, EventName, Store
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task, cancelled
from nodelink_server.core.task_record import RemarkKind
from nodelink_server.core.validation import MAX_REASON_CHARS

TRIES = 20

log = structlog.get_logger(__name__)


class Named(NamedTuple):
    """The plan that somebody means, by digests in hexadecimal, and what it changes. Empty: not said."""

    sha256: str = ""
    inputs_sha256: str = ""
    target: str = ""


class Approvals:
    """Carries out what people say about plans."""

    def __init__(self, *, store: Store, ledger: Ledger, ranking: Ranking, clock: Clock, tally: Tally) -> None:
        self._store = store
        self._ledger = ledger
        self._ranking = ranking
        self._clock = clock
        self._tally = tally

    async def approve(self, task_id: str, named: Named, *, message: str, by: str) -> None:
        """Let a task apply its plan, which has to be the one that is named.

        Raises `InvalidTask`, `TaskNotFound`, `TaskAlreadyFinished`, `PlanNotWaiting`, `PlanChanged`,
        `NotAllowed`.
        """
        _check(named, message, is_needed=True)
        await self._decide(task_id, lambda task: self._approved(task, named, message, by))
        self._tally.approvals["approved"] += 1
        log.info("plan_approved", task_id=task_id, plan=named.sha256, by=by)

    async def reject(self, task_id: str, named: Named, *, message: str, by: str) -> None:
        """End a task whose plan waits for an approval. Raises as `approve`; no digest: whichever plan waits."""
        _check(named, message, is_needed=False)
        await self._decide(task_id, lambda task: self._rejected(task, named, message, by))
        self._tally.approvals["rejected"] += 1
        log.info("plan_rejected", task_id=task_id, plan=named.sha256, by=by)

    async def _decide(self, task_id: str, decide: Callable[[Task], Change]) -> None:
        for _ in range(TRIES):
            found = await self._store.find([task_id])
            if not found:
                raise TaskNotFound(f"there is no task {task_id[:64]}")
            if found[0].is_terminal:
                raise TaskAlreadyFinished(f"the task has already finished: {found[0].status}")
            committed = await self._ledger.commit([decide(found[0])])
            if committed.revisions[0]:
                return
        raise StoreConflict("the task changes faster than anything can be decided about it; try again")

    def _approved(self, task: Task, named: Named, message: str, by: str) -> Change:
        plan = _waiting_plan(task, named)
        if task.spec.approval_by_other and by == task.caller:
            raise NotAllowed(f"{by!r} has submitted the task, and somebody else has to approve its plan")
        now = self._clock.now()
        after = approved(task, by=by, now=now, queue_deadline=self._ranking.queue_deadline(task.spec))
        remark = remark_on(task, RemarkKind.APPROVED, now, text=_words(plan, message), by=by)
        return changed(task, after, EventName.TASK_APPLY_PENDING, remark=remark)

    def _rejected(self, task: Task, named: Named, message: str, by: str) -> Change:
        plan, now = _waiting_plan(task, named), self._clock.now()
        after = cancelled(task, message=message, now=now, reason=Reason.APPROVAL_DENIED)
        remark = remark_on(task, RemarkKind.REJECTED, now, text=_words(plan, message), by=by)
        return changed(task, after, EventName.TASK_CANCELLED, remark=remark)


def _waiting_plan(task: Task, named: Named) -> Planned:
    """The plan that waits for an approval, if it is the one that is named. Raises `PlanNotWaiting`, `PlanChanged`."""
    record = task.plan
    if record is None:
        raise PlanNotWaiting(f"the task has no plan that could be approved; it is {task.status}")
    if task.status is not TaskStatus.PLAN_COMPLETED:
        raise PlanNotWaiting(f"plan {record.plan.sha256} was approved by {record.approved_by!r} before")
    plan = record.plan
    ours = Named(plan.sha256, plan.inputs_sha256, plan.target)
    compared = zip(("has the SHA-256", "was made from", "changes"), ours, named, strict=True)
    wrong = [f"{what} {mine!r}, and not {theirs!r}" for what, mine, theirs in compared if theirs not in ("", mine)]
    if wrong:
        raise PlanChanged(f"the plan that waits {' and '.join(wrong)}")
    return record


def _words(record: Planned, message: str) -> str:
    """What is kept, and audited: which plan, and why."""
    return f"plan {record.plan.sha256}{f': {message}' if message else ''}"


def _check(named: Named, message: str, *, is_needed: bool) -> None:
    errors = []
    if (is_needed or named.sha256) and not SHA256.fullmatch(named.sha256):
        errors.append(FieldError("plan_sha256", "must be the SHA-256 of the plan: 64 small hexadecimal digits"))
    if named.inputs_sha256 and not SHA256.fullmatch(named.inputs_sha256):
        errors.append(FieldError("inputs_sha256", "must be a SHA-256: 64 small hexadecimal digits"))
    if len(message) > MAX_REASON_CHARS:
        errors.append(FieldError("message", f"must have at most {MAX_REASON_CHARS:,} characters"))
    if errors:
        raise InvalidTask(*errors)
