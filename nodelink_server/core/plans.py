"""What becomes of a plan: made by an attempt, shown, approved as it is and not otherwise, or rejected, or too late.

The moves of a task between its plan and its apply. What may be applied is the plan whose digest was approved.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from nodelink.plan import PLAN, Plan, is_planning
from nodelink.task import (
    AttemptRef,
    ErrorCategory,
    Finished,
    LogStream,
    Outcome,
    Reason,
    TaskError,
    TaskResponse,
    TaskSpec,
    TaskStatus,
)
from nodelink.values import evolve
from nodelink_server.core.attempt import PLANNED, Attempt, Failure, Planned, Superseded
from nodelink_server.core.blob_ports import AttemptArtifact, AttemptArtifacts
from nodelink_server.core.changes import changed
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.limits import keys_of
from nodelink_server.core.losses import ENDED_EVENT
from nodelink_server.core.ports import Change, EventName
from nodelink_server.core.states import Verb, target
from nodelink_server.core.task import Task, stopped

DAY_MS = 24 * 3600 * 1000
MAX_TARGET_CHARS = 1_000
MAX_SUMMARY_CHARS = 16_384
MAX_NAME_CHARS = 63
LARGEST_SIZE = (1 << 63) - 1
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def plans_now(task: Task) -> bool:
    """Whether the work of a task is to make a plan, as it stands."""
    return is_planning(task.spec.type, has_plan=task.has_plan)


async def without_bytes(blobs: AttemptArtifacts, responses: Iterable[TaskResponse]) -> Collection[AttemptRef]:
    """Attempts that tell of a plan whose bytes are not where they say. Asks only if there are plans, and once for all.

    What an attempt gives to the server is there before its end is told, and stays. Raises `StoreUnavailable`.
    """
    told = [
        AttemptArtifact(ref, update.plan_artifact, update.plan.sha256)
        for ref, update in responses
        if isinstance(update, Finished) and update.plan is not None and update.plan_artifact
    ]
    if not told:
        return ()
    there = await blobs.there(told)
    return {one.ref for one in told if one not in there}


def checked_plan(task: Task, finished: Finished, *, has_bytes: bool) -> Finished:
    """An end as it counts: whose work was a plan has failed without one, and nobody else has made one.

    `has_bytes`: the bytes of the plan are where the end tells.
    """
    if not plans_now(task) or finished.outcome is not Outcome.COMPLETED:
        return without_plan(finished)
    category = ErrorCategory.HANDLER
    wrong = "it has told no plan" if finished.plan is None else _problem(finished.plan)
    if not wrong and finished.plan is not None and not has_bytes:
        category = ErrorCategory.INTERNAL
        wrong = f"its plan {finished.plan.sha256} is not its artifact {finished.plan_artifact[:MAX_NAME_CHARS]!r}"
    if not wrong:
        return finished
    error = TaskError(category, f"{wrong}, so there is nothing that could be applied")
    return replace(without_plan(finished), outcome=Outcome.FAILED, reason=Reason.HANDLER_ERROR, error=error)


def without_plan(finished: Finished) -> Finished:
    """An end as it is kept: its plan is the task's, or nobody's."""
    return finished if finished.plan is None else replace(finished, plan=None, plan_artifact="")


def is_planned(task: Task, finished: Finished) -> bool:
    """Whether an attempt has made the plan that its task is to apply when it is approved."""
    return finished.plan is not None and task.spec.type != PLAN


class Plans:
    """Says what follows when a plan is made. `timeout_ms`: how long it waits for an approval unless its task says."""

    def __init__(self, control: ControlTime, *, timeout_ms: int = DAY_MS) -> None:
        self._control = control
        self._timeout_ms = timeout_ms

    def made(self, task: Task, finished: Finished, *, now: int) -> Change:
        """A plan is made that is to be applied: its task waits for an approval. If it was to stop, it ends."""
        assert task.attempt is not None
        assert finished.plan is not None
        if task.stop is not None:
            after = stopped(task, now=now)
            return changed(task, after, ENDED_EVENT[after.status])
        kept = keys_of(task)
        holds = tuple(hold for hold in task.attempt.holds if hold.key in kept)
        record = Planned(finished.plan, task.attempt.number, now, holds)
        attempt = _begun(task.attempt, finished, now)
        superseded = Superseded(
            attempt=attempt, state=PLANNED, ended_at=now, failure=_end_of(finished, now), plan=record._replace(holds=())
        )
        after = planned(task, record, deadline=self._control.now() + self.timeout_of(task.spec))
        return changed(task, after, EventName.TASK_PLAN_COMPLETED, superseded=superseded)

    def timeout_of(self, spec: TaskSpec) -> int:
        """How many milliseconds the plan of a task may wait for an approval."""
        return self._timeout_ms if spec.approval_timeout_ms is None else spec.approval_timeout_ms


def planned(task: Task, record: Planned, *, deadline: int) -> Task:
    """A task whose plan is made. It keeps its places, and waits with no agent for an approval until the deadline."""
    begun = target(task.status, Verb.START) if task.status is TaskStatus.SENT else task.status
    return evolve(
        task,
        status=target(begun, Verb.PLAN),
        reason=Reason.APPROVAL,
        message="",
        attempt=None,
        plan=record,
        queue_deadline=deadline,
    )


def approved(task: Task, *, by: str, now: int, queue_deadline: int | None) -> Task:
    """A task whose plan may be applied. It waits for an agent that has nothing else to do, at its old place."""
    assert task.plan is not None
    return evolve(
        task,
        status=target(task.status, Verb.APPROVE),
        reason=Reason.AGENT,
        message="",
        plan=task.plan._replace(approved_by=by, approved_at=now),
        ready_at=now,
        queue_deadline=queue_deadline,
    )


def with_plan(task: Task, finished: Finished) -> Task:
    """A task that ends with the plan that was all its work."""
    if finished.plan is None or task.attempt is None or task.finished_at is None:
        return task
    return evolve(task, plan=Planned(finished.plan, task.attempt.number, task.finished_at))


def _begun(attempt: Attempt, finished: Finished, now: int) -> Attempt:
    if attempt.started_at is not None:
        return attempt
    return evolve(attempt, started_at=max(attempt.sent_at, now - int(finished.run_seconds * 1000)))


def _end_of(finished: Finished, now: int) -> Failure:
    """What is kept of the end of an attempt that has planned."""
    return Failure(
        reason="",
        message="",
        next_at=now,
        exit_code=finished.exit_code,
        stdout_total=finished.log_totals.get(LogStream.STDOUT),
        stderr_total=finished.log_totals.get(LogStream.STDERR),
    )


def _problem(plan: Plan) -> str:
    """What is wrong with a plan as it was told; empty: nothing."""
    if not SHA256.fullmatch(plan.sha256) or (plan.inputs_sha256 and not SHA256.fullmatch(plan.inputs_sha256)):
        return "the digests of its plan are no SHA-256 in small hexadecimal letters"
    if not 0 <= plan.size <= LARGEST_SIZE:
        return f"the size of its plan is {plan.size}"
    if len(plan.target) > MAX_TARGET_CHARS:
        return f"the target of its plan has more than {MAX_TARGET_CHARS:,} characters"
    if len(plan.summary) > MAX_SUMMARY_CHARS:
        return f"the summary of its plan has more than {MAX_SUMMARY_CHARS:,} characters"
    return ""
