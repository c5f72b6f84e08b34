"""How SQLite answers each query: along an index, without walking a table, without sorting what has no bound."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event

from nodelink.task import LogStream, TaskStatus
from nodelink_server.core.ports import Batch, Change, Place, Shape, TaskQuery
from nodelink_server.store import listing, output, queries, sessions, spans, sweeping
from nodelink_server.store.commit import Commit
from nodelink_server.store.connections import writing_engine
from nodelink_server.store.numbering import Counters
from nodelink_server.store.schema import LOGS, TASKS, bring_up
from nodelink_server.store.tables import meta
from tests.server.store.lives import NOW, accept, grant, waiting

SHAPE = Shape("default", "echo")
PLACE = Place(5, 5)
SMALL = {"meta", "agents", "alembic_version", "task_spans", "spans", "some"}
"""Tables (and `some` of a table) that are small, and may be walked."""


class Watched:
    """A connection that remembers how SQLite planned everything that went over it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.plans: list[tuple[str, list[str]]] = []
        event.listen(connection, "before_cursor_execute", self._explain)

    def _explain(self, connection: Connection, cursor: object, statement: str, parameters: object, *_: object) -> None:
        if not re.match(r"SELECT|UPDATE|DELETE|INSERT", statement):
            return
        driver = connection.connection.driver_connection
        assert driver is not None
        values = parameters[0] if isinstance(parameters, list) else parameters
        rows = driver.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
        self.plans.append((statement, [str(row[3]) for row in rows]))

    def bad(self) -> Iterator[str]:
        """Statements that walk a table, or sort."""
        for statement, plan in self.plans:
            for line in plan:
                walked = re.match(r"SCAN (\w+)\b(?! USING (?:COVERING )?INDEX)", line)
                if walked and walked[1] not in SMALL and "CONSTANT ROW" not in line and not walked[1].startswith("new"):
                    yield f"{line}: {statement}"
                if "TEMP B-TREE" in line:
                    yield f"{line}: {statement}"


def watched(engine: Engine, schema: object) -> Iterator[Watched]:
    with engine.begin() as connection:
        bring_up(connection, schema)  # type: ignore[arg-type]
        yield Watched(connection)
    engine.dispose()


@pytest.fixture
def tasks(tmp_path: Path) -> Iterator[Watched]:
    for database in watched(writing_engine(tmp_path / "tasks.db"), TASKS):
        zeros = dict.fromkeys(("start_number", "control_ms", "revision", "last_key", "commits"), 0)
        database.connection.execute(meta.insert(), {"one": 1, "cluster_id": "cluster", **zeros})
        database.plans.clear()
        yield database


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Watched]:
    yield from watched(writing_engine(tmp_path / "logs.db"), LOGS)


def uses(database: Watched, index: str) -> bool:
    return all(any(index in line for line in plan) for _, plan in database.plans)


def test_waiting_tasks_come_along_their_index(tasks: Watched) -> None:
    for after in (None, PLACE):
        queries.waiting(tasks.connection, SHAPE, after, 10)

    assert list(tasks.bad()) == []
    assert uses(tasks, "ix_tasks_waiting")


def test_a_later_page_begins_at_its_place(tasks: Watched) -> None:
    """Not only in order, but from there on: or the last page would pass all before it."""
    queries.waiting(tasks.connection, SHAPE, PLACE, 10)
    queries.due(tasks.connection, PLACE, 10)
    queries.expiring(tasks.connection, PLACE, 10)

    plans = [plan[0] for _, plan in tasks.plans]

    assert all(re.search(r"(rank|due_at|queue_deadline)(>\?\)|=\? AND (key|rowid)>\?\))", plan) for plan in plans), (
        plans
    )
    assert len(plans) == 6


def test_moments_come_along_their_indexes(tasks: Watched) -> None:
    for after in (None, PLACE):
        queries.due(tasks.connection, after, 10)
    assert uses(tasks, "ix_tasks_due")
    tasks.plans.clear()
    for after in (None, PLACE):
        queries.expiring(tasks.connection, after, 10)
    assert uses(tasks, "ix_tasks_expiring")
    assert list(tasks.bad()) == []


def test_a_start_reads_ranges(tasks: Watched) -> None:
    queries.granted(tasks.connection)
    assert uses(tasks, "ix_tasks_status")
    queries.shapes(tasks.connection)
    queries.all_agents(tasks.connection)

    assert list(tasks.bad()) == []


@pytest.mark.parametrize("statuses", [(), ("pending",), ("completed",), ("sent", "completed", "failed")])
@pytest.mark.parametrize("q", ["", "k=v", "deadbeef", "xyz"])
def test_no_list_walks_the_table_or_sorts(tasks: Watched, statuses: tuple[str, ...], q: str) -> None:
    commit(tasks, accept(waiting("deadbeef-1")))
    chosen = frozenset(map(TaskStatus, statuses))
    labels = (frozenset[tuple[str, str]](), frozenset({("k", "v")}), frozenset({("k", "v"), ("l", "w")}))
    for type_, pool, agent, created, labelled in itertools.product(
        (None, "x"), (None, "x"), (None, "x"), (None, NOW), labels
    ):
        query = TaskQuery(
            statuses=chosen,
            type=type_,
            pool=pool,
            agent_id=agent,
            created_after=created,
            created_before=created + 1 if created else None,
            labels=labelled,
            q=q,
        )
        listing.listed(tasks.connection, query)

    assert list(tasks.bad()) == []


@pytest.mark.parametrize(
    "query, index",
    [
        (TaskQuery(type="x"), "ix_tasks_type"),
        (TaskQuery(q="xyz"), "ix_tasks_type"),
        (TaskQuery(pool="x"), "ix_tasks_pool"),
        (TaskQuery(agent_id="x"), "ix_tasks_agent"),
        (TaskQuery(statuses=frozenset({TaskStatus.FAILED})), "ix_tasks_status"),
        (TaskQuery(labels=frozenset({("k", "v")})), "PRIMARY KEY (name=? AND value=?"),
        (TaskQuery(q="k=v"), "PRIMARY KEY (name=? AND value=?"),
    ],
)
def test_each_filter_has_its_index_and_begins_at_its_place_in_it(tasks: Watched, query: TaskQuery, index: str) -> None:
    listing.listed(tasks.connection, query)

    (plan,) = [plan for _, plan in tasks.plans]
    assert re.search(rf"{re.escape(index)}.*(key|rowid)>\? AND (task_)?(key|rowid)<\?", plan[0]), plan


def test_the_rarest_of_several_filters_leads(tasks: Watched) -> None:
    counters = NO_COUNTERS
    for number in range(30):
        type_, pool = ("rare" if number == 3 else "usual"), ("far" if number == 5 else "near")
        counters = commit(tasks, accept(waiting(f"t{number}", type=type_, pool=pool, metadata={"k": "v"})), counters)
    labels, statuses = frozenset({("k", "v")}), frozenset({TaskStatus.PENDING})
    for query, found, index in (
        (TaskQuery(pool="near", type="rare"), "t3", "ix_tasks_type"),
        (TaskQuery(pool="far", type="usual"), "t5", "ix_tasks_pool"),
        (TaskQuery(labels=labels, type="rare", pool="near"), "t3", "ix_tasks_type"),
        (TaskQuery(labels=labels, statuses=statuses, pool="far"), "t5", "ix_tasks_pool"),
    ):
        tasks.plans.clear()
        assert [record.task.id for record in listing.listed(tasks.connection, query)] == [found]
        (led,) = [plan for statement, plan in tasks.plans if "ORDER BY" in statement]
        assert index in led[0]


@pytest.mark.parametrize("query", [TaskQuery(created_after=NOW + 5), TaskQuery(created_before=NOW), TaskQuery(q="ee")])
def test_a_time_at_which_nothing_came_costs_a_look_at_the_newest_span(tasks: Watched, query: TaskQuery) -> None:
    commit(tasks, accept(waiting("t1")))
    tasks.plans.clear()

    assert not listing.listed(tasks.connection, query).records
    [plan] = [plan for statement, plan in tasks.plans if "FROM tasks" in statement and "type = " not in statement]
    assert [line for line in plan if "tasks" in line and "task_spans" not in line] == [
        "SEARCH tasks USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
    ]


def test_one_task_is_found_by_its_id(tasks: Watched) -> None:
    commit(tasks, accept(waiting("t1")))
    tasks.plans.clear()
    queries.find(tasks.connection, ["t1", "t2"])
    queries.payloads(tasks.connection, [1, 2])
    queries.read(tasks.connection, "t1")
    queries.read_ended(tasks.connection, ["t1", "t2"])
    queries.history(tasks.connection, "t1")

    assert list(tasks.bad()) == []


def test_events_are_read_by_revision(tasks: Watched) -> None:
    queries.events_behind(tasks.connection, 5, 10)
    assert list(tasks.bad()) == []


def test_waiting_tasks_are_counted_without_sorting(tasks: Watched) -> None:
    queries.counts(tasks.connection)

    (counted,) = [plan for statement, plan in tasks.plans if "'pending'" in statement]
    others = [plan for statement, plan in tasks.plans if "'pending'" not in statement]

    assert len(counted) == 1
    assert "USING COVERING INDEX ix_tasks_waiting" in counted[0]
    assert all("COVERING INDEX ix_tasks_status" in plan[0] for plan in others)


def test_sweeping_reads_ranges(tasks: Watched) -> None:
    queries.finished_keys(tasks.connection, 5, 10)
    assert uses(tasks, "ix_tasks_finished")
    sweeping.forget_idempotency(tasks.connection, 5)
    sweeping.forget_events(tasks.connection, 5)
    sweeping.forget_tasks(tasks.connection, [1, 2])
    spans.forget(tasks.connection)
    sessions.forget(tasks.connection, 5)

    assert list(tasks.bad()) == []


NO_COUNTERS = Counters(revision=0, last_key=0, commits=0, audits=0, audit_hash=b"")


def commit(tasks: Watched, change: Change, counters: Counters = NO_COUNTERS) -> Counters:
    return Commit(tasks.connection, Batch(now=NOW, control_ms=0, changes=[change]), counters).run()[1]


def test_a_commit_touches_rows_by_their_keys(tasks: Watched) -> None:
    counters = commit(tasks, accept(waiting("t1")))
    (stored,) = queries.find(tasks.connection, ["t1"])
    commit(tasks, grant(stored), counters)

    assert list(tasks.bad()) == []
    updates = [plan for statement, plan in tasks.plans if statement.startswith("UPDATE tasks")]
    assert updates
    assert all(any("INTEGER PRIMARY KEY" in line for line in plan) for plan in updates)


def test_output_is_read_along_its_indexes(logs: Watched) -> None:
    for stream in (None, LogStream.STDOUT):
        output.read(logs.connection, 1, 1, stream, 100, 100)
    output.ends(logs.connection, 1, 1)
    output.forget(logs.connection, [1, 2])

    assert list(logs.bad()) == []
