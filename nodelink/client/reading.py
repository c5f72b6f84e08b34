"""From the server's answers to plain values. Pure: both clients share it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any

from google.protobuf.message import Message

from nodelink.client.failures import refusal_of
from nodelink.client.nouns import (
    Agent,
    AgentResource,
    AgentSession,
    Assignment,
    Attempt,
    Event,
    LateResult,
    LimitInForce,
    LogPage,
    LogPart,
    Metrics,
    Remark,
    SubmitOutcome,
    Task,
    TaskResult,
)
from nodelink.errors import ProtocolViolation
from nodelink.quantities import number_of
from nodelink.task import Progress, TaskStatus
from nodelink.v1 import admin_pb2, task_pb2
from nodelink.wire import STATUS_FROM_PB, STREAM_FROM_PB, ms_of, spec_of

AGENT_STATUSES: Mapping[str, admin_pb2.AgentStatus] = {
    "online": admin_pb2.AGENT_STATUS_ONLINE,
    "unreachable": admin_pb2.AGENT_STATUS_UNREACHABLE,
    "draining": admin_pb2.AGENT_STATUS_DRAINING,
    "cordoned": admin_pb2.AGENT_STATUS_CORDONED,
    "offline": admin_pb2.AGENT_STATUS_OFFLINE,
}
"""The statuses of agents by their public names."""

_AGENT_STATUS_NAMES = {number: name for name, number in AGENT_STATUSES.items()}


def task_of(pb: task_pb2.Task) -> Task:
    """A task. Raises `ProtocolViolation` for a status that only a newer client knows."""
    spec, payload = spec_of(pb.spec)
    return Task(
        id=pb.id,
        status=status_of(pb.status),
        spec=spec,
        payload=payload,
        reason=pb.reason,
        message=pb.message,
        attempt=pb.attempt,
        agent_id=pb.agent_id,
        created_at=ms_of(pb.created_at),
        updated_at=ms_of(pb.updated_at),
        sent_at=moment_of(pb, "sent_at"),
        started_at=moment_of(pb, "started_at"),
        finished_at=moment_of(pb, "finished_at"),
        contact=pb.contact,
        last_contact=moment_of(pb, "last_contact"),
        lease_until=moment_of(pb, "lease_until"),
        may_have_run=pb.may_have_run,
        progress=Progress(fraction=pb.progress.fraction, message=pb.progress.message)
        if pb.HasField("progress")
        else None,
        attempts=tuple(map(_attempt_of, pb.attempts)),
        late_results=tuple(map(_late_result_of, pb.late_results)),
        remarks=tuple(map(_remark_of, pb.remarks)),
        revision=pb.revision,
        failures=pb.failures,
        retry_at=moment_of(pb, "retry_at"),
        retry_of=pb.retry_of,
        traceparent=pb.traceparent,
        assignment=_assignment_of(pb.assignment) if pb.HasField("assignment") else None,
        in_force=tuple(LimitInForce(one.name, one.most, one.taken) for one in pb.in_force),
    )


def _attempt_of(pb: task_pb2.Attempt) -> Attempt:
    return Attempt(
        number=pb.number,
        agent_id=pb.agent_id,
        state=pb.state,
        sent_at=moment_of(pb, "sent_at"),
        started_at=moment_of(pb, "started_at"),
        finished_at=moment_of(pb, "finished_at"),
        reason=pb.reason,
        message=pb.message,
        exit_code=pb.exit_code if pb.HasField("exit_code") else None,
        signal=pb.signal if pb.HasField("signal") else None,
    )


def _assignment_of(pb: task_pb2.Assignment) -> Assignment:
    return Assignment(pb.tries, ms_of(pb.next_at), pb.reason)


def _late_result_of(pb: task_pb2.LateResult) -> LateResult:
    return LateResult(
        attempt=pb.attempt,
        agent_id=pb.agent_id,
        received_at=ms_of(pb.received_at),
        outcome=pb.outcome,
        exit_code=pb.exit_code if pb.HasField("exit_code") else None,
        message=pb.message,
    )


def _remark_of(pb: task_pb2.Remark) -> Remark:
    return Remark(kind=pb.kind, at=ms_of(pb.at), by=pb.by, message=pb.message)


def result_of(pb: task_pb2.TaskResult) -> TaskResult:
    """How a task ended."""
    return TaskResult(
        task_id=pb.task_id,
        status=status_of(pb.status),
        attempt=pb.attempt,
        exit_code=pb.exit_code if pb.HasField("exit_code") else None,
        signal=pb.signal if pb.HasField("signal") else None,
        output=pb.output,
        error_category=pb.error.category,
        error_message=pb.error.message,
        metrics=Metrics(
            queue_seconds=pb.metrics.queue_seconds,
            run_seconds=pb.metrics.run_seconds,
            cpu_seconds=pb.metrics.cpu_seconds,
            max_rss_bytes=pb.metrics.max_rss_bytes,
        ),
        started_at=moment_of(pb, "started_at"),
        completed_at=moment_of(pb, "completed_at"),
        metadata=dict(pb.metadata),
    )


def outcome_of(pb: task_pb2.SubmitOutcome) -> SubmitOutcome:
    """What became of one submission of many."""
    if pb.HasField("refusal"):
        return SubmitOutcome(refusal=refusal_of(pb.refusal.code, pb.refusal.message, pb.refusal.field))
    return SubmitOutcome(pb.task_id, pb.replayed)


def events_of(frame: task_pb2.WatchTasksResponse) -> Iterator[Event]:
    """The events of a frame; a `reset` comes first."""
    if frame.reset:
        yield Event(revision=frame.bookmark, name="reset", time=0)
    for pb in frame.events:
        yield Event(
            revision=pb.revision,
            name=pb.name,
            time=ms_of(pb.time),
            task_id=pb.task_id,
            agent_id=pb.agent_id,
            status=STATUS_FROM_PB.get(pb.status),
            reason=pb.reason,
            priority=pb.priority,
            type=pb.type,
            pool=pb.pool,
            attempt=pb.attempt,
            details=json.loads(pb.data) if pb.data else {},
        )


def log_page_of(response: task_pb2.ReadTaskLogsResponse) -> LogPage:
    """A part of what a task printed. Streams that are not known are left out."""
    parts = tuple(
        LogPart(STREAM_FROM_PB[pb.stream], pb.offset, pb.data, pb.gap)
        for pb in response.parts
        if pb.stream in STREAM_FROM_PB
    )
    return LogPage(parts, response.next_offset, response.complete)


def agent_of(pb: admin_pb2.Agent) -> Agent:
    """An agent."""
    return Agent(
        id=pb.id,
        name=pb.name,
        pool=pb.pool,
        status=_AGENT_STATUS_NAMES.get(pb.status, ""),
        labels=dict(pb.labels),
        slots=pb.slots,
        current_tasks=tuple(pb.current_tasks),
        last_heartbeat_at=moment_of(pb, "last_heartbeat_at"),
        types=tuple(pb.types),
        software_version=pb.software_version,
        free_slots=pb.free_slots,
        cordon_reason=pb.cordon_reason,
        drained_at=moment_of(pb, "drained_at"),
        drain_deadline=moment_of(pb, "drain_deadline"),
        drain_note=pb.drain_note,
        used_slots=pb.used_slots,
        resources={name: AgentResource(number_of(one.total), number_of(one.used)) for name, one in _sorted(pb)},
        type_limits=dict(sorted(pb.type_limits.items())),
        plan_limit=pb.plan_limit,
        plan_running=pb.plan_running,
        apply_running=pb.apply_running,
    )


def _sorted(pb: admin_pb2.Agent) -> list[tuple[str, admin_pb2.AgentResource]]:
    """The resources of an agent by name: protobuf keeps no order."""
    return sorted(pb.resources.items(), key=itemgetter(0))


def session_of(pb: admin_pb2.AgentSession) -> AgentSession:
    """One connection of an agent."""
    return AgentSession(
        number=pb.number,
        connected_at=ms_of(pb.connected_at),
        disconnected_at=moment_of(pb, "disconnected_at"),
        reason=pb.reason,
        software_version=pb.software_version,
    )


def status_of(number: int) -> TaskStatus:
    """A status. Raises `ProtocolViolation` for one that only a newer client knows."""
    status = STATUS_FROM_PB.get(number)
    if status is None:
        raise ProtocolViolation(f"the server names a status that this version does not know ({number}); it is newer")
    return status


def moment_of(pb: Message, field: str) -> int | None:
    """A moment, None if it is not set."""
    value: Any = getattr(pb, field)
    return ms_of(value) if pb.HasField(field) else None
