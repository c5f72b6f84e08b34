"""Which live task has which unique key. The database lets no other have it, whatever the core believes.

A new task comes in without its key and claims it when everything else of its batch is written: by then, who had it has
ended or given it up, or the claim fails. A task without a key pays nothing for this.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from nodelink_server.store.queries import parts
from nodelink_server.store.statements import RowsStatement, Values
from nodelink_server.store.tables import tasks

_CLAIM = RowsStatement(
    "UPDATE tasks SET unique_key = new.column2 FROM (VALUES",
    width=2,
    after=") AS new WHERE tasks.key = new.column1",
)
_GIVE_UP = RowsStatement("UPDATE tasks SET unique_key = NULL WHERE key IN (VALUES", width=1, after=")")


def give_up(connection: Connection, values: Values) -> None:
    """Let live tasks, by key, have no unique key any more."""
    _GIVE_UP.run(connection, values)


def claim(connection: Connection, values: Values) -> None:
    """Let tasks have unique keys: rows of (key, unique key). Raises `IntegrityError` if a live one has one of them."""
    _CLAIM.run(connection, values)


def owners(connection: Connection, keys: Sequence[str]) -> dict[str, str]:
    """The ids of the live tasks that have these keys, by key."""
    found: dict[str, str] = {}
    for part in parts(keys):
        is_owner = tasks.c.unique_key.in_(part) & tasks.c.finished_at.is_(None)
        query = select(tasks.c.unique_key, tasks.c.id).where(is_owner)
        found.update((row.unique_key, row.id) for row in connection.execute(query))
    return found
