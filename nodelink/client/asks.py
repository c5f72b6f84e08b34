"""What is asked of the server, and how its answers are read: a value for each call. Pure: both clients share them.

Whoever makes the calls finds a call among the stubs of its own kind of channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, Unpack

import grpc

from nodelink.client.asking import Duration, StatsOptions
from nodelink.client.checks import count_of, text_of, texts_of
from nodelink.client.figures import SchedulerStatus, Stats
from nodelink.client.nouns import Agent, AgentSession, Event, LogPage, SubmitOutcome, Task, TaskFilter, TaskResult
from nodelink.client.reading import agent_of, events_of, log_page_of, outcome_of, result_of, session_of, task_of
from nodelink.client.reading_figures import scheduler_status_of, stats_of
from nodelink.client.requests import (
    agents_request,
    cancel_request,
    clean_up_request,
    list_request,
    logs_went_on,
    stats_request,
    watch_went_on,
)
from nodelink.v1 import admin_pb2, admin_pb2_grpc, task_pb2, task_pb2_grpc

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")
_Result = TypeVar("_Result")


class Stubs:
    """The calls of every service, on one channel. An asynchronous channel's have the same names."""

    def __init__(self, channel: Any) -> None:
        self.tasks: task_pb2_grpc.TaskServiceStub = task_pb2_grpc.TaskServiceStub(channel)
        self.agents: admin_pb2_grpc.AgentAdminServiceStub = admin_pb2_grpc.AgentAdminServiceStub(channel)
        self.scheduler: admin_pb2_grpc.SchedulerServiceStub = admin_pb2_grpc.SchedulerServiceStub(channel)
        self.stats: admin_pb2_grpc.StatsServiceStub = admin_pb2_grpc.StatsServiceStub(channel)


@dataclass(frozen=True, slots=True)
class Ask(Generic[_Result]):
    """A call with one answer. `safe`: asking twice does no harm."""

    call: Callable[[Stubs], Any]
    request: Any
    read: Callable[[Any], _Result]
    safe: bool


@dataclass(frozen=True, slots=True)
class Follow(Generic[_Result]):
    """A call with many answers. `went_on` moves the request behind an answer, and tells whether that was the last."""

    call: Callable[[Stubs], Any]
    request: Any
    read: Callable[[Any], _Result]
    went_on: Callable[[Any, Any], bool]


class Page(NamedTuple, Generic[_Result]):
    """A page of things, and the token of the next one; empty: there is none."""

    items: Sequence[_Result]
    next_token: str


# --- tasks ----------------------------------------------------------------------------------------------------------


def submit_batch(
    request: task_pb2.BatchSubmitTasksRequest,
) -> Ask[list[SubmitOutcome]]:
    """Hand in many. Every request has a key."""
    return _ask(lambda on: on.tasks.BatchSubmitTasks, request, lambda answer: [*map(outcome_of, answer.outcomes)])


def get(task_id: str) -> Ask[Task]:
    """One task."""
    request = task_pb2.GetTaskRequest(task_id=text_of("task_id", task_id))
    return _ask(lambda on: on.tasks.GetTask, request, lambda answer: task_of(answer.task))


def page(wanted: TaskFilter | None, left: int | None, token: str) -> Ask[Page[Task]]:
    """A page of the tasks that match."""
    request = list_request(wanted or TaskFilter(), left=left, page_token=token)
    return _ask(
        lambda on: on.tasks.ListTasks,
        request,
        lambda answer: Page([*map(task_of, answer.tasks)], answer.next_page_token),
    )


def result(task_id: str) -> Ask[TaskResult]:
    """How one ended."""
    request = task_pb2.GetTaskResultRequest(task_id=text_of("task_id", task_id))
    return _ask(lambda on: on.tasks.GetTaskResult, request, lambda answer: result_of(answer.result))


def cancel(task_id: str, *, reason: str, grace: Duration | None) -> Ask[Task]:
    """Stop one."""
    request = cancel_request(task_id, reason=reason, grace=grace)
    return _ask(lambda on: on.tasks.CancelTask, request, lambda answer: task_of(answer.task), safe=False)


def retry(task_id: str, *, key: str) -> Ask[Task]:
    """Run one again."""
    request = task_pb2.RetryTaskRequest(
        task_id=text_of("task_id", task_id), idempotency_key=text_of("idempotency_key", key)
    )
    return _ask(lambda on: on.tasks.RetryTask, request, lambda answer: task_of(answer.task))


def clean_up(older_than: Duration) -> Ask[int]:
    """Remove old ones."""
    request = clean_up_request(older_than)
    return _ask(lambda on: on.tasks.CleanUpTasks, request, lambda answer: answer.removed, safe=False)


# --- output and events ----------------------------------------------------------------------------------------------


def output(
    request: task_pb2.ReadTaskLogsRequest,
) -> Follow[LogPage]:
    """What one prints."""
    return _follow(lambda on: on.tasks.ReadTaskLogs, request, log_page_of, logs_went_on)


def events(
    *,
    task_id: str = "",
    agent_id: str = "",
    pool: str = "",
    type: str = "",
    names: Iterable[str] = (),
    after: int = 0,
) -> Follow[Sequence[Event]]:
    """What happens."""
    request = task_pb2.WatchTasksRequest(
        task_id=text_of("task_id", task_id),
        agent_id=text_of("agent_id", agent_id),
        pool=text_of("pool", pool),
        type=text_of("type", type),
        names=texts_of("names", names),
        after_revision=count_of("after", after),
    )
    return _follow(lambda on: on.tasks.WatchTasks, request, lambda frame: [*events_of(frame)], watch_went_on)


# --- agents and figures ---------------------------------------------------------------------------------------------


def agents(*, status: str, pool: str, labels: Mapping[str, str] | None) -> Ask[list[Agent]]:
    """Those that match."""
    request = agents_request(status=status, pool=pool, labels=labels)
    return _ask(lambda on: on.agents.ListAgents, request, lambda answer: [*map(agent_of, answer.agents)])


def agent(agent_id: str) -> Ask[Agent]:
    """One agent."""
    request = admin_pb2.GetAgentRequest(agent_id=text_of("agent_id", agent_id))
    return _ask(lambda on: on.agents.GetAgent, request, lambda answer: agent_of(answer.agent))


def sessions(agent_id: str, token: str) -> Ask[Page[AgentSession]]:
    """A page of the connections of an agent."""
    request = admin_pb2.ListAgentSessionsRequest(agent_id=text_of("agent_id", agent_id), page_token=token)
    return _ask(
        lambda on: on.agents.ListAgentSessions,
        request,
        lambda answer: Page([*map(session_of, answer.sessions)], answer.next_page_token),
    )


def scheduler_status() -> Ask[SchedulerStatus]:
    """What waits and runs."""
    request = admin_pb2.GetSchedulerStatusRequest()
    return _ask(lambda on: on.scheduler.GetSchedulerStatus, request, scheduler_status_of)


def stats(**which: Unpack[StatsOptions]) -> Ask[Stats]:
    """What was done."""
    return _ask(lambda on: on.stats.GetStats, stats_request(**which), stats_of)


# --- how one is made: whatever belongs to a call is of its types ----------------------------------------------------


def _ask(
    call: Callable[[Stubs], grpc.UnaryUnaryMultiCallable[_Request, _Answer]],
    request: _Request,
    read: Callable[[_Answer], _Result],
    *,
    safe: bool = True,
) -> Ask[_Result]:
    return Ask(call, request, read, safe)


def _follow(
    call: Callable[[Stubs], grpc.UnaryStreamMultiCallable[_Request, _Answer]],
    request: _Request,
    read: Callable[[_Answer], _Result],
    went_on: Callable[[_Request, _Answer], bool],
) -> Follow[_Result]:
    return Follow(call, request, read, went_on)
