"""What is asked of the server, and how its answers are read: a value for each call. Pure: both clients share them.

Whoever makes the calls finds a call among the stubs of its own kind of channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, Unpack

import grpc

from nodelink.client.asking import Duration, ExtendOptions, StatsOptions
from nodelink.client.bulk import Bulk
from nodelink.client.checks import count_of, text_of, texts_of
from nodelink.client.figures import SchedulerStatus, Stats
from nodelink.client.nouns import Agent, AgentSession, Event, LogPage, SubmitOutcome, Task, TaskFilter, TaskResult
from nodelink.client.pausing import Checkpoint, Paused, Resumed
from nodelink.client.places import Limit, LimitList, Workspace
from nodelink.client.plans import TaskPlan, approve_request, plan_of, plans_request, reject_request
from nodelink.client.reading import agent_of, events_of, log_page_of, outcome_of, result_of, session_of, task_of
from nodelink.client.reading_figures import scheduler_status_of, stats_of
from nodelink.client.reading_pausing import checkpoint_of, paused_of, resume_message, resumed_of
from nodelink.client.reading_places import limit_of, limits_of, workspace_message, workspace_of
from nodelink.client.reading_why import agent_why_of, task_why_of
from nodelink.client.requests import (
    abandon_request,
    agents_request,
    cancel_request,
    clean_up_request,
    drain_request,
    extend_request,
    list_request,
    logs_went_on,
    resolve_request,
    stats_request,
    watch_went_on,
)
from nodelink.client.why import AgentWhy, TaskWhy
from nodelink.errors import FieldError, InvalidTask
from nodelink.task import Execution
from nodelink.v1 import admin_pb2, admin_pb2_grpc, data_pb2_grpc, task_pb2, task_pb2_grpc

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
        self.workspaces: admin_pb2_grpc.WorkspaceServiceStub = admin_pb2_grpc.WorkspaceServiceStub(channel)
        self.checkpoints: admin_pb2_grpc.CheckpointServiceStub = admin_pb2_grpc.CheckpointServiceStub(channel)
        self.limits: admin_pb2_grpc.LimitServiceStub = admin_pb2_grpc.LimitServiceStub(channel)
        self.artifacts: data_pb2_grpc.ArtifactServiceStub = data_pb2_grpc.ArtifactServiceStub(channel)
        self.states: data_pb2_grpc.WorkspaceStateServiceStub = data_pb2_grpc.WorkspaceStateServiceStub(channel)


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


def why(task_id: str) -> Ask[TaskWhy]:
    """Why one stands where it stands."""
    request = task_pb2.ExplainTaskRequest(task_id=text_of("task_id", task_id))
    return _ask(lambda on: on.tasks.ExplainTask, request, task_why_of)


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


def extend(task_id: str, **limits: Unpack[ExtendOptions]) -> Ask[Task]:
    """Give one other limits. Asked twice, they count from the second time."""
    request = extend_request(task_id, **limits)
    return _ask(lambda on: on.tasks.ExtendTask, request, lambda answer: task_of(answer.task))


def abandon(task_id: str, *, reason: str) -> Ask[Task]:
    """Give one up."""
    request = abandon_request(task_id, reason=reason)
    return _ask(lambda on: on.tasks.AbandonTask, request, lambda answer: task_of(answer.task), safe=False)


def resolve(task_id: str, *, as_: str, reason: str) -> Ask[Task]:
    """Say what became of one."""
    request = resolve_request(task_id, as_=as_, reason=reason)
    return _ask(lambda on: on.tasks.ResolveTask, request, lambda answer: task_of(answer.task), safe=False)


def approve(task_id: str, *, plan_sha256: str, inputs_sha256: str, target: str, message: str) -> Ask[Task]:
    """Let one apply its plan."""
    request = approve_request(
        task_id, plan_sha256=plan_sha256, inputs_sha256=inputs_sha256, target=target, message=message
    )
    return _ask(lambda on: on.tasks.ApproveTask, request, lambda answer: task_of(answer.task), safe=False)


def reject(task_id: str, *, plan_sha256: str, message: str) -> Ask[Task]:
    """Let one not apply its plan."""
    request = reject_request(task_id, plan_sha256=plan_sha256, message=message)
    return _ask(lambda on: on.tasks.RejectTask, request, lambda answer: task_of(answer.task), safe=False)


def plan(task_id: str) -> Ask[TaskPlan]:
    """The plan of one."""
    request = task_pb2.GetPlanRequest(task_id=text_of("task_id", task_id))
    return _ask(lambda on: on.tasks.GetPlan, request, lambda answer: plan_of(answer.plan))


def plans(*, statuses: Iterable[str], workspace: str, limit: int) -> Ask[list[TaskPlan]]:
    """The newest plans."""
    request = plans_request(statuses, workspace, limit=limit)
    return _ask(lambda on: on.tasks.ListPlans, request, lambda answer: [plan_of(one) for one in answer.plans])


def bulk(order: Bulk) -> Ask[bool]:
    """Do one thing to many. Tells whether there is more to do."""
    return _ask(lambda on: on.tasks.BulkTasks, order.request, order.take)


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


def agent_why(agent_id: str) -> Ask[AgentWhy]:
    """Why one has the work that it has."""
    request = admin_pb2.ExplainAgentRequest(agent_id=text_of("agent_id", agent_id))
    return _ask(lambda on: on.agents.ExplainAgent, request, agent_why_of)


def drain(agent_id: str, *, note: str, deadline: Duration | None) -> Ask[Agent]:
    """Have one become empty. Asked again, the deadline would count from then."""
    request = drain_request(agent_id, note=note, deadline=deadline)
    return _ask(lambda on: on.agents.DrainAgent, request, lambda answer: agent_of(answer.agent), safe=deadline is None)


def undrain(agent_id: str) -> Ask[Agent]:
    """Let one have new work again."""
    request = admin_pb2.UndrainAgentRequest(agent_id=text_of("agent_id", agent_id))
    return _ask(lambda on: on.agents.UndrainAgent, request, lambda answer: agent_of(answer.agent))


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


# --- workspaces and limits ------------------------------------------------------------------------------------------


def workspaces() -> Ask[list[Workspace]]:
    """All of them."""
    request = admin_pb2.ListWorkspacesRequest()
    return _ask(lambda on: on.workspaces.ListWorkspaces, request, lambda it: [*map(workspace_of, it.workspaces)])


def workspace(name: str) -> Ask[Workspace]:
    """One workspace."""
    request = admin_pb2.GetWorkspaceRequest(name=text_of("name", name))
    return _ask(lambda on: on.workspaces.GetWorkspace, request, lambda answer: workspace_of(answer.workspace))


def create_workspace(name: str, *, pool: str, mode: str, execution: Execution | str | None) -> Ask[Workspace]:
    """A new one. Asked again, it would be there already."""
    request = admin_pb2.CreateWorkspaceRequest(workspace=workspace_message(name, pool, mode, execution))
    return _ask(lambda on: on.workspaces.CreateWorkspace, request, lambda it: workspace_of(it.workspace), safe=False)


def update_workspace(name: str, *, pool: str, mode: str, execution: Execution | str | None) -> Ask[Workspace]:
    """Another pool, mode and class for one."""
    request = admin_pb2.UpdateWorkspaceRequest(workspace=workspace_message(name, pool, mode, execution))
    return _ask(lambda on: on.workspaces.UpdateWorkspace, request, lambda answer: workspace_of(answer.workspace))


def delete_workspace(name: str) -> Ask[Workspace]:
    """One less. Asked again, it would not be there."""
    request = admin_pb2.DeleteWorkspaceRequest(name=text_of("name", name))
    return _ask(lambda on: on.workspaces.DeleteWorkspace, request, lambda it: workspace_of(it.workspace), safe=False)


def limits() -> Ask[LimitList]:
    """What is set, and what is held."""
    return _ask(lambda on: on.limits.ListLimits, admin_pb2.ListLimitsRequest(), limits_of)


def limit(name: str) -> Ask[Limit]:
    """One limit."""
    if not text_of("name", name):  # else the answer would be another one
        raise InvalidTask(FieldError("name", "must be given"))
    request = admin_pb2.ListLimitsRequest(name=name)
    return _ask(lambda on: on.limits.ListLimits, request, lambda answer: limit_of(answer.limits[0]))


def set_limit(name: str, most: int) -> Ask[Limit]:
    """So many places."""
    request = admin_pb2.SetLimitRequest(name=text_of("name", name), most=count_of("most", most))
    return _ask(lambda on: on.limits.SetLimit, request, lambda answer: limit_of(answer.limit))


def remove_limit(name: str) -> Ask[Limit]:
    """Any number of places."""
    request = admin_pb2.RemoveLimitRequest(name=text_of("name", name))
    return _ask(lambda on: on.limits.RemoveLimit, request, lambda answer: limit_of(answer.limit))


# --- pauses and checkpoints -----------------------------------------------------------------------------------------


def pause(*, pool: str, type: str, reason: str) -> Ask[Paused]:
    """Nothing new starts."""
    texts = {"pool": text_of("pool", pool), "type": text_of("type", type), "reason": text_of("reason", reason)}
    return _ask(lambda on: on.scheduler.PauseScheduler, admin_pb2.PauseSchedulerRequest(**texts), paused_of)


def resume(*, pool: str, type: str, reason: str, checkpoint: str | bytes | None, as_waiting: bool) -> Ask[Resumed]:
    """Things start again. Asked again, it would not be paused."""
    request = resume_message(
        pool=text_of("pool", pool),
        type=text_of("type", type),
        reason=text_of("reason", reason),
        checkpoint=checkpoint,
        as_waiting=as_waiting,
    )
    return _ask(lambda on: on.scheduler.ResumeScheduler, request, resumed_of, safe=False)


def take_checkpoint() -> Ask[Checkpoint]:
    """A new one. Asked again, there would be two."""
    request = admin_pb2.TakeCheckpointRequest()
    return _ask(lambda on: on.checkpoints.TakeCheckpoint, request, lambda it: checkpoint_of(it.checkpoint), safe=False)


def checkpoints() -> Ask[Sequence[Checkpoint]]:
    """Those that are kept."""
    request = admin_pb2.ListCheckpointsRequest()
    return _ask(lambda on: on.checkpoints.ListCheckpoints, request, lambda it: [*map(checkpoint_of, it.checkpoints)])


def verify_checkpoint(checkpoint_id: str) -> Ask[Checkpoint]:
    """One that is whole."""
    request = admin_pb2.VerifyCheckpointRequest(id=text_of("id", checkpoint_id))
    return _ask(lambda on: on.checkpoints.VerifyCheckpoint, request, lambda answer: checkpoint_of(answer.checkpoint))


def checkpoint_part(checkpoint_id: str, offset: int) -> Ask[bytes]:
    """A part of its file; empty behind its end."""
    request = admin_pb2.ReadCheckpointRequest(id=text_of("id", checkpoint_id), offset=offset)
    return _ask(lambda on: on.checkpoints.ReadCheckpoint, request, lambda answer: answer.data)


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
