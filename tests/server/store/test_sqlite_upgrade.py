"""A database of an earlier version is brought up to date with everything that is in it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command

from nodelink.task import TaskStatus
from nodelink_server.core.ports import TaskQuery
from nodelink_server.store.connections import writing_engine
from nodelink_server.store.schema import LOGS, TASKS, alembic_config
from nodelink_server.store.sql import open_store
from tests.server.store.lives import NOW

ENTRIES: Mapping[int, Mapping[str, str]] = {
    1: {"env": "prod", "ключ": "знач"},
    2: {},
    3: {"env": "prod"},
    5_000: {"env": "test", "half": "\ud83d"},
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database as the first schema had it, with tasks, of which some have metadata."""
    path = tmp_path / "nodelink.db"
    for name, schema in ((path, TASKS), (tmp_path / "logs.db", LOGS)):
        engine = writing_engine(name)
        with engine.begin() as connection:
            command.upgrade(alembic_config(connection, schema), f"{schema.name}_0001")
        engine.dispose()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO meta VALUES (1, 'cluster', 4, 500, 60, 5000, 70)")
        for key, metadata in ENTRIES.items():
            database.execute(
                "INSERT INTO tasks (key, id, status, type, pool, priority, execution, caller, created_at, updated_at,"
                " revision, ready_at) VALUES (?, ?, 'pending', 'echo', 'default', 80, 'once', 'me', ?, ?, 60, ?)",
                (key, f"a{key}", NOW + key, NOW, NOW),
            )
            database.execute(
                "INSERT INTO task_specs (task_key, payload, metadata) VALUES (?, ?, ?)",
                (key, b"{}", json.dumps(metadata) if metadata else None),
            )
    return path


async def test_tasks_of_an_earlier_version_are_found_by_their_metadata_and_times(old: Path) -> None:
    async with open_store(f"sqlite:///{old}", ids=lambda: "other") as store:
        boot = await store.boot(NOW)
        found = {
            name: [record.task.id for record in await store.list(query)]
            for name, query in {
                "all": TaskQuery(),
                "label": TaskQuery(labels=frozenset({("env", "prod")})),
                "search": TaskQuery(q="ключ=знач"),
                "beside a half": TaskQuery(q="env=test"),
                "id": TaskQuery(q="a5000"),
                "time": TaskQuery(created_after=NOW + 2, created_before=NOW + 4),
            }.items()
        }
        record = await store.read("a1")
        counts = await store.counts()

    assert found == {
        "all": ["a5000", "a3", "a2", "a1"],
        "label": ["a3", "a1"],
        "search": ["a1"],
        "beside a half": ["a5000"],
        "id": ["a5000"],
        "time": ["a3", "a2"],
    }
    assert (boot.cluster_id, boot.start_number, boot.revision) == ("cluster", 5, 60)
    assert record is not None
    assert (record.task.status, record.task.traceparent, record.task.retry_of) == (TaskStatus.PENDING, "", "")
    assert record.task.spec.metadata == ENTRIES[1]
    assert counts.queued == {("default", "CRITICAL"): 4}


async def test_what_came_with_an_earlier_version_is_swept_like_the_rest(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE tasks SET status = 'cancelled', finished_at = ? WHERE key <> 2", (NOW,))
    async with open_store(f"sqlite:///{old}", ids=lambda: "other") as store:
        await store.boot(NOW)
        swept = await store.sweep(finished_before=NOW + 1, events_before=0, keys_before=0, sessions_before=0, limit=10)

    with closing(sqlite3.connect(old)) as connection:
        assert swept == 3
        assert connection.execute("SELECT count(*) FROM task_labels").fetchone() == (0,)
