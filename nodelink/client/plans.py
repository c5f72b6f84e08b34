"""What the server tells of plans, and how it is asked about them. Pure: both clients share it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodelink.client.checks import count_of, text_of, texts_of
from nodelink.client.reading import moment_of
from nodelink.errors import FieldError, InvalidTask
from nodelink.task import TaskStatus
from nodelink.v1 import task_pb2
from nodelink.wire import STATUS_FROM_PB, STATUS_TO_PB, ms_of

LARGEST_PAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """The latest plan of a task, by its digests in hexadecimal, and what became of it. The plan itself never changes.

    `status`: of its task; with plan_completed it waits for an approval, about until `expires_at`. `summary`: what it
    would do. Moments are milliseconds since the epoch.
    """

    task_id: str
    status: str
    attempt: int
    sha256: str
    size: int
    inputs_sha256: str
    target: str
    summary: str
    planned_at: int
    expires_at: int | None = None
    approved_by: str = ""
    approved_at: int | None = None


def plan_of(pb: task_pb2.TaskPlan) -> TaskPlan:
    """A plan as it was told."""
    status = STATUS_FROM_PB.get(pb.status)
    return TaskPlan(
        task_id=pb.task_id,
        status=str(status) if status is not None else "",
        attempt=pb.attempt,
        sha256=pb.plan.sha256,
        size=pb.plan.size,
        inputs_sha256=pb.plan.inputs_sha256,
        target=pb.plan.target,
        summary=pb.plan.summary,
        planned_at=ms_of(pb.planned_at),
        expires_at=moment_of(pb, "expires_at"),
        approved_by=pb.approved_by,
        approved_at=moment_of(pb, "approved_at"),
    )


def approve_request(
    task_id: str, *, plan_sha256: str, inputs_sha256: str, target: str, message: str
) -> task_pb2.ApproveTaskRequest:
    """A request to let a task apply its plan."""
    return task_pb2.ApproveTaskRequest(
        task_id=text_of("task_id", task_id),
        plan_sha256=text_of("plan_sha256", plan_sha256),
        inputs_sha256=text_of("inputs_sha256", inputs_sha256),
        target=text_of("target", target),
        message=text_of("message", message),
    )


def reject_request(task_id: str, *, plan_sha256: str, message: str) -> task_pb2.RejectTaskRequest:
    """A request to end a task whose plan waits."""
    return task_pb2.RejectTaskRequest(
        task_id=text_of("task_id", task_id),
        plan_sha256=text_of("plan_sha256", plan_sha256),
        message=text_of("message", message),
    )


def plans_request(statuses: Iterable[str], workspace: str, *, limit: int) -> task_pb2.ListPlansRequest:
    """A request for the newest plans. Raises `InvalidTask` for a status that is none."""
    names = texts_of("statuses", statuses)
    for name in names:
        if name not in set(TaskStatus):
            raise InvalidTask(FieldError("statuses", f"{name!r} is not known; use some of {', '.join(TaskStatus)}"))
    return task_pb2.ListPlansRequest(
        page_size=min(count_of("limit", limit), LARGEST_PAGE),
        statuses=[STATUS_TO_PB[TaskStatus(name)] for name in names],
        workspace=text_of("workspace", workspace),
    )
