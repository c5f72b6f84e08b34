"""Tasks that fail are tried again by their own policy, and each attempt that failed keeps how. Tasks may take only so
long in all, and their agents only so long to begin.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "tasks_0005"
down_revision = "tasks_0004"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_tasks_retrying": ("retry_at", "status = 'scheduled' AND retry_at IS NOT NULL"),
    "ix_tasks_limited": ("total_deadline", "finished_at IS NULL AND total_deadline IS NOT NULL"),
}


def upgrade() -> None:
    """Make the columns, and find what waits for its next try by an index."""
    for table, column in _columns():
        op.add_column(table, column)
    for name, (first, condition) in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(name, "tasks", [first, "key"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Remove them."""
    for name in _INDEXES:
        op.drop_index(name, "tasks")
    for table, column in reversed(_columns()):
        op.drop_column(table, column.name)


def _columns() -> list[tuple[str, sa.Column[object]]]:
    return [
        ("tasks", _number("failures", default=0)),
        ("tasks", _number("retry_at")),
        ("tasks", _number("total_deadline")),
        ("task_specs", sa.Column("retry", sa.String(), nullable=True)),
        ("task_specs", _number("start_timeout_ms")),
        ("task_specs", _number("total_timeout_ms")),
        ("task_results", _number("attempt", default=0)),
        ("attempts", _number("ready_at")),
        ("attempts", _number("ready_revision", default=0)),
        ("attempts", sa.Column("failure", sa.String(), nullable=True)),
    ]


def _number(name: str, *, default: int | None = None) -> sa.Column[object]:
    if default is None:
        return sa.Column(name, sa.BigInteger(), nullable=True)
    return sa.Column(name, sa.BigInteger(), server_default=sa.text(str(default)), nullable=False)
