"""The JSON that callers are answered with. Names and shapes are published; what is not built yet is null."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from nodelink.task import ErrorCategory, Execution, OnConflict, Reason, TaskStatus, WhenTaken
from nodelink_server.core.assignment import Unassigned
from nodelink_server.core.task_record import RemarkKind


class ProgressJson(BaseModel):
    """What a handler says of its own advance."""

    fraction: float = Field(description="0 to 1")
    message: str


class AttemptJson(BaseModel):
    """One try at a task on one agent."""

    number: int
    agent_id: str
    state: str = Field(
        description="granted, started, finished, void (proved never to have begun) or lost; "
        "failed or timeout: it was, or is to be, tried again"
    )
    sent_at: str
    started_at: str | None
    finished_at: str | None
    reason: Reason = Field(description="why it ended so; empty: it has not, or for no such reason")
    message: str = Field(description="the reason in words")
    exit_code: int | None = Field(description="of its command; in lists null for one that has ended")
    signal: int | None = Field(description="that killed its command")
    containment: str | None = Field(description="by what its processes are held together")


class LateResultJson(BaseModel):
    """What an agent told of an attempt that counted no more. It changes nothing, and is kept for people."""

    attempt: int
    agent_id: str
    received_at: str
    outcome: str = Field(description="completed, failed, timeout, cancelled or gone")
    exit_code: int | None
    message: str


class RemarkJson(BaseModel):
    """Something that happened to a task beside its attempts."""

    kind: RemarkKind
    at: str
    by: str | None = Field(description="who decided it; null: nobody, it happened")
    message: str


class RetryJson(BaseModel):
    """How often a task is tried that fails or runs out of time, and how long apart."""

    max_attempts: int = Field(description="every try counts, the first included")
    initial: str = Field(description="the longest wait before the first retry")
    max: str = Field(description="the longest wait before any retry")
    multiplier: float = Field(description="by how much each wait may be longer than the one before")
    on: list[str] = Field(description="which failures are worth it; none: all but invalid_input and policy")


class AssignmentJson(BaseModel):
    """How the tries to give a waiting task to an agent stand. Nobody waits for one: what comes wakes it at once."""

    tries: int = Field(description="how many there were, the first included")
    next_at: str = Field(description="when the next one is at the latest")
    reason: Unassigned = Field(description="why the last one came to nothing")


class InForceJson(BaseModel):
    """A limit that a task has to do with: one that it names, or one that is set for its kind."""

    name: str = Field(description="as in /limits")
    most: int = Field(description="how many places there are for this task")
    taken: int = Field(description="how many are taken")


class ApprovalJson(BaseModel):
    """What is asked of the approval of a plan."""

    timeout: str | None = Field(description="how long the plan may wait for it; null: as the server has it")
    by_other: bool = Field(description="somebody else than the submitter has to approve it")


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
    start_timeout: str | None
    total_timeout: str | None
    heartbeat_timeout: str | None
    execution: Execution
    lock: str | None = Field(
        description="what it must hold while it is with an agent; an exclusive task always has one"
    )
    contact: str | None = Field(description="whether the agent that it is with is heard of: connected or lost")
    last_contact: str | None = Field(description="when its agent was last heard of")
    lease_until: str | None = Field(
        description="when, without a sign of life of its agent, the rule of its class applies; an outage puts it off"
    )
    may_have_run: bool = Field(description="an attempt is granted, or there was one whose end nobody saw")
    late_results: list[LateResultJson] = Field(
        description="of attempts that counted no more, oldest first; in lists none"
    )
    remarks: list[RemarkJson] = Field(description="doubts, and what people decided, oldest first; in lists none")
    retry: RetryJson | None = Field(description="when it is tried again by itself; null: it has one attempt")
    failures: int = Field(description="how many attempts have failed that were, or are to be, followed by another")
    retry_at: str | None = Field(description="about when it is tried again; in lists null")
    retry_of: str | None = Field(description="the finished task that this one runs once more")
    traceparent: str | None = Field(
        description="the trace context of its spans: what was given with it, or the server's submit span if it exports"
    )
    progress: ProgressJson | None
    payload: Any
    metadata: dict[str, str]
    revision: int
    only_agent_id: str | None = Field(description="the only agent that may run it")
    labels: str | None = Field(description="what its agent's labels have to be")
    slots: int = Field(description="how many slots of its agent it takes")
    resources: dict[str, float] = Field(description="what it takes of its agent's resources")
    limits: dict[str, int] = Field(description="by key: fewer than so many with an agent may name it when this starts")
    rate: dict[str, str] = Field(description="by key: how many that name it start in which time")
    when_taken: WhenTaken
    workspace: str | None
    unique_key: str | None
    on_conflict: OnConflict
    fairness_key: str | None
    fairness_weight: int
    approval: ApprovalJson | None = Field(description="what is asked of the approval of its plan; null: nothing")
    plan_sha256: str | None = Field(description="the digest of its latest plan")
    assignment: AssignmentJson | None = Field(
        description="how the tries to give it to an agent stand; null: it waits for none, or was submitted this moment"
    )
    in_force: list[InForceJson] = Field(
        description="the limits that it has to do with while it lives; empty: there are none, or it was submitted this"
        " moment"
    )


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
    replayed: bool = Field(description="it had been accepted before, or is the live one with the same unique_key")
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


class AgentResourceJson(BaseModel):
    """One resource of an agent: processors, bytes of memory, or whatever it counts."""

    total: float = Field(description="how much of it the agent has")
    used: float = Field(description="how much of that its tasks take")


class AgentJson(BaseModel):
    """An agent as the server sees it."""

    id: str
    name: str
    pool: str
    status: str = Field(description="online, unreachable, draining, cordoned or offline")
    cordon_reason: str | None = Field(description="why it is kept from new work")
    drained_at: str | None = Field(description="since when a person wants it to be empty")
    drain_deadline: str | None = Field(description="about when what still runs there is stopped; null: never")
    drain_note: str | None = Field(description="why it is to be empty")
    labels: dict[str, str]
    slots: int
    used_slots: int = Field(description="how many its tasks take")
    free_slots: int = Field(description="how many it can be given now: none while it takes no new work")
    current_tasks: list[str]
    last_heartbeat_at: str
    types: list[str] = Field(description="what it can run")
    software_version: str
    resources: dict[str, AgentResourceJson]
    type_limits: dict[str, int] = Field(description="how many tasks of a type it runs at a time at most")
    plan_limit: int = Field(description="how many plans it makes at a time at most")
    plan_running: int = Field(description="how many it makes now")
    apply_running: int = Field(description="how many changes it applies now: one at most, and nothing else beside it")


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


class ConditionJson(BaseModel):
    """A condition, and whether it holds."""

    condition: str = Field(
        description="scheduler, lock, limit, rate or time; of an agent also pool, type, agent, labels, size, "
        "resources, connected, protocol, declined, cordon, drain, slots, type_limit, resources_free or gate"
    )
    holds: bool
    message: str = Field(description="what there is to say about it; empty: nothing")


class AgentConditionsJson(BaseModel):
    """What the conditions of a task say of one agent."""

    agent_id: str
    name: str
    fits: bool = Field(description="all hold: it would be given the task now")
    conditions: list[ConditionJson] = Field(description="up to the first that does not hold")


class TaskWhyJson(BaseModel):
    """Why a task stands where it stands."""

    task_id: str
    status: TaskStatus
    reason: Reason
    summary: str = Field(description="the answer in a few words")
    conditions: list[ConditionJson] = Field(
        description="what must hold wherever it is to run; none: it waits for nothing"
    )
    agents: list[AgentConditionsJson] = Field(description="those that come closest, at most 100")
    agents_total: int = Field(description="how many agents are known; 0 if it does not wait for one")
    ruled_out: dict[str, int] = Field(description="of all agents, how many each condition rules out")
    ahead: int | None = Field(
        description="how many waiting tasks of its pool and type go before it, at most 10,000; null: it is in no queue"
    )
    starts_in: str | None = Field(description="about how long it has still to wait; null: that is not known")
    remedies: list[str] = Field(description="what would let it go on")


class AgentWhyJson(BaseModel):
    """Why an agent has the work that it has."""

    agent_id: str
    summary: str = Field(description="the answer in a few words")
    conditions: list[ConditionJson] = Field(description="what must hold for it to be given work")
    waiting: int = Field(description="how many tasks in the server's memory wait that it could run; 0 if it is away")


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
