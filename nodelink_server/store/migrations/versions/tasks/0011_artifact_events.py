"""That a task has got an artifact is one of its events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "tasks_0011"
down_revision = "tasks_0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column. What is there already was never told: 0."""
    op.add_column("artifacts", sa.Column("revision", sa.BigInteger(), server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("artifacts", "revision")
