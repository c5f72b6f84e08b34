"""The JSON that callers are answered with. Names and shapes are published; what is not built yet is null."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from nodelink.task import ErrorCategory, Execution, Reason, TaskStatus


class ProgressJson(BaseModel):
    """What a handler says of its own advance."""

    fraction: float = Field(description="0 to 1")
    message: str


class AttemptJson(BaseModel):
    """One try at a task on one agent."""

    number: int
    agent_id: str
    state: str = Field(description="granted, started, finished, void (proved never to have begun) or lost")
    sent_at: str
    started_at: str | None
    finished_at: str | None
    containment: str | None = Field(description="by what its processes are held together")


class TaskJson(BaseModel):
    """A task as it stands now."""

    id: str
    type: str
    status: TaskStatus
    reason: Reason
    message: str = Field(description="the reason in words")
    priority: int
    pool: str
    agent_id: str | None = Field(description="the agent of the current attempt")
    attempt: int = Field(description="the number of the current attempt; 0: none")
    attempts: list[AttemptJson] = Field(description="oldest first; in lists only the current one")
    created_at: str
    scheduled_at: str | None
    sent_at: str | None
    started_at: str | None
    finished_at: str | None
    updated_at: str
    timeout: str | None
    queue_timeout: str | None
    execution: Execution
    last_contact: str | None = Field(description="when its agent was last heard of")
    may_have_run: bool
    retry_of: str | None = Field(description="the finished task that this one runs once more")
    traceparent: str | None = Field(
        description="the trace context of its spans: what was given with it, or the server's submit span if it exports"
    )
    progress: ProgressJson | None
    payload: Any
    metadata: dict[str, str]
    revision: int
    lease_until: None = None
    workspace: None = None
    labels: None = None
    resources: None = None
    retry: None = None
    assignment: None = None


class TaskPage(BaseModel):
    """Tasks, newest first."""

    tasks: list[TaskJson]
    next_page_token: str = Field(description="empty: this was the last page")


class RemovedJson(BaseModel):
    """What a clean-up did."""

    removed: int = Field(description="how many tasks left the database")


class FieldErrorJson(BaseModel):
    """A field that is wrong, and what would be right."""

    field: str
    message: str


class RefusalJson(BaseModel):
    """Why one of several was not accepted."""

    code: str
    detail: str
    errors: list[FieldErrorJson]


class OutcomeJson(BaseModel):
    """What became of one of several: it was accepted, or refused."""

    task_id: str | None
    status: TaskStatus | None
    replayed: bool = Field(description="it had been accepted before, under the same key")
    error: RefusalJson | None


class BatchOutcome(BaseModel):
    """In the order of the request."""

    outcomes: list[OutcomeJson]


class ErrorJson(BaseModel):
    """What went wrong."""

    category: ErrorCategory
    message: str


class MetricsJson(BaseModel):
    """What it took."""

    queue_seconds: float | None = Field(description="from ready to granted")
    run_seconds: float | None
    cpu_seconds: float | None
    max_rss_bytes: int | None


class ResultJson(BaseModel):
    """How a task ended."""

    task_id: str
    status: TaskStatus
    reason: Reason
    attempt: int
    exit_code: int | None
    signal: int | None
    output: Any
    error: ErrorJson | None
    metrics: MetricsJson
    metadata: dict[str, str]
    started_at: str | None
    completed_at: str | None


class AgentJson(BaseModel):
    """An agent as the server sees it."""

    id: str
    name: str
    pool: str
    status: str = Field(description="online, unreachable or offline")
    labels: dict[str, str]
    slots: int
    free_slots: int
    current_tasks: list[str]
    last_heartbeat_at: str
    types: list[str] = Field(description="what it can run")
    software_version: str
    resources: None = None
    plan_limit: None = None
    plan_running: None = None
    apply_running: None = None


class AgentPage(BaseModel):
    """Agents, by name."""

    agents: list[AgentJson]


class SessionJson(BaseModel):
    """One connection of an agent."""

    number: int = Field(description="greater than that of the one before")
    connected_at: str
    disconnected_at: str | None = Field(description="null: it goes on")
    reason: str = Field(description="why it ended: goodbye, lost, silent, replaced or server_stopped")
    software_version: str


class SessionPage(BaseModel):
    """Connections, newest first."""

    sessions: list[SessionJson]
    next_page_token: str = Field(description="empty: this was the last page")


class HealthJson(BaseModel):
    """Whether the server is there, and whether it can do its work."""

    status: str
    version: str
    insecure: bool


class ReadyJson(HealthJson):
    """Which part of its work it can do."""

    database: bool
    dispatch: bool
    draining: bool


class ProblemJson(BaseModel):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldErrorJson]
    request_id: str
    retry_after: int | None = Field(default=None, description="seconds")
