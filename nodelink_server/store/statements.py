"""Statements over many rows at once, for the few that every task pays. All others are SQLAlchemy's.

One statement with many rows costs a half of the same rows one by one. The texts are made once for each power of two, so
that a connection keeps them prepared whatever the size of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from sqlalchemy import Connection

from nodelink_server.store import driver

MOST_ROWS = 128

Values = list[object]
"""The values of many rows, one row after the other. A list of rows would be a burden to the garbage collector."""


class RowsStatement:
    """A statement whose text is repeated for each row: `before (?, …), (?, …) after`."""

    def __init__(self, before: str, *, width: int, after: str = "") -> None:
        row = f"({', '.join('?' * width)})"
        sizes = [1 << power for power in range(MOST_ROWS.bit_length())]
        self._texts = {size: f"{before} {', '.join([row] * size)} {after}" for size in sizes}
        self._width = width

    def run(self, connection: Connection, values: Values) -> int:
        """Run it over all rows. Returns how many rows of the table it touched."""
        if not values:
            return 0
        touched = start = 0
        for size in _sizes(len(values) // self._width):
            end = start + size * self._width
            touched += driver.execute(connection, self._texts[size], values[start:end])
            start = end
        return touched

    def rows_in(self, values: Values) -> int:
        """How many rows these values make."""
        return len(values) // self._width


def insert(table: str, *columns: Sequence[str], verb: str = "INSERT", after: str = "") -> RowsStatement:
    """Insert rows of these columns. `after`: what else is said behind them."""
    names = list(chain(*columns))
    return RowsStatement(f"{verb} INTO {table} ({', '.join(names)}) VALUES", width=len(names), after=after)


def guarded_update(table: str, plain: Sequence[str], greatest: Sequence[str]) -> RowsStatement:
    """Update rows of (key, expected revision, *plain, *greatest) where key and revision agree.

    `greatest` columns keep the larger of the old value and the new one.
    """
    assignments = [f"{column} = new.column{place}" for place, column in enumerate(plain, 3)]
    for place, column in enumerate(greatest, 3 + len(plain)):
        assignments.append(f"{column} = max(new.column{place}, {table}.{column})")
    return RowsStatement(
        f"UPDATE {table} SET {', '.join(assignments)} FROM (VALUES",  # noqa: S608 (names of ours)
        width=2 + len(plain) + len(greatest),
        after=f") AS new WHERE {table}.key = new.column1 AND {table}.revision = new.column2",
    )


def _sizes(rows: int) -> Iterator[int]:
    """Cut a number of rows into runs of 128, and the rest into powers of two."""
    while rows:
        size = min(MOST_ROWS, 1 << (rows.bit_length() - 1))
        yield size
        rows -= size
