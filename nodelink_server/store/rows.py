"""Values as rows. Each function gives the values of a row in the order of the column names above it.

A row of a new task is made of parts. One that has nothing to say is left out of its statement: to bind a NULL costs
more than to bind a value, and most columns of most tasks are NULL.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from nodelink.task import Finished, LogStream
from nodelink_server.core.ports import AgentRecord, AgentSessionRecord, Change
from nodelink_server.core.task import Attempt, Stop
from nodelink_server.store.history import Steps, places_of, steps_of

BASE_COLUMNS = (
    "key", "id", "type", "pool", "priority", "execution", "caller", "created_at",
    "status", "reason", "rank", "ready_at", "updated_at", "revision", "created_revision", "ready_revision",
)  # fmt: skip
ATTEMPT_COLUMNS = (
    "attempt", "fence", "agent_id", "session", "sent_at", "grants", "sent_revision",
)  # fmt: skip
RARE_COLUMNS = (
    "message", "due_at", "queue_deadline", "scheduled_revision", "idempotency_key", "idempotency_digest",
)  # fmt: skip
# What the start and the end of the current attempt set, and nothing else does.
ADVANCE_COLUMNS = (
    "status", "reason", "message", "started_at", "containment", "finished_at", "may_have_run", "updated_at", "revision",
)  # fmt: skip
ADVANCE_STEPS = ("started_revision",)
# What any other change may set.
STATE_COLUMNS = (
    "status", "reason", "message", "rank", "due_at", "ready_at", "queue_deadline",
    "attempt", "fence", "agent_id", "session", "sent_at", "started_at", "containment", "grants", "losses",
    "stop_reason", "stop_message", "stop_grace_ms", "stop_asked_at", "finished_at", "may_have_run",
    "updated_at", "revision",
)  # fmt: skip
STEP_COLUMNS = tuple(f"{step}_revision" for step in Steps._fields)
SPEC_COLUMNS = ("task_key", "payload")
SPEC_RARE_COLUMNS = (
    "metadata", "execution", "timeout_ms", "queue_timeout_ms", "scheduled_at", "delay_ms", "traceparent", "retry_of",
)  # fmt: skip
LABEL_COLUMNS = ("name", "value", "task_key")
RESULT_COLUMNS = (
    "task_key", "outcome", "reason", "output", "run_seconds", "cpu_seconds", "max_rss_bytes", "tree_gone",
)  # fmt: skip
RESULT_RARE_COLUMNS = ("exit_code", "signal", "error_category", "error_message", "stdout_total", "stderr_total")

Row = tuple[object, ...]
_NO_ATTEMPT: Row = (None, None, None, None, None, None, "")
_NO_STOP: Row = (None, "", None, None)


def base_part(change: Change, key: int, first: int, revision: int, now: int) -> Row:
    """What every new task has."""
    task, (created, _, ready, *_) = change.task, places_of(change)
    spec = task.spec
    return (
        key, task.id, spec.type, spec.pool, spec.priority, str(task.execution), task.caller, task.created_at,
        str(task.status), str(task.reason), task.rank, task.ready_at, now, revision,
        first + created if created >= 0 else 0, first + ready if ready >= 0 else 0,
    )  # fmt: skip


def attempt_part(change: Change, first: int) -> Row:
    """The attempt of a task that was granted when it was accepted; empty: it was not."""
    task, attempt = change.task, change.task.attempt
    if attempt is None:
        return ()
    sent = places_of(change)[3]
    return (
        attempt.number, attempt.fence, attempt.agent_id, attempt.session, attempt.sent_at,
        task.grants, first + sent if sent >= 0 else 0,
    )  # fmt: skip


def rare_part(change: Change, first: int) -> Row:
    """What few new tasks have; empty: nothing of it."""
    task, named = change.task, change.idempotency
    if named is None and task.due_at is None and task.queue_deadline is None and not task.message:
        return ()
    key, digest = (named.key, named.digest) if named else (None, None)
    return (task.message, task.due_at, task.queue_deadline, steps_of(change, first).scheduled, key, digest)


def is_plain(change: Change) -> bool:
    """Whether a new task says nothing that only later changes say: of an end, a stop, or a start."""
    task, attempt = change.task, change.task.attempt
    begun = attempt is not None and attempt.started_at is not None
    return task.finished_at is None and task.stop is None and not begun and not task.losses


def rewritten_row(change: Change, key: int, expected: int, first: int, revision: int, now: int) -> Row:
    """A changed task as a row of (key, expected revision, STATE_COLUMNS, STEP_COLUMNS)."""
    task, attempt = change.task, change.task.attempt
    return (
        key, expected,
        str(task.status), str(task.reason), task.message, task.rank, task.due_at, task.ready_at, task.queue_deadline,
        *(_attempt_row(attempt) if attempt else _NO_ATTEMPT), task.grants, task.losses,
        *_stop_row(task.stop), task.finished_at, int(task.may_have_run), now, revision,
        *steps_of(change, first),
    )  # fmt: skip


def advanced_row(change: Change, first: int, revision: int, now: int) -> Row:
    """A task whose attempt started or ended as a row of (key, expected revision, ADVANCE_COLUMNS, ADVANCE_STEPS)."""
    task, attempt, started = change.task, change.task.attempt, places_of(change)[4]
    assert attempt is not None
    return (
        task.key, change.expected,
        str(task.status), str(task.reason), task.message, attempt.started_at, attempt.containment,
        task.finished_at, 1 if task.may_have_run else 0, now, revision,
        first + started if started >= 0 else 0,
    )  # fmt: skip


def _attempt_row(attempt: Attempt) -> Row:
    return (
        attempt.number, attempt.fence, attempt.agent_id, attempt.session,
        attempt.sent_at, attempt.started_at, attempt.containment,
    )  # fmt: skip


def _stop_row(stop: Stop | None) -> Row:
    return (str(stop.reason), stop.message, stop.grace_ms, stop.asked_at) if stop else _NO_STOP


def spec_rare_part(change: Change) -> Row:
    """What few ask for; empty: nothing of it."""
    task, spec = change.task, change.task.spec
    rare = (spec.execution, spec.timeout_ms, spec.queue_timeout_ms, spec.scheduled_at, spec.delay_ms)
    if not (spec.metadata or task.traceparent or task.retry_of) and rare == (None, None, None, None, None):
        return ()
    metadata = json.dumps(dict(spec.metadata)) if spec.metadata else None
    return (metadata, *rare, task.traceparent or None, task.retry_of or None)


def label_rows(change: Change, key: int) -> Iterator[object]:
    """The values of the rows of a task's labels, one row after the other."""
    for name, value in change.task.spec.metadata.items():
        yield from (name, value, key)


def session_row(session: AgentSessionRecord) -> dict[str, object]:
    """A session of an agent as a row of its table."""
    return asdict(session)


def result_part(finished: Finished, key: int) -> Row:
    """What every end has."""
    return (
        key, str(finished.outcome), str(finished.reason), finished.output,
        finished.run_seconds, finished.cpu_seconds, finished.max_rss_bytes, 1 if finished.tree_gone else 0,
    )  # fmt: skip


def result_rare_part(finished: Finished) -> Row:
    """What the end of a command has and others have not; empty: nothing of it."""
    error, totals = finished.error, finished.log_totals
    if finished.exit_code is None and finished.signal is None and error is None and not totals:
        return ()
    category, message = (str(error.category), error.message) if error else (None, None)
    stdout, stderr = totals.get(LogStream.STDOUT), totals.get(LogStream.STDERR)
    return (finished.exit_code, finished.signal, category, message, stdout, stderr)


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
