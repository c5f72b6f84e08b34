"""What is written to and read from the database of output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, select, text
from sqlalchemy.dialects.sqlite import insert

from nodelink.task import LogStream
from nodelink_server.core.ports import LogEnds, LogRow
from nodelink_server.store.chunks import cut
from nodelink_server.store.tables import log_chunks

MOST_ROWS_READ = 1_024

_APPEND = insert(log_chunks).on_conflict_do_nothing(
    index_elements=[log_chunks.c.task_key, log_chunks.c.attempt, log_chunks.c.position]
)

_WHICH_HAVE = text(
    "SELECT value FROM json_each(:keys) WHERE EXISTS (SELECT 1 FROM log_chunks WHERE log_chunks.task_key = value)"
)


def append(connection: Connection, rows: Sequence[LogRow]) -> None:
    """Add rows; those whose position is taken are left out."""
    if rows:
        connection.execute(_APPEND, [row._asdict() | {"stream": str(row.stream)} for row in rows])


def is_appended(connection: Connection, rows: Sequence[LogRow]) -> bool:
    """Whether rows that were appended in one transaction are there."""
    return not rows or connection.execute(select(log_chunks.c.key).where(_same(rows[-1]))).first() is not None


def _same(row: LogRow) -> ColumnElement[bool]:
    return and_(_of(row.task_key, row.attempt), log_chunks.c.position == row.position)


def _of(task_key: int, attempt: int) -> ColumnElement[bool]:
    return and_(log_chunks.c.task_key == task_key, log_chunks.c.attempt == attempt)


def ends(connection: Connection, task_key: int, attempt: int) -> LogEnds:
    """Where the output of an attempt ends."""
    of_attempt = _of(task_key, attempt)
    stdout, stderr = (
        _end(connection, and_(of_attempt, log_chunks.c.stream == str(stream)), log_chunks.c.offset)
        for stream in (LogStream.STDOUT, LogStream.STDERR)
    )
    return LogEnds(stdout, stderr, _end(connection, of_attempt, log_chunks.c.position))


def _end(connection: Connection, where: ColumnElement[bool], start: ColumnElement[int]) -> int:
    length = func.length(log_chunks.c.data) + log_chunks.c.gap
    row = connection.execute(select(start, length).where(where).order_by(start.desc()).limit(1)).one_or_none()
    return 0 if row is None else int(row[0]) + int(row[1])


def read(
    connection: Connection, task_key: int, attempt: int, stream: LogStream | None, offset: int, limit: int
) -> Sequence[LogRow]:
    """Output from an offset on, about `limit` bytes. The row with the offset is the last that begins not behind it."""
    start = log_chunks.c.position if stream is None else log_chunks.c.offset
    where = _of(task_key, attempt)
    if stream is not None:
        where = and_(where, log_chunks.c.stream == str(stream))
    first = connection.execute(select(func.max(start)).where(where, start <= offset)).scalar_one_or_none() or 0
    query = select(log_chunks).where(where, start >= first).order_by(start).limit(MOST_ROWS_READ)
    with connection.execute(query.execution_options(yield_per=16)) as result:
        return cut(map(_row, result), by_stream=stream is not None, offset=offset, limit=limit)


def _row(row: Row[Any]) -> LogRow:
    return LogRow(row.task_key, row.attempt, LogStream(row.stream), row.offset, row.position, row.data, row.gap)


def which_have(connection: Connection, task_keys: Sequence[int]) -> frozenset[int]:
    """Those of these tasks that have stored output."""
    return frozenset(connection.execute(_WHICH_HAVE, {"keys": json.dumps(list(task_keys))}).scalars())


def forget(connection: Connection, task_keys: Sequence[int]) -> None:
    """Delete the output of tasks."""
    connection.execute(delete(log_chunks).where(log_chunks.c.task_key.in_(task_keys)))
