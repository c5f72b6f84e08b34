"""Tasks are found by metadata and time, and tell what they repeat; agents have a history of their sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "tasks_0002"
down_revision = "tasks_0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ROWS_AT_ONCE = 1_000
WAITING = ("status", "pool", "type", "rank", "key")

Label = dict[str, object]


def upgrade() -> None:
    """Make the tables and columns, and label the tasks that are there."""
    _task_labels()
    _agent_sessions()
    op.add_column("task_specs", sa.Column("traceparent", sa.String(), nullable=True))
    op.add_column("task_specs", sa.Column("retry_of", sa.String(length=36), nullable=True))
    op.add_column("meta", sa.Column("committed_at", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    _waiting(*WAITING, "priority")
    _task_spans()
    _label_tasks(op.get_bind())


def downgrade() -> None:
    """Remove them."""
    _waiting(*WAITING)
    op.drop_column("meta", "committed_at")
    op.drop_column("task_specs", "retry_of")
    op.drop_column("task_specs", "traceparent")
    op.drop_table("task_spans")
    op.drop_table("agent_sessions")
    op.drop_table("task_labels")


def _task_labels() -> None:
    op.create_table(
        "task_labels",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("task_key", KEY, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("name", "value", "task_key", name="pk_task_labels"),
        sqlite_with_rowid=False,
    )


def _agent_sessions() -> None:
    op.create_table(
        "agent_sessions",
        sa.Column("agent_id", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("connected_at", sa.BigInteger(), nullable=False),
        sa.Column("disconnected_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=16), server_default=sa.text("''"), nullable=False),
        sa.Column("software_version", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "number", name="pk_agent_sessions"),
        sqlite_with_rowid=False,
    )
    _index("ix_agent_sessions_open", "agent_sessions", "agent_id", where="disconnected_at IS NULL")
    _index("ix_agent_sessions_ended", "agent_sessions", "disconnected_at", where="disconnected_at IS NOT NULL")


def _task_spans() -> None:
    op.create_table(
        "task_spans",
        sa.Column("span", KEY, autoincrement=False, nullable=False),
        sa.Column("earliest", sa.BigInteger(), nullable=False),
        sa.Column("latest", sa.BigInteger(), nullable=False),
        sa.Column("first_id", sa.String(length=36), nullable=False),
        sa.Column("last_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("span", name="pk_task_spans"),
    )
    op.execute(
        "INSERT INTO task_spans (span, earliest, latest, first_id, last_id)"
        " SELECT key / 4096, min(created_at), max(created_at), min(id), max(id) FROM tasks"
        " WHERE key < (SELECT last_key / 4096 * 4096 FROM meta) GROUP BY key / 4096"
    )


def _waiting(*columns: str) -> None:
    """Make the index of waiting tasks anew, of these columns."""
    op.drop_index("ix_tasks_waiting", "tasks")
    _index("ix_tasks_waiting", "tasks", *columns, where="status = 'pending'")


def _index(name: str, table: str, *columns: str, where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, list(columns), sqlite_where=condition, postgresql_where=condition)


def _label_tasks(connection: sa.Connection) -> None:
    """A row for each entry of each task's metadata."""
    labels = sa.table("task_labels", sa.column("name"), sa.column("value"), sa.column("task_key"))
    for found in _found(connection):
        connection.execute(sa.insert(labels), found)


def _found(connection: sa.Connection) -> Iterator[list[Label]]:
    """The labels of all tasks, some tasks at a time."""
    specs = sa.table("task_specs", sa.column("task_key", sa.BigInteger()), sa.column("metadata", sa.String()))
    query = sa.select(specs.c.task_key, specs.c["metadata"]).order_by(specs.c.task_key).limit(ROWS_AT_ONCE)
    last = -1
    while rows := connection.execute(query.where(specs.c.task_key > last)).all():
        last = rows[-1][0]
        found = [label for key, metadata in rows if metadata for label in _labels(key, metadata)]
        if found:
            yield found


def _labels(key: int, metadata: str) -> Iterator[Label]:
    for name, value in json.loads(metadata).items():
        if _is_text(name) and _is_text(value):
            yield {"name": name, "value": value, "task_key": key}


def _is_text(text: str) -> bool:
    """Whether the database can keep it: a half of a pair of surrogates cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
