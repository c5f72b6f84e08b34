"""The requests that ask things of the server. Pure: both clients share them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from nodelink.client.asking import Duration, duration_ms_of, moment_ms_of
from nodelink.client.nouns import TaskFilter
from nodelink.errors import FieldError, InvalidTask
from nodelink.task import LogStream, Submission, TaskStatus
from nodelink.v1 import admin_pb2, task_pb2
from nodelink.wire import STATUS_TO_PB, STREAM_TO_PB, put_ms, put_spec

MOST_IN_BATCH = 1_000
BATCH_BYTES = 2 << 20
"""About how large a batch may get before the next one begins."""

PAGE = 200
"""How many tasks are read at a time by whoever does not say how many it wants."""

LARGEST_PAGE = 1_000


def submit_request(submission: Submission, *, key: str) -> task_pb2.SubmitTaskRequest:
    """A request for one task, under a key."""
    request = task_pb2.SubmitTaskRequest()
    _put_submission(request, submission, key)
    return request


def batch_requests(
    submissions: Iterable[Submission], new_key: Callable[[], str]
) -> Iterator[task_pb2.BatchSubmitTasksRequest]:
    """Requests for many tasks, each as long as one may be. Whoever has no key is given one."""
    batch = task_pb2.BatchSubmitTasksRequest()
    size = 0
    for submission in submissions:
        if batch.requests and (len(batch.requests) == MOST_IN_BATCH or size + len(submission.payload) > BATCH_BYTES):
            yield batch
            batch, size = task_pb2.BatchSubmitTasksRequest(), 0
        _put_submission(batch.requests.add(), submission, submission.idempotency_key or new_key())
        size += len(submission.payload)
    if batch.requests:
        yield batch


def _put_submission(pb: task_pb2.SubmitTaskRequest, submission: Submission, key: str) -> None:
    put_spec(pb.spec, submission.spec, submission.payload)
    pb.idempotency_key = key
    if submission.traceparent:
        pb.traceparent = submission.traceparent


def list_request(wanted: TaskFilter, *, left: int | None, page_token: str) -> task_pb2.ListTasksRequest:
    """A request for a page of the tasks that are left to be listed. Raises `InvalidTask` for a status that is none."""
    request = task_pb2.ListTasksRequest(
        page_size=PAGE if left is None else min(left, LARGEST_PAGE),
        page_token=page_token,
        statuses=[STATUS_TO_PB[status] for status in sorted(map(_status_named, wanted.statuses))],
        type=wanted.type,
        pool=wanted.pool,
        agent_id=wanted.agent_id,
        labels=wanted.labels,
        q=wanted.q,
    )
    if wanted.created_after is not None:
        put_ms(request.created_after, wanted.created_after)
    if wanted.created_before is not None:
        put_ms(request.created_before, wanted.created_before)
    return request


def _status_named(name: str) -> TaskStatus:
    try:
        return TaskStatus(name)
    except ValueError as error:
        known = ", ".join(TaskStatus)
        raise InvalidTask(FieldError("statuses", f"{name!r} is not known; use some of {known}")) from error


def wait_request(task_id: str, *, timeout_ms: int) -> task_pb2.WaitTaskRequest:
    """A request for the end of a task."""
    request = task_pb2.WaitTaskRequest(task_id=task_id)
    put_ms(request.timeout, timeout_ms)
    return request


def cancel_request(task_id: str, *, reason: str, grace: Duration | None) -> task_pb2.CancelTaskRequest:
    """A request for the stop of a task."""
    request = task_pb2.CancelTaskRequest(task_id=task_id, reason=reason)
    grace_ms = duration_ms_of("grace", grace)
    if grace_ms is not None:
        put_ms(request.grace, grace_ms)
    return request


def clean_up_request(older_than: Duration) -> task_pb2.CleanUpTasksRequest:
    """A request for the removal of what ended long ago."""
    request = task_pb2.CleanUpTasksRequest()
    put_ms(request.older_than, duration_ms_of("older_than", older_than) or 0)
    return request


def stats_request(
    *, by: str, since: datetime | None, until: datetime | None, step: Duration | None
) -> admin_pb2.GetStatsRequest:
    """A request for what was done over a time."""
    request = admin_pb2.GetStatsRequest(by=by)
    since_ms, until_ms = moment_ms_of("since", since), moment_ms_of("until", until)
    if since_ms is not None:
        put_ms(getattr(request, "from"), since_ms)
    if until_ms is not None:
        put_ms(request.to, until_ms)
    step_ms = duration_ms_of("step", step)
    if step_ms is not None:
        put_ms(request.step, step_ms)
    return request


# --- output and events: requests that can be asked again where the answers broke off ----------------------------------


def logs_request(
    task_id: str,
    *,
    stream: LogStream | str | None = None,
    attempt: int = 0,
    offset: int = 0,
    limit: int = 0,
    tail: int = 0,
    follow: bool = False,
) -> task_pb2.ReadTaskLogsRequest:
    """A request for output. Raises `InvalidTask` for a stream that is none."""
    return task_pb2.ReadTaskLogsRequest(
        task_id=task_id,
        stream=_stream_of(stream),
        attempt=attempt,
        offset=offset,
        limit=limit,
        tail=tail,
        follow=follow,
    )


def _stream_of(stream: LogStream | str | None) -> task_pb2.LogStream:
    if not stream:
        return task_pb2.LOG_STREAM_UNSPECIFIED
    try:
        known = LogStream(stream)
    except ValueError as error:
        raise InvalidTask(FieldError("stream", f"{stream!r} is not known; use stdout or stderr")) from error
    number: task_pb2.LogStream = STREAM_TO_PB[known]
    return number


def logs_went_on(request: task_pb2.ReadTaskLogsRequest, response: task_pb2.ReadTaskLogsResponse) -> bool:
    """Let the request go on behind a response. Returns whether that was the last one."""
    request.tail = 0
    request.offset = response.next_offset
    return response.complete or not response.parts  # an empty page: the rest is not to be had


def watch_went_on(request: task_pb2.WatchTasksRequest, frame: task_pb2.WatchTasksResponse) -> bool:
    """Let the request go on behind a frame. There is no last one."""
    request.after_revision = frame.bookmark or request.after_revision
    return False
