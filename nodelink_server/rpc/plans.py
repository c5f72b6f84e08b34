"""Plans, as they are asked for and shown."""

from __future__ import annotations

from collections.abc import Sequence

from nodelink.task import TaskStatus
from nodelink.v1 import task_pb2
from nodelink.wire import STATUS_TO_PB, put_ms, put_plan
from nodelink_server.core.plan_views import PlanView
from nodelink_server.core.ports import TaskQuery
from nodelink_server.rpc.listing import status_of
from nodelink_server.rpc.requests import page_size_of, place_of, token_of


def plans_query_of(request: task_pb2.ListPlansRequest) -> TaskQuery:
    """What a request asks for. Raises `InvalidTask`."""
    statuses: frozenset[TaskStatus] = frozenset(map(status_of, request.statuses))
    return TaskQuery(
        page_size=page_size_of(request.page_size),
        before_key=place_of(request.page_token),
        statuses=statuses,
        workspace=request.workspace or None,
        has_plan=True,
    )


def plans_page(views: Sequence[PlanView], next_key: int) -> task_pb2.ListPlansResponse:
    """A page of plans, and the token of the next one if there is one."""
    response = task_pb2.ListPlansResponse(next_page_token=token_of(next_key) if next_key else "")
    for view in views:
        put_task_plan(response.plans.add(), view)
    return response


def put_task_plan(pb: task_pb2.TaskPlan, view: PlanView) -> None:
    """Write the plan of a task."""
    pb.task_id, pb.attempt, pb.approved_by = view.task_id, view.attempt, view.approved_by
    pb.status = STATUS_TO_PB[view.status]
    put_plan(pb.plan, view.plan)
    put_ms(pb.planned_at, view.planned_at)
    if view.expires_at is not None:
        put_ms(pb.expires_at, view.expires_at)
    if view.approved_at is not None:
        put_ms(pb.approved_at, view.approved_at)
