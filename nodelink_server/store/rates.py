"""Who has which place under a rate, and until when. A place is taken in the commit of a grant, and frees itself."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, select

from nodelink_server.core.attempt import Hold
from nodelink_server.store.queries import parts
from nodelink_server.store.statements import Values, insert
from nodelink_server.store.tables import meta, rates

MOST_FORGOTTEN = 500
USE_COLUMNS = ("key", "place", "since", "until")

# A place that is taken still is another's: it is not counted as taken.
_USE = insert(
    "rates",
    USE_COLUMNS,
    after="ON CONFLICT (key, place) DO UPDATE SET since = excluded.since, until = excluded.until"
    " WHERE rates.until <= excluded.since",
)
_FORGET = delete(rates).where(rates.c.key == bindparam("old_key"), rates.c.place == bindparam("old_place"))


def use(connection: Connection, values: Values) -> bool:
    """Take places: rows of USE_COLUMNS. False: some of them are taken still."""
    return _USE.run(connection, values) == _USE.rows_in(values)


def taken(connection: Connection, keys: Sequence[str]) -> dict[Hold, int]:
    """Until when the places of these keys are taken."""
    found: dict[Hold, int] = {}
    columns = select(rates.c.key, rates.c.place, rates.c.until)
    for part in parts(keys):
        rows = connection.execute(columns.where(rates.c.key.in_(part)))
        found.update((Hold(row.key, row.place), row.until) for row in rows)
    return found


def ahead(connection: Connection, now: int) -> dict[Hold, int]:
    """The places that are taken still at a moment of control time, and until when."""
    query = select(rates.c.key, rates.c.place, rates.c.until).where(rates.c.until > now)
    return {Hold(row.key, row.place): row.until for row in connection.execute(query)}


def forget(connection: Connection) -> int:
    """Delete some of what is free again; how many places, `MOST_FORGOTTEN` if there may be more."""
    now = select(meta.c.control_ms).scalar_subquery()
    old = select(rates.c.key, rates.c.place).where(rates.c.until <= now).limit(MOST_FORGOTTEN)
    found = [{"old_key": key, "old_place": place} for key, place in connection.execute(old)]
    if found:
        connection.execute(_FORGET, found)
    return len(found)
