"""What a task may say of its plan, and of the approval that it needs. A part of `validation`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nodelink.errors import FieldError
from nodelink.plan import APPLYING, PLAN, PLAN_AND_APPLY, PLANNED
from nodelink.task import Execution, TaskSpec

MIN_APPROVAL_MS = 1_000
MAX_APPROVAL_MS = 30 * 24 * 3600 * 1000


def may_plan(spec: TaskSpec) -> bool:
    """Whether there is anything to check."""
    return spec.type in PLANNED or spec.approval_timeout_ms is not None or spec.approval_by_other


def plan_errors(spec: TaskSpec) -> Iterator[FieldError]:
    """What is wrong with it."""
    if spec.type in APPLYING and spec.execution not in (None, Execution.EXCLUSIVE):
        yield FieldError("execution", f"of {spec.type} is exclusive, whatever is asked: leave it out")
    elif spec.type == PLAN and spec.execution not in (None, Execution.REPLAYABLE):
        yield FieldError("execution", "of plan is replayable, whatever is asked: leave it out")
    if asked_approval(spec) and spec.type != PLAN_AND_APPLY:
        yield FieldError("approval", f"is only for {PLAN_AND_APPLY}")
    timeout = spec.approval_timeout_ms
    if timeout is not None and not MIN_APPROVAL_MS <= timeout <= MAX_APPROVAL_MS:
        yield FieldError("approval.timeout", "must be at least 1s and at most 30d")


def asked_approval(spec: TaskSpec) -> Mapping[str, object]:
    """What of it was asked for, as JSON has it: equal for equal requests."""
    asked = {"timeout": spec.approval_timeout_ms, "by_other": spec.approval_by_other or None}
    said = {name: value for name, value in asked.items() if value is not None}
    return {"approval": said} if said else {}
