"""Workspaces give their tasks an execution class; what a bulk has answered is kept under its key for a day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "tasks_0007"
down_revision = "tasks_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column and the table."""
    op.add_column("workspaces", sa.Column("execution", sa.String(length=16), nullable=True))
    op.create_table(
        "answers",
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_answers"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_answers_answered_at", "answers", ["answered_at"])


def downgrade() -> None:
    """Remove them."""
    op.drop_table("answers")
    op.drop_column("workspaces", "execution")
