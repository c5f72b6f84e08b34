"""How SQLite answers each query: along an index, without walking a table, without sorting what has no bound."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from nodelink.task import LogStream, Rate, TaskStatus
from nodelink_server.core import task as moves
from nodelink_server.core.attempt import Hold
from nodelink_server.core.ports import Batch, Change, Evidence, Place, RateUse, Shape, TaskQuery
from nodelink_server.core.task_record import LateResult
from nodelink_server.store import (
    driver,
    holds,
    listing,
    output,
    queries,
    rates,
    sessions,
    spans,
    sweeping,
    unique,
    waiters,
    workspaces,
)
from nodelink_server.store.commit import Commit
from nodelink_server.store.connections import writing_engine
from nodelink_server.store.numbering import Counters
from nodelink_server.store.schema import LOGS, TASKS
from nodelink_server.store.tables import meta
from nodelink_server.store.upgrade import bring_up
from tests.server.store.lives import NOW, accept, asking, doubt, exclusive, grant, run_again, settle, start, waiting

SHAPE = Shape("default", "echo")
PLACE = Place(5, 5)
SMALL = {"meta", "agents", "alembic_version", "task_spans", "spans", "some", "holds", "limits"}
SMALL |= {"freed", "late", "json_each"}
"""Tables (and `some` of a table) that are small, and may be walked; the last three: what a statement brings itself."""


class Watched:
    """A connection that remembers how SQLite planned everything that went over it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.plans: list[tuple[str, list[str]]] = []
        event.listen(connection, "before_cursor_execute", self._before)
        self._execute = driver.execute

    def execute(self, connection: Connection, text: str, values: Sequence[object] = ()) -> int:
        """What goes past SQLAlchemy."""
        self._explain(connection, text, values)
        return self._execute(connection, text, values)

    def _before(self, connection: Connection, cursor: object, statement: str, parameters: object, *_: object) -> None:
        self._explain(connection, statement, parameters[0] if isinstance(parameters, list) else parameters)

    def _explain(self, connection: Connection, statement: str, values: Any) -> None:
        if not re.match(r"SELECT|UPDATE|DELETE|INSERT|WITH", statement):
            return
        sqlite = connection.connection.driver_connection
        assert sqlite is not None
        rows = sqlite.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
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
        database = Watched(connection)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(driver, "execute", database.execute)
            yield database
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


@pytest.mark.parametrize(
    "asked, index",
    [({"lock": "k"}, "INDEX ix_tasks_lock (lock=?"), ({"limits": {"k": 2}}, "PRIMARY KEY (key=?")],
)
def test_those_that_name_a_key_come_along_their_index(tasks: Watched, asked: Mapping[str, object], index: str) -> None:
    """From each shape the next is found, and of each its first, behind a place if there is one."""
    counters = commit(tasks, accept(asking("t1", {"type": "a"}, asked)))
    counters = commit(tasks, accept(asking("t2", {"type": "b"}, asked)), counters=counters)
    commit(tasks, accept(asking("t3", {"type": "b"}, asked)), counters=counters)
    tasks.plans.clear()

    found = queries.waiting_on(tasks.connection, "k", {Shape("default", "b"): Place(0, 2)}, 5)

    assert [task.id for task in found] == ["t1", "t3"]
    assert list(tasks.bad()) == []
    along = [re.sub(r"rowid|task_key", "key", plan[0].partition(index)[2]) for _, plan in tasks.plans]
    next_shape, of_shape = " AND (pool,type,needs)>(?,?,?))", " AND pool=? AND type=? AND needs=?"
    behind = [f"{of_shape} AND rank=? AND key>?)", f"{of_shape} AND rank>?)"]
    assert [plan for plan in along if plan not in ("", ")")] == [f"{of_shape})", next_shape, *behind, next_shape]
    [read] = [plan for statement, plan in tasks.plans if "payload" in statement]
    assert "SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)" in read


@pytest.mark.parametrize("few, most", [(5, 5), (1, 0)])
def test_who_waits_for_a_key_is_found_along_its_indexes(tasks: Watched, few: int, most: int) -> None:
    counters = commit(tasks, accept(waiting("t1", type="a", lock="k")))
    counters = commit(tasks, accept(waiting("t2", type="b", limits={"k": 2})), counters=counters)
    tasks.plans.clear()

    found = waiters.waiters(tasks.connection, ["k", "l"], 9, few, most)

    assert {key: (one.first[0].task_id, one.more) for key, one in found.items()} == {"k": ("t1", most and 0)}
    assert list(tasks.bad()) == []
    assert [plan for statement, plan in tasks.plans if "json_each" in statement] == [
        [
            "SCAN json_each VIRTUAL TABLE INDEX 1:",
            "CORRELATED SCALAR SUBQUERY 1",
            "SEARCH task_keys USING PRIMARY KEY (key=?)",
            "CORRELATED SCALAR SUBQUERY 2",
            "SEARCH tasks USING INDEX ix_tasks_lock (lock=?)",
        ]
    ]


def test_lines_are_read_along_their_index(tasks: Watched) -> None:
    commit(tasks, accept(waiting("t1", fairness_key="k", fair_tag=5)))
    tasks.plans.clear()

    assert queries.lines(tasks.connection) == {("default", "k"): (5, 5)}

    assert list(tasks.bad()) == []
    assert uses(tasks, "COVERING INDEX ix_tasks_fair")


def test_rates_are_read_and_forgotten_along_their_index(tasks: Watched) -> None:
    use = RateUse("r", 0, 0, 1)
    counters = commit(tasks, accept(waiting("t1")))
    (stored,) = queries.find(tasks.connection, ["t1"])
    commit(tasks, grant(stored, uses=[use]), counters=counters)
    tasks.connection.execute(meta.update().values(control_ms=1))
    tasks.plans.clear()

    assert rates.ahead(tasks.connection, 1) == {}
    assert rates.taken(tasks.connection, ["r", "s"]) == {Hold("r", 0): 1}
    assert rates.forget(tasks.connection) == 1

    assert list(tasks.bad()) == []
    plans = [plan[0] for _, plan in tasks.plans]
    assert ["ix_rates_until (until>?)" in plans[0], "PRIMARY KEY (key=?)" in plans[1]] == [True, True]
    assert ["ix_rates_until (until<?)" in plans[2], "PRIMARY KEY (key=? AND place=?)" in plans[3]] == [True, True]


def test_a_later_page_begins_at_its_place(tasks: Watched) -> None:
    """Not only in order, but from there on: or the last page would pass all before it."""
    queries.waiting(tasks.connection, SHAPE, PLACE, 10)
    queries.due(tasks.connection, PLACE, 10)
    queries.expiring(tasks.connection, PLACE, 10)
    queries.retrying(tasks.connection, PLACE, 10)
    queries.limited(tasks.connection, PLACE, 10)

    plans = [plan[0] for _, plan in tasks.plans]

    assert all(
        re.search(r"(rank|due_at|queue_deadline|retry_at|total_deadline)(>\?\)|=\? AND (key|rowid)>\?\))", plan)
        for plan in plans
    ), plans
    assert len(plans) == 12


def test_moments_come_along_their_indexes(tasks: Watched) -> None:
    for after in (None, PLACE):
        queries.due(tasks.connection, after, 10)
    assert uses(tasks, "ix_tasks_due")
    tasks.plans.clear()
    for after in (None, PLACE):
        queries.expiring(tasks.connection, after, 10)
    assert {plan[0].split()[4] for _, plan in tasks.plans} == {"ix_tasks_expiring", "ix_tasks_planned_expiring"}
    tasks.plans.clear()
    for after in (None, PLACE):
        queries.retrying(tasks.connection, after, 10)
    assert uses(tasks, "ix_tasks_retrying")
    tasks.plans.clear()
    for after in (None, PLACE):
        queries.limited(tasks.connection, after, 10)
    assert uses(tasks, "ix_tasks_limited")
    assert list(tasks.bad()) == []


def test_what_goes_before_a_task_is_counted_along_the_queue(tasks: Watched) -> None:
    assert queries.count_before(tasks.connection, SHAPE, PLACE, 10) == 0
    [(_, plan)] = tasks.plans
    assert "ix_tasks_waiting (status=? AND pool=? AND type=? AND needs=? AND rank<?)" in plan[1]
    assert list(tasks.bad()) == []


def test_a_start_reads_ranges(tasks: Watched) -> None:
    queries.granted(tasks.connection)
    assert uses(tasks, "ix_tasks_status")
    queries.shapes(tasks.connection)
    queries.all_agents(tasks.connection)
    holds.all_holders(tasks.connection)
    queries.all_limits(tasks.connection)

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
        (TaskQuery(workspace="x"), "ix_tasks_workspace"),
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


def test_named_tasks_are_found_by_their_ids(tasks: Watched) -> None:
    commit(tasks, *[accept(waiting(f"t{n}", type="x")) for n in range(9)])
    tasks.plans.clear()
    named = TaskQuery(ids=frozenset({"t1", "t2"}), page_size=1)
    for query in (named, replace(named, type="x"), replace(named, statuses=frozenset({TaskStatus.PENDING}))):
        listing.listed(tasks.connection, query)

        (led,) = [plan for statement, plan in tasks.plans if "ORDER BY" in statement]
        assert "(id=? AND rowid>? AND rowid<?)" in led[0]  # they are few, so they are sorted
        tasks.plans.clear()


def test_the_rarest_of_several_filters_leads(tasks: Watched) -> None:
    counters = NO_COUNTERS
    for number in range(30):
        type_, pool = ("rare" if number == 3 else "usual"), ("far" if number == 5 else "near")
        counters = commit(
            tasks, accept(waiting(f"t{number}", type=type_, pool=pool, metadata={"k": "v"})), counters=counters
        )
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
    queries.have_ended(tasks.connection, ["t1", "t2"])
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
    assert all(re.search("COVERING INDEX ix_tasks_(status|applying)", plan[0]) for plan in others)


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


def commit(
    tasks: Watched, *changes: Change, counters: Counters = NO_COUNTERS, evidence: Sequence[Evidence] = ()
) -> Counters:
    batch = Batch(now=NOW, control_ms=0, changes=changes, evidence=evidence)
    return Commit(tasks.connection, batch, counters).run()[1]


def test_a_commit_touches_rows_by_their_keys(tasks: Watched) -> None:
    counters = commit(tasks, accept(waiting("t1")))
    (stored,) = queries.find(tasks.connection, ["t1"])
    commit(tasks, grant(stored), counters=counters)

    assert list(tasks.bad()) == []
    updates = [plan for statement, plan in tasks.plans if statement.startswith("UPDATE tasks")]
    assert updates
    assert all(any("INTEGER PRIMARY KEY" in line for line in plan) for plan in updates)


def test_locks_and_what_comes_with_them_are_written_by_their_keys(tasks: Watched) -> None:
    accepted = [accept(exclusive(name)) for name in ("t1", "t2")]
    counters = commit(tasks, *accepted)
    first, second = sorted(queries.find(tasks.connection, ["t1", "t2"]), key=lambda task: task.id)
    counters = commit(tasks, grant(first, takes=[Hold("k")]), counters=counters)
    (first,) = queries.find(tasks.connection, ["t1"])
    counters = commit(tasks, doubt(first), counters=counters)
    (first,) = queries.find(tasks.connection, ["t1"])
    freed = replace(run_again(first), frees=(Hold("k"),))
    late = Evidence(first.key, LateResult(1, 1, "a", NOW, "gone"))
    commit(tasks, freed, grant(second, takes=[Hold("k")]), counters=counters, evidence=[late])
    holds.holders(tasks.connection, ["k", "l"])

    assert list(tasks.bad()) == []
    (ended,) = [plan for statement, plan in tasks.plans if "DELETE FROM holds" in statement]
    assert "SEARCH holds USING COVERING INDEX ix_holds_task_key (task_key=?)" in ended


def test_a_batch_of_the_usual_kind_has_no_statement_for_what_is_rare(tasks: Watched) -> None:
    counters = commit(tasks, accept(waiting("t1")), accept(waiting("t2")))
    (stored,) = queries.find(tasks.connection, ["t1"])
    tasks.plans.clear()
    commit(tasks, grant(stored), accept(waiting("t3")), counters=counters)

    touched = [re.search(r"(?:INTO|UPDATE|FROM) (\w+)", statement) for statement, _ in tasks.plans]
    assert [found[1] for found in touched if found] == ["tasks", "task_specs", "tasks", "events", "audit", "meta"]


def test_keys_that_tasks_share_are_written_by_the_keys_of_their_tasks(tasks: Watched) -> None:
    counters = commit(tasks, accept(waiting("t1", limits={"k": 2}, rates={"r": Rate(1, 1)})))
    (stored,) = queries.find(tasks.connection, ["t1"])
    tasks.plans.clear()
    commit(tasks, grant(stored), counters=counters)

    assert list(tasks.bad()) == []
    (left,) = [plan for statement, plan in tasks.plans if "DELETE FROM task_keys" in statement]
    assert "ix_task_keys_task_key (task_key=?)" in left[0]


def test_the_life_of_a_usual_task_costs_no_statement_more_than_it_must(tasks: Watched) -> None:
    """Submission, grant, start and end: what limits, rates, needs and lines cost is paid by who asks for them."""
    counters = commit(tasks, accept(waiting("t1")))
    for move in (grant, start, settle):
        (stored,) = queries.find(tasks.connection, ["t1"])
        tasks.plans.clear()
        counters = commit(tasks, move(stored), counters=counters)
        touched = [re.search(r"(?:INTO|UPDATE|FROM) (\w+)", statement) for statement, _ in tasks.plans]
        ended = ["task_results"] if move is settle else []
        assert [found[1] for found in touched if found] == ["tasks", *ended, "events", "audit", "meta"]


def test_unique_keys_are_handed_on_by_the_keys_of_their_tasks(tasks: Watched) -> None:
    counters = commit(tasks, accept(waiting("t1", unique_key="u")))
    (stored,) = queries.find(tasks.connection, ["t1"])
    tasks.plans.clear()
    commit(
        tasks,
        Change(task=moves.key_given_up(stored), expected=stored.revision, events=()),
        accept(waiting("t2", unique_key="u")),
        counters=counters,
    )
    assert unique.owners(tasks.connection, ["u", "v"]) == {"u": "t2"}

    assert list(tasks.bad()) == []
    assert any("uq_tasks_unique (unique_key=?)" in " ".join(plan) for _, plan in tasks.plans)


def test_whether_a_workspace_has_live_tasks_is_seen_in_its_index(tasks: Watched) -> None:
    assert workspaces.remove(tasks.connection, "site")

    assert list(tasks.bad()) == []
    assert uses(tasks, "ix_tasks_at_work (workspace=?)")


def test_output_is_read_along_its_indexes(logs: Watched) -> None:
    for stream in (None, LogStream.STDOUT):
        output.read(logs.connection, 1, 1, stream, 100, 100)
    output.ends(logs.connection, 1, 1)
    output.forget(logs.connection, [1, 2])
    output.which_have(logs.connection, [1, 2])

    assert list(logs.bad()) == []
