"""Values as rows. Each function gives the values of a row in the order of the column names above it.

A row of a new task is made of parts. One that has nothing to say is left out of its statement: to bind a NULL costs
more than to bind a value, and most columns of most tasks are NULL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from nodelink.task import Execution, Finished, LogStream, OnConflict, TaskSpec, WhenTaken
from nodelink_server.core.attempt import Attempt, Failure, Hold, Planned, Stop
from nodelink_server.core.needs import needs_text, shape_of
from nodelink_server.core.ports import AgentRecord, AgentSessionRecord, Change, Evidence
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import LateResult, Remark
from nodelink_server.store.history import Noted, Steps, places_of, steps_of

BASE_COLUMNS = (
    "key", "id", "type", "pool", "priority", "execution", "caller", "created_at",
    "status", "reason", "rank", "ready_at", "updated_at", "revision", "created_revision", "ready_revision",
)  # fmt: skip
ATTEMPT_COLUMNS = (
    "attempt", "fence", "agent_id", "session", "sent_at", "lease_ms", "grants", "sent_revision",
)  # fmt: skip
RARE_COLUMNS = (
    "message", "due_at", "queue_deadline", "scheduled_revision", "idempotency_key", "idempotency_digest", "lock",
    "total_deadline", "needs", "holds", "fairness_key", "fair_tag", "workspace",
)  # fmt: skip
# What the start and the end of the current attempt set, and nothing else does.
ADVANCE_COLUMNS = (
    "status", "reason", "message", "started_at", "containment", "finished_at", "may_have_run", "updated_at", "revision",
)  # fmt: skip
ADVANCE_STEPS = ("started_revision",)
# What any other change may set.
STATE_COLUMNS = (
    "status", "reason", "message", "rank", "due_at", "ready_at", "queue_deadline",
    "attempt", "fence", "agent_id", "session", "sent_at", "started_at", "containment", "lease_ms", "holds", "extension",
    "grants", "losses", "deaths", "failures", "retry_at", "total_deadline",
    "stop_reason", "stop_message", "stop_grace_ms", "stop_asked_at", "finished_at", "may_have_run",
    "fair_tag", "priority", "plan", "updated_at", "revision",
)  # fmt: skip
STEP_COLUMNS = tuple(f"{step}_revision" for step in Steps._fields)
SPEC_COLUMNS = ("task_key", "payload")
SPEC_RARE_COLUMNS = (
    "metadata", "execution", "timeout_ms", "queue_timeout_ms", "scheduled_at", "delay_ms",
    "traceparent", "retry_of", "lock", "retry", "start_timeout_ms", "total_timeout_ms", "more",
)  # fmt: skip
LABEL_COLUMNS = ("name", "value", "task_key")
RESULT_COLUMNS = (
    "task_key", "attempt", "outcome", "reason", "output", "run_seconds", "cpu_seconds", "max_rss_bytes", "tree_gone",
)  # fmt: skip
RESULT_RARE_COLUMNS = ("exit_code", "signal", "error_category", "error_message", "stdout_total", "stderr_total")
HOLD_COLUMNS = ("key", "place", "task_key")
KEY_COLUMNS = ("key", "pool", "type", "needs", "rank", "task_key")
REMARK_COLUMNS = ("task_key", *Remark._fields, "told")
LATE_COLUMNS = ("task_key", *LateResult._fields)

# What hardly anybody asks for is kept together.
MORE = (
    "limits", "rates", "heartbeat_timeout_ms", "when_taken", "on_conflict", "unique_key", "fairness_weight",
    "approval_timeout_ms", "approval_by_other",
)  # fmt: skip
_WAIT, _FAIL = WhenTaken.WAIT, OnConflict.FAIL  # looked up once: every new task is compared with them

Row = tuple[object, ...]
_NO_ATTEMPT: Row = (None, None, None, None, None, None, "", None, None, None)
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
        attempt.number, attempt.fence, attempt.agent_id, attempt.session, attempt.sent_at, attempt.lease_ms,
        task.grants, first + sent if sent >= 0 else 0,
    )  # fmt: skip


def asks_nothing_rare(spec: TaskSpec) -> bool:
    """Whether a spec says nothing for which there are RARE_COLUMNS or SPEC_RARE_COLUMNS."""
    times = (spec.timeout_ms, spec.queue_timeout_ms, spec.start_timeout_ms, spec.total_timeout_ms, spec.delay_ms)
    named = spec.metadata or spec.lock or spec.retry or spec.fairness_key or spec.workspace or needs_text(spec)
    is_plain = spec.execution is None and spec.scheduled_at is None and times == (None,) * 5
    return is_plain and not named and _more_text(spec) is None


def has_nothing_rare(change: Change) -> bool:
    """Whether a new task has nothing of that but by its spec."""
    task, attempt = change.task, change.task.attempt
    named = change.idempotency or task.message or task.traceparent or task.retry_of or (attempt and attempt.holds)
    moments = task.due_at is None and task.queue_deadline is None and task.total_deadline is None
    return not named and moments and task.fair_tag is None and task.execution is not Execution.EXCLUSIVE


def rare_part(change: Change, first: int) -> Row:
    """What few new tasks have; empty: nothing of it."""
    task, named = change.task, change.idempotency
    lock, spec, needs = task.lock, task.spec, needs_text(task.spec)
    moments = (task.due_at, task.queue_deadline, task.total_deadline, task.fair_tag)
    holds = task.attempt.holds if task.attempt is not None else ()
    is_named = named or task.message or lock or needs or holds or spec.fairness_key or spec.workspace
    if not is_named and moments == (None, None, None, None):
        return ()
    key, digest = (named.key, named.digest) if named else (None, None)
    scheduled = steps_of(change, first).scheduled
    return (
        task.message, task.due_at, task.queue_deadline, scheduled, key, digest, lock, task.total_deadline,
        needs, _holds_text(holds), spec.fairness_key, task.fair_tag, spec.workspace,
    )  # fmt: skip


def is_plain(change: Change) -> bool:
    """Whether a new task says nothing that only later changes say: of an end, a stop, a start, or a loss."""
    task, attempt = change.task, change.task.attempt
    begun = attempt is not None and attempt.started_at is not None
    return task.finished_at is None and task.stop is None and not begun and not (task.losses or task.deaths)


def rewritten_row(change: Change, key: int, expected: int, first: int, revision: int, now: int) -> Row:
    """A changed task as a row of (key, expected revision, STATE_COLUMNS, STEP_COLUMNS)."""
    task, attempt = change.task, change.task.attempt
    return (
        key, expected,
        str(task.status), str(task.reason), task.message, task.rank, task.due_at, task.ready_at, task.queue_deadline,
        *(_attempt_row(attempt) if attempt else _NO_ATTEMPT),
        task.grants, task.losses, task.deaths, task.failures, task.retry_at, task.total_deadline,
        *_stop_row(task.stop), task.finished_at, int(task.may_have_run),
        task.fair_tag, task.spec.priority, plan_text(task.plan), now, revision,
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
        attempt.sent_at, attempt.started_at, attempt.containment, attempt.lease_ms, _holds_text(attempt.holds),
        json.dumps(attempt.extension) if attempt.extension is not None else None,
    )  # fmt: skip


def _holds_text(holds: tuple[Hold, ...]) -> str | None:
    return json.dumps(holds) if holds else None


def _stop_row(stop: Stop | None) -> Row:
    return (str(stop.reason), stop.message, stop.grace_ms, stop.asked_at) if stop else _NO_STOP


def spec_rare_part(change: Change) -> Row:
    """What few ask for; empty: nothing of it."""
    task, spec = change.task, change.task.spec
    rare = (spec.execution, spec.timeout_ms, spec.queue_timeout_ms, spec.scheduled_at, spec.delay_ms)
    limits = (spec.start_timeout_ms, spec.total_timeout_ms)
    more = _more_text(spec)
    is_named = spec.metadata or task.traceparent or task.retry_of or spec.lock or spec.retry or more
    if not is_named and (*rare, *limits) == (None,) * 7:
        return ()
    metadata = json.dumps(dict(spec.metadata)) if spec.metadata else None
    retry = json.dumps(asdict(spec.retry)) if spec.retry is not None else None
    return (metadata, *rare, task.traceparent or None, task.retry_of or None, spec.lock or None, retry, *limits, more)


def _more_text(spec: TaskSpec) -> str | None:
    """What hardly anybody asks for and nothing looks for, as JSON text; None: nothing of it."""
    is_usual = spec.when_taken is _WAIT and spec.on_conflict is _FAIL and spec.fairness_weight == 1
    is_usual = is_usual and spec.approval_timeout_ms is None and not spec.approval_by_other
    if is_usual and not (spec.limits or spec.rates or spec.unique_key or spec.heartbeat_timeout_ms):
        return None
    return json.dumps({name: getattr(spec, name) for name in MORE})


def key_rows(task: Task, key: int) -> Iterator[object]:
    """The values of the rows of KEY_COLUMNS of a waiting task that names keys, one row after the other."""
    shape = shape_of(task)
    for name in task.shared_keys:
        yield from (name, *shape[:3], task.rank, key)


def label_rows(change: Change, key: int) -> Iterator[object]:
    """The values of the rows of a task's labels, one row after the other."""
    for name, value in change.task.spec.metadata.items():
        yield from (name, value, key)


def remark_row(noted: Noted, key: int) -> Row:
    """A remark of a task as a row of REMARK_COLUMNS."""
    kind, *rest = noted.remark
    return (key, str(kind), *rest, json.dumps(noted.marks) if noted.marks else "")


def late_rows(evidence: Iterable[Evidence]) -> Iterator[object]:
    """The values of the rows of late results, one row after the other."""
    for key, late in evidence:
        yield from (key, *late)


def failure_text(failure: Failure | None) -> str | None:
    """How an attempt failed, as JSON text."""
    return json.dumps(failure) if failure is not None else None


def plan_text(planned: Planned | None) -> str | None:
    """A plan with what became of it, as JSON text."""
    return json.dumps(planned) if planned is not None else None


def session_row(session: AgentSessionRecord) -> dict[str, object]:
    """A session of an agent as a row of its table."""
    return asdict(session)


def result_part(finished: Finished, key: int, attempt: int) -> Row:
    """What every end of an attempt has."""
    return (
        key, attempt, str(finished.outcome), str(finished.reason), finished.output,
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
        "cordon": agent.cordon,
        "host_since": agent.host_since,
        "resources": json.dumps(dict(agent.resources)),
        "type_limits": json.dumps(dict(agent.type_limits)),
        "drained_at": agent.drained_at,
        "drain_deadline": agent.drain_deadline,
        "drain_note": agent.drain_note,
        "features": json.dumps(sorted(agent.features)),
        "plan_limit": agent.plan_limit,
    }
