"""`/plans`, and what is said about the plan of one task: look, approve, reject."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from nodelink.task import TaskStatus
from nodelink_server.core.approvals import Named
from nodelink_server.core.plan_views import PlanView
from nodelink_server.core.plans import MAX_TARGET_CHARS
from nodelink_server.core.ports import TaskQuery
from nodelink_server.core.validation import MAX_REASON_CHARS
from nodelink_server.web.filters import Pages
from nodelink_server.web.paging import position_of, token_at
from nodelink_server.web.shapes import TaskJson
from nodelink_server.web.times import moment, moment_or_none
from nodelink_server.web.values import SomeText
from nodelink_server.web.views import live_task_json
from nodelink_server.web.wiring import Manager, no_parameters

router = APIRouter(tags=["plans"])

_HEX = "[0-9a-f]{64}"
Digest = Annotated[StrictStr, Field(min_length=64, max_length=64, pattern=f"^{_HEX}$")]


class PlanApproval(BaseModel):
    """Which plan may be applied. What is said beside its digest has to be so as well."""

    model_config = ConfigDict(extra="forbid")

    plan_sha256: Digest = Field(description="the SHA-256 of the plan, in hexadecimal")
    inputs_sha256: Digest | None = Field(default=None, description="refused if it was made from anything else")
    target: StrictStr | None = Field(
        default=None, max_length=MAX_TARGET_CHARS, description="refused if it changes anything else"
    )
    message: StrictStr = Field(default="", max_length=MAX_REASON_CHARS, description="why, in words")

    def named(self) -> Named:
        """The plan that is meant."""
        return Named(self.plan_sha256, self.inputs_sha256 or "", self.target or "")


class PlanRejection(BaseModel):
    """Why a plan is not to be applied."""

    model_config = ConfigDict(extra="forbid")

    plan_sha256: Digest | None = Field(default=None, description="refused if another plan waits; null: whichever does")
    message: StrictStr = Field(default="", max_length=MAX_REASON_CHARS, description="why, in words")


class PlanJson(BaseModel):
    """The latest plan of a task, and what became of it. The plan itself never changes."""

    task_id: str
    status: TaskStatus = Field(description="of the task; plan_completed: the plan waits for an approval")
    attempt: int = Field(description="the attempt that made it")
    sha256: str = Field(description="of its bytes, in hexadecimal")
    size: int = Field(description="how many bytes it has")
    inputs_sha256: str | None = Field(description="of all that it was made from")
    target: str | None = Field(description="what it would change")
    summary: str = Field(description="what it would do")
    planned_at: str
    expires_at: str | None = Field(
        description="about when it can be approved no more; null: it does not wait for an approval"
    )
    approved_by: str | None
    approved_at: str | None


class PlanPage(BaseModel):
    """The latest plans of tasks, the newest task first."""

    plans: list[PlanJson]
    next_page_token: str = Field(description="empty: this was the last page")


class PlanFilters(Pages):
    """Which plans to list; every given filter must match."""

    status: list[TaskStatus] = Field(default_factory=list, description="of tasks that stand so; any of these")
    workspace: SomeText | None = Field(default=None, description="of tasks of this workspace")


@router.get("/plans")
async def list_plans(filters: Annotated[PlanFilters, Query()], manager: Manager) -> PlanPage:
    """List the latest plans of tasks, the newest task first, page by page."""
    names = ("plans", sorted(filters.status), filters.workspace)
    before = position_of(filters.page_token, *names) if filters.page_token else 0
    query = TaskQuery(
        page_size=filters.page_size,
        before_key=before,
        statuses=frozenset(filters.status),
        workspace=filters.workspace,
        has_plan=True,
    )
    views, next_key = await manager.plans.page(query)
    token = token_at(next_key, *names) if next_key else ""
    return PlanPage(plans=list(map(plan_json, views)), next_page_token=token)


@router.get("/tasks/{task_id}/plan", dependencies=[Depends(no_parameters)])
async def get_plan(task_id: str, manager: Manager) -> PlanJson:
    """Show the latest plan of a task. 404 if it has made none."""
    return plan_json(await manager.plans.of_task(task_id))


@router.post("/tasks/{task_id}/approve", dependencies=[Depends(no_parameters)])
async def approve_task(task_id: str, body: PlanApproval, manager: Manager) -> TaskJson:
    """Let a task apply its plan: the one that is named by its digest, and no other. Kept and audited."""
    return live_task_json(await manager.approve(task_id, body.named(), message=body.message), manager)


@router.post("/tasks/{task_id}/reject", dependencies=[Depends(no_parameters)])
async def reject_task(task_id: str, manager: Manager, body: PlanRejection | None = None) -> TaskJson:
    """End a task whose plan waits for an approval. Its lock is free then. Kept and audited."""
    asked = body or PlanRejection()
    return live_task_json(await manager.reject(task_id, Named(asked.plan_sha256 or ""), message=asked.message), manager)


def plan_json(view: PlanView) -> PlanJson:
    """A plan as it is shown."""
    return PlanJson(
        task_id=view.task_id,
        status=view.status,
        attempt=view.attempt,
        sha256=view.plan.sha256,
        size=view.plan.size,
        inputs_sha256=view.plan.inputs_sha256 or None,
        target=view.plan.target or None,
        summary=view.plan.summary,
        planned_at=moment(view.planned_at),
        expires_at=moment_or_none(view.expires_at),
        approved_by=view.approved_by or None,
        approved_at=moment_or_none(view.approved_at),
    )
