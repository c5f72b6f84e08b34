"""Statistics in the database: a row for each minute, kind and agent, and later for each hour.

A row's numbers are one short text, since they are never searched. Histograms are written as their sum and then, for
each place that is not empty, the place and its count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, select

from nodelink_server.core.statistics import HOUR_MS, MINUTE_MS, Counts, StatsKey, StatsRange, StatsRow
from nodelink_server.core.tally import Buckets
from nodelink_server.store.gathering import gather, hour_of
from nodelink_server.store.statements import Values, insert
from nodelink_server.store.tables import statistics

PORTION = 100
ROWS_AT_A_TIME = 500

_COLUMNS = ("span_ms", *StatsKey._fields, "counts")
_KEEP = insert("statistics", _COLUMNS, verb="INSERT OR REPLACE")
_KEY = and_(statistics.c.span_ms == bindparam("span_ms_"), *(statistics.c[n] == bindparam(n) for n in StatsKey._fields))
_FIND = select(statistics.c.counts).where(_KEY)
_FORGET = delete(statistics).where(_KEY)


# -- writing ----------------------------------------------------------------------------------------------------------


def keep(connection: Connection, rows: Sequence[StatsRow], span_ms: int = MINUTE_MS) -> None:
    """Write rows, over what was there under their keys."""
    values: Values = []
    for key, counts in rows:
        values += (span_ms, *key, encode(counts))
    _KEEP.run(connection, values)


def merge(connection: Connection, *, before: int, series: int) -> int:
    """Turn a portion of the rows of minutes into rows of hours. Returns how many there were."""
    old = and_(_of(MINUTE_MS), statistics.c.start < before, statistics.c.series <= series)
    rows = connection.execute(select(statistics).where(old).order_by(statistics.c.start).limit(PORTION)).all()
    hours: dict[StatsKey, Counts] = {}
    for row in rows:
        hour = hour_of(_key(row))
        if hour not in hours:
            hours[hour] = decode(connection.execute(_FIND, _named(HOUR_MS, hour)).scalar_one_or_none())
        add_encoded(hours[hour], row.counts)
    keep(connection, [StatsRow(hour, counts) for hour, counts in hours.items()], HOUR_MS)
    _forget(connection, rows)
    return len(rows)


def forget(connection: Connection, *, before: int) -> int:
    """Delete a portion of the rows whose time ended before a moment. Returns how many there were."""
    return sum(_forget_of(connection, span, before) for span in (MINUTE_MS, HOUR_MS))


def _forget_of(connection: Connection, span_ms: int, before: int) -> int:
    old = and_(_of(span_ms), statistics.c.start <= before - span_ms)
    rows = connection.execute(select(statistics).where(old).order_by(statistics.c.start).limit(PORTION)).all()
    _forget(connection, rows)
    return len(rows)


def _forget(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    if rows:
        connection.execute(_FORGET, [_named(row.span_ms, _key(row)) for row in rows])


# -- reading ----------------------------------------------------------------------------------------------------------


def grouped(connection: Connection, wanted: StatsRange) -> dict[tuple[int, str], Counts]:
    """What the rows of a range add up to, by bucket and group."""
    return gather(_rows(connection, wanted), wanted, add_encoded)


def _rows(connection: Connection, wanted: StatsRange) -> Iterator[tuple[StatsKey, str]]:
    for span in (MINUTE_MS, HOUR_MS):
        within = and_(_of(span), statistics.c.start >= wanted.since, statistics.c.start < wanted.until)
        query = select(statistics).where(within).execution_options(yield_per=ROWS_AT_A_TIME)
        with connection.execute(query) as result:
            for row in result:
                yield _key(row), row.counts


def _of(span_ms: int) -> ColumnElement[bool]:
    return statistics.c.span_ms == span_ms


def _key(row: Row[Any]) -> StatsKey:
    return StatsKey(row.start, row.series, row.type, row.pool, row.agent_id)


def _named(span_ms: int, key: StatsKey) -> dict[str, object]:
    return key._asdict() | {"span_ms_": span_ms}


# -- numbers as text --------------------------------------------------------------------------------------------------


def encode(counts: Counts) -> str:
    """The numbers of a row as a text."""
    histograms = [_encoded(histogram) for histogram in (counts.queue, counts.run, counts.total)]
    numbers = (counts.created, counts.assigned, counts.returned, counts.finished, *histograms)
    return json.dumps(numbers, separators=(",", ":"))


def _encoded(histogram: Buckets) -> list[float]:
    encoded: list[float] = [round(histogram.sum, 6)]
    for place, count in enumerate(histogram.counts):
        if count:
            encoded += (place, count)
    return encoded if len(encoded) > 1 else []


def decode(text: str | None) -> Counts:
    """Numbers from their text; None: nothing was counted."""
    counts = Counts()
    if text is not None:
        add_encoded(counts, text)
    return counts


def add_encoded(counts: Counts, text: str) -> None:
    """Add numbers from their text to others."""
    created, assigned, returned, finished, queue, run, total = json.loads(text)
    counts.created += created
    counts.assigned += assigned
    counts.returned += returned
    for status, count in finished.items():
        counts.finished[status] = counts.finished.get(status, 0) + count
    _add_histogram(counts.queue, queue)
    _add_histogram(counts.run, run)
    _add_histogram(counts.total, total)


def _add_histogram(histogram: Buckets, encoded: list[Any]) -> None:
    if encoded:
        histogram.sum += encoded[0]
        for place, count in zip(encoded[1::2], encoded[2::2], strict=True):
            histogram.counts[place] += count
