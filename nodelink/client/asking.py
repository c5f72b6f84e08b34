"""A task as a caller asks for it: type, payload and options, checked before anything is sent. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypedDict, Unpack

from nodelink.client.checks import labels_of, retry_of, text_of
from nodelink.client.placing import PlacingOptions, name_of, placing_of
from nodelink.durations import parse_duration_ms
from nodelink.errors import FieldError, InvalidTask
from nodelink.task import (
    BY_RULE,
    DEFAULT_POOL,
    PRIORITIES,
    Execution,
    LogStream,
    RetryPolicy,
    Submission,
    TaskSpec,
)

Duration = str | timedelta
"""A duration as the clients take it: `"1h30m"`, or a timedelta."""


class TaskOptions(PlacingOptions, total=False):
    """What may be said of a task besides its type and payload. All of it may be left out.

    Without a `priority`, the server's rules decide, or else it is 50. `at` needs a time zone. `traceparent` is the W3C
    trace context that the task's spans shall belong to.
    """

    pool: str
    priority: int | str | None
    timeout: Duration | None
    queue_timeout: Duration | None
    start_timeout: Duration | None
    total_timeout: Duration | None
    heartbeat_timeout: Duration | None
    at: datetime | None
    delay: Duration | None
    execution: Execution | str | None
    lock: str | None
    retry: RetryPolicy | None
    metadata: Mapping[str, str] | None
    traceparent: str
    approval_timeout: Duration | None
    """How long the plan of a plan_and_apply may wait for an approval."""
    approval_by_other: bool
    """Whether somebody else has to approve it than who has submitted the task."""


class SubmitOptions(TaskOptions, total=False):
    """The same, for one task. With a key, submitting the same again within 24 hours gives the same task."""

    idempotency_key: str | None


class ExtendOptions(TypedDict, total=False):
    """Other limits for a task that is with an agent, each counted from now. What is not given stays as it is."""

    timeout: Duration | None
    """How long its run may still take."""
    total_timeout: Duration | None
    """How long it may still take in all, further tries included."""
    heartbeat_timeout: Duration | None
    """How long it may run without a sign of life of its own."""


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
    priority: int | str | None = None,
    timeout: Duration | None = None,
    queue_timeout: Duration | None = None,
    start_timeout: Duration | None = None,
    total_timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    at: datetime | None = None,
    delay: Duration | None = None,
    execution: Execution | str | None = None,
    lock: str | None = None,
    retry: RetryPolicy | None = None,
    metadata: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
    traceparent: str = "",
    approval_timeout: Duration | None = None,
    approval_by_other: bool = False,
    **placing: Unpack[PlacingOptions],
) -> Submission:
    """A task to submit. The payload is anything that JSON can say; durations are timedeltas or written `1h30m`.

    Without a `priority`, the server's rules decide, or else it is 50. `at` needs a time zone. Of the tasks with the
    same `lock`, one at a time is with an agent. After a failure it is tried again as `retry` says; without one it has
    one attempt. `placing`: which agent, with whom, and when its turn comes. With an idempotency key, submitting the
    same again within 24 hours gives the same task. Raises `InvalidTask`.
    """
    spec = TaskSpec(
        type=text_of("type", type),
        pool=text_of("pool", pool),
        priority=BY_RULE if priority is None else priority_of(priority),
        timeout_ms=duration_ms_of("timeout", timeout),
        queue_timeout_ms=duration_ms_of("queue_timeout", queue_timeout),
        start_timeout_ms=duration_ms_of("start_timeout", start_timeout),
        total_timeout_ms=duration_ms_of("total_timeout", total_timeout),
        heartbeat_timeout_ms=duration_ms_of("heartbeat_timeout", heartbeat_timeout),
        scheduled_at=moment_ms_of("at", at),
        delay_ms=duration_ms_of("delay", delay),
        execution=execution_of(execution),
        lock=name_of("lock", lock),
        retry=retry_of(retry),
        metadata=labels_of("metadata", metadata),
        approval_timeout_ms=duration_ms_of("approval_timeout", approval_timeout),
        approval_by_other=approval_by_other is True,
        **placing_of(**placing),
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


def execution_of(execution: Execution | str | None) -> Execution | None:
    """A class by its name; None: none is named. Raises `InvalidTask`."""
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
