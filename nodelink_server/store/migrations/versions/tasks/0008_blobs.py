"""Blobs: which workspace has which, which of them are artifacts of tasks, and which are states of workspaces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "tasks_0008"
down_revision = "tasks_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", "workspace", name="pk_blobs"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_blobs_workspace", "blobs", ["workspace", "sha256", "size"])
    op.create_index("ix_blobs_used_at", "blobs", ["used_at"])
    op.create_table(
        "artifacts",
        sa.Column("task_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_key", "name", "attempt", name="pk_artifacts"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_artifacts_blob", "artifacts", ["sha256", "workspace"])
    op.create_table(
        "workspace_states",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "version", name="pk_workspace_states"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Remove them. The bytes stay where they are, and nobody knows of them."""
    for table in ("workspace_states", "artifacts", "blobs"):
        op.drop_table(table)
