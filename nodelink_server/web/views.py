"""What the core knows, as callers are shown it (`web/shapes.py`)."""

from __future__ import annotations

from typing import Any

from nodelink.task import ErrorCategory, Finished, Progress, TaskError, TaskStatus
from nodelink_server.core.agents import AgentView
from nodelink_server.core.jsontext import read_json
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import AgentSessionRecord
from nodelink_server.core.task import Attempt, Superseded, Task, TaskRecord
from nodelink_server.web.shapes import (
    AgentJson,
    AttemptJson,
    ErrorJson,
    MetricsJson,
    ProgressJson,
    ResultJson,
    SessionJson,
    TaskJson,
)
from nodelink_server.web.times import duration_or_none, moment, moment_or_none

MOST_OUTPUT_DEPTH = 200
"""Agents may nest deeper than callers; beyond this, an output is shown as text."""


def task_json(record: TaskRecord, *, progress: Progress | None = None, last_contact: int | None = None) -> TaskJson:
    """A task as it is shown."""
    task, attempt = record.task, record.task.attempt
    return TaskJson(
        id=task.id,
        type=task.spec.type,
        status=task.status,
        reason=task.reason,
        message=task.message,
        priority=task.spec.priority,
        pool=task.spec.pool,
        agent_id=attempt.agent_id if attempt else None,
        attempt=attempt.number if attempt else 0,
        attempts=_attempts(record),
        created_at=moment(task.created_at),
        scheduled_at=moment_or_none(task.due_at if task.due_at is not None else task.spec.scheduled_at),
        sent_at=moment(attempt.sent_at) if attempt else None,
        started_at=moment_or_none(attempt.started_at) if attempt else None,
        finished_at=moment_or_none(task.finished_at),
        updated_at=moment(record.updated_at),
        timeout=duration_or_none(task.spec.timeout_ms),
        queue_timeout=duration_or_none(task.spec.queue_timeout_ms),
        execution=task.execution,
        last_contact=moment_or_none(last_contact),
        may_have_run=task.may_have_run,
        retry_of=task.retry_of or None,
        traceparent=task.traceparent or None,
        progress=ProgressJson(fraction=progress.fraction, message=progress.message) if progress else None,
        payload=json_value(record.payload),
        metadata=dict(task.spec.metadata),
        revision=task.revision,
    )


def live_task_json(record: TaskRecord, manager: TaskManager) -> TaskJson:
    """A task with what only memory knows: its progress, and when its agent was last heard of."""
    task = record.task
    if task.is_terminal or task.attempt is None:
        return task_json(record)
    last_contact = manager.agents.last_contact(task.attempt.agent_id)
    return task_json(record, progress=manager.progress(task.id), last_contact=last_contact)


def _attempts(record: TaskRecord) -> list[AttemptJson]:
    earlier = [_superseded(superseded) for superseded in record.earlier]
    task = record.task
    if task.attempt is None:
        return earlier
    return [*earlier, _attempt(task.attempt, _state(task, task.attempt), task.finished_at)]


def _superseded(superseded: Superseded) -> AttemptJson:
    return _attempt(superseded.attempt, superseded.state, superseded.ended_at)


def _attempt(attempt: Attempt, state: str, ended_at: int | None) -> AttemptJson:
    return AttemptJson(
        number=attempt.number,
        agent_id=attempt.agent_id,
        state=state,
        sent_at=moment(attempt.sent_at),
        started_at=moment_or_none(attempt.started_at),
        finished_at=moment_or_none(ended_at),
        containment=attempt.containment or None,
    )


def _state(task: Task, attempt: Attempt) -> str:
    if task.is_terminal:
        return "lost" if task.may_have_run else "finished"
    return "granted" if attempt.started_at is None else "started"


def result_json(record: TaskRecord) -> ResultJson:
    """How a finished task ended."""
    task, finished, attempt = record.task, record.finished, record.task.attempt
    error = finished.error if finished else _error_without_result(task)
    return ResultJson(
        task_id=task.id,
        status=task.status,
        reason=task.reason,
        attempt=attempt.number if attempt else 0,
        exit_code=finished.exit_code if finished else None,
        signal=finished.signal if finished else None,
        output=json_value(finished.output) if finished else None,
        error=ErrorJson(category=error.category, message=error.message) if error else None,
        metrics=_metrics(task, finished),
        metadata=dict(task.spec.metadata),
        started_at=moment_or_none(attempt.started_at) if attempt else None,
        completed_at=moment_or_none(task.finished_at),
    )


def _error_without_result(task: Task) -> TaskError | None:
    """What went wrong with a task that ended without a word of its agent. Cancelled as asked: nothing."""
    match task.status:
        case TaskStatus.TIMEOUT:
            return TaskError(ErrorCategory.TIMEOUT, task.message)
        case TaskStatus.LOST | TaskStatus.FAILED:
            return TaskError(ErrorCategory.INFRASTRUCTURE, task.message)
        case _:
            return None


def _metrics(task: Task, finished: Finished | None) -> MetricsJson:
    return MetricsJson(
        queue_seconds=_queue_seconds(task),
        run_seconds=finished.run_seconds if finished else None,
        cpu_seconds=finished.cpu_seconds if finished else None,
        max_rss_bytes=finished.max_rss_bytes if finished else None,
    )


def _queue_seconds(task: Task) -> float | None:
    if task.attempt is None or task.ready_at is None:
        return None
    return max(0, task.attempt.sent_at - task.ready_at) / 1000


def agent_json(agent: AgentView) -> AgentJson:
    """An agent as it is shown."""
    return AgentJson(
        id=agent.id,
        name=agent.name,
        pool=agent.pool,
        status=agent.status,
        labels=dict(agent.labels),
        slots=agent.slots,
        free_slots=agent.free_slots,
        current_tasks=list(agent.current_tasks),
        last_heartbeat_at=moment(agent.last_heartbeat_at),
        types=list(agent.types),
        software_version=agent.software_version,
    )


def session_json(session: AgentSessionRecord) -> SessionJson:
    """One connection of an agent as it is shown."""
    return SessionJson(
        number=session.number,
        connected_at=moment(session.connected_at),
        disconnected_at=moment_or_none(session.disconnected_at),
        reason=session.reason,
        software_version=session.software_version,
    )


def json_value(text: bytes) -> Any:
    """JSON text as a value. Empty: null. What an agent sent and cannot be passed on as JSON is shown as text."""
    if not text:
        return None
    try:
        return read_json(text, most_depth=MOST_OUTPUT_DEPTH)
    except ValueError:
        return text.decode(errors="replace")
