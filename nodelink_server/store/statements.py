"""Statements over many rows at once, for the few that every task pays. All others are SQLAlchemy's.

One statement with many rows costs a half of the same rows one by one. The texts are made once for each power of two, so
that a connection keeps them prepared whatever the size of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress, product

from sqlalchemy import Connection

MOST_ROWS = 128

Part = tuple[object, ...]


class RowsStatement:
    """A statement whose text is repeated for each row: `before (?, …), (?, …) after`."""

    def __init__(self, before: str, *, width: int, after: str = "") -> None:
        row = f"({', '.join('?' * width)})"
        sizes = [1 << power for power in range(MOST_ROWS.bit_length())]
        self._texts = {size: f"{before} {', '.join([row] * size)} {after}" for size in sizes}

    def run(self, connection: Connection, rows: Sequence[Part]) -> int:
        """Run it over all rows. Returns how many rows of the table it touched."""
        touched = 0
        for part in _parts(rows):
            result = connection.exec_driver_sql(self._texts[len(part)], tuple(chain.from_iterable(part)))
            touched += result.rowcount
        return touched


class PartsInsert:
    """An insert of rows made of a base part and further parts, any of which may be empty and is then left out."""

    def __init__(self, table: str, base: Sequence[str], *further: Sequence[str], verb: str = "INSERT") -> None:
        self._statements = {
            present: _insert(table, [*base, *chain.from_iterable(compress(further, present))], verb)
            for present in product((False, True), repeat=len(further))
        }

    def run(self, connection: Connection, rows: Iterable[tuple[Part, ...]]) -> None:
        """Insert all rows. Those of one form go together, in their order."""
        forms: dict[tuple[bool, ...], list[Part]] = {}
        for base, *further in rows:
            form = tuple(map(bool, further))
            forms.setdefault(form, []).append(base + tuple(chain.from_iterable(further)))
        for form, whole in forms.items():
            self._statements[form].run(connection, whole)


def _insert(table: str, columns: Sequence[str], verb: str) -> RowsStatement:
    return RowsStatement(f"{verb} INTO {table} ({', '.join(columns)}) VALUES", width=len(columns))


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


def _parts(rows: Sequence[Part]) -> Iterator[Sequence[Part]]:
    """Cut rows into runs of 128, and the rest into powers of two."""
    start, left = 0, len(rows)
    while left:
        size = min(MOST_ROWS, 1 << (left.bit_length() - 1))
        yield rows[start : start + size]
        start, left = start + size, left - size
