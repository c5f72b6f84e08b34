"""Tasks, results, events, agents and their sessions as JSON shows them: the names and shapes of the HTTP interface."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nodelink.cli.table import Form
from nodelink.cli.times import moment
from nodelink.durations import format_duration_ms
from nodelink.quantities import number_of
from nodelink.rates import format_rate
from nodelink.task import TaskSpec

if TYPE_CHECKING:
    from nodelink.client import (
        Agent,
        AgentSession,
        Assignment,
        Attempt,
        Event,
        LateResult,
        Remark,
        RetryPolicy,
        Task,
        TaskResult,
    )


def task_form(task: Task) -> Form:
    """A task."""
    spec = task.spec
    return {
        "id": task.id,
        "type": spec.type,
        "status": task.status.value,
        "reason": task.reason,
        "message": task.message,
        "priority": spec.priority,
        "pool": spec.pool,
        "agent_id": task.agent_id or None,
        "attempt": task.attempt,
        "attempts": [_attempt_form(attempt) for attempt in task.attempts],
        "created_at": moment(task.created_at),
        "scheduled_at": moment(spec.scheduled_at),
        "sent_at": moment(task.sent_at),
        "started_at": moment(task.started_at),
        "finished_at": moment(task.finished_at),
        "updated_at": moment(task.updated_at),
        "timeout": _duration(spec.timeout_ms),
        "queue_timeout": _duration(spec.queue_timeout_ms),
        "start_timeout": _duration(spec.start_timeout_ms),
        "total_timeout": _duration(spec.total_timeout_ms),
        "heartbeat_timeout": _duration(spec.heartbeat_timeout_ms),
        "execution": spec.execution.value if spec.execution else None,
        "lock": spec.lock or None,
        "contact": task.contact or None,
        "last_contact": moment(task.last_contact),
        "lease_until": moment(task.lease_until),
        "may_have_run": task.may_have_run,
        "late_results": [_late_result_form(late) for late in task.late_results],
        "remarks": [_remark_form(remark) for remark in task.remarks],
        "retry": _retry_form(spec.retry) if spec.retry else None,
        "failures": task.failures,
        "retry_at": moment(task.retry_at),
        "retry_of": task.retry_of or None,
        "traceparent": task.traceparent or None,
        "progress": {"fraction": task.progress.fraction, "message": task.progress.message} if task.progress else None,
        "payload": json_value(task.payload),
        "metadata": dict(spec.metadata),
        "revision": task.revision,
        **_placing_form(spec),
        "assignment": _assignment_form(task.assignment) if task.assignment else None,
        "in_force": [{"name": one.name, "most": one.most, "taken": one.taken} for one in task.in_force],
    }


def _placing_form(spec: TaskSpec) -> Form:
    return {
        "only_agent_id": spec.agent_id or None,
        "labels": spec.selector or None,
        "slots": spec.slots,
        "resources": {name: number_of(amount) for name, amount in spec.resources.items()},
        "limits": dict(spec.limits),
        "rate": {key: format_rate(rate) for key, rate in spec.rates.items()},
        "when_taken": spec.when_taken.value,
        "workspace": spec.workspace or None,
        "unique_key": spec.unique_key or None,
        "on_conflict": spec.on_conflict.value,
        "fairness_key": spec.fairness_key or None,
        "fairness_weight": spec.fairness_weight,
    }


def _assignment_form(assignment: Assignment) -> Form:
    return {"tries": assignment.tries, "next_at": moment(assignment.next_at), "reason": assignment.reason}


def _attempt_form(attempt: Attempt) -> Form:
    return {
        "number": attempt.number,
        "agent_id": attempt.agent_id,
        "state": attempt.state,
        "sent_at": moment(attempt.sent_at),
        "started_at": moment(attempt.started_at),
        "finished_at": moment(attempt.finished_at),
        "reason": attempt.reason,
        "message": attempt.message,
        "exit_code": attempt.exit_code,
        "signal": attempt.signal,
    }


def _retry_form(retry: RetryPolicy) -> Form:
    return {
        "max_attempts": retry.max_attempts,
        "initial": format_duration_ms(retry.initial_ms),
        "max": format_duration_ms(retry.max_ms),
        "multiplier": retry.multiplier,
        "on": list(retry.on),
    }


def _late_result_form(late: LateResult) -> Form:
    return {
        "attempt": late.attempt,
        "agent_id": late.agent_id,
        "received_at": moment(late.received_at),
        "outcome": late.outcome,
        "exit_code": late.exit_code,
        "message": late.message,
    }


def _remark_form(remark: Remark) -> Form:
    return {"kind": remark.kind, "at": moment(remark.at), "by": remark.by or None, "message": remark.message}


def result_form(result: TaskResult) -> Form:
    """How a task ended."""
    return {
        "task_id": result.task_id,
        "status": result.status.value,
        "attempt": result.attempt,
        "exit_code": result.exit_code,
        "signal": result.signal,
        "output": json_value(result.output),
        "error": {"category": result.error_category, "message": result.error_message}
        if result.error_category
        else None,
        "metrics": {
            "queue_seconds": result.metrics.queue_seconds,
            "run_seconds": result.metrics.run_seconds,
            "cpu_seconds": result.metrics.cpu_seconds,
            "max_rss_bytes": result.metrics.max_rss_bytes,
        },
        "metadata": dict(result.metadata),
        "started_at": moment(result.started_at),
        "completed_at": moment(result.completed_at),
    }


def event_form(event: Event) -> Form:
    """One thing that happened; what does not apply is left out."""
    form = {
        "revision": event.revision,
        "event": event.name,
        "time": moment(event.time) if event.time else None,
        "task_id": event.task_id,
        "agent_id": event.agent_id,
        "status": event.status.value if event.status else None,
        "reason": event.reason,
        "priority": event.priority,
        "type": event.type,
        "pool": event.pool,
        "attempt": event.attempt,
        **event.details,
    }
    return {name: value for name, value in form.items() if value or name in {"revision", "event"}}


def agent_form(agent: Agent) -> Form:
    """An agent."""
    return {
        "id": agent.id,
        "name": agent.name,
        "pool": agent.pool,
        "status": agent.status,
        "cordon_reason": agent.cordon_reason or None,
        "drained_at": moment(agent.drained_at),
        "drain_deadline": moment(agent.drain_deadline),
        "drain_note": agent.drain_note or None,
        "labels": dict(agent.labels),
        "slots": agent.slots,
        "used_slots": agent.used_slots,
        "free_slots": agent.free_slots,
        "current_tasks": list(agent.current_tasks),
        "last_heartbeat_at": moment(agent.last_heartbeat_at),
        "types": list(agent.types),
        "software_version": agent.software_version,
        "resources": {name: resource._asdict() for name, resource in agent.resources.items()},
        "type_limits": dict(agent.type_limits),
        "plan_limit": agent.plan_limit,
        "plan_running": agent.plan_running,
        "apply_running": agent.apply_running,
    }


def session_form(session: AgentSession) -> Form:
    """One connection of an agent."""
    return {
        "number": session.number,
        "connected_at": moment(session.connected_at),
        "disconnected_at": moment(session.disconnected_at),
        "reason": session.reason,
        "software_version": session.software_version,
    }


def _duration(ms: int | None) -> str | None:
    return None if ms is None else format_duration_ms(ms)


def json_value(text: bytes) -> Any:
    """JSON text as a value. Empty: None; what is no JSON is shown as text."""
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.decode(errors="replace")
