"""Tasks say where they may run and what they take there, share limits and rates, and are unique while they live;
attempts may be given other limits, and tasks another priority; agents say what they have and know, and are drained
until a deadline.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "tasks_0006"
down_revision = "tasks_0005"
branch_labels = None
depends_on = None

_WAITING = "status = 'pending'"
_LOCKED = "status = 'pending' AND lock <> ''"
_FAIR = "status = 'pending' AND fairness_key <> ''"
_UNIQUE = "unique_key IS NOT NULL AND finished_at IS NULL"
_IN_WORKSPACE = "workspace <> ''"
_AT_WORK = "workspace <> '' AND finished_at IS NULL"

# What holds a lock, as its attempt now knows by itself.
_HOLDS = """
UPDATE tasks SET holds = (
    SELECT json_group_array(json_array(holds.key, holds.place)) FROM holds WHERE holds.task_key = tasks.key
) WHERE key IN (SELECT task_key FROM holds)
"""

# What a server of the version before would take for locks that are held.
_NO_LOCKS = """
DELETE FROM holds WHERE place <> 0 OR key <> (SELECT lock FROM tasks WHERE tasks.key = holds.task_key)
"""


def upgrade() -> None:
    """Make the columns and tables, and order what waits by what it needs as well."""
    for table, column in _columns():
        op.add_column(table, column)
    op.execute(_HOLDS)
    _index_waiting("pool", "type", "needs")
    _index("ix_tasks_fair", ["status", "pool", "fairness_key", "fair_tag"], _FAIR)
    _index("uq_tasks_unique", ["unique_key"], _UNIQUE, unique=True)
    _index("ix_tasks_workspace", ["workspace", "key"], _IN_WORKSPACE)
    _index("ix_tasks_at_work", ["workspace"], _AT_WORK)
    op.create_table(
        "task_keys",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("needs", sa.String(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("task_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("key", "pool", "type", "needs", "rank", "task_key", name="pk_task_keys"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_task_keys_task_key", "task_keys", ["task_key"])
    op.create_table(
        "limits",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("most", sa.BigInteger(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_limits"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rates",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "place", name="pk_rates"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_rates_until", "rates", ["until"])
    op.create_table(
        "workspaces",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workspaces"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Remove them, and leave no place taken but that of a lock."""
    op.execute(_NO_LOCKS)
    for table in ("workspaces", "rates", "limits", "task_keys"):
        op.drop_table(table)
    for index in ("ix_tasks_at_work", "ix_tasks_workspace", "uq_tasks_unique", "ix_tasks_fair"):
        op.drop_index(index, "tasks")
    _index_waiting("pool", "type")
    for table, column in reversed(_columns()):
        op.drop_column(table, column.name)


def _index_waiting(*shape: str) -> None:
    """Order what waits, and what waits for a lock, by this."""
    for index in ("ix_tasks_waiting", "ix_tasks_lock"):
        op.drop_index(index, "tasks")
    _index("ix_tasks_waiting", ["status", *shape, "rank", "key", "priority"], _WAITING)
    _index("ix_tasks_lock", ["lock", *shape, "rank", "key"], _LOCKED)


def _index(name: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, "tasks", columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _columns() -> list[tuple[str, sa.Column[object]]]:
    return [
        ("tasks", _text("needs")),
        ("tasks", sa.Column("holds", sa.String(), nullable=True)),
        ("tasks", sa.Column("extension", sa.String(), nullable=True)),
        ("tasks", sa.Column("unique_key", sa.String(), nullable=True)),
        ("tasks", _text("fairness_key")),
        ("tasks", sa.Column("fair_tag", sa.BigInteger(), nullable=True)),
        ("tasks", _text("workspace")),
        ("task_specs", sa.Column("more", sa.String(), nullable=True)),
        ("agents", sa.Column("resources", sa.String(), server_default=sa.text("'{}'"), nullable=False)),
        ("agents", sa.Column("type_limits", sa.String(), server_default=sa.text("'{}'"), nullable=False)),
        ("agents", sa.Column("drained_at", sa.BigInteger(), nullable=True)),
        ("agents", sa.Column("drain_deadline", sa.BigInteger(), nullable=True)),
        ("agents", _text("drain_note")),
        ("task_remarks", sa.Column("priority", sa.BigInteger(), server_default=sa.text("0"), nullable=False)),
        ("agents", sa.Column("features", sa.String(), server_default=sa.text("'[]'"), nullable=False)),
    ]


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.String(), server_default=sa.text("''"), nullable=False)
