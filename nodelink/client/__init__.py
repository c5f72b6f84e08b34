"""The public face of the client: `Client` and `AsyncClient`, and the values that they take and give."""

from nodelink.client.aio import AsyncClient
from nodelink.client.aio_handle import TaskHandle as AsyncTaskHandle
from nodelink.client.asking import SubmitOptions, TaskOptions, new_task
from nodelink.client.blobs import Artifact, ArtifactUsage, BlobRef, TaskArtifact, WorkspaceState
from nodelink.client.figures import SchedulerStatus, Stats, StatsBucket, StatsDurations, StatsGroup, StatsLevels
from nodelink.client.nouns import (
    Agent,
    AgentResource,
    AgentSession,
    Assignment,
    Attempt,
    BulkResult,
    Event,
    LateResult,
    LimitInForce,
    LogPage,
    LogPart,
    Metrics,
    Remark,
    SubmitOutcome,
    Task,
    TaskFilter,
    TaskResult,
)
from nodelink.client.pausing import Checkpoint, LeftOutBlob, Pause, Paused, Resumed
from nodelink.client.places import Limit, LimitHolder, LimitList, LimitWaiter, Workspace
from nodelink.client.plans import TaskPlan
from nodelink.client.sync import Client
from nodelink.client.sync_handle import TaskHandle
from nodelink.client.why import AgentConditions, AgentWhy, Condition, TaskWhy
from nodelink.task import OnConflict, Rate, RetryPolicy, WhenTaken

__all__ = [
    "Agent",
    "AgentConditions",
    "AgentResource",
    "AgentSession",
    "AgentWhy",
    "Artifact",
    "ArtifactUsage",
    "Assignment",
    "AsyncClient",
    "AsyncTaskHandle",
    "Attempt",
    "BlobRef",
    "BulkResult",
    "Checkpoint",
    "Client",
    "Condition",
    "Event",
    "LateResult",
    "LeftOutBlob",
    "Limit",
    "LimitHolder",
    "LimitInForce",
    "LimitList",
    "LimitWaiter",
    "LogPage",
    "LogPart",
    "Metrics",
    "OnConflict",
    "Pause",
    "Paused",
    "Rate",
    "Remark",
    "Resumed",
    "RetryPolicy",
    "SchedulerStatus",
    "Stats",
    "StatsBucket",
    "StatsDurations",
    "StatsGroup",
    "StatsLevels",
    "SubmitOptions",
    "SubmitOutcome",
    "Task",
    "TaskArtifact",
    "TaskFilter",
    "TaskHandle",
    "TaskOptions",
    "TaskPlan",
    "TaskResult",
    "TaskWhy",
    "WhenTaken",
    "Workspace",
    "WorkspaceState",
    "new_task",
]
