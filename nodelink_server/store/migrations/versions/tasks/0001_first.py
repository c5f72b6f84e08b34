"""The first schema of the database of tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "tasks_0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    _agents()
    _attempts()
    _audit()
    _events()
    _meta()
    _task_results()
    _task_specs()
    _tasks()


def downgrade() -> None:
    """Remove them."""
    for table in (
        "tasks",
        "task_specs",
        "task_results",
        "meta",
        "events",
        "audit",
        "attempts",
        "agents",
    ):
        op.drop_table(table)


def _index(name: str, *columns: str, where: str, unique: bool = False) -> None:
    """An index on the tasks for which a condition holds, for each kind of database."""
    condition = sa.text(where)
    op.create_index(name, "tasks", list(columns), unique=unique, sqlite_where=condition, postgresql_where=condition)


def _agents() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("session", sa.BigInteger(), nullable=False),
        sa.Column("host_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("handlers", sa.String(), nullable=False),
        sa.Column("labels", sa.String(), nullable=False),
        sa.Column("software_version", sa.String(), nullable=False),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("left", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_agents"),
    )


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("task_key", KEY, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("agent_id", sa.String(), nullable=False),
        sa.Column("session", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("containment", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("ended_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("task_key", "number", name="pk_attempts"),
        sqlite_with_rowid=False,
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("sequence", KEY, autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("entries", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit"),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("last_revision", KEY, autoincrement=False, nullable=False),
        sa.Column("first_revision", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("last_revision", name="pk_events"),
    )


def _meta() -> None:
    op.create_table(
        "meta",
        sa.Column("one", KEY, autoincrement=False, nullable=False),
        sa.Column("cluster_id", sa.String(length=36), nullable=False),
        sa.Column("start_number", sa.BigInteger(), nullable=False),
        sa.Column("control_ms", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("last_key", sa.BigInteger(), nullable=False),
        sa.Column("commits", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("one", name="pk_meta"),
    )


def _task_results() -> None:
    op.create_table(
        "task_results",
        sa.Column("task_key", KEY, autoincrement=False, nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("exit_code", sa.BigInteger(), nullable=True),
        sa.Column("signal", sa.BigInteger(), nullable=True),
        sa.Column("output", sa.LargeBinary(), nullable=False),
        sa.Column("error_category", sa.String(), nullable=True),
        sa.Column("error_message", sa.String(), nullable=True),
        sa.Column("run_seconds", sa.Float(), nullable=False),
        sa.Column("cpu_seconds", sa.Float(), nullable=False),
        sa.Column("max_rss_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stdout_total", sa.BigInteger(), nullable=True),
        sa.Column("stderr_total", sa.BigInteger(), nullable=True),
        sa.Column("tree_gone", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("task_key", name="pk_task_results"),
    )


def _task_specs() -> None:
    op.create_table(
        "task_specs",
        sa.Column("task_key", KEY, autoincrement=False, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("metadata", sa.String(), nullable=True),
        sa.Column("execution", sa.String(length=16), nullable=True),
        sa.Column("timeout_ms", sa.BigInteger(), nullable=True),
        sa.Column("queue_timeout_ms", sa.BigInteger(), nullable=True),
        sa.Column("scheduled_at", sa.BigInteger(), nullable=True),
        sa.Column("delay_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("task_key", name="pk_task_specs"),
    )


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("key", KEY, autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("message", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("execution", sa.String(length=16), nullable=False),
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("rank", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("ready_at", sa.BigInteger(), nullable=True),
        sa.Column("queue_deadline", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=True),
        sa.Column("agent_id", sa.String(), nullable=True),
        sa.Column("session", sa.BigInteger(), nullable=True),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("containment", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("grants", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("losses", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("stop_reason", sa.String(), nullable=True),
        sa.Column("stop_message", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("stop_grace_ms", sa.BigInteger(), nullable=True),
        sa.Column("stop_asked_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("may_have_run", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("scheduled_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("ready_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("sent_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cancelling_revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("idempotency_digest", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_tasks"),
        sa.UniqueConstraint("id", name="uq_tasks_id"),
    )
    _index("ix_tasks_agent", "agent_id", "key", where="agent_id IS NOT NULL")
    _index("ix_tasks_due", "due_at", "key", where="status = 'scheduled'")
    _index(
        "ix_tasks_expiring",
        "status",
        "queue_deadline",
        "key",
        where="status = 'pending' AND queue_deadline IS NOT NULL",
    )
    _index("ix_tasks_finished", "finished_at", where="finished_at IS NOT NULL")
    _index("ix_tasks_idempotency_age", "created_at", where="idempotency_key IS NOT NULL")
    op.create_index("ix_tasks_pool", "tasks", ["pool", "key"], unique=False)
    _index("ix_tasks_status", "status", "key", "pool", where="status <> 'completed'")
    op.create_index("ix_tasks_type", "tasks", ["type", "key"], unique=False)
    _index("ix_tasks_waiting", "status", "pool", "type", "rank", "key", where="status = 'pending'")
    _index("uq_tasks_idempotency", "caller", "idempotency_key", where="idempotency_key IS NOT NULL", unique=True)
