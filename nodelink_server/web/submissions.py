"""How tasks come in: one of any type, a command, several at once, and a finished one once more."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Response
from pydantic import ValidationError

from nodelink.errors import CallerError, FieldError, InvalidTask
from nodelink.failpoints import hit
from nodelink.task import Submission
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task_record import TaskRecord
from nodelink_server.core.validation import MAX_IDEMPOTENCY_KEY_CHARS, check_batch
from nodelink_server.web.bodies import BatchItem, NewBatch, NewShellTask, NewTask, NoFields
from nodelink_server.web.errors import field_errors, refusal
from nodelink_server.web.shapes import BatchOutcome, OutcomeJson, RefusalJson, TaskJson
from nodelink_server.web.views import live_task_json
from nodelink_server.web.wiring import Manager, TraceParent, no_parameters

router = APIRouter(tags=["tasks"], dependencies=[Depends(no_parameters)])

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_IDEMPOTENCY_KEY_CHARS,
        description="the same key and body within 24 h: the same task",
    ),
]


@router.post("/tasks", status_code=201)
async def submit_task(
    body: NewTask, manager: Manager, response: Response, traceparent: TraceParent, key: IdempotencyKey = None
) -> TaskJson:
    """Accept a task. 201: it is durable, and `Location` names it."""
    return await _submit(body.submission(key, traceparent), manager, response)


@router.post("/tasks/shell", status_code=201)
async def submit_shell_task(
    body: NewShellTask, manager: Manager, response: Response, traceparent: TraceParent, key: IdempotencyKey = None
) -> TaskJson:
    """Accept a command. 201: it is durable, and `Location` names it."""
    try:
        return await _submit(body.submission(key, traceparent), manager, response)
    except InvalidTask as error:
        raise _of_a_command(error) from error


@router.post("/tasks/batch")
async def submit_batch(
    body: NewBatch, manager: Manager, traceparent: TraceParent, key: IdempotencyKey = None
) -> BatchOutcome:
    """Accept up to 1,000 tasks, each for itself. The outcomes come in the order of the tasks.

    A task without a key of its own gets `<Idempotency-Key>#<index>`.
    """
    check_batch(len(body.tasks), "tasks")
    keys = [f"{key}#{index}" if key is not None else None for index in range(len(body.tasks))]
    items = [_item(value, own, traceparent) for value, own in zip(body.tasks, keys, strict=True)]
    answers = iter(await manager.submit([item for item in items if isinstance(item, Submission)]))
    hit("server.batch.before_answer")
    outcomes = [_outcome(item if isinstance(item, CallerError) else next(answers)) for item in items]
    return BatchOutcome(outcomes=outcomes)


@router.post("/tasks/{task_id}/retry", status_code=201)
async def retry_task(
    task_id: str,
    manager: Manager,
    response: Response,
    traceparent: TraceParent,
    key: IdempotencyKey = None,
    body: NoFields | None = None,
) -> TaskJson:
    """Run a finished task once more, as a new task. What has ended never changes; the new one names it in `retry_of`.

    It is due at once, whenever the first one was to begin.
    """
    accepted = await manager.retry(task_id, idempotency_key=key, traceparent=traceparent)
    _point_to(accepted, response)
    return live_task_json(await manager.get(accepted.task.id), manager)


async def _submit(submission: Submission, manager: TaskManager, response: Response) -> TaskJson:
    [answer] = await manager.submit([submission])
    hit("server.submit.before_answer")
    if isinstance(answer, CallerError):
        raise answer
    _point_to(answer, response)
    record = await manager.get(answer.task.id) if answer.replayed else _fresh_record(answer, submission)
    return live_task_json(record, manager)


def _of_a_command(error: InvalidTask) -> InvalidTask:
    """The same, said of the body: here a command's own fields do not stand in a payload."""
    fields = [FieldError(wrong.field.removeprefix("payload."), wrong.message) for wrong in error.errors]
    return type(error)(*fields)


def _point_to(accepted: Accepted, response: Response) -> None:
    response.headers["location"] = f"/api/v1/tasks/{accepted.task.id}"
    if accepted.replayed:
        response.headers["idempotency-replayed"] = "true"


def _fresh_record(accepted: Accepted, submission: Submission) -> TaskRecord:
    """The record of a task that was accepted this moment: nothing has happened to it but perhaps its grant."""
    task = accepted.task
    changed_at = task.attempt.sent_at if task.attempt else task.created_at
    return TaskRecord(task=task, payload=submission.payload, updated_at=changed_at)


def _item(value: Any, derived_key: str | None, traceparent: str) -> Submission | CallerError:
    try:
        item = BatchItem.model_validate(value)
    except ValidationError as error:
        return refusal([{**found, "loc": ("body", *found["loc"])} for found in error.errors()])
    return item.submission(item.idempotency_key if item.idempotency_key is not None else derived_key, traceparent)


def _outcome(answer: Accepted | CallerError) -> OutcomeJson:
    if isinstance(answer, CallerError):
        fields = answer.errors if isinstance(answer, InvalidTask) else ()
        error = RefusalJson.model_validate(
            {"code": answer.code, "detail": answer.message, "errors": field_errors(fields)}
        )
        return OutcomeJson(task_id=None, status=None, replayed=False, error=error)
    return OutcomeJson(task_id=answer.task.id, status=answer.task.status, replayed=answer.replayed, error=None)
