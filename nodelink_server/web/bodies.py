"""The bodies that callers send. They give JSON its shape; whether a task is valid, the core decides for all doors."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictStr, WithJsonSchema
from pydantic.config import JsonDict

from nodelink.task import DEFAULT_GRACE_MS, DEFAULT_POOL, DEFAULT_PRIORITY, Submission, TaskSpec
from nodelink_server.core.validation import MAX_BATCH, MAX_ENV, MAX_IDEMPOTENCY_KEY_CHARS, MAX_REASON_CHARS
from nodelink_server.web.values import (
    NO_NUL,
    VARIABLE,
    Class,
    Command,
    Duration,
    Grace,
    Metadata,
    Moment,
    Pool,
    Priority,
    SomeDuration,
)

_ONE_BEGINNING: JsonDict = {"anyOf": [{"properties": {name: {"type": "null"}}} for name in ("scheduled_at", "delay")]}
_VARIABLES = {
    "type": ["object", "null"],
    "maxProperties": MAX_ENV,
    "propertyNames": {"pattern": VARIABLE},
    "additionalProperties": {"type": "string", "pattern": NO_NUL},
}


class TaskFields(BaseModel):
    """What every task may say, whatever its type."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_ONE_BEGINNING)

    pool: Pool = Field(default=DEFAULT_POOL, description="the pool whose agents may run it")
    priority: Priority = Field(default=DEFAULT_PRIORITY, description="larger first")
    scheduled_at: Moment = Field(default=None, description="not before this moment; not together with delay")
    delay: Duration = Field(default=None, description="not before this long after it was accepted; at most 366d")
    timeout: Duration = Field(default=None, description="the longest run; at most 7d")
    queue_timeout: Duration = Field(
        default=None, description="the longest wait for an agent, at most 7d; 0s: only if one has room now"
    )
    execution: Class = Field(default=None, description="what may happen when contact with its agent is lost")
    metadata: Metadata = Field(default_factory=dict, description="the submitter's own labels")

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

    type: StrictStr = Field(description="for example echo or shell: what some agent can run")
    payload: Any = Field(default=None, description="the input; its shape is the type's own; at most 256 KiB")

    def submission(self, idempotency_key: str | None, traceparent: str) -> Submission:
        """The request as the core takes it."""
        return Submission(
            spec=self.spec(self.type),
            payload=json_bytes(self.payload),
            idempotency_key=idempotency_key,
            traceparent=traceparent,
        )


class NewShellTask(TaskFields):
    """A command."""

    command: Command = Field(description="a text for sh -c, or a list of words that no shell touches")
    env: Annotated[dict[StrictStr, StrictStr] | None, WithJsonSchema(_VARIABLES)] = Field(
        default=None, description="added to its environment"
    )
    cwd: Annotated[
        StrictStr | None, WithJsonSchema({"type": ["string", "null"], "minLength": 1, "pattern": NO_NUL})
    ] = Field(default=None, description="the directory it runs in")
    stdin: StrictStr | None = Field(default=None, description="what it reads")

    def submission(self, idempotency_key: str | None, traceparent: str) -> Submission:
        """The request as the core takes it: a task of the type `shell`."""
        given = {"command": self.command, "env": self.env, "cwd": self.cwd, "stdin": self.stdin}
        return Submission(
            spec=self.spec("shell"),
            payload=json_bytes({name: value for name, value in given.items() if value is not None}),
            idempotency_key=idempotency_key,
            traceparent=traceparent,
        )


class BatchItem(NewTask):
    """One task of several."""

    idempotency_key: (
        Annotated[StrictStr, Field(json_schema_extra={"minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY_CHARS})] | None
    ) = Field(default=None, description="beats the one that the header derives")


class NewBatch(BaseModel):
    """Several tasks. Each is judged by itself: a wrong one is an outcome of its own, and no refusal of the whole."""

    model_config = ConfigDict(extra="forbid")

    tasks: Annotated[
        list[Any], WithJsonSchema({"type": "array", "minItems": 1, "maxItems": MAX_BATCH, "items": {}})
    ] = Field(description="each as the schema BatchItem has it, in the order of the answers")


class Cancellation(BaseModel):
    """Why and how gently a task is to be stopped."""

    model_config = ConfigDict(extra="forbid")

    reason: StrictStr = Field(default="", max_length=MAX_REASON_CHARS, description="in words")
    grace: Grace = Field(default=None, description="from the signal to the kill; 10s if not given")

    @property
    def grace_ms(self) -> int:
        """The grace, in milliseconds."""
        return DEFAULT_GRACE_MS if self.grace is None else self.grace


class CleanUp(BaseModel):
    """Which finished tasks are to leave the database."""

    model_config = ConfigDict(extra="forbid")

    older_than: SomeDuration = Field(description="those that finished longer ago than this; 0s: all of them")


class NoFields(BaseModel):
    """Nothing: an empty object, or no body at all."""

    model_config = ConfigDict(extra="forbid")


def json_bytes(value: Any) -> bytes:
    """A JSON value as compact text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
