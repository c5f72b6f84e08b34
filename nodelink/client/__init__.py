"""The public face of the client: `Client` and `AsyncClient`, and the values that they take and give."""

from nodelink.client.aio import AsyncClient
from nodelink.client.aio_handle import TaskHandle as AsyncTaskHandle
from nodelink.client.asking import SubmitOptions, TaskOptions, new_task
from nodelink.client.figures import SchedulerStatus, Stats, StatsBucket, StatsDurations, StatsGroup, StatsLevels
from nodelink.client.nouns import (
    Agent,
    AgentSession,
    Attempt,
    Event,
    LogPage,
    LogPart,
    Metrics,
    SubmitOutcome,
    Task,
    TaskFilter,
    TaskResult,
)
from nodelink.client.sync import Client
from nodelink.client.sync_handle import TaskHandle

__all__ = [
    "Agent",
    "AgentSession",
    "AsyncClient",
    "AsyncTaskHandle",
    "Attempt",
    "Client",
    "Event",
    "LogPage",
    "LogPart",
    "Metrics",
    "SchedulerStatus",
    "Stats",
    "StatsBucket",
    "StatsDurations",
    "StatsGroup",
    "StatsLevels",
    "SubmitOptions",
    "SubmitOutcome",
    "Task",
    "TaskFilter",
    "TaskHandle",
    "TaskOptions",
    "TaskResult",
    "new_task",
]
