"""Tasks make plans, which wait for an approval and then to be applied; attempts keep the plans that they have made, and
agents say how many they make at a time.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "tasks_0009"
down_revision = "tasks_0008"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_tasks_applying": (["status", "pool", "type", "needs", "rank", "key"], "status = 'apply_pending'"),
    "ix_tasks_planned": (["key"], "plan IS NOT NULL"),
    "ix_tasks_planned_expiring": (["queue_deadline", "key"], "plan IS NOT NULL AND finished_at IS NULL"),
}


def upgrade() -> None:
    """Make the columns, and find what has a plan."""
    for table, column in _columns():
        op.add_column(table, column)
    for name, (columns, condition) in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(name, "tasks", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Remove them."""
    for name in _INDEXES:
        op.drop_index(name, "tasks")
    for table, column in reversed(_columns()):
        op.drop_column(table, column.name)


def _columns() -> list[tuple[str, sa.Column[object]]]:
    return [
        ("tasks", sa.Column("plan", sa.String(), nullable=True)),
        ("attempts", sa.Column("plan", sa.String(), nullable=True)),
        ("agents", sa.Column("plan_limit", sa.BigInteger(), server_default=sa.text("3"), nullable=False)),
    ]
