"""A task as a caller asks for it: type, payload and options, checked before anything is sent. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypedDict

from nodelink.client.checks import labels_of, text_of
from nodelink.durations import parse_duration_ms
from nodelink.errors import FieldError, InvalidTask
from nodelink.task import (
    DEFAULT_POOL,
    DEFAULT_PRIORITY,
    PRIORITIES,
    Execution,
    LogStream,
    Submission,
    TaskSpec,
)

Duration = str | timedelta
"""A duration as the clients take it: `"1h30m"`, or a timedelta."""


class TaskOptions(TypedDict, total=False):
    """What may be said of a task besides its type and payload. All of it may be left out.

    `at` needs a time zone. `traceparent` is the W3C trace context that the task's spans shall belong to.
    """

    pool: str
    priority: int | str
    timeout: Duration | None
    queue_timeout: Duration | None
    at: datetime | None
    delay: Duration | None
    execution: Execution | str | None
    metadata: Mapping[str, str] | None
    traceparent: str


class SubmitOptions(TaskOptions, total=False):
    """The same, for one task. With a key, submitting the same again within 24 hours gives the same task."""

    idempotency_key: str | None


class FollowOptions(TypedDict, total=False):
    """Which output of a task: which stream and attempt (0: the current one), and from where on, or only its end."""

    stream: LogStream | str | None
    attempt: int
    offset: int
    tail: int


class LogOptions(FollowOptions, total=False):
    """The same, at most so many bytes (0: all)."""

    limit: int


class WatchOptions(TypedDict, total=False):
    """Which events: of what, with which names, and behind which revision."""

    task_id: str
    agent_id: str
    pool: str
    type: str
    names: Iterable[str]
    after: int


class StatsOptions(TypedDict, total=False):
    """Over which time, by what (agent, pool or type), in buckets of which length."""

    by: str
    since: datetime | None
    until: datetime | None
    step: Duration | None


def new_task(
    type: str,
    payload: object = None,
    *,
    pool: str = DEFAULT_POOL,
    priority: int | str = DEFAULT_PRIORITY,
    timeout: Duration | None = None,
    queue_timeout: Duration | None = None,
    at: datetime | None = None,
    delay: Duration | None = None,
    execution: Execution | str | None = None,
    metadata: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
    traceparent: str = "",
) -> Submission:
    """A task to submit. The payload is anything that JSON can say; durations are timedeltas or written `1h30m`.

    `at` needs a time zone. With an idempotency key, submitting the same again within 24 hours gives the same task.
    Raises `InvalidTask`.
    """
    spec = TaskSpec(
        type=text_of("type", type),
        pool=text_of("pool", pool),
        priority=priority_of(priority),
        timeout_ms=duration_ms_of("timeout", timeout),
        queue_timeout_ms=duration_ms_of("queue_timeout", queue_timeout),
        scheduled_at=moment_ms_of("at", at),
        delay_ms=duration_ms_of("delay", delay),
        execution=_execution_of(execution),
        metadata=labels_of("metadata", metadata),
    )
    return Submission(
        spec=spec,
        payload=_json_of(payload),
        idempotency_key=None if idempotency_key is None else text_of("idempotency_key", idempotency_key),
        traceparent=text_of("traceparent", traceparent or ""),
    )


def submission_of(task: Submission | str, payload: object, options: SubmitOptions) -> Submission:
    """What `submit` is given, as one submission: it is one already, or a type with payload and options.

    Raises `InvalidTask`.
    """
    if isinstance(task, str):
        return new_task(task, payload, **options)
    if not isinstance(task, Submission):
        raise InvalidTask(FieldError("type", f"must be text, or what new_task gives, not {task!r:.100}"))
    if payload is not None or options:
        raise TypeError("a Submission says it all: give a payload and options to new_task")
    return task


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
    if not _is_priority(priority):
        raise InvalidTask(FieldError("priority", _PRIORITY_HELP))
    return priority


def _is_priority(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= max(PRIORITIES.values())


_PRIORITY_HELP = f"must be a whole number from 1 to 100, or one of {', '.join(PRIORITIES)}"


def duration_ms_of(field: str, given: Duration | None) -> int | None:
    """Milliseconds of a duration, None if none is given. Raises `InvalidTask`, which names the field."""
    if given is None:
        return None
    if isinstance(given, timedelta):
        return round(given / timedelta(milliseconds=1))
    if not isinstance(given, str):
        raise InvalidTask(FieldError(field, f"must be a text like 30s or 1h30m, or a timedelta, not {given!r:.100}"))
    try:
        return parse_duration_ms(given)
    except ValueError as error:
        raise InvalidTask(FieldError(field, str(error))) from error


def moment_ms_of(field: str, at: datetime | None) -> int | None:
    """A moment in milliseconds since the epoch, None if none is given. Raises `InvalidTask` without a time zone."""
    if at is None:
        return None
    if not isinstance(at, datetime):
        raise InvalidTask(FieldError(field, f"must be a datetime with a time zone, not {at!r:.100}"))
    if at.tzinfo is None:
        raise InvalidTask(FieldError(field, "needs a time zone, like 2030-01-31T08:00:00Z"))
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
