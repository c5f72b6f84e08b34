"""The scheduler, pools and types can be paused, and a database can be begun with a checkpoint of another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "tasks_0010"
down_revision = "tasks_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "pauses",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("reason", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("scope", name="pk_pauses"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "loaded_checkpoints",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("start_number", sa.BigInteger(), nullable=False),
        sa.Column("loaded_at", sa.BigInteger(), nullable=False),
        sa.Column("as_waiting", sa.Boolean(), nullable=False),
        sa.Column("is_revived", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_loaded_checkpoints"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Take the tables away."""
    op.drop_table("loaded_checkpoints")
    op.drop_table("pauses")
