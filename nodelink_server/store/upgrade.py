"""Brings a database to the schema of this version, mostly by finding that it has it already."""

from __future__ import annotations

from sqlalchemy import Connection

from nodelink_server.store.schema import Schema


def bring_up(connection: Connection, schema: Schema) -> None:
    """Make what is missing, in the transaction of the connection. Raises `SchemaTooNew`, `DatabaseDamaged`."""
    if not _has_table(connection, "%"):
        _make(connection, schema)
    if _revisions(connection) == [schema.newest]:
        return
    from nodelink_server.store.steps import take_steps  # noqa: PLC0415 - loads Alembic, which takes its time

    take_steps(connection, schema)


def _has_table(connection: Connection, pattern: str) -> bool:
    found = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name LIKE ?", (pattern,))
    return found.first() is not None


def _make(connection: Connection, schema: Schema) -> None:
    for statement in schema.whole.read_text(encoding="utf-8").removesuffix(";\n").split(";\n"):
        connection.exec_driver_sql(statement)


def _revisions(connection: Connection) -> list[str]:
    """The step that a database has reached; none, if it is not ours."""
    if not _has_table(connection, "alembic_version"):
        return []
    return list(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars())
