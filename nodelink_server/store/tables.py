"""The tables. Every index is here because a query needs it; each costs something at every task.

Moments are wall-clock milliseconds; `rank` and `queue_deadline` are in control time. A column `…_revision` tells at
which revision a task took a step (0: it has not), so that its events can be made again.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, text

from nodelink.plan import DEFAULT_PLAN_LIMIT

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

tasks_metadata = MetaData(naming_convention=NAMES)
logs_metadata = MetaData(naming_convention=NAMES)

# SQLite gives a table its rowid as the key only if the type is exactly INTEGER.
Key = BigInteger().with_variant(Integer(), "sqlite")


def _number(name: str, *, default: int | None = None) -> Column[int]:
    """A whole number; without a default it may be NULL."""
    if default is None:
        return Column(name, BigInteger, nullable=True)
    return Column(name, BigInteger, nullable=False, server_default=text(str(default)))


def _text(name: str) -> Column[str]:
    """A text that is empty if there is nothing to say."""
    return Column(name, String, nullable=False, server_default=text("''"))


def _optional_text(name: str) -> Column[str]:
    return Column(name, String, nullable=True)


# Narrow and hot: what changes while a task lives. The first attempt, and every current one, lives here too.
tasks = Table(
    "tasks",
    tasks_metadata,
    Column("key", Key, primary_key=True, autoincrement=False),
    Column("id", String(36), nullable=False, unique=True),
    Column("status", String(16), nullable=False),
    _text("reason"),
    _text("message"),
    Column("type", String, nullable=False),
    Column("pool", String, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("execution", String(16), nullable=False),
    Column("caller", String, nullable=False),
    _number("rank", default=0),
    _number("due_at"),
    _number("ready_at"),
    _number("queue_deadline"),
    _number("attempt"),
    _number("fence"),
    _optional_text("agent_id"),
    _number("session"),
    _number("sent_at"),
    _number("started_at"),
    _text("containment"),
    _number("lease_ms"),
    _number("grants", default=0),
    _number("losses", default=0),
    _number("deaths", default=0),
    _number("failures", default=0),
    _number("retry_at"),
    _number("total_deadline"),
    _optional_text("stop_reason"),
    _text("stop_message"),
    _number("stop_grace_ms"),
    _number("stop_asked_at"),
    _number("finished_at"),
    Column("may_have_run", Boolean, nullable=False, server_default=text("0")),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    _number("created_revision", default=0),
    _number("scheduled_revision", default=0),
    _number("ready_revision", default=0),
    _number("sent_revision", default=0),
    _number("started_revision", default=0),
    _number("cancelling_revision", default=0),
    _optional_text("idempotency_key"),
    Column("idempotency_digest", LargeBinary, nullable=True),
    _text("lock"),
    _text("needs"),
    _optional_text("holds"),
    _optional_text("extension"),
    _optional_text("unique_key"),
    _text("fairness_key"),
    _number("fair_tag"),
    _text("workspace"),
    _optional_text("plan"),
)


def _partial(name: str, *columns: str, where: str, unique: bool = False, table: Table = tasks) -> Index:
    """An index on the tasks (or other rows) for which a condition holds: the others do not pay for it."""
    # The steps name PostgreSQL's condition too. Here it would load PostgreSQL's dialect at every start.
    return Index(name, *(table.c[column] for column in columns), unique=unique, sqlite_where=text(where))


UNCOMPLETED = "status <> 'completed'"

# The status comes first, though it is the same in all: so counting needs no look at the table, and planning no luck.
# The priority is there to be counted.
_partial("ix_tasks_waiting", "status", "pool", "type", "needs", "rank", "key", "priority", where="status = 'pending'")
# The same of those that wait to apply a plan. They are few, and a queue of their own.
_partial("ix_tasks_applying", "status", "pool", "type", "needs", "rank", "key", where="status = 'apply_pending'")
# The tasks that have a plan, the newest first; and of those that have not ended, which may wait for so long only.
_partial("ix_tasks_planned", "key", where="plan IS NOT NULL")
_partial("ix_tasks_planned_expiring", "queue_deadline", "key", where="plan IS NOT NULL AND finished_at IS NULL")
# What needs a lock, to find the first of each shape when the lock is free. Most tasks need none.
_partial("ix_tasks_lock", "lock", "pool", "type", "needs", "rank", "key", where="status = 'pending' AND lock <> ''")
# How far the waiting tasks of each fairness key reach, to go on from there when the server starts.
_partial(
    "ix_tasks_fair", "status", "pool", "fairness_key", "fair_tag", where="status = 'pending' AND fairness_key <> ''"
)
_partial("uq_tasks_unique", "unique_key", where="unique_key IS NOT NULL AND finished_at IS NULL", unique=True)
_partial("ix_tasks_due", "due_at", "key", where="status = 'scheduled'")
_partial("ix_tasks_retrying", "retry_at", "key", where="status = 'scheduled' AND retry_at IS NOT NULL")
_partial("ix_tasks_limited", "total_deadline", "key", where="finished_at IS NULL AND total_deadline IS NOT NULL")
_partial(
    "ix_tasks_expiring", "status", "queue_deadline", "key", where="status = 'pending' AND queue_deadline IS NOT NULL"
)
# By status: what was granted when the server starts, counts (pool makes it cover them), lists. Nearly every task ends
# as completed, so those are left out: a list of them walks the table from its newest end, and does not walk far.
_partial("ix_tasks_status", "status", "key", "pool", where=UNCOMPLETED)
_partial("ix_tasks_finished", "finished_at", where="finished_at IS NOT NULL")
_partial("ix_tasks_agent", "agent_id", "key", where="agent_id IS NOT NULL")
_partial("ix_tasks_workspace", "workspace", "key", where="workspace <> ''")
# Whether anything of a workspace lives, before it may go.
_partial("ix_tasks_at_work", "workspace", where="workspace <> '' AND finished_at IS NULL")
Index("ix_tasks_pool", tasks.c.pool, tasks.c.key)
Index("ix_tasks_type", tasks.c.type, tasks.c.key)
_partial("uq_tasks_idempotency", "caller", "idempotency_key", where="idempotency_key IS NOT NULL", unique=True)
_partial("ix_tasks_idempotency_age", "created_at", where="idempotency_key IS NOT NULL")

task_specs = Table(
    "task_specs",
    tasks_metadata,
    Column("task_key", Key, primary_key=True, autoincrement=False),
    Column("payload", LargeBinary, nullable=False),
    Column("metadata", String, nullable=True),
    Column("execution", String(16), nullable=True),
    _number("timeout_ms"),
    _number("queue_timeout_ms"),
    _number("scheduled_at"),
    _number("delay_ms"),
    _optional_text("traceparent"),
    Column("retry_of", String(36), nullable=True),
    _optional_text("lock"),
    _optional_text("retry"),
    _number("start_timeout_ms"),
    _number("total_timeout_ms"),
    _optional_text("more"),
)

# For each full run of so many keys, within what bounds the times and ids of its tasks lie (`spans.py`).
KEYS_IN_SPAN = 4_096
task_spans = Table(
    "task_spans",
    tasks_metadata,
    Column("span", Key, primary_key=True, autoincrement=False),
    Column("earliest", BigInteger, nullable=False),
    Column("latest", BigInteger, nullable=False),
    Column("first_id", String(36), nullable=False),
    Column("last_id", String(36), nullable=False),
)

# The metadata of tasks, to find them by: one row for each entry.
task_labels = Table(
    "task_labels",
    tasks_metadata,
    Column("name", String, primary_key=True),
    Column("value", String, primary_key=True),
    Column("task_key", Key, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

# How the attempt of this number ended, the latest that did (0: the only one that could, before there were retries).
task_results = Table(
    "task_results",
    tasks_metadata,
    Column("task_key", Key, primary_key=True, autoincrement=False),
    _number("attempt", default=0),
    Column("outcome", String(16), nullable=False),
    Column("reason", String, nullable=False),
    _number("exit_code"),
    _number("signal"),
    Column("output", LargeBinary, nullable=False),
    _optional_text("error_category"),
    _optional_text("error_message"),
    Column("run_seconds", Float, nullable=False),
    Column("cpu_seconds", Float, nullable=False),
    Column("max_rss_bytes", BigInteger, nullable=False),
    _number("stdout_total"),
    _number("stderr_total"),
    Column("tree_gone", Boolean, nullable=False),
)

# Attempts that their task has left behind, each with the stop that was asked for while it was the current one.
# `ready_at`: since when the task had waited that was given to it. `failure`: how it failed, as JSON text; `plan`: what
# it has made, or was to apply, likewise.
attempts = Table(
    "attempts",
    tasks_metadata,
    Column("task_key", Key, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("fence", BigInteger, nullable=False),
    Column("agent_id", String, nullable=False),
    Column("session", BigInteger, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
    _number("started_at"),
    _text("containment"),
    _number("lease_ms"),
    _optional_text("stop_reason"),
    _text("stop_message"),
    _number("stop_asked_at"),
    Column("state", String(16), nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    _number("sent_revision", default=0),
    _number("started_revision", default=0),
    _number("cancelling_revision", default=0),
    _number("ended_revision", default=0),
    _number("ready_at"),
    _number("ready_revision", default=0),
    _optional_text("failure"),
    _optional_text("plan"),
    sqlite_with_rowid=False,
)

# Who holds which place of a lock or a limit.
holds = Table(
    "holds",
    tasks_metadata,
    Column("key", String, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("task_key", BigInteger, nullable=False),
    Index("ix_holds_task_key", "task_key"),
    sqlite_with_rowid=False,
)

# Which keys the waiting tasks name that share limits or rates, to find the first of each shape when a place is free.
task_keys = Table(
    "task_keys",
    tasks_metadata,
    Column("key", String, primary_key=True),
    Column("pool", String, primary_key=True),
    Column("type", String, primary_key=True),
    Column("needs", String, primary_key=True),
    Column("rank", BigInteger, primary_key=True, autoincrement=False),
    Column("task_key", BigInteger, primary_key=True, autoincrement=False),
    Index("ix_task_keys_task_key", "task_key"),
    sqlite_with_rowid=False,
)

# How many tasks may be with agents at a time: of all, of a pool, a type, an agent, a workspace, or that name a key.
limits = Table(
    "limits",
    tasks_metadata,
    Column("key", String, primary_key=True),
    Column("most", BigInteger, nullable=False),
    Column("set_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The places under rates, each taken by a start for a time; in control time.
rates = Table(
    "rates",
    tasks_metadata,
    Column("key", String, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Index("ix_rates_until", "until"),
    sqlite_with_rowid=False,
)

# Where the tasks of a workspace run. Each is a lock of its own.
workspaces = Table(
    "workspaces",
    tasks_metadata,
    Column("name", String, primary_key=True),
    Column("pool", String, nullable=False),
    Column("mode", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("execution", String(16), nullable=True),
    sqlite_with_rowid=False,
)

# What was answered to calls that are carried out once under a key of their caller's.
answers = Table(
    "answers",
    tasks_metadata,
    Column("caller", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("answer", String, nullable=False),
    Column("answered_at", BigInteger, nullable=False),
    Index("ix_answers_answered_at", "answered_at"),
    sqlite_with_rowid=False,
)

# Which workspace has which bytes. They are in files, named by their digests (`blob_files.py`).
blobs = Table(
    "blobs",
    tasks_metadata,
    Column("sha256", String(64), primary_key=True),
    Column("workspace", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Index("ix_blobs_workspace", "workspace", "sha256", "size"),
    Index("ix_blobs_used_at", "used_at"),
    sqlite_with_rowid=False,
)

# Which of them are parts of tasks: given by a caller (attempt 0), or made by an attempt.
artifacts = Table(
    "artifacts",
    tasks_metadata,
    Column("task_key", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String, primary_key=True),
    Column("attempt", BigInteger, primary_key=True, autoincrement=False),
    Column("workspace", String, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default=text("0")),  # of its event; 0: it was never told
    Index("ix_artifacts_blob", "sha256", "workspace"),
    sqlite_with_rowid=False,
)

# Which of them are, or were lately, the states of workspaces.
workspace_states = Table(
    "workspace_states",
    tasks_metadata,
    Column("workspace", String, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    _text("task_id"),
    sqlite_with_rowid=False,
)

# Where nothing starts: everything (`scheduler`), `pool:NAME`, `type:NAME`.
pauses = Table(
    "pauses",
    tasks_metadata,
    Column("scope", String, primary_key=True),
    Column("since", BigInteger, nullable=False),
    _text("by"),
    _text("reason"),
    sqlite_with_rowid=False,
)

# With which checkpoint of another database this one was begun. `is_revived`: what ran when it was taken is dealt with.
loaded_checkpoints = Table(
    "loaded_checkpoints",
    tasks_metadata,
    Column("id", String, primary_key=True),
    Column("start_number", BigInteger, nullable=False),
    Column("loaded_at", BigInteger, nullable=False),
    Column("as_waiting", Boolean, nullable=False),
    Column("is_revived", Boolean, nullable=False),
    sqlite_with_rowid=False,
)

# What happened to tasks beside their attempts. `told`: the events that only this remark can tell again. `priority`: the
# one that the task had before; 0: it has stayed.
task_remarks = Table(
    "task_remarks",
    tasks_metadata,
    Column("task_key", Key, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("at", BigInteger, nullable=False),
    _text("text"),
    _text("by"),
    _number("attempt", default=0),
    _text("agent_id"),
    _number("priority", default=0),
    _text("told"),
    sqlite_with_rowid=False,
)

# What agents told of attempts that counted no more: the first word on each.
late_results = Table(
    "late_results",
    tasks_metadata,
    Column("task_key", Key, primary_key=True, autoincrement=False),
    Column("attempt", BigInteger, primary_key=True, autoincrement=False),
    Column("fence", BigInteger, primary_key=True, autoincrement=False),
    Column("agent_id", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("outcome", String(16), nullable=False),
    _number("exit_code"),
    _text("message"),
    sqlite_with_rowid=False,
)

# One row for each commit that made events: they are serialised once.
events = Table(
    "events",
    tasks_metadata,
    Column("last_revision", Key, primary_key=True, autoincrement=False),
    Column("first_revision", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("block", LargeBinary, nullable=False),
)

# One row for each commit that changed a task or an agent; each hash covers the one before.
audit = Table(
    "audit",
    tasks_metadata,
    Column("sequence", Key, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("entries", String, nullable=False),
)

agents = Table(
    "agents",
    tasks_metadata,
    Column("id", String(36), primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("session", BigInteger, nullable=False),
    Column("host_id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("pool", String, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("handlers", String, nullable=False),
    Column("labels", String, nullable=False),
    Column("software_version", String, nullable=False),
    Column("first_seen_at", BigInteger, nullable=False),
    Column("last_seen_at", BigInteger, nullable=False),
    Column("left", Boolean, nullable=False),
    _text("cordon"),
    _number("host_since", default=0),
    Column("resources", String, nullable=False, server_default=text("'{}'")),
    Column("type_limits", String, nullable=False, server_default=text("'{}'")),
    _number("drained_at"),
    _number("drain_deadline"),
    _text("drain_note"),
    Column("features", String, nullable=False, server_default=text("'[]'")),
    _number("plan_limit", default=DEFAULT_PLAN_LIMIT),
)

# Each connection of an agent, up to a number for each.
agent_sessions = Table(
    "agent_sessions",
    tasks_metadata,
    Column("agent_id", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("connected_at", BigInteger, nullable=False),
    _number("disconnected_at"),
    Column("reason", String(16), nullable=False, server_default=text("''")),
    _text("software_version"),
    sqlite_with_rowid=False,
)
_partial("ix_agent_sessions_open", "agent_id", where="disconnected_at IS NULL", table=agent_sessions)
_partial("ix_agent_sessions_ended", "disconnected_at", where="disconnected_at IS NOT NULL", table=agent_sessions)

# What was done in each minute or hour, by kind of task and agent. The key begins with how long the row's time is, so
# that minutes and hours are two ranges of it.
statistics = Table(
    "statistics",
    tasks_metadata,
    Column("span_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("series", BigInteger, primary_key=True, autoincrement=False),
    Column("type", String, primary_key=True),
    Column("pool", String, primary_key=True),
    Column("agent_id", String, primary_key=True),
    Column("counts", String, nullable=False),
    sqlite_with_rowid=False,
)

# One row, written by every commit: what must never go back.
meta = Table(
    "meta",
    tasks_metadata,
    Column("one", Key, primary_key=True, autoincrement=False),
    Column("cluster_id", String(36), nullable=False),
    Column("start_number", BigInteger, nullable=False),
    Column("control_ms", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("last_key", BigInteger, nullable=False),
    Column("commits", BigInteger, nullable=False),
    _number("committed_at", default=0),
)

log_chunks = Table(
    "log_chunks",
    logs_metadata,
    Column("key", Key, primary_key=True),
    Column("task_key", BigInteger, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("stream", String(8), nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("gap", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("uq_log_chunks_position", "task_key", "attempt", "position", unique=True),
    Index("ix_log_chunks_stream", "task_key", "attempt", "stream", "offset"),
)

# Whose output this is: two databases that do not belong together must not be opened as one.
origin = Table("origin", logs_metadata, Column("cluster_id", String(36), primary_key=True))
