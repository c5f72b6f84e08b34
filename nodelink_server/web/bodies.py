"""The bodies that callers send. They give JSON its shape; whether a task is valid, the core decides for all doors."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictStr, WithJsonSchema

from nodelink.durations import format_duration_ms, parse_duration_ms
from nodelink.task import DEFAULT_GRACE_MS, DEFAULT_POOL, DEFAULT_PRIORITY, PRIORITIES, Execution, Submission, TaskSpec
from nodelink_server.core.manager import MAX_GRACE_MS
from nodelink_server.core.validation import MAX_BATCH
from nodelink_server.web.times import parse_moment

MAX_WAIT_MS = 300_000
MAX_REASON_CHARS = 1_000


def _duration(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("write a duration as text, like 1h30m")
    return parse_duration_ms(value)


def _up_to(most_ms: int) -> BeforeValidator:
    """As `_duration`, within a bound that no other door knows."""

    def bounded(value: Any) -> int | None:
        ms = _duration(value)
        if ms is not None and ms > most_ms:
            raise ValueError(f"must be at most {format_duration_ms(most_ms)}")
        return ms

    return BeforeValidator(bounded)


def _moment(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("write a moment as text, like 2026-01-31T09:30:00Z")
    return parse_moment(value)


def _priority(value: Any) -> int:
    if isinstance(value, str) and value in PRIORITIES:
        return PRIORITIES[value]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"write a number from 1 to 100 or one of {', '.join(PRIORITIES)}")
    return value


def _execution(value: Any) -> Execution | None:
    if value is None:
        return None
    try:
        return Execution(value)
    except ValueError:
        raise ValueError(f"use one of {', '.join(Execution)}") from None


def _command(value: Any) -> str | list[str]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return value
    raise ValueError("write a text for sh -c, or a list of words")


def _shape(kind: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": ["string", "null"], "format": kind, "examples": [example]})


Duration = Annotated[int | None, BeforeValidator(_duration), _shape("duration", "1h30m")]
"""Milliseconds; written `1h30m`."""

Wait = Annotated[int | None, _up_to(MAX_WAIT_MS), _shape("duration", "30s")]
Grace = Annotated[int | None, _up_to(MAX_GRACE_MS), _shape("duration", "10s")]

Moment = Annotated[int | None, BeforeValidator(_moment), _shape("date-time", "2026-01-31T09:30:00Z")]
"""Milliseconds since the epoch; written as RFC 3339 has it."""

Priority = Annotated[
    int,
    BeforeValidator(_priority),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 100}, {"enum": list(PRIORITIES)}]}),
]
Class = Annotated[
    Execution | None,
    BeforeValidator(_execution),
    WithJsonSchema({"enum": [*(execution.value for execution in Execution), None]}),
]
Command = Annotated[
    str | list[str],
    BeforeValidator(_command),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class TaskFields(BaseModel):
    """What every task may say, whatever its type."""

    model_config = ConfigDict(extra="forbid")

    pool: StrictStr = Field(default=DEFAULT_POOL, description="the pool whose agents may run it")
    priority: Priority = Field(default=DEFAULT_PRIORITY, description="larger first")
    scheduled_at: Moment = Field(default=None, description="not before this moment")
    delay: Duration = Field(default=None, description="not before this long after it was accepted")
    timeout: Duration = Field(default=None, description="the longest run")
    queue_timeout: Duration = Field(
        default=None, description="the longest wait for an agent; 0s: only if one has room now"
    )
    execution: Class = Field(default=None, description="what may happen when contact with its agent is lost")
    metadata: dict[StrictStr, StrictStr] = Field(default_factory=dict, description="the submitter's own labels")

    def spec(self, task_type: str) -> TaskSpec:
        """What is asked, as the core has it."""
        return TaskSpec(
            type=task_type,
            pool=self.pool,
            priority=self.priority,
            scheduled_at=self.scheduled_at,
            delay_ms=self.delay,
            timeout_ms=self.timeout,
            queue_timeout_ms=self.queue_timeout,
            execution=self.execution,
            metadata=self.metadata,
        )


class NewTask(TaskFields):
    """A task of any type."""

    type: StrictStr = Field(description="for example echo or shell")
    payload: Any = Field(default=None, description="the input; its shape is the type's own")

    def submission(self, idempotency_key: str | None) -> Submission:
        """The request as the core takes it."""
        return Submission(spec=self.spec(self.type), payload=json_bytes(self.payload), idempotency_key=idempotency_key)


class NewShellTask(TaskFields):
    """A command."""

    command: Command = Field(description="a text for sh -c, or a list of words")
    env: dict[StrictStr, StrictStr] | None = Field(default=None, description="added to its environment")
    cwd: StrictStr | None = Field(default=None, description="the directory it runs in")
    stdin: StrictStr | None = Field(default=None, description="what it reads")

    def submission(self, idempotency_key: str | None) -> Submission:
        """The request as the core takes it: a task of the type `shell`."""
        given = {"command": self.command, "env": self.env, "cwd": self.cwd, "stdin": self.stdin}
        payload = json_bytes({name: value for name, value in given.items() if value is not None})
        return Submission(spec=self.spec("shell"), payload=payload, idempotency_key=idempotency_key)


class BatchItem(NewTask):
    """One task of several."""

    idempotency_key: StrictStr | None = Field(default=None, description="beats the one that the header derives")


class NewBatch(BaseModel):
    """Several tasks. Each item is judged by itself, so only the list is given its shape here."""

    model_config = ConfigDict(extra="forbid")

    tasks: Annotated[
        list[Any],
        WithJsonSchema({"type": "array", "maxItems": MAX_BATCH, "items": BatchItem.model_json_schema()}),
    ] = Field(description="in the order of the answers", max_length=MAX_BATCH)


class Cancellation(BaseModel):
    """Why and how gently a task is to be stopped."""

    model_config = ConfigDict(extra="forbid")

    reason: StrictStr = Field(default="", max_length=MAX_REASON_CHARS, description="in words")
    grace: Grace = Field(default=None, description="from the signal to the kill; 10s if not given")

    @property
    def grace_ms(self) -> int:
        """The grace, in milliseconds."""
        return DEFAULT_GRACE_MS if self.grace is None else self.grace


def json_bytes(value: Any) -> bytes:
    """A JSON value as compact text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
