"""The requests that ask things of the server. Pure: both clients share them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from nodelink.client.asking import Duration, duration_ms_of, moment_ms_of
from nodelink.client.checks import count_of, labels_of, ms_of, text_of, texts_of
from nodelink.client.nouns import TaskFilter
from nodelink.client.reading import AGENT_STATUSES
from nodelink.errors import FieldError, InvalidTask, TooLarge
from nodelink.task import LogStream, Submission, TaskStatus
from nodelink.v1 import admin_pb2, task_pb2
from nodelink.wire import STATUS_TO_PB, STREAM_TO_PB, put_ms, put_spec

LARGEST_REQUEST = 3 << 20
"""A larger one would not fit into a message, and take others that ride with it down."""

PAGE = 200
"""How many tasks are read at a time by whoever does not say how many it wants."""

LARGEST_PAGE = 1_000

RESOLUTIONS: Mapping[str, task_pb2.Resolution] = {
    "completed": task_pb2.RESOLUTION_COMPLETED,
    "failed": task_pb2.RESOLUTION_FAILED,
    "rerun": task_pb2.RESOLUTION_RERUN,
}
"""What a person can say became of a task, by its public name."""


def submit_request(submission: Submission, new_key: Callable[[], str]) -> task_pb2.SubmitTaskRequest:
    """A request for one task, under its own key or a new one."""
    request = task_pb2.SubmitTaskRequest(idempotency_key=submission.idempotency_key or new_key())
    put_spec(request.spec, submission.spec, submission.payload)
    if submission.traceparent:
        request.traceparent = submission.traceparent
    return request


def check_size(size: int) -> None:
    """Refuse a request of so many bytes that no message could carry it. Raises `TooLarge`."""
    if size > LARGEST_REQUEST:
        raise TooLarge(
            FieldError(
                "payload", f"the request has {size:,} bytes, more than a message can carry ({LARGEST_REQUEST:,})"
            )
        )


def list_request(wanted: TaskFilter, *, left: int | None, page_token: str) -> task_pb2.ListTasksRequest:
    """A request for a page of the tasks that are left to be listed. Raises `InvalidTask` for a status that is none."""
    if not isinstance(wanted, TaskFilter):
        raise InvalidTask(FieldError("wanted", f"must be a TaskFilter, not {wanted!r:.100}"))
    request = task_pb2.ListTasksRequest(
        page_size=PAGE if left is None else min(left, LARGEST_PAGE),
        page_token=page_token,
        statuses=[STATUS_TO_PB[status] for status in sorted(map(_status_named, texts_of("statuses", wanted.statuses)))],
        type=text_of("type", wanted.type),
        pool=text_of("pool", wanted.pool),
        workspace=text_of("workspace", wanted.workspace),
        agent_id=text_of("agent_id", wanted.agent_id),
        labels=labels_of("labels", wanted.labels),
        q=text_of("q", wanted.q),
    )
    after, before = ms_of("created_after", wanted.created_after), ms_of("created_before", wanted.created_before)
    if after is not None:
        put_ms(request.created_after, after)
    if before is not None:
        put_ms(request.created_before, before)
    return request


def _status_named(name: str) -> TaskStatus:
    try:
        return TaskStatus(name)
    except ValueError as error:
        known = ", ".join(TaskStatus)
        raise InvalidTask(FieldError("statuses", f"{name!r} is not known; use some of {known}")) from error


def cancel_request(task_id: str, *, reason: str, grace: Duration | None) -> task_pb2.CancelTaskRequest:
    """A request for the stop of a task."""
    request = task_pb2.CancelTaskRequest(task_id=text_of("task_id", task_id), reason=text_of("reason", reason))
    grace_ms = duration_ms_of("grace", grace)
    if grace_ms is not None:
        put_ms(request.grace, grace_ms)
    return request


def extend_request(
    task_id: str,
    *,
    timeout: Duration | None = None,
    total_timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
) -> task_pb2.ExtendTaskRequest:
    """A request for other limits of a task."""
    request = task_pb2.ExtendTaskRequest(task_id=text_of("task_id", task_id))
    given = {"timeout": timeout, "total_timeout": total_timeout, "heartbeat_timeout": heartbeat_timeout}
    for field, limit in given.items():
        ms = duration_ms_of(field, limit)
        if ms is not None:
            put_ms(getattr(request, field), ms)
    return request


def abandon_request(task_id: str, *, reason: str) -> task_pb2.AbandonTaskRequest:
    """A request to give a live task up."""
    return task_pb2.AbandonTaskRequest(task_id=text_of("task_id", task_id), reason=text_of("reason", reason))


def resolve_request(task_id: str, *, as_: str, reason: str) -> task_pb2.ResolveTaskRequest:
    """A request to say what became of a task. Raises `InvalidTask` for a resolution that is none."""
    resolution = RESOLUTIONS.get(text_of("as_", as_))
    if resolution is None:
        raise InvalidTask(FieldError("as_", f"{as_!r:.100} is not known; use one of {', '.join(RESOLUTIONS)}"))
    return task_pb2.ResolveTaskRequest(
        task_id=text_of("task_id", task_id), resolution=resolution, reason=text_of("reason", reason)
    )


def clean_up_request(older_than: Duration) -> task_pb2.CleanUpTasksRequest:
    """A request for the removal of what ended long ago. Raises `InvalidTask` if it does not say how long."""
    older_than_ms = duration_ms_of("older_than", older_than)
    if older_than_ms is None:  # else a slip would remove everything
        raise InvalidTask(FieldError("older_than", "must be given, like 7d"))
    request = task_pb2.CleanUpTasksRequest()
    put_ms(request.older_than, older_than_ms)
    return request


def agents_request(*, status: str, pool: str, labels: Mapping[str, str] | None) -> admin_pb2.ListAgentsRequest:
    """A request for the agents that match. Raises `InvalidTask` for a status that is none."""
    if status and status not in AGENT_STATUSES:
        raise InvalidTask(FieldError("status", f"{status!r} is not known; use one of {', '.join(AGENT_STATUSES)}"))
    return admin_pb2.ListAgentsRequest(
        status=AGENT_STATUSES[status] if status else admin_pb2.AGENT_STATUS_UNSPECIFIED,
        pool=text_of("pool", pool),
        labels=labels_of("labels", labels),
    )


def drain_request(agent_id: str, *, note: str, deadline: Duration | None) -> admin_pb2.DrainAgentRequest:
    """A request to have an agent become empty."""
    request = admin_pb2.DrainAgentRequest(agent_id=text_of("agent_id", agent_id), note=text_of("note", note))
    deadline_ms = duration_ms_of("deadline", deadline)
    if deadline_ms is not None:
        put_ms(request.deadline, deadline_ms)
    return request


def stats_request(
    *,
    by: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    step: Duration | None = None,
) -> admin_pb2.GetStatsRequest:
    """A request for what was done over a time."""
    request = admin_pb2.GetStatsRequest(by=text_of("by", by))
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
        task_id=text_of("task_id", task_id),
        stream=_stream_of(stream),
        attempt=count_of("attempt", attempt),
        offset=count_of("offset", offset),
        limit=count_of("limit", limit),
        tail=count_of("tail", tail),
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
