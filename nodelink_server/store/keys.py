"""Which keys the waiting tasks name: limits, rates, workspaces. What names a lock alone has an index instead."""

from __future__ import annotations

from sqlalchemy import Connection

from nodelink_server.store.rows import KEY_COLUMNS
from nodelink_server.store.statements import RowsStatement, Values, insert

_ENTER = insert("task_keys", KEY_COLUMNS)
_LEAVE = RowsStatement("DELETE FROM task_keys WHERE task_key IN (VALUES", width=1, after=")")


def enter(connection: Connection, values: Values) -> None:
    """Let waiting tasks be found: rows of KEY_COLUMNS."""
    _ENTER.run(connection, values)


def leave(connection: Connection, values: Values) -> None:
    """Tasks, by key, wait no more, or at another place."""
    _LEAVE.run(connection, values)
