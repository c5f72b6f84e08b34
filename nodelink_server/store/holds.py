"""Who holds which place of which key. A hold begins and ends with the commit of the change that takes and frees it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select

from nodelink_server.core.attempt import Hold
from nodelink_server.store.queries import parts
from nodelink_server.store.rows import HOLD_COLUMNS
from nodelink_server.store.statements import RowsStatement, Values, insert
from nodelink_server.store.tables import holds, limits, tasks

# A task that holds the place already counts as one that takes it; one that finds another there does not.
_TAKE = insert(
    "holds",
    HOLD_COLUMNS,
    after="ON CONFLICT (key, place) DO UPDATE SET task_key = excluded.task_key"
    " WHERE holds.task_key = excluded.task_key",
)
# Found by its task, which holds few places, and not by its key, which may have thousands: hence the plus.
_FREE = RowsStatement(
    "WITH freed (lock, at, task) AS (VALUES",
    width=3,
    after=") DELETE FROM holds"
    " WHERE task_key IN (SELECT task FROM freed) AND (+key, place, task_key) IN (SELECT lock, at, task FROM freed)",
)

# The hold of a task that is not there would still be a hold.
_HOLDERS = select(holds.c.key, holds.c.place, func.coalesce(tasks.c.id, "").label("id")).outerjoin_from(
    holds, tasks, tasks.c.key == holds.c.task_key
)


def free(connection: Connection, values: Values) -> None:
    """End the holds of rows of HOLD_COLUMNS; what is another task's stays."""
    _FREE.run(connection, values)


def take(connection: Connection, values: Values) -> bool:
    """Let tasks hold places: rows of HOLD_COLUMNS. False: some of them are held by others."""
    return _TAKE.run(connection, values) == _TAKE.rows_in(values)


def set_limit(connection: Connection, *, name: str, most: int | None, now: int) -> bool:
    """Set a limit, or (None) let there be none. Always done."""
    connection.execute(delete(limits).where(limits.c.key == name))
    if most is not None:
        connection.execute(limits.insert().values(key=name, most=most, set_at=now))
    return True


def holders(connection: Connection, keys: Sequence[str]) -> dict[Hold, str]:
    """The ids of the tasks that hold places of these keys, by place."""
    found: dict[Hold, str] = {}
    for part in parts(keys):
        query = _HOLDERS.where(holds.c.key.in_(part))
        found.update((Hold(row.key, row.place), row.id) for row in connection.execute(query))
    return found


def all_holders(connection: Connection) -> dict[Hold, str]:
    """The ids of all tasks that hold a place, by place."""
    return {Hold(row.key, row.place): row.id for row in connection.execute(_HOLDERS)}
