"""Attempts have leases, tasks may need a lock, and what happens to a task beside its attempts is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "tasks_0004"
down_revision = "tasks_0003"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables and columns, and give the exclusive tasks that are there their locks."""
    for table, column in _columns():
        op.add_column(table, column)
    _holds()
    _task_remarks()
    _late_results()
    condition = sa.text("status = 'pending' AND lock <> ''")
    columns = ["lock", "pool", "type", "rank", "key"]
    op.create_index("ix_tasks_lock", "tasks", columns, sqlite_where=condition, postgresql_where=condition)
    _lock_exclusive_tasks()


def downgrade() -> None:
    """Remove them."""
    op.drop_index("ix_tasks_lock", "tasks")
    for table in ("late_results", "task_remarks", "holds"):
        op.drop_table(table)
    for table, column in reversed(_columns()):
        op.drop_column(table, column.name)


def _columns() -> list[tuple[str, sa.Column[object]]]:
    return [
        ("tasks", _number("lease_ms")),
        ("tasks", _number("deaths", default=0)),
        ("tasks", _text("lock")),
        ("task_specs", sa.Column("lock", sa.String(), nullable=True)),
        ("attempts", _number("lease_ms")),
        ("attempts", sa.Column("stop_reason", sa.String(), nullable=True)),
        ("attempts", _text("stop_message")),
        ("attempts", _number("stop_asked_at")),
        ("attempts", _number("cancelling_revision", default=0)),
        ("agents", _text("cordon")),
        ("agents", _number("host_since", default=0)),
    ]


def _number(name: str, *, default: int | None = None) -> sa.Column[object]:
    if default is None:
        return sa.Column(name, sa.BigInteger(), nullable=True)
    return sa.Column(name, sa.BigInteger(), server_default=sa.text(str(default)), nullable=False)


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.String(), server_default=sa.text("''"), nullable=False)


def _holds() -> None:
    op.create_table(
        "holds",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task_key", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "place", name="pk_holds"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_holds_task_key", "holds", ["task_key"])


def _task_remarks() -> None:
    op.create_table(
        "task_remarks",
        sa.Column("task_key", KEY, autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        _text("text"),
        _text("by"),
        _number("attempt", default=0),
        _text("agent_id"),
        _text("told"),
        sa.PrimaryKeyConstraint("task_key", "revision", name="pk_task_remarks"),
        sqlite_with_rowid=False,
    )


def _late_results() -> None:
    op.create_table(
        "late_results",
        sa.Column("task_key", KEY, autoincrement=False, nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("agent_id", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        _number("exit_code"),
        _text("message"),
        sa.PrimaryKeyConstraint("task_key", "attempt", "fence", name="pk_late_results"),
        sqlite_with_rowid=False,
    )


def _lock_exclusive_tasks() -> None:
    """An exclusive task needs a lock of its own, and holds it while it is with an agent."""
    op.execute("UPDATE tasks SET lock = 'task:' || id WHERE execution = 'exclusive'")
    op.execute(
        "INSERT INTO holds (key, place, task_key) SELECT lock, 0, key FROM tasks WHERE lock <> ''"
        " AND status IN ('sent', 'in_progress', 'cancelling', 'unknown', 'plan_completed', 'apply_pending')"
    )
