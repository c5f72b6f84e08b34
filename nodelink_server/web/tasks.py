"""`/tasks`: submit, look, wait, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from nodelink.errors import CallerError, InvalidTask, TaskNotFinished
from nodelink.task import Submission, TaskStatus
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import TaskQuery
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task import TaskRecord
from nodelink_server.web.bodies import BatchItem, Cancellation, Moment, NewBatch, NewShellTask, NewTask, Wait
from nodelink_server.web.errors import field_errors, refusal
from nodelink_server.web.lasting import unless_closing
from nodelink_server.web.paging import page_token, turned
from nodelink_server.web.shapes import BatchOutcome, OutcomeJson, RefusalJson, ResultJson, TaskJson, TaskPage
from nodelink_server.web.views import result_json, task_json
from nodelink_server.web.wiring import Closing, Manager, no_parameters

MOST_PER_PAGE = 1_000

router = APIRouter(tags=["tasks"])

IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, description="the same key and body within 24 h: the same task"),
]


class TaskFilters(BaseModel):
    """Which tasks to list; every given filter must match."""

    model_config = ConfigDict(extra="forbid")

    status: list[TaskStatus] = Field(default_factory=list, description="any of these")
    type: StrictStr | None = None
    pool: StrictStr | None = None
    agent_id: StrictStr | None = Field(default=None, description="the agent of the current attempt")
    created_after: Moment = Field(default=None, description="accepted at or after this")
    created_before: Moment = Field(default=None, description="accepted before this")
    page_size: int = Field(default=50, ge=1, le=MOST_PER_PAGE)
    page_token: StrictStr = Field(default="", description="the next_page_token of the page before")

    def query(self) -> TaskQuery:
        """The page that is asked for. Raises `InvalidTask` for a token that does not fit."""
        query = TaskQuery(
            page_size=self.page_size,
            statuses=frozenset(self.status),
            type=self.type,
            pool=self.pool,
            agent_id=self.agent_id,
            created_after=self.created_after,
            created_before=self.created_before,
        )
        return turned(query, self.page_token) if self.page_token else query


class ResultWait(BaseModel):
    """How long to wait for the end."""

    model_config = ConfigDict(extra="forbid")

    wait: Wait = Field(default=None, description="up to 5m")


@router.post("/tasks", status_code=201, dependencies=[Depends(no_parameters)])
async def submit_task(body: NewTask, manager: Manager, response: Response, key: IdempotencyKey = None) -> TaskJson:
    """Accept a task. 201: it is durable."""
    return await _submit(body.submission(key), manager, response)


@router.post("/tasks/shell", status_code=201, dependencies=[Depends(no_parameters)])
async def submit_shell_task(
    body: NewShellTask, manager: Manager, response: Response, key: IdempotencyKey = None
) -> TaskJson:
    """Accept a command. 201: it is durable."""
    return await _submit(body.submission(key), manager, response)


@router.post("/tasks/batch", dependencies=[Depends(no_parameters)])
async def submit_batch(body: NewBatch, manager: Manager, key: IdempotencyKey = None) -> BatchOutcome:
    """Accept up to 1,000 tasks, each for itself. Without keys of their own they get `<Idempotency-Key>#<index>`."""
    items = [_item(value, f"{key}#{index}" if key is not None else None) for index, value in enumerate(body.tasks)]
    answers = iter(await manager.submit([item for item in items if isinstance(item, Submission)]))
    outcomes = [_outcome(next(answers) if isinstance(item, Submission) else item) for item in items]
    return BatchOutcome(outcomes=outcomes)


@router.get("/tasks")
async def list_tasks(filters: Annotated[TaskFilters, Query()], manager: Manager) -> TaskPage:
    """Tasks, newest first, a page at a time."""
    query = filters.query()
    records = await manager.list(query)
    return TaskPage(tasks=[_shown(record, manager) for record in records], next_page_token=_next_token(query, records))


@router.get("/tasks/{task_id}", dependencies=[Depends(no_parameters)])
async def get_task(task_id: str, manager: Manager) -> TaskJson:
    """One task as it stands now."""
    return _shown(await manager.get(task_id), manager)


@router.get("/tasks/{task_id}/result")
async def get_result(
    task_id: str, asked: Annotated[ResultWait, Query()], manager: Manager, closing: Closing
) -> ResultJson:
    """How a task ended. 409 while it has not; with `wait`, the answer comes with the end or when the time is up."""
    record = await _waited(task_id, asked.wait, manager, closing) if asked.wait else await manager.get(task_id)
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
    if record.task.is_terminal:
        response.status_code = 200
    return _shown(record, manager)


async def _submit(submission: Submission, manager: TaskManager, response: Response) -> TaskJson:
    [answer] = await manager.submit([submission])
    if isinstance(answer, CallerError):
        raise answer
    response.headers["location"] = f"/api/v1/tasks/{answer.task.id}"
    if answer.replayed:
        response.headers["idempotency-replayed"] = "true"
        return _shown(await manager.get(answer.task.id), manager)
    return task_json(_fresh_record(answer, submission))


def _fresh_record(accepted: Accepted, submission: Submission) -> TaskRecord:
    """The record of a task that was accepted this moment: nothing has happened to it but perhaps its grant."""
    task = accepted.task
    changed_at = task.attempt.sent_at if task.attempt else task.created_at
    return TaskRecord(task=task, payload=submission.payload, updated_at=changed_at)


def _item(value: Any, derived_key: str | None) -> Submission | CallerError:
    try:
        item = BatchItem.model_validate(value)
    except ValidationError as error:
        return refusal([{**found, "loc": ("body", *found["loc"])} for found in error.errors()])
    return item.submission(item.idempotency_key if item.idempotency_key is not None else derived_key)


def _outcome(answer: Accepted | CallerError) -> OutcomeJson:
    if isinstance(answer, CallerError):
        fields = answer.errors if isinstance(answer, InvalidTask) else ()
        error = RefusalJson.model_validate(
            {"code": answer.code, "detail": answer.message, "errors": field_errors(fields)}
        )
        return OutcomeJson(task_id=None, status=None, replayed=False, error=error)
    return OutcomeJson(task_id=answer.task.id, status=answer.task.status, replayed=answer.replayed, error=None)


def _shown(record: TaskRecord, manager: TaskManager) -> TaskJson:
    """A task with what only memory knows: its progress and when its agent was last heard of."""
    task = record.task
    if task.is_terminal or task.attempt is None:
        return task_json(record)
    last_contact = manager.agents.last_contact(task.attempt.agent_id)
    return task_json(record, progress=manager.progress(task.id), last_contact=last_contact)


def _next_token(query: TaskQuery, records: Sequence[TaskRecord]) -> str:
    if len(records) < query.page_size:
        return ""
    return page_token(query, before_key=records[-1].task.key)


async def _waited(task_id: str, wait_ms: int, manager: TaskManager, closing: asyncio.Event) -> TaskRecord:
    record = await unless_closing(manager.wait(task_id, wait_ms), closing)
    return record or await manager.get(task_id)
