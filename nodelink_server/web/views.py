"""What the core knows, as callers are shown it (`web/shapes.py`)."""

from __future__ import annotations

from typing import Any

from nodelink.quantities import number_of
from nodelink.rates import format_rate
from nodelink.task import ErrorCategory, Finished, Progress, Reason, RetryPolicy, TaskError, TaskSpec, TaskStatus
from nodelink_server.attempts import AttemptEnd, end_of_earlier, end_of_last, retry_at_of
from nodelink_server.core.agents import AgentView
from nodelink_server.core.assignment import Assignment
from nodelink_server.core.attempt import Attempt, Superseded
from nodelink_server.core.jsontext import read_json
from nodelink_server.core.leases import TaskContact
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import AgentSessionRecord
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import LateResult, Remark, TaskRecord
from nodelink_server.web.shapes import (
    AgentJson,
    AgentResourceJson,
    ApprovalJson,
    AssignmentJson,
    AttemptJson,
    ErrorJson,
    InForceJson,
    LateResultJson,
    MetricsJson,
    ProgressJson,
    RemarkJson,
    ResultJson,
    RetryJson,
    SessionJson,
    TaskJson,
)
from nodelink_server.web.times import duration, duration_or_none, moment, moment_or_none

MOST_OUTPUT_DEPTH = 200
"""Agents may nest deeper than callers; beyond this, an output is shown as text."""


def _task_json(record: TaskRecord, *, progress: Progress | None = None, contact: TaskContact | None = None) -> TaskJson:
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
        start_timeout=duration_or_none(task.spec.start_timeout_ms),
        total_timeout=duration_or_none(task.spec.total_timeout_ms),
        heartbeat_timeout=duration_or_none(task.spec.heartbeat_timeout_ms),
        execution=task.execution,
        lock=task.lock or None,
        contact=contact.state if contact else None,
        last_contact=moment_or_none(contact.last_contact) if contact else None,
        lease_until=moment_or_none(contact.lease_until) if contact else None,
        may_have_run=record.may_have_run,
        late_results=list(map(_late_result, record.late_results)),
        remarks=list(map(_remark, record.remarks)),
        retry=_retry(task.spec.retry) if task.spec.retry else None,
        failures=task.failures,
        retry_at=moment_or_none(retry_at_of(record)),
        retry_of=task.retry_of or None,
        traceparent=task.traceparent or None,
        progress=ProgressJson(fraction=progress.fraction, message=progress.message) if progress else None,
        payload=json_value(record.payload),
        metadata=dict(task.spec.metadata),
        revision=task.revision,
        **_placing(task.spec),
        approval=_approval(task.spec),
        plan_sha256=task.plan.plan.sha256 if task.plan else None,
        assignment=_assignment(record.assignment) if record.assignment else None,
        in_force=[InForceJson(**limit._asdict()) for limit in record.in_force],
    )


def _approval(spec: TaskSpec) -> ApprovalJson | None:
    if spec.approval_timeout_ms is None and not spec.approval_by_other:
        return None
    return ApprovalJson(timeout=duration_or_none(spec.approval_timeout_ms), by_other=spec.approval_by_other)


def _placing(spec: TaskSpec) -> dict[str, Any]:
    """Where it runs, beside whom, and in whose turn."""
    return {
        "only_agent_id": spec.agent_id or None,
        "labels": spec.selector or None,
        "slots": spec.slots,
        "resources": {name: number_of(amount) for name, amount in spec.resources.items()},
        "limits": dict(spec.limits),
        "rate": {key: format_rate(rate) for key, rate in spec.rates.items()},
        "when_taken": spec.when_taken,
        "workspace": spec.workspace or None,
        "unique_key": spec.unique_key or None,
        "on_conflict": spec.on_conflict,
        "fairness_key": spec.fairness_key or None,
        "fairness_weight": spec.fairness_weight,
    }


def live_task_json(record: TaskRecord, manager: TaskManager) -> TaskJson:
    """A task with what only memory knows: its progress, and how the contact with its agent stands."""
    task = record.task
    return _task_json(record, progress=manager.progress(task.id), contact=manager.contact(task))


def _attempts(record: TaskRecord) -> list[AttemptJson]:
    earlier = [_superseded(superseded) for superseded in record.earlier]
    task = record.task
    if task.attempt is None:
        return earlier
    return [*earlier, _attempt(task.attempt, _state(task, task.attempt), task.finished_at, end_of_last(record))]


def _superseded(superseded: Superseded) -> AttemptJson:
    return _attempt(superseded.attempt, superseded.state, superseded.ended_at, end_of_earlier(superseded))


def _attempt(attempt: Attempt, state: str, ended_at: int | None, end: AttemptEnd) -> AttemptJson:
    return AttemptJson(
        number=attempt.number,
        agent_id=attempt.agent_id,
        state=state,
        sent_at=moment(attempt.sent_at),
        started_at=moment_or_none(attempt.started_at),
        finished_at=moment_or_none(ended_at),
        reason=Reason(end.reason),
        message=end.message,
        exit_code=end.exit_code,
        signal=end.signal,
        containment=attempt.containment or None,
    )


def _retry(retry: RetryPolicy) -> RetryJson:
    return RetryJson(
        max_attempts=retry.max_attempts,
        initial=duration(retry.initial_ms),
        max=duration(retry.max_ms),
        multiplier=retry.multiplier,
        on=list(retry.on),
    )


def _assignment(assignment: Assignment) -> AssignmentJson:
    return AssignmentJson(tries=assignment.tries, next_at=moment(assignment.next_at), reason=assignment.reason)


def _late_result(late: LateResult) -> LateResultJson:
    return LateResultJson(
        attempt=late.attempt,
        agent_id=late.agent_id,
        received_at=moment(late.at),
        outcome=late.outcome,
        exit_code=late.exit_code,
        message=late.message,
    )


def _remark(remark: Remark) -> RemarkJson:
    return RemarkJson(kind=remark.kind, at=moment(remark.at), by=remark.by or None, message=remark.text)


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
        case TaskStatus.FAILED if task.reason is Reason.POISON:
            return TaskError(ErrorCategory.POISON, task.message)
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
        cordon_reason=agent.cordon or None,
        drained_at=moment_or_none(agent.drained_at),
        drain_deadline=moment_or_none(agent.drain_deadline),
        drain_note=agent.drain_note or None,
        labels=dict(agent.labels),
        slots=agent.slots,
        used_slots=agent.used.slots,
        free_slots=agent.free_slots,
        current_tasks=list(agent.current_tasks),
        last_heartbeat_at=moment(agent.last_heartbeat_at),
        types=list(agent.types),
        software_version=agent.software_version,
        resources={name: _agent_resource(agent, name) for name in agent.resources},
        type_limits=dict(agent.type_limits),
        plan_limit=agent.plan_limit,
        plan_running=agent.used.plans,
        apply_running=agent.used.applies,
    )


def _agent_resource(agent: AgentView, name: str) -> AgentResourceJson:
    used = agent.used.resources.get(name, 0)
    return AgentResourceJson(total=number_of(agent.resources[name]), used=number_of(used))


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
