"""What a sweep leaves in the files themselves: keys are not used again, so no query would show a forgotten row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from nodelink.task import LogStream
from nodelink_server.core.ports import LogRow
from nodelink_server.store.sql import open_store
from tests.server.store.lives import NOW, give_back, grant, live, settle, step, waiting


def rows_in(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


async def test_nothing_of_a_swept_task_stays_behind(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/nodelink.db", ids=lambda: "cluster") as store:
        task = await step(store, give_back(await step(store, grant(await live(store, waiting("t1"))))))
        await step(store, settle(await step(store, grant(task)), begun=False))
        await store.append_logs([LogRow(task.key, 1, LogStream.STDOUT, 0, 0, b"said")])
        before = [rows_in(tmp_path / "nodelink.db", table) for table in ("tasks", "task_results", "attempts")]

        await store.sweep(finished_before=NOW + 99, events_before=NOW + 99, keys_before=0, limit=10)

    for table in ("tasks", "task_specs", "task_results", "attempts", "events"):
        assert rows_in(tmp_path / "nodelink.db", table) == 0
    assert rows_in(tmp_path / "logs.db", "log_chunks") == 0
    assert before == [1, 1, 1]
