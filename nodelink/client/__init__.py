"""The public face of the client: `AsyncClient` and `Client`, and the values that they take and give."""

from nodelink.client.aio import AsyncClient
from nodelink.client.asking import new_task
from nodelink.client.nouns import (
    Agent,
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

__all__ = [
    "Agent",
    "AsyncClient",
    "Attempt",
    "Client",
    "Event",
    "LogPage",
    "LogPart",
    "Metrics",
    "SubmitOutcome",
    "Task",
    "TaskFilter",
    "TaskResult",
    "new_task",
]
