"""Rows as values: the other way of `rows`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row

from nodelink.plan import Plan
from nodelink.task import (
    ErrorCategory,
    Execution,
    Finished,
    LogStream,
    OnConflict,
    Outcome,
    Rate,
    Reason,
    RetryPolicy,
    TaskError,
    TaskSpec,
    TaskStatus,
    WhenTaken,
)
from nodelink_server.core.attempt import Attempt, Extension, Failure, Hold, Planned, Stop, Superseded
from nodelink_server.core.needs import parse_needs
from nodelink_server.core.ports import AgentRecord, AgentSessionRecord
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import LateResult, Remark, RemarkKind, TaskEnd
from nodelink_server.store.history import Mark, Noted, Past, Steps
from nodelink_server.store.rows import STEP_COLUMNS

END_COLUMNS = (
    "id", "status", "reason", "message", "attempt", "ready_at", "sent_at", "started_at", "finished_at",
)  # fmt: skip


def task_of(row: Row[Any]) -> Task:
    """A task from its row joined with what was asked for. `payload` is what the query chose to read of it."""
    spec = _spec_of(row)
    return Task(
        id=row.id,
        spec=spec,
        execution=Execution(row.execution),
        created_at=row.created_at,
        caller=row.caller,
        status=TaskStatus(row.status),
        reason=Reason(row.reason),
        message=row.message,
        due_at=row.due_at,
        rank=row.rank,
        ready_at=row.ready_at,
        queue_deadline=row.queue_deadline,
        attempt=_attempt_of(row),
        grants=row.grants,
        losses=row.losses,
        deaths=row.deaths,
        failures=row.failures,
        retry_at=row.retry_at,
        total_deadline=row.total_deadline,
        fair_tag=row.fair_tag,
        given_up_key=spec.unique_key != "" and row.unique_key is None,
        stop=_stop_of(row),
        finished_at=row.finished_at,
        may_have_run=row.may_have_run,
        payload=row.payload,
        traceparent=row.traceparent or "",
        retry_of=row.retry_of or "",
        plan=_plan_of(row.plan),
        key=row.key,
        revision=row.revision,
    )


def _spec_of(row: Row[Any]) -> TaskSpec:
    return TaskSpec(
        type=row.type,
        pool=row.pool,
        priority=row.priority,
        timeout_ms=row.timeout_ms,
        queue_timeout_ms=row.queue_timeout_ms,
        scheduled_at=row.scheduled_at,
        delay_ms=row.delay_ms,
        execution=Execution(row.asked_execution) if row.asked_execution else None,
        metadata=_texts(row.metadata),
        lock=row.asked_lock or "",
        retry=_policy_of(row.retry) if row.retry else None,
        start_timeout_ms=row.start_timeout_ms,
        total_timeout_ms=row.total_timeout_ms,
        workspace=row.workspace,
        fairness_key=row.fairness_key,
        **(_needs_of(row.needs) if row.needs else {}),
        **(_more_of(row.more) if row.more else {}),
    )


def _needs_of(encoded: str) -> Mapping[str, Any]:
    needs = parse_needs(encoded)
    return {**needs._asdict(), "resources": dict(needs.resources)}


def _more_of(encoded: str) -> Mapping[str, Any]:
    kept = json.loads(encoded)
    return {
        **kept,
        "rates": {key: Rate(*rate) for key, rate in kept["rates"].items()},
        "when_taken": WhenTaken(kept["when_taken"]),
        "on_conflict": OnConflict(kept["on_conflict"]),
    }


def _policy_of(encoded: str) -> RetryPolicy:
    kept = json.loads(encoded)
    return RetryPolicy(**{**kept, "on": tuple(kept["on"])})


def _attempt_of(row: Row[Any]) -> Attempt | None:
    if row.attempt is None:
        return None
    return Attempt(
        number=row.attempt,
        fence=row.fence,
        agent_id=row.agent_id,
        session=row.session,
        sent_at=row.sent_at,
        started_at=row.started_at,
        containment=row.containment,
        lease_ms=row.lease_ms,
        holds=tuple(Hold(*hold) for hold in json.loads(row.holds)) if row.holds else (),
        extension=Extension(*json.loads(row.extension)) if row.extension else None,
    )


def _plan_of(encoded: str | None) -> Planned | None:
    if encoded is None:
        return None
    plan, attempt, at, holds, *approved = json.loads(encoded)
    return Planned(Plan(*plan), attempt, at, tuple(Hold(*hold) for hold in holds), *approved)


def _stop_of(row: Row[Any]) -> Stop | None:
    if row.stop_reason is None:
        return None
    return Stop(
        reason=Reason(row.stop_reason),
        message=row.stop_message,
        grace_ms=row.stop_grace_ms,
        asked_at=row.stop_asked_at,
    )


def steps_in(row: Row[Any]) -> Steps:
    """The revisions of a task's steps."""
    return Steps(*[getattr(row, column) for column in STEP_COLUMNS])


def past_of(row: Row[Any]) -> Past:
    """A superseded attempt from its row."""
    attempt = Attempt(
        number=row.number,
        fence=row.fence,
        agent_id=row.agent_id,
        session=row.session,
        sent_at=row.sent_at,
        started_at=row.started_at,
        containment=row.containment,
        lease_ms=row.lease_ms,
    )
    failure = Failure(*json.loads(row.failure)) if row.failure else None
    superseded = Superseded(
        attempt=attempt, state=row.state, ended_at=row.ended_at, failure=failure, plan=_plan_of(row.plan)
    )
    stop = None
    if row.stop_reason is not None:
        # What it was to be given then is of no use any more, and is not kept.
        stop = Stop(reason=Reason(row.stop_reason), message=row.stop_message, grace_ms=0, asked_at=row.stop_asked_at)
    return Past(
        superseded,
        row.sent_revision,
        row.started_revision,
        row.ended_revision,
        stop,
        row.cancelling_revision,
        row.ready_revision,
        row.ready_at,
    )


def noted_of(row: Row[Any]) -> Noted:
    """A remark from its row."""
    kept = (row.at, row.text, row.by, row.attempt, row.agent_id, row.revision, row.priority)
    remark = Remark(RemarkKind(row.kind), *kept)
    return Noted(remark, tuple(Mark(*mark) for mark in json.loads(row.told or "[]")))


def late_of(row: Row[Any]) -> LateResult:
    """A late result from its row."""
    return LateResult(row.attempt, row.fence, row.agent_id, row.at, row.outcome, row.exit_code, row.message)


def finished_of(row: Sequence[Any]) -> Finished:
    """An end from its row of `RESULT_COLUMNS` and `RESULT_RARE_COLUMNS`. By place: thousands are read at once."""
    (
        _key, _attempt, outcome, reason, output, run_seconds, cpu_seconds, max_rss_bytes, tree_gone,
        exit_code, signal, error_category, error_message, stdout_total, stderr_total,
    ) = row  # fmt: skip
    totals = {LogStream.STDOUT: stdout_total, LogStream.STDERR: stderr_total}
    return Finished(
        outcome=Outcome(outcome),
        reason=Reason(reason),
        exit_code=exit_code,
        signal=signal,
        output=output,
        error=TaskError(ErrorCategory(error_category), error_message) if error_category else None,
        run_seconds=run_seconds,
        cpu_seconds=cpu_seconds,
        max_rss_bytes=max_rss_bytes,
        log_totals={stream: total for stream, total in totals.items() if total is not None},
        tree_gone=tree_gone,
    )


def end_of(row: Sequence[Any], finished: Finished | None) -> TaskEnd:
    """How a task has ended, from a row that begins with `END_COLUMNS` and its metadata."""
    task_id, status, reason, message, attempt, ready_at, sent_at, started_at, finished_at, metadata = row[:10]
    return TaskEnd(
        task_id=task_id,
        status=TaskStatus(status),
        reason=Reason(reason),
        message=message,
        metadata=_texts(metadata),
        attempt=attempt or 0,
        ready_at=ready_at,
        sent_at=sent_at,
        started_at=started_at,
        finished_at=finished_at,
        finished=finished,
    )


def agent_of(row: Row[Any]) -> AgentRecord:
    """An agent from its row."""
    return AgentRecord(
        id=row.id,
        secret_hash=row.secret_hash,
        session=row.session,
        host_id=row.host_id,
        name=row.name,
        pool=row.pool,
        slots=row.slots,
        handlers={type_: Execution(execution) for type_, execution in json.loads(row.handlers).items()},
        labels=_texts(row.labels),
        software_version=row.software_version,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        left=row.left,
        cordon=row.cordon,
        host_since=row.host_since,
        resources=json.loads(row.resources),
        type_limits=json.loads(row.type_limits),
        drained_at=row.drained_at,
        drain_deadline=row.drain_deadline,
        drain_note=row.drain_note,
        features=frozenset(json.loads(row.features)),
        plan_limit=row.plan_limit,
    )


def session_of(row: Row[Any]) -> AgentSessionRecord:
    """A session of an agent from its row."""
    return AgentSessionRecord(
        agent_id=row.agent_id,
        number=row.number,
        connected_at=row.connected_at,
        disconnected_at=row.disconnected_at,
        reason=row.reason,
        software_version=row.software_version,
    )


def labels_in(metadata: str) -> list[tuple[str, str]]:
    """The entries of a task's metadata that are kept as labels: all, but for halves of surrogate pairs."""
    return [entry for entry in _texts(metadata).items() if all(map(_is_text, entry))]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _texts(encoded: str | None) -> Mapping[str, str]:
    return json.loads(encoded) if encoded else {}
