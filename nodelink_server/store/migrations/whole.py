"""Writes out what all steps together come to, so that a new database is made at once and without Alembic.

After a new step: `python -m nodelink_server.store.migrations.whole`. A test tells if it was forgotten.
"""

from __future__ import annotations

from sqlalchemy import Connection, create_engine

from nodelink_server.store.schema import LOGS, TASKS, Schema
from nodelink_server.store.steps import take_steps


def written_out(schema: Schema) -> str:
    """The statements that make what the steps make of an empty database."""
    with create_engine("sqlite://").begin() as connection:
        take_steps(connection, schema)
        return ";\n".join([*_statements(connection), ""])


def _statements(connection: Connection) -> list[str]:
    """In the order of the steps: between indexes that fit alike, SQLite prefers by age."""
    made = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid").scalars()
    revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    reached = f"INSERT INTO alembic_version (version_num) VALUES ('{revision}')"  # noqa: S608 - it is our own
    return [*made, reached]


if __name__ == "__main__":
    for one in (TASKS, LOGS):
        one.whole.write_text(written_out(one), encoding="utf-8")
