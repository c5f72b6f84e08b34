"""The first schema of the database of output."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "logs_0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    _log_chunks()
    _origin()


def downgrade() -> None:
    """Remove them."""
    for table in (
        "origin",
        "log_chunks",
    ):
        op.drop_table(table)


def _log_chunks() -> None:
    op.create_table(
        "log_chunks",
        sa.Column("key", KEY, nullable=False),
        sa.Column("task_key", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("gap", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_log_chunks"),
    )
    op.create_index("ix_log_chunks_stream", "log_chunks", ["task_key", "attempt", "stream", "offset"], unique=False)
    op.create_index("uq_log_chunks_position", "log_chunks", ["task_key", "attempt", "position"], unique=True)


def _origin() -> None:
    op.create_table(
        "origin",
        sa.Column("cluster_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", name="pk_origin"),
    )
