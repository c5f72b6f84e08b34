"""The bodies that callers send. They give JSON its shape; whether a task is valid, the core decides for all doors."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, WithJsonSchema
from pydantic.config import JsonDict

from nodelink.task import BY_RULE, DEFAULT_GRACE_MS, DEFAULT_POOL, RetryPolicy, Submission, TaskSpec
from nodelink_server.core.decisions import Resolution
from nodelink_server.core.extensions import NewLimits
from nodelink_server.core.validation import MAX_BATCH, MAX_ENV, MAX_IDEMPOTENCY_KEY_CHARS, MAX_REASON_CHARS
from nodelink_server.web.placing_fields import PlacingFields
from nodelink_server.web.values import (
    NO_NUL,
    VARIABLE,
    Attempts,
    Class,
    Command,
    DrainDeadline,
    Duration,
    Failures,
    Grace,
    Lock,
    Metadata,
    Moment,
    Multiplier,
    Pool,
    Priority,
    SomeDuration,
    Why,
)

_ONE_BEGINNING: JsonDict = {"anyOf": [{"properties": {name: {"type": "null"}}} for name in ("scheduled_at", "delay")]}
_SOME_LIMIT: JsonDict = {
    "anyOf": [
        {"required": [name], "properties": {name: {"type": "string"}}}
        for name in ("timeout", "total_timeout", "heartbeat_timeout")
    ]
}
_VARIABLES = {
    "type": ["object", "null"],
    "maxProperties": MAX_ENV,
    "propertyNames": {"pattern": VARIABLE},
    "additionalProperties": {"type": "string", "pattern": NO_NUL},
}


_RETRY = RetryPolicy()


class RetryFields(BaseModel):
    """How often a task is tried that fails or runs out of time, and how long apart; nothing is required."""

    model_config = ConfigDict(extra="forbid")

    max_attempts: Attempts = Field(default=_RETRY.max_attempts, description="every try counts, the first included")
    initial: Duration = Field(default=None, description="the longest wait before the first retry; 1s if not given")
    max: Duration = Field(
        default=None, description="the longest wait before any retry, at least initial, at most 1d; 5m if not given"
    )
    multiplier: Multiplier = Field(
        default=_RETRY.multiplier, description="by how much each wait may be longer than the one before"
    )
    on: Failures = Field(
        default=(),
        description="which failures are worth another try; none: all but invalid_input and policy",
    )

    def policy(self) -> RetryPolicy:
        """The policy, as the core has it."""
        return RetryPolicy(
            max_attempts=self.max_attempts,
            initial_ms=_RETRY.initial_ms if self.initial is None else self.initial,
            max_ms=_RETRY.max_ms if self.max is None else self.max,
            multiplier=self.multiplier,
            on=self.on,
        )


class ApprovalFields(BaseModel):
    """What is asked of the approval of a plan."""

    model_config = ConfigDict(extra="forbid")

    timeout: Duration = Field(
        default=None, description="how long the plan may wait for it, 1s to 30d; as the server has it if not given"
    )
    by_other: StrictBool = Field(default=False, description="somebody else than the submitter has to approve it")


class TaskFields(PlacingFields):
    """What every task may say, whatever its type."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_ONE_BEGINNING)

    pool: Pool = Field(default=DEFAULT_POOL, description="the pool whose agents may run it")
    priority: Priority = Field(
        default_factory=lambda: BY_RULE,
        description="larger first; not given: what the server's rules say of such a task, else 50",
    )
    scheduled_at: Moment = Field(default=None, description="not before this moment; not together with delay")
    delay: Duration = Field(default=None, description="not before this long after it was accepted; at most 366d")
    timeout: Duration = Field(default=None, description="the longest run; at most 7d")
    queue_timeout: Duration = Field(
        default=None, description="the longest wait for an agent, at most 7d; 0s: only if one has room now"
    )
    start_timeout: Duration = Field(
        default=None, description="how long an agent may take to begin what it was given; at most 7d"
    )
    total_timeout: Duration = Field(
        default=None, description="the longest time in all from when it is due, waits and tries included; at most 366d"
    )
    heartbeat_timeout: Duration = Field(
        default=None, description="how long it may run without a sign of life of its own; at least 1s and at most 7d"
    )
    execution: Class = Field(default=None, description="what may happen when contact with its agent is lost")
    lock: Lock = Field(default="", description="of the tasks with the same lock, one at a time is with an agent")
    retry: RetryFields | None = Field(
        default=None, description="when it is tried again by itself after a failure; null: it has one attempt"
    )
    metadata: Metadata = Field(default_factory=dict, description="the submitter's own labels")
    approval: ApprovalFields | None = Field(
        default=None, description="of a plan_and_apply: what is asked of the approval of its plan"
    )

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
            start_timeout_ms=self.start_timeout,
            total_timeout_ms=self.total_timeout,
            heartbeat_timeout_ms=self.heartbeat_timeout,
            execution=self.execution,
            lock=self.lock,
            retry=self.retry.policy() if self.retry else None,
            metadata=self.metadata,
            approval_timeout_ms=self.approval.timeout if self.approval else None,
            approval_by_other=self.approval.by_other if self.approval else False,
            **self.placing(),
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


class Drain(BaseModel):
    """Why an agent is to be empty, and by when."""

    model_config = ConfigDict(extra="forbid")

    note: StrictStr = Field(default="", max_length=MAX_REASON_CHARS, description="in words")
    deadline: DrainDeadline = Field(
        default=None, description="after how long what still runs there is stopped, at most 7d; not given: never"
    )


class TaskExtension(BaseModel):
    """Other limits for a task that is with an agent, each counted from now; at least one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_SOME_LIMIT)

    timeout: Duration = Field(default=None, description="how long its run may still take; at most 7d")
    total_timeout: Duration = Field(
        default=None, description="how long it may still take in all, further tries included; at most 366d"
    )
    heartbeat_timeout: Duration = Field(
        default=None, description="how long it may run without a sign of life of its own; at least 1s and at most 7d"
    )

    def limits(self) -> NewLimits:
        """The limits as the core has them."""
        return NewLimits(self.timeout, self.total_timeout, self.heartbeat_timeout)


class Abandonment(BaseModel):
    """Why a live task is given up."""

    model_config = ConfigDict(extra="forbid")

    reason: Why = Field(description="in words; it stays with the task")


class TaskResolution(BaseModel):
    """What became of a task whose end nobody saw."""

    model_config = ConfigDict(extra="forbid")

    resolution: Resolution = Field(
        alias="as", description="completed: it did what was asked; failed: it did not; rerun: run it a second time"
    )
    reason: Why = Field(description="how that is known, in words; it stays with the task")


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
