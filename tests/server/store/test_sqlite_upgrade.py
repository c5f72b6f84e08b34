"""A database of an earlier version is brought up to date with everything that is in it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command

from nodelink.task import Execution, TaskSpec, TaskStatus
from nodelink_server.core.attempt import Hold
from nodelink_server.core.ports import Boot, Shape, TaskQuery, Workspace, WorkspaceMode
from nodelink_server.store.connections import writing_engine
from nodelink_server.store.schema import LOGS, TASKS
from nodelink_server.store.sql import open_store
from nodelink_server.store.steps import alembic_config
from tests.server.store.lives import (
    AGENT,
    NOW,
    doubt,
    freeing,
    grant,
    live,
    put,
    resolve,
    settle,
    step,
    waiting,
)

ENTRIES: Mapping[int, Mapping[str, str]] = {
    1: {"env": "prod", "ключ": "знач"},
    2: {},
    3: {"env": "prod"},
    5_000: {"env": "test", "half": "\ud83d"},
}


def empty(directory: Path, *, tasks: str) -> Path:
    """A database without anything, at a step of the schema."""
    path = directory / "nodelink.db"
    for name, schema, version in ((path, TASKS, tasks), (directory / "logs.db", LOGS, "logs_0001")):
        engine = writing_engine(name)
        with engine.begin() as connection:
            command.upgrade(alembic_config(connection, schema), version)
        engine.dispose()
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database as the first schema had it, with tasks, of which some have metadata."""
    path = empty(tmp_path, tasks="tasks_0001")
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


@pytest.fixture
def before_leases(tmp_path: Path) -> Path:
    """A database as the third schema had it, with an agent that holds tasks of every class, and one that waits."""
    path = empty(tmp_path, tasks="tasks_0003")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO meta VALUES (1, 'cluster', 4, 500, 60, 5, 70, ?)", (NOW,))
        database.execute(
            "INSERT INTO agents VALUES (?, x'01', 3, 'host', 'name', 'default', 5, '{}', '{}', '0.1', 1, 2, 0)",
            (AGENT,),
        )
        for key, status, execution in (
            (1, "pending", "exclusive"),
            (2, "sent", "replayable"),
            (3, "in_progress", "exclusive"),
            (4, "cancelling", "once"),
            (5, "completed", "exclusive"),
        ):
            database.execute(
                "INSERT INTO tasks (key, id, status, type, pool, priority, execution, caller, created_at, updated_at,"
                " revision, created_revision, ready_revision) VALUES (?, ?, ?, 'echo', 'default', 50, ?, 'me', ?, ?, ?,"
                " ?, ?)",
                (key, f"t{key}", status, execution, NOW, NOW, 10 * key + 5, 10 * key, 10 * key + 1),
            )
            database.execute("INSERT INTO task_specs (task_key, payload) VALUES (?, ?)", (key, b"{}"))
        granted = (
            "attempt = 2, fence = 9, agent_id = ?, session = 3, sent_at = ?, grants = 2, sent_revision = revision - 1"
        )
        database.execute(f"UPDATE tasks SET {granted} WHERE key > 1", (AGENT, NOW))  # noqa: S608
        database.execute(
            "UPDATE tasks SET stop_reason = 'cancelled_by_caller', stop_message = 'enough', stop_grace_ms = 5,"
            " stop_asked_at = ?, cancelling_revision = revision WHERE key = 4",
            (NOW,),
        )
        database.execute("UPDATE tasks SET finished_at = ? WHERE key = 5", (NOW,))
        database.execute(
            "INSERT INTO attempts VALUES (2, 1, 8, ?, 2, ?, NULL, '', 'lost', ?, 22, 0, 23)", (AGENT, NOW, NOW)
        )
    return path


async def test_live_tasks_of_the_version_before_go_on(before_leases: Path) -> None:
    async with open_store(f"sqlite:///{before_leases}", ids=lambda: "other") as store:
        boot = await store.boot(NOW)
        record = await store.read("t2")
        histories = {name: [event.name for event in await store.history(name)] for name in ("t2", "t4")}
        waiting = await store.waiting_on("task:t1", {}, 1)
        granted = {task.id: task for task in boot.granted}
        receipt = await put(store, settle(granted["t2"], begun=False), doubt(granted["t3"]), grant(waiting[0]))
        ended = await store.read("t2")

    assert {name: (task.status, task.deaths, task.spec.lock) for name, task in granted.items()} == {
        "t2": (TaskStatus.SENT, 0, ""),
        "t3": (TaskStatus.IN_PROGRESS, 0, ""),
        "t4": (TaskStatus.CANCELLING, 0, ""),
    }
    assert all(task.attempt is not None and task.attempt.lease_ms is None for task in boot.granted)
    assert [(one.id, one.session, one.cordon) for one in boot.agents] == [(AGENT, 3, "")]
    assert record is not None
    assert [(one.attempt.number, one.attempt.lease_ms, one.state) for one in record.earlier] == [(1, None, "lost")]
    assert (record.remarks, record.late_results) == ((), ())
    assert histories == {
        "t2": ["task.created", "task.pending", "task.sent", "task.pending", "task.sent"],
        "t4": ["task.created", "task.pending", "task.sent", "task.cancelling"],
    }
    assert all(receipt.revisions)
    assert ended is not None
    assert ended.task.status is TaskStatus.COMPLETED


async def test_exclusive_tasks_of_the_version_before_have_their_locks(before_leases: Path) -> None:
    async with open_store(f"sqlite:///{before_leases}", ids=lambda: "other") as store:
        boot = await store.boot(NOW)
        waits = [task.id for task in await store.waiting_on("task:t1", {}, 1)]

    assert boot.holds == {Hold("task:t3"): "t3"}
    assert waits == ["t1"]
    with closing(sqlite3.connect(before_leases)) as database:
        locks = database.execute("SELECT id, lock FROM tasks ORDER BY key").fetchall()
    assert locks == [("t1", "task:t1"), ("t2", ""), ("t3", "task:t3"), ("t4", ""), ("t5", "task:t5")]


@pytest.fixture
def before_places(tmp_path: Path) -> Path:
    """A database as the fifth schema had it: some hold locks, some wait for them, and some need none."""
    path = empty(tmp_path, tasks="tasks_0005")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "INSERT INTO meta (one, cluster_id, start_number, control_ms, revision, last_key, commits, committed_at)"
            " VALUES (1, 'cluster', 4, 500, 100, 8, 70, ?)",
            (NOW,),
        )
        database.execute(
            "INSERT INTO agents (id, secret_hash, session, host_id, name, pool, slots, handlers, labels,"
            " software_version, first_seen_at, last_seen_at, left, cordon)"
            " VALUES (?, x'01', 3, 'host', 'name', 'default', 5, '{}', '{}', '0.1', 1, 2, 0, 'its starts fail')",
            (AGENT,),
        )
        for key, status, execution, asked, lock in (
            (1, "pending", "once", None, ""),
            (2, "pending", "replayable", "k", "k"),
            (3, "in_progress", "replayable", "k", "k"),
            (4, "sent", "once", None, ""),
            (5, "unknown", "exclusive", None, "task:t5"),
            (6, "pending", "exclusive", None, "task:t6"),
            (7, "completed", "exclusive", "k", "k"),
            (8, "pending", "replayable", "k", "k"),
        ):
            database.execute(
                "INSERT INTO tasks (key, id, status, type, pool, priority, execution, caller, created_at, updated_at,"
                " revision, created_revision, ready_revision, rank, ready_at, lock)"
                " VALUES (?, ?, ?, 'echo', 'default', 50, ?, 'me', ?, ?, ?, ?, ?, ?, ?, ?)",
                (key, f"t{key}", status, execution, NOW, NOW, 10 * key + 5, 10 * key, 10 * key + 1, -key, NOW, lock),
            )
            database.execute("INSERT INTO task_specs (task_key, payload, lock) VALUES (?, ?, ?)", (key, b"{}", asked))
        granted = "attempt = 1, fence = key, agent_id = ?, session = 3, sent_at = ?, grants = 1, sent_revision = 4"
        database.execute(f"UPDATE tasks SET {granted} WHERE key IN (3, 4, 5, 7)", (AGENT, NOW))  # noqa: S608
        database.execute("UPDATE tasks SET finished_at = ? WHERE key = 7", (NOW,))
        database.execute("INSERT INTO holds VALUES ('k', 0, 3), ('task:t5', 0, 5)")
    return path


def places_of(boot: Boot) -> dict[str, tuple[Hold, ...]]:
    return {task.id: task.attempt.holds for task in boot.granted if task.attempt is not None}


async def test_locks_of_the_version_before_are_places_of_those_who_hold_them(before_places: Path) -> None:
    async with open_store(f"sqlite:///{before_places}", ids=lambda: "other") as store:
        boot = await store.boot(NOW)
        waits = {key: [task.id for task in await store.waiting_on(key, {}, 9)] for key in ("k", "task:t6", "task:t5")}
        (first, *_) = await store.waiting_on("k", {}, 1)
        granted = {task.id: task for task in boot.granted}
        receipt = await put(
            store,
            freeing(settle(granted["t3"])),
            grant(first, takes=[Hold("k")]),
            freeing(resolve(granted["t5"])),
            settle(granted["t4"], begun=False),
        )
        held = (await store.boot(NOW)).holds
        still_waits = [task.id for task in await store.waiting_on("k", {}, 9)]

    assert boot.holds == {Hold("k"): "t3", Hold("task:t5"): "t5"}
    assert places_of(boot) == {"t3": (Hold("k"),), "t4": (), "t5": (Hold("task:t5"),)}
    assert waits == {"k": ["t8", "t2"], "task:t6": ["t6"], "task:t5": []}
    assert all(receipt.revisions)
    assert (held, still_waits) == ({Hold("k"): "t8"}, ["t2"])


async def test_tasks_and_agents_of_the_version_before_ask_and_have_nothing_new(before_places: Path) -> None:
    async with open_store(f"sqlite:///{before_places}", ids=lambda: "other") as store:
        boot = await store.boot(NOW)
        (plain, locked) = sorted(await store.find(["t1", "t2"]), key=lambda task: task.id)
        queue = [task.id for task in await store.waiting(Shape("default", "echo"), None, 9)]
        counts = await store.counts()

    assert plain.spec == TaskSpec(type="echo", priority=50)
    assert (locked.spec, locked.fair_tag) == (TaskSpec(type="echo", priority=50, lock="k"), None)
    assert (plain.execution, locked.execution) == (Execution.ONCE, Execution.REPLAYABLE)
    assert queue == ["t8", "t6", "t2", "t1"]
    assert counts.queued == {("default", "NORMAL"): 4}
    assert list(boot.shapes) == [Shape("default", "echo")]
    assert (boot.limits, boot.rates, boot.lines) == ({}, {}, {})
    (agent,) = boot.agents
    assert (agent.cordon, agent.resources, agent.type_limits) == ("its starts fail", {}, {})
    assert (agent.drained_at, agent.drain_deadline, agent.drain_note) == (None, None, "")


async def test_tasks_of_the_version_before_live_with_those_of_this_one(before_places: Path) -> None:
    async with open_store(f"sqlite:///{before_places}", ids=lambda: "other") as store:
        await store.boot(NOW)
        task = await live(store, waiting("new", limits={"k": 2, "l": 3}, slots=2, fairness_key="f", fair_tag=9))
        assert task.key == 9
        waits = [task.id for task in await store.waiting_on("k", {}, 9)]
        await step(store, grant(task, takes=[Hold("k", 1), Hold("l")]))
        boot = await store.boot(NOW)

    assert waits == ["t8", "t2", "new"]
    assert boot.holds == {Hold("k"): "t3", Hold("k", 1): "new", Hold("l"): "new", Hold("task:t5"): "t5"}


def migrate(path: Path, *, down: str) -> None:
    """Take the schema of tasks back to an earlier step."""
    engine = writing_engine(path)
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection, TASKS), down)
    engine.dispose()


async def test_the_way_back_leaves_locks_and_no_other_places(before_places: Path) -> None:
    url = f"sqlite:///{before_places}"
    async with open_store(url, ids=lambda: "other") as store:
        await store.boot(NOW)
        await store.set_limit("running", 5, NOW)
        task = await live(store, waiting("new", limits={"l": 3}, lock="m", fairness_key="f", fair_tag=9))
        await live(store, waiting("waits", limits={"l": 3}, workspace="site"))
        await step(store, grant(task, takes=[Hold("m"), Hold("l"), Hold("l", 1), Hold("\x1frunning")]))

    migrate(before_places, down="tasks_0005")

    with closing(sqlite3.connect(before_places)) as database:
        held = database.execute("SELECT * FROM holds ORDER BY key").fetchall()
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = {row[1] for row in database.execute("PRAGMA table_info(tasks)")}
        order = [row[2] for row in database.execute("PRAGMA index_info(ix_tasks_waiting)")]
    assert held == [("k", 0, 3), ("m", 0, 9), ("task:t5", 0, 5)]
    assert not tables & {"limits", "rates", "task_keys"}
    assert not columns & {"needs", "holds", "fairness_key", "fair_tag", "unique_key"}
    assert order == ["status", "pool", "type", "rank", "key", "priority"]

    async with open_store(url, ids=lambda: "other") as store:
        boot = await store.boot(NOW)
        record = await store.read("waits")
    assert boot.holds == {Hold("k"): "t3", Hold("m"): "new", Hold("task:t5"): "t5"}
    assert places_of(boot) == {"t3": (Hold("k"),), "t4": (), "t5": (Hold("task:t5"),), "new": (Hold("m"),)}
    assert record is not None
    assert record.task.spec == TaskSpec(type="echo", priority=50)


async def test_workspaces_of_the_version_before_name_no_class_and_can_go_back_to_it(tmp_path: Path) -> None:
    path = empty(tmp_path, tasks="tasks_0006")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO workspaces (name, pool, mode, created_at) VALUES ('site', 'web', 'agent', 7)")
    url = f"sqlite:///{path}"
    async with open_store(url, ids=lambda: "other") as store:
        [site] = (await store.boot(NOW)).workspaces
        await store.change_workspace(replace(site, execution=Execution.ONCE))
    assert site == Workspace(name="site", pool="web", mode=WorkspaceMode.AGENT, created_at=7)

    migrate(path, down="tasks_0006")

    async with open_store(url, ids=lambda: "other") as store:
        assert (await store.boot(NOW)).workspaces == [site]
