"""`/tasks`: look, wait, cancel, decide, clean up. How they come in: `web/submissions.py`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from nodelink.errors import TaskNotFinished
from nodelink.failpoints import hit
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import TaskQuery
from nodelink_server.core.task_record import TaskRecord
from nodelink_server.web.bodies import Abandonment, Cancellation, CleanUp, TaskExtension, TaskResolution
from nodelink_server.web.filters import AllTaskFilters
from nodelink_server.web.lasting import unless_over
from nodelink_server.web.paging import page_token
from nodelink_server.web.shapes import RemovedJson, ResultJson, TaskJson, TaskPage, TaskWhyJson
from nodelink_server.web.values import Wait
from nodelink_server.web.views import live_task_json, result_json
from nodelink_server.web.why_views import task_why_json
from nodelink_server.web.wiring import Closing, Manager, no_parameters

router = APIRouter(tags=["tasks"])


class ResultWait(BaseModel):
    """How long to wait for the end."""

    model_config = ConfigDict(extra="forbid")

    wait: Wait = Field(default=None, description="up to 5m")


@router.get("/tasks")
async def list_tasks(filters: Annotated[AllTaskFilters, Query()], manager: Manager) -> TaskPage:
    """List tasks, newest first, page by page."""
    return await task_page(filters.query(filters.agent_id), manager)


@router.get("/tasks/{task_id}", dependencies=[Depends(no_parameters)])
async def get_task(task_id: str, manager: Manager) -> TaskJson:
    """Show one task as it stands now."""
    return live_task_json(await manager.get(task_id), manager)


@router.get("/tasks/{task_id}/why", dependencies=[Depends(no_parameters)])
async def explain_task(task_id: str, manager: Manager) -> TaskWhyJson:
    """Show why a task stands where it stands: each condition, whether it holds, and what would help."""
    return task_why_json(await manager.why(task_id))


@router.get("/tasks/{task_id}/result")
async def get_result(
    task_id: str, asked: Annotated[ResultWait, Query()], request: Request, manager: Manager, closing: Closing
) -> ResultJson:
    """Show how a task ended. 409 while it has not; with `wait`, the answer comes with the end, or when time is up."""
    record = await _waited(task_id, asked.wait, manager, closing, request)
    if not record.task.is_terminal:
        raise TaskNotFinished(f"The task has not finished yet: it is {record.task.status}.")
    return result_json(record)


@router.post(
    "/tasks/{task_id}/cancel",
    status_code=202,
    dependencies=[Depends(no_parameters)],
    responses={200: {"model": TaskJson, "description": "It never started, and is cancelled"}},
)
async def cancel_task(task_id: str, manager: Manager, response: Response, body: Cancellation | None = None) -> TaskJson:
    """Ask for a task to be stopped. 202: its agent is told; it is cancelled once the agent has confirmed it."""
    asked = body or Cancellation()
    record = await manager.cancel(task_id, message=asked.reason, grace_ms=asked.grace_ms)
    hit("server.cancel.before_answer")
    if record.task.is_terminal:
        response.status_code = 200
    return live_task_json(record, manager)


@router.post("/tasks/{task_id}/extend", dependencies=[Depends(no_parameters)])
async def extend_task(task_id: str, body: TaskExtension, manager: Manager) -> TaskJson:
    """Give a task that is with an agent other limits, longer or shorter, each counted from now."""
    return live_task_json(await manager.extend(task_id, body.limits()), manager)


@router.post("/tasks/{task_id}/abandon", dependencies=[Depends(no_parameters)])
async def abandon_task(task_id: str, body: Abandonment, manager: Manager) -> TaskJson:
    """Give a live task up. It has failed, whatever its agent does, which is told to stop it at next contact."""
    return live_task_json(await manager.abandon(task_id, reason=body.reason), manager)


@router.post("/tasks/{task_id}/resolve", dependencies=[Depends(no_parameters)])
async def resolve_task(task_id: str, body: TaskResolution, manager: Manager) -> TaskJson:
    """Say what became of a task whose status is unknown. Its lock is free then, unless it is to run a second time."""
    record = await manager.resolve(task_id, resolution=body.resolution, reason=body.reason)
    return live_task_json(record, manager)


@router.post("/tasks/cleanup", dependencies=[Depends(no_parameters)])
async def clean_up_tasks(body: CleanUp, manager: Manager) -> RemovedJson:
    """Remove finished tasks now, with everything that they left. Statistics of them stay."""
    return RemovedJson(removed=await manager.clean_up(body.older_than))


async def task_page(query: TaskQuery, manager: TaskManager) -> TaskPage:
    """One page of tasks, and the token of the next."""
    page = await manager.list(query)
    token = page_token(query, before_key=page.next_key) if page.next_key else ""
    return TaskPage(tasks=[live_task_json(record, manager) for record in page], next_page_token=token)


async def _waited(
    task_id: str, wait_ms: int | None, manager: TaskManager, closing: asyncio.Event, request: Request
) -> TaskRecord:
    """The task when it has ended, or when nobody waits for that any more."""
    record = await unless_over(manager.wait(task_id, wait_ms), closing, request.receive) if wait_ms else None
    return record or await manager.get(task_id)
