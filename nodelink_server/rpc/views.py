"""What callers see of tasks, results, events, output and agents, as protobuf."""

from __future__ import annotations

import json
from collections.abc import Mapping

from nodelink.task import ErrorCategory, Finished, Progress, Reason, TaskStatus
from nodelink.v1 import admin_pb2, task_pb2
from nodelink.wire import EXECUTION_TO_PB, STATUS_TO_PB, STREAM_TO_PB, put_ms, put_plan, put_spec
from nodelink_server.attempts import AttemptEnd, end_of_earlier, end_of_last, retry_at_of
from nodelink_server.core.agents import AgentView
from nodelink_server.core.assignment import Assignment
from nodelink_server.core.attempt import Attempt, Planned
from nodelink_server.core.leases import TaskContact
from nodelink_server.core.ports import AgentSessionRecord, LogRow, TaskEvent
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import LateResult, Remark, TaskEnd, TaskRecord

AGENT_STATUS_TO_PB: Mapping[str, admin_pb2.AgentStatus] = {
    "online": admin_pb2.AGENT_STATUS_ONLINE,
    "unreachable": admin_pb2.AGENT_STATUS_UNREACHABLE,
    "draining": admin_pb2.AGENT_STATUS_DRAINING,
    "cordoned": admin_pb2.AGENT_STATUS_CORDONED,
    "offline": admin_pb2.AGENT_STATUS_OFFLINE,
}

_STATUS_NAMED = {status.value: number for status, number in STATUS_TO_PB.items()}

_CATEGORY_WITHOUT_RESULT = {
    TaskStatus.TIMEOUT: ErrorCategory.TIMEOUT,
    TaskStatus.LOST: ErrorCategory.INFRASTRUCTURE,
    TaskStatus.FAILED: ErrorCategory.INFRASTRUCTURE,
}
"""What went wrong with a task that ended without a word of its agent. Cancelled as asked: nothing."""


def put_task(
    pb: task_pb2.Task, record: TaskRecord, *, progress: Progress | None = None, contact: TaskContact | None = None
) -> None:
    """Write a task as it stands."""
    task = record.task
    pb.id = task.id
    pb.status = STATUS_TO_PB[task.status]
    pb.reason = task.reason
    pb.message = task.message
    put_spec(pb.spec, task.spec, record.payload)
    if task.due_at is not None:
        put_ms(pb.spec.scheduled_at, task.due_at)
    pb.spec.execution = EXECUTION_TO_PB[task.execution]
    pb.spec.lock = task.lock
    if task.plan is not None:
        _put_planned(pb, task.plan)
    pb.revision = task.revision
    pb.may_have_run = record.may_have_run
    pb.failures = task.failures
    retry_at = retry_at_of(record)
    if retry_at is not None:
        put_ms(pb.retry_at, retry_at)
    pb.retry_of = task.retry_of
    pb.traceparent = task.traceparent
    put_ms(pb.created_at, task.created_at)
    put_ms(pb.updated_at, record.updated_at)
    if task.finished_at is not None:
        put_ms(pb.finished_at, task.finished_at)
    if contact is not None:
        _put_contact(pb, contact)
    if record.assignment is not None:
        _put_assignment(pb.assignment, record.assignment)
    for limit in record.in_force:
        pb.in_force.add(**limit._asdict())
    if progress is not None:
        pb.progress.fraction = progress.fraction
        pb.progress.message = progress.message
    _put_attempts(pb, record)
    _put_evidence(pb, record)


def _put_evidence(pb: task_pb2.Task, record: TaskRecord) -> None:
    for late in record.late_results:
        _put_late_result(pb.late_results.add(), late)
    for remark in record.remarks:
        _put_remark(pb.remarks.add(), remark)


def _put_planned(pb: task_pb2.Task, planned: Planned) -> None:
    pb.plan.task_id, pb.plan.status, pb.plan.attempt = pb.id, pb.status, planned.attempt
    put_plan(pb.plan.plan, planned.plan)
    pb.plan.approved_by = planned.approved_by


def _put_contact(pb: task_pb2.Task, contact: TaskContact) -> None:
    pb.contact = contact.state
    if contact.last_contact is not None:
        put_ms(pb.last_contact, contact.last_contact)
    if contact.lease_until is not None:
        put_ms(pb.lease_until, contact.lease_until)


def _put_assignment(pb: task_pb2.Assignment, assignment: Assignment) -> None:
    pb.tries = assignment.tries
    put_ms(pb.next_at, assignment.next_at)
    pb.reason = assignment.reason


def _put_late_result(pb: task_pb2.LateResult, late: LateResult) -> None:
    pb.attempt = late.attempt
    pb.agent_id = late.agent_id
    put_ms(pb.received_at, late.at)
    pb.outcome = late.outcome
    if late.exit_code is not None:
        pb.exit_code = late.exit_code
    pb.message = late.message


def _put_remark(pb: task_pb2.Remark, remark: Remark) -> None:
    pb.kind = remark.kind
    put_ms(pb.at, remark.at)
    pb.by = remark.by
    pb.message = remark.text


def _put_attempts(pb: task_pb2.Task, record: TaskRecord) -> None:
    task, current = record.task, record.task.attempt
    for past in record.earlier:
        _put_attempt(pb.attempts.add(), past.attempt, state=past.state, ended_at=past.ended_at)
        _put_end(pb.attempts[-1], end_of_earlier(past))
    if current is None:
        return
    _put_attempt(pb.attempts.add(), current, state=_state_of(task, current), ended_at=task.finished_at)
    _put_end(pb.attempts[-1], end_of_last(record))
    pb.attempt = current.number
    pb.agent_id = current.agent_id
    put_ms(pb.sent_at, current.sent_at)
    if current.started_at is not None:
        put_ms(pb.started_at, current.started_at)


def _state_of(task: Task, current: Attempt) -> str:
    if task.is_terminal:
        return "lost" if task.may_have_run else "finished"
    return "granted" if current.started_at is None else "started"


def _put_attempt(pb: task_pb2.Attempt, attempt: Attempt, *, state: str, ended_at: int | None) -> None:
    pb.number = attempt.number
    pb.agent_id = attempt.agent_id
    pb.state = state
    put_ms(pb.sent_at, attempt.sent_at)
    if attempt.started_at is not None:
        put_ms(pb.started_at, attempt.started_at)
    if ended_at is not None:
        put_ms(pb.finished_at, ended_at)


def _put_end(pb: task_pb2.Attempt, end: AttemptEnd) -> None:
    pb.reason = end.reason
    pb.message = end.message
    if end.exit_code is not None:
        pb.exit_code = end.exit_code
    if end.signal is not None:
        pb.signal = end.signal


def put_result(pb: task_pb2.TaskResult, end: TaskEnd) -> None:
    """Write how a finished task ended."""
    pb.task_id = end.task_id
    pb.status = STATUS_TO_PB[end.status]
    if end.metadata:
        pb.metadata.update(end.metadata)
    if end.attempt:
        pb.attempt = end.attempt
        pb.metrics.queue_seconds = _queue_seconds(end)
        if end.started_at is not None:
            put_ms(pb.started_at, end.started_at)
    if end.finished_at is not None:
        put_ms(pb.completed_at, end.finished_at)
    if end.finished is not None:
        _put_finished(pb, end.finished)
    elif end.status in _CATEGORY_WITHOUT_RESULT:
        poison = end.reason is Reason.POISON
        pb.error.category = ErrorCategory.POISON if poison else _CATEGORY_WITHOUT_RESULT[end.status]
        pb.error.message = end.message


def _queue_seconds(end: TaskEnd) -> float:
    if end.sent_at is None or end.ready_at is None:
        return 0.0
    return max(0, end.sent_at - end.ready_at) / 1000


def _put_finished(pb: task_pb2.TaskResult, finished: Finished) -> None:
    pb.output = finished.output
    if finished.exit_code is not None:
        pb.exit_code = finished.exit_code
    if finished.signal is not None:
        pb.signal = finished.signal
    if finished.error is not None:
        pb.error.category = finished.error.category
        pb.error.message = finished.error.message
    pb.metrics.run_seconds = finished.run_seconds
    pb.metrics.cpu_seconds = finished.cpu_seconds
    pb.metrics.max_rss_bytes = finished.max_rss_bytes


def put_event(pb: task_pb2.TaskEvent, event: TaskEvent) -> None:
    """Write one thing that happened."""
    pb.revision = event.revision
    pb.name = event.name
    put_ms(pb.time, event.time)
    pb.task_id = event.task_id
    pb.agent_id = event.agent_id
    pb.reason = event.reason
    pb.priority = event.priority
    pb.type = event.type
    pb.pool = event.pool
    pb.attempt = event.attempt
    pb.status = _STATUS_NAMED.get(event.status, task_pb2.TASK_STATUS_UNSPECIFIED)
    if event.data:
        pb.data = json.dumps(event.data, separators=(",", ":")).encode()


def put_log_part(pb: task_pb2.LogPart, row: LogRow, *, of_one_stream: bool) -> None:
    """Write a run of output. Its offset counts within the selection: one stream, or both in order of arrival."""
    pb.stream = STREAM_TO_PB[row.stream]
    pb.offset = row.offset if of_one_stream else row.position
    pb.data = row.data
    pb.gap = row.gap


def put_agent(pb: admin_pb2.Agent, view: AgentView) -> None:
    """Write an agent as it stands."""
    pb.id = view.id
    pb.name = view.name
    pb.pool = view.pool
    pb.status = AGENT_STATUS_TO_PB.get(view.status, admin_pb2.AGENT_STATUS_UNSPECIFIED)
    pb.labels.update(view.labels)
    pb.slots = view.slots
    pb.free_slots = view.free_slots
    pb.current_tasks.extend(view.current_tasks)
    put_ms(pb.last_heartbeat_at, view.last_heartbeat_at)
    pb.types.extend(view.types)
    pb.software_version = view.software_version
    pb.cordon_reason = view.cordon
    pb.used_slots = view.used.slots
    pb.plan_limit, pb.plan_running, pb.apply_running = view.plan_limit, view.used.plans, view.used.applies
    pb.type_limits.update(view.type_limits)
    for name, amount in view.resources.items():
        pb.resources[name].total = amount
        pb.resources[name].used = view.used.resources.get(name, 0)
    if view.drained_at is not None:
        put_ms(pb.drained_at, view.drained_at)
    if view.drain_deadline is not None:
        put_ms(pb.drain_deadline, view.drain_deadline)
    pb.drain_note = view.drain_note


def put_session(pb: admin_pb2.AgentSession, record: AgentSessionRecord) -> None:
    """Write one connection of an agent."""
    pb.number = record.number
    put_ms(pb.connected_at, record.connected_at)
    if record.disconnected_at is not None:
        put_ms(pb.disconnected_at, record.disconnected_at)
    pb.reason = record.reason
    pb.software_version = record.software_version
