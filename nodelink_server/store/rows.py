"""Values as rows, and rows as values. Rows that are written follow the column names beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row

from nodelink.task import (
    ErrorCategory,
    Execution,
    Finished,
    LogStream,
    Outcome,
    Reason,
    TaskError,
    TaskSpec,
    TaskStatus,
)
from nodelink_server.core.ports import AgentRecord, Change
from nodelink_server.core.task import Attempt, Stop, Superseded, Task
from nodelink_server.store.history import Past, Steps, steps_of

# A row that is written is made of parts. One that has nothing to say is left out of its statement: to bind a NULL costs
# more than to bind a value, and most columns of most tasks are NULL.
BASE_COLUMNS = (
    "key", "id", "type", "pool", "priority", "execution", "caller", "created_at",
    "status", "reason", "message", "rank", "ready_at", "updated_at", "revision",
    "created_revision", "scheduled_revision", "ready_revision",
)  # fmt: skip
ATTEMPT_COLUMNS = (
    "attempt", "fence", "agent_id", "session", "sent_at", "containment", "grants", "sent_revision",
)  # fmt: skip
RARE_COLUMNS = (
    "due_at", "queue_deadline", "started_at", "losses", "stop_reason", "stop_message", "stop_grace_ms", "stop_asked_at",
    "finished_at", "may_have_run", "started_revision", "cancelling_revision", "finished_revision",
    "idempotency_key", "idempotency_digest",
)  # fmt: skip
# What the start and the end of the current attempt set, and nothing else does.
ADVANCE_COLUMNS = (
    "status", "reason", "message", "started_at", "containment", "finished_at", "may_have_run", "updated_at", "revision",
)  # fmt: skip
ADVANCE_STEPS = ("started_revision", "finished_revision")
# What any other change may set.
STATE_COLUMNS = (
    "status", "reason", "message", "rank", "due_at", "ready_at", "queue_deadline",
    "attempt", "fence", "agent_id", "session", "sent_at", "started_at", "containment", "grants", "losses",
    "stop_reason", "stop_message", "stop_grace_ms", "stop_asked_at", "finished_at", "may_have_run",
    "updated_at", "revision",
)  # fmt: skip
STEP_COLUMNS = tuple(f"{step}_revision" for step in Steps._fields)
SPEC_COLUMNS = ("task_key", "payload")
SPEC_RARE_COLUMNS = ("metadata", "execution", "timeout_ms", "queue_timeout_ms", "scheduled_at", "delay_ms")
RESULT_COLUMNS = (
    "task_key", "outcome", "reason", "output", "run_seconds", "cpu_seconds", "max_rss_bytes", "tree_gone",
)  # fmt: skip
RESULT_RARE_COLUMNS = ("exit_code", "signal", "error_category", "error_message", "stdout_total", "stderr_total")

Part = tuple[object, ...]
_NO_ATTEMPT: Part = (None, None, None, None, None, None, "")
_NO_STOP: Part = (None, "", None, None)


def base_part(change: Change, key: int, steps: Steps, revision: int, now: int) -> Part:
    """What every new task has."""
    task = change.task
    spec = task.spec
    return (
        key, task.id, spec.type, spec.pool, spec.priority, str(task.execution), task.caller, task.created_at,
        str(task.status), str(task.reason), task.message, task.rank, task.ready_at, now, revision,
        steps.created, steps.scheduled, steps.ready,
    )  # fmt: skip


def attempt_part(change: Change, steps: Steps) -> Part:
    """The attempt of a task that was granted when it was accepted; empty: it was not."""
    task, attempt = change.task, change.task.attempt
    if attempt is None:
        return ()
    return (
        attempt.number, attempt.fence, attempt.agent_id, attempt.session, attempt.sent_at, attempt.containment,
        task.grants, steps.sent,
    )  # fmt: skip


def rare_part(change: Change, steps: Steps) -> Part:
    """What few new tasks have; empty: nothing of it."""
    task, named, attempt = change.task, change.idempotency, change.task.attempt
    if (
        named is None
        and task.due_at is None
        and task.queue_deadline is None
        and task.stop is None
        and task.finished_at is None
        and not (task.losses or task.may_have_run)
        and (attempt is None or attempt.started_at is None)
    ):
        return ()
    return (
        task.due_at, task.queue_deadline, attempt.started_at if attempt else None, task.losses,
        *_stop_row(task.stop), task.finished_at, int(task.may_have_run),
        steps.started, steps.cancelling, steps.finished,
        named.key if named else None, named.digest if named else None,
    )  # fmt: skip


def rewritten_row(change: Change, first: int, revision: int, now: int) -> Part:
    """A changed task as a row of (key, expected revision, STATE_COLUMNS, STEP_COLUMNS)."""
    task, attempt = change.task, change.task.attempt
    return (
        task.key, change.expected,
        str(task.status), str(task.reason), task.message, task.rank, task.due_at, task.ready_at, task.queue_deadline,
        *(_attempt_row(attempt) if attempt else _NO_ATTEMPT), task.grants, task.losses,
        *_stop_row(task.stop), task.finished_at, int(task.may_have_run), now, revision,
        *steps_of(change, first),
    )  # fmt: skip


def advanced_row(change: Change, first: int, revision: int, now: int) -> Part:
    """A task whose attempt started or ended as a row of (key, expected revision, ADVANCE_COLUMNS, ADVANCE_STEPS)."""
    task, steps, attempt = change.task, steps_of(change, first), change.task.attempt
    assert attempt is not None
    return (
        task.key, change.expected,
        str(task.status), str(task.reason), task.message, attempt.started_at, attempt.containment,
        task.finished_at, int(task.may_have_run), now, revision,
        steps.started, steps.finished,
    )  # fmt: skip


def _attempt_row(attempt: Attempt) -> Part:
    return (
        attempt.number, attempt.fence, attempt.agent_id, attempt.session,
        attempt.sent_at, attempt.started_at, attempt.containment,
    )  # fmt: skip


def _stop_row(stop: Stop | None) -> Part:
    return (str(stop.reason), stop.message, stop.grace_ms, stop.asked_at) if stop else _NO_STOP


def spec_parts(change: Change, key: int) -> tuple[Part, Part]:
    """What was asked for: payload, and what few ask for."""
    spec, base = change.task.spec, (key, change.task.payload or b"")
    rare = (spec.execution, spec.timeout_ms, spec.queue_timeout_ms, spec.scheduled_at, spec.delay_ms)
    if not spec.metadata and rare == (None, None, None, None, None):
        return base, ()
    return base, (json.dumps(dict(spec.metadata)) if spec.metadata else None, *rare)


def result_parts(finished: Finished, key: int) -> tuple[Part, Part]:
    """How an attempt ended: what every end has, and what many have not."""
    base = (
        key, str(finished.outcome), str(finished.reason), finished.output,
        finished.run_seconds, finished.cpu_seconds, finished.max_rss_bytes, int(finished.tree_gone),
    )  # fmt: skip
    error, totals = finished.error, finished.log_totals
    if finished.exit_code is None and finished.signal is None and error is None and not totals:
        return base, ()
    category, message = (error.category, error.message) if error else (None, None)
    stdout, stderr = totals.get(LogStream.STDOUT), totals.get(LogStream.STDERR)
    return base, (finished.exit_code, finished.signal, category, message, stdout, stderr)


def agent_row(agent: AgentRecord) -> dict[str, object]:
    """An agent as a row of its table."""
    return {
        "id": agent.id,
        "secret_hash": agent.secret_hash,
        "session": agent.session,
        "host_id": agent.host_id,
        "name": agent.name,
        "pool": agent.pool,
        "slots": agent.slots,
        "handlers": json.dumps(dict(agent.handlers)),
        "labels": json.dumps(dict(agent.labels)),
        "software_version": agent.software_version,
        "first_seen_at": agent.first_seen_at,
        "last_seen_at": agent.last_seen_at,
        "left": agent.left,
    }


def task_of(row: Row[Any]) -> Task:
    """A task from its row joined with what was asked for. `payload` is what the query chose to read of it."""
    return Task(
        id=row.id,
        spec=_spec_of(row),
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
        stop=_stop_of(row),
        finished_at=row.finished_at,
        may_have_run=row.may_have_run,
        payload=row.payload,
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
    )


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
    )


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
    )
    superseded = Superseded(attempt=attempt, state=row.state, ended_at=row.ended_at)
    return Past(superseded, row.sent_revision, row.started_revision, row.ended_revision)


def finished_of(row: Row[Any]) -> Finished:
    """An end from its row."""
    error = TaskError(ErrorCategory(row.error_category), row.error_message) if row.error_category else None
    totals = {LogStream.STDOUT: row.stdout_total, LogStream.STDERR: row.stderr_total}
    return Finished(
        outcome=Outcome(row.outcome),
        reason=Reason(row.reason),
        exit_code=row.exit_code,
        signal=row.signal,
        output=row.output,
        error=error,
        run_seconds=row.run_seconds,
        cpu_seconds=row.cpu_seconds,
        max_rss_bytes=row.max_rss_bytes,
        log_totals={stream: total for stream, total in totals.items() if total is not None},
        tree_gone=row.tree_gone,
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
    )


def _texts(encoded: str | None) -> Mapping[str, str]:
    return json.loads(encoded) if encoded else {}
