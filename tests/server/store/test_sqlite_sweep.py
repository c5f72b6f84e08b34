"""What a sweep leaves in the files themselves: keys are not used again, so no query would show a forgotten row."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from nodelink.task import LogStream
from nodelink_server.core.attempt import Hold
from nodelink_server.core.ports import Evidence, IdempotencyKey, LogRow, Store
from nodelink_server.core.task_record import LateResult
from nodelink_server.store import output, rates
from nodelink_server.store.sql import open_store
from nodelink_server.store.tables import KEYS_IN_SPAN
from tests.server.store.lives import (
    NOW,
    accept,
    cancel,
    doubt,
    exclusive,
    give_back,
    grant,
    live,
    put,
    resolve,
    settle,
    step,
    waiting,
)

OF_TASKS = (
    "tasks", "task_specs", "task_labels", "task_results", "attempts", "task_remarks", "late_results", "holds",
)  # fmt: skip


def rows_in(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


async def sweep(store: Store) -> None:
    await store.sweep(finished_before=NOW + 99, events_before=NOW + 99, keys_before=0, sessions_before=0, limit=10)


async def test_nothing_of_a_swept_task_stays_behind(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/nodelink.db", ids=lambda: "cluster") as store:
        task = await step(
            store, give_back(await step(store, grant(await live(store, waiting("t1", metadata={"a": "b"})))))
        )
        await step(store, settle(await step(store, grant(task)), begun=False))
        doubted = await step(
            store, doubt(await step(store, grant(await live(store, exclusive("t2")), takes=[Hold("k")])))
        )
        await step(store, resolve(doubted))
        late = Evidence(doubted.key, LateResult(1, 1, "a", NOW, "gone"))
        await put(store, evidence=[late])
        await store.append_logs([LogRow(task.key, 1, LogStream.STDOUT, 0, 0, b"said")])
        before = [rows_in(tmp_path / "nodelink.db", table) for table in OF_TASKS]

        await sweep(store)
        await put(store, evidence=[late])

    for table in (*OF_TASKS, "events"):
        assert rows_in(tmp_path / "nodelink.db", table) == 0
    assert rows_in(tmp_path / "logs.db", "log_chunks") == 0
    assert all(before)


async def test_output_that_came_just_behind_a_sweep_goes_with_the_next_one(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/nodelink.db", ids=lambda: "cluster") as store:
        gone = await step(store, cancel(await live(store, waiting("t1"))))
        await sweep(store)
        await store.append_logs([LogRow(gone.key, 1, LogStream.STDOUT, 0, 0, b"said")])
        await sweep(store)

    assert rows_in(tmp_path / "logs.db", "log_chunks") == 0


async def test_only_output_that_there_is_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each deletion of output is a commit of its own, and most tasks have said nothing."""
    deleted: list[Sequence[int]] = []
    forget = output.forget

    def counting(connection: Connection, task_keys: Sequence[int]) -> None:
        deleted.append(task_keys)
        forget(connection, task_keys)

    monkeypatch.setattr(output, "forget", counting)
    async with open_store(f"sqlite:///{tmp_path}/nodelink.db", ids=lambda: "cluster") as store:
        _silent, speaking = [await step(store, cancel(await live(store, waiting(name)))) for name in ("t1", "t2")]
        await store.append_logs([LogRow(speaking.key, 1, LogStream.STDOUT, 0, 0, b"said")])
        await sweep(store)
        await sweep(store)

    assert deleted == [[speaking.key]]


async def test_spans_of_keys_go_when_no_task_is_as_old(tmp_path: Path) -> None:
    path = tmp_path / "nodelink.db"
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        for first in range(0, KEYS_IN_SPAN + 10, 2_000):
            await put(store, *[accept(waiting(f"t{first + n}")) for n in range(2_000)])
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM tasks WHERE key < ?", (KEYS_IN_SPAN,))
        before = rows_in(path, "task_spans")
        await sweep(store)

    assert (before, rows_in(path, "task_spans")) == (1, 0)


async def test_old_events_go_however_many_there_are(tmp_path: Path) -> None:
    path, many = tmp_path / "nodelink.db", 25_000
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        with closing(sqlite3.connect(path)) as connection, connection:
            blocks = [(revision, revision, NOW, b"") for revision in range(1, many + 1)]
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", blocks)
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (many + 1, many + 1, NOW + 99, b""))
        await sweep(store)

    assert rows_in(path, "events") == 1


async def test_old_idempotency_keys_go_however_many_there_are(tmp_path: Path) -> None:
    path, many = tmp_path / "nodelink.db", 6_000
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        for first in range(0, many, 2_000):
            keys = [IdempotencyKey(caller="c", key=str(first + n), digest=b"") for n in range(2_000)]
            await put(store, *[accept(waiting(f"t{key.key}"), idempotency=key) for key in keys])
        await store.sweep(finished_before=0, events_before=0, keys_before=NOW + 1, sessions_before=0, limit=10)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(idempotency_key) FROM tasks").fetchone() == (0,)


async def test_places_under_rates_that_are_free_again_go_however_many_there_are(tmp_path: Path) -> None:
    path, many = tmp_path / "nodelink.db", 2 * rates.MOST_FORGOTTEN + 1
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        with closing(sqlite3.connect(path)) as connection, connection:
            places = [("mail", place, 0, 99) for place in range(many)]
            connection.executemany("INSERT INTO rates VALUES (?, ?, ?, ?)", places)
            connection.execute("INSERT INTO rates VALUES ('mail', ?, 0, 100)", (many,))
        await put(store, now=NOW + 99)
        await sweep(store)

    assert rows_in(path, "rates") == 1
