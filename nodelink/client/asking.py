"""From what a caller says to the requests that ask it of the server. Pure: both clients share it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from nodelink.client.nouns import TaskFilter
from nodelink.durations import parse_duration_ms
from nodelink.errors import FieldError, InvalidTask
from nodelink.task import DEFAULT_POOL, DEFAULT_PRIORITY, PRIORITIES, Execution, LogStream, Submission, TaskSpec
from nodelink.v1 import task_pb2
from nodelink.wire import STATUS_TO_PB, STREAM_TO_PB, put_ms, put_spec

MOST_IN_BATCH = 1_000
BATCH_BYTES = 2 << 20
"""About how large a batch may get before the next one begins."""

LARGEST_PAGE = 1_000


def new_task(
    type: str,
    payload: object = None,
    *,
    pool: str = DEFAULT_POOL,
    priority: int | str = DEFAULT_PRIORITY,
    timeout: str | None = None,
    queue_timeout: str | None = None,
    at: datetime | None = None,
    delay: str | None = None,
    execution: Execution | str | None = None,
    metadata: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> Submission:
    """A task to submit. The payload is anything that JSON can say; durations are written `1h30m`.

    `at` needs a time zone. With an idempotency key, submitting the same again within 24 hours gives the same task.
    Raises `InvalidTask`.
    """
    spec = TaskSpec(
        type=type,
        pool=pool,
        priority=priority_of(priority),
        timeout_ms=_duration_of("timeout", timeout),
        queue_timeout_ms=_duration_of("queue_timeout", queue_timeout),
        scheduled_at=_moment_of(at),
        delay_ms=_duration_of("delay", delay),
        execution=_execution_of(execution),
        metadata=dict(metadata or {}),
    )
    return Submission(spec=spec, payload=_json_of(payload), idempotency_key=idempotency_key)


def priority_of(priority: int | str) -> int:
    """1 to 100, or one of the names LOW, NORMAL, HIGH, CRITICAL. Raises `InvalidTask`."""
    if isinstance(priority, str):
        known = PRIORITIES.get(priority.upper())
        if known is None and not priority.isascii():
            raise InvalidTask(FieldError("priority", _PRIORITY_HELP))
        try:
            priority = int(priority) if known is None else known
        except ValueError as error:
            raise InvalidTask(FieldError("priority", _PRIORITY_HELP)) from error
    if not 1 <= priority <= max(PRIORITIES.values()):
        raise InvalidTask(FieldError("priority", _PRIORITY_HELP))
    return priority


_PRIORITY_HELP = f"must be a whole number from 1 to 100, or one of {', '.join(PRIORITIES)}"


def _duration_of(field: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_duration_ms(text)
    except ValueError as error:
        raise InvalidTask(FieldError(field, str(error))) from error


def _moment_of(at: datetime | None) -> int | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise InvalidTask(FieldError("at", "needs a time zone, like 2030-01-31T08:00:00Z"))
    return round(at.timestamp() * 1000)


def _execution_of(execution: Execution | str | None) -> Execution | None:
    if execution is None:
        return None
    try:
        return Execution(execution)
    except ValueError as error:
        known = ", ".join(Execution)
        raise InvalidTask(FieldError("execution", f"{execution!r} is not known; use one of {known}")) from error


def _json_of(payload: object) -> bytes:
    try:
        return json.dumps(payload, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTask(FieldError("payload", f"cannot be written as JSON: {error}")) from error


# --- requests -------------------------------------------------------------------------------------------------------


def submit_request(submission: Submission, *, wait_ms: int | None = None) -> task_pb2.SubmitTaskRequest:
    """A request for one task."""
    request = task_pb2.SubmitTaskRequest()
    _put_submission(request, submission)
    if wait_ms is not None:
        put_ms(request.wait, wait_ms)
    return request


def batch_requests(submissions: Iterable[Submission]) -> Iterator[task_pb2.BatchSubmitTasksRequest]:
    """Requests for many tasks, each as long as one may be."""
    batch = task_pb2.BatchSubmitTasksRequest()
    size = 0
    for submission in submissions:
        if batch.requests and (len(batch.requests) == MOST_IN_BATCH or size + len(submission.payload) > BATCH_BYTES):
            yield batch
            batch, size = task_pb2.BatchSubmitTasksRequest(), 0
        _put_submission(batch.requests.add(), submission)
        size += len(submission.payload)
    if batch.requests:
        yield batch


def _put_submission(pb: task_pb2.SubmitTaskRequest, submission: Submission) -> None:
    put_spec(pb.spec, submission.spec, submission.payload)
    pb.idempotency_key = submission.idempotency_key or ""


def list_request(wanted: TaskFilter, *, page_size: int, page_token: str) -> task_pb2.ListTasksRequest:
    """A request for a page of tasks."""
    request = task_pb2.ListTasksRequest(
        page_size=min(page_size, LARGEST_PAGE),
        page_token=page_token,
        statuses=[STATUS_TO_PB[status] for status in sorted(wanted.statuses)],
        type=wanted.type,
        pool=wanted.pool,
        agent_id=wanted.agent_id,
    )
    if wanted.created_after is not None:
        put_ms(request.created_after, wanted.created_after)
    if wanted.created_before is not None:
        put_ms(request.created_before, wanted.created_before)
    return request


def wait_request(task_id: str, *, timeout_ms: int) -> task_pb2.WaitTaskRequest:
    """A request for the end of a task."""
    request = task_pb2.WaitTaskRequest(task_id=task_id)
    put_ms(request.timeout, timeout_ms)
    return request


def cancel_request(task_id: str, *, reason: str, grace: str | None) -> task_pb2.CancelTaskRequest:
    """A request for the stop of a task."""
    request = task_pb2.CancelTaskRequest(task_id=task_id, reason=reason)
    grace_ms = _duration_of("grace", grace)
    if grace_ms is not None:
        put_ms(request.grace, grace_ms)
    return request


def logs_request(
    task_id: str, *, stream: LogStream | None, attempt: int, offset: int, limit: int = 0, follow: bool = False
) -> task_pb2.ReadTaskLogsRequest:
    """A request for output."""
    return task_pb2.ReadTaskLogsRequest(
        task_id=task_id,
        stream=STREAM_TO_PB[stream] if stream else task_pb2.LOG_STREAM_UNSPECIFIED,
        attempt=attempt,
        offset=offset,
        limit=limit,
        follow=follow,
    )
