"""Times and ids lead to few keys, and a commit pays nothing for it until a span of keys is full."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from nodelink_server.store import spans
from nodelink_server.store.connections import reading_engine
from nodelink_server.store.sql import SqlStore, open_store
from nodelink_server.store.tables import KEYS_IN_SPAN
from tests.server.store.lives import NOW, accept, put, waiting

MANY = 2 * KEYS_IN_SPAN + 100
"""So many tasks fill two spans (keys begin with 1) and begin a third."""


async def filled(store: SqlStore, count: int, *, first: int = 0) -> None:
    """Tasks come in, one each millisecond."""
    for start in range(first, first + count, 1_000):
        numbers = range(start, min(start + 1_000, first + count))
        await put(store, *[accept(waiting(f"t{n:05}", now=NOW + n)) for n in numbers])


def written(path: Path) -> list[tuple[int, int, int]]:
    """The spans that are written down, with their first and last moments since the beginning."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT span, earliest, latest FROM task_spans ORDER BY span")
        return [(span, first - NOW, last - NOW) for span, first, last in rows]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nodelink.db"


@pytest.fixture
async def reader(path: Path) -> AsyncIterator[Connection]:
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        await filled(store, MANY)
        engine = reading_engine(path)
        with engine.connect() as connection:
            yield connection
        engine.dispose()


def at(connection: Connection, moment: int) -> spans.Keys | None:
    """Where tasks of a moment can be."""
    return spans.matching(
        connection, lambda span: span.c.latest >= NOW + moment, lambda span: span.c.earliest <= NOW + moment
    )


async def test_a_span_is_written_down_when_it_is_full(path: Path) -> None:
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        await filled(store, KEYS_IN_SPAN - 1)
        before = written(path)
        await filled(store, MANY - KEYS_IN_SPAN + 1, first=KEYS_IN_SPAN - 1)

    assert before == []
    assert written(path) == [(0, 0, KEYS_IN_SPAN - 2), (1, KEYS_IN_SPAN - 1, 2 * KEYS_IN_SPAN - 2)]


async def test_a_moment_leads_to_its_span_full_or_not(reader: Connection) -> None:
    assert at(reader, 5) == (0, KEYS_IN_SPAN)
    assert at(reader, KEYS_IN_SPAN + 5) == (KEYS_IN_SPAN, 2 * KEYS_IN_SPAN)
    assert at(reader, MANY - 1) == (2 * KEYS_IN_SPAN, 3 * KEYS_IN_SPAN)
    assert at(reader, -1) is None
    assert at(reader, MANY) is None


async def test_the_beginning_of_an_id_leads_to_its_span(reader: Connection) -> None:
    assert spans.matching(reader, lambda s: s.c.last_id >= "t08200", lambda s: s.c.first_id < "t08200x") == (
        2 * KEYS_IN_SPAN,
        3 * KEYS_IN_SPAN,
    )


async def test_a_span_whose_tasks_are_gone_before_it_is_full_is_not_written_down(path: Path) -> None:
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        await filled(store, 1_000)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM tasks")
            connection.execute("UPDATE meta SET last_key = ?", (KEYS_IN_SPAN - 1,))
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        await filled(store, 1_000, first=1_000)

    assert written(path) == []
