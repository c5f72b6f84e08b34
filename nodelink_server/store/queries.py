"""What is read from the database of tasks. Each query is a range of an index: none walks a table, none sorts much.

The condition of a partial index must stand in the query word for word, so statuses are written out in its text.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    TextClause,
    and_,
    case,
    func,
    null,
    select,
    text,
    tuple_,
)

from nodelink.task import LIVE, PRIORITIES, Finished, TaskStatus
from nodelink_server.core.needs import place_of, shape_of
from nodelink_server.core.ports import AgentRecord, LiveCounts, Place, Shape, TaskEvent
from nodelink_server.core.states import GRANTED, PLANNED
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import LateResult, TaskEnd, TaskRecord
from nodelink_server.store import blob_rows
from nodelink_server.store.blocks import decode_block
from nodelink_server.store.history import Noted, Past, rebuilt, with_artifacts
from nodelink_server.store.pages import fitting
from nodelink_server.store.records import (
    END_COLUMNS,
    agent_of,
    end_of,
    finished_of,
    late_of,
    noted_of,
    past_of,
    steps_in,
    task_of,
)
from nodelink_server.store.rows import RESULT_COLUMNS, RESULT_RARE_COLUMNS
from nodelink_server.store.tables import (
    UNCOMPLETED,
    agents,
    attempts,
    events,
    late_results,
    limits,
    meta,
    task_keys,
    task_remarks,
    task_results,
    task_specs,
    tasks,
)

PAYLOAD_AT_HAND_BYTES = 1024
MOST_NAMES = 500

T = TypeVar("T")

_PENDING = text("tasks.status = 'pending'")
_APPLY_PENDING = text("tasks.status = 'apply_pending'")
_PLANNED = text("tasks.plan IS NOT NULL")
_UNFINISHED = text("tasks.finished_at IS NULL")
_LOCKED = text("tasks.lock <> ''")
_FAIR = text("tasks.fairness_key <> ''")
_SHAPE = (tasks.c.pool, tasks.c.type, tasks.c.needs)
_SHAPE_OF_KEYS = (task_keys.c.pool, task_keys.c.type, task_keys.c.needs)
_SCHEDULED = text("tasks.status = 'scheduled'")
_SMALL_PAYLOAD = case((func.length(task_specs.c.payload) <= PAYLOAD_AT_HAND_BYTES, task_specs.c.payload))
_SPEC = (
    task_specs.c.metadata,
    task_specs.c.execution.label("asked_execution"),
    task_specs.c.timeout_ms,
    task_specs.c.queue_timeout_ms,
    task_specs.c.scheduled_at,
    task_specs.c.delay_ms,
    task_specs.c.traceparent,
    task_specs.c.retry_of,
    task_specs.c.lock.label("asked_lock"),
    task_specs.c.retry,
    task_specs.c.start_timeout_ms,
    task_specs.c.total_timeout_ms,
    task_specs.c.more,
)


def _selected(payload: ColumnElement[Any], *more: ColumnElement[Any]) -> Select[Any]:
    """Tasks with what was asked for."""
    columns = (*tasks.c, *_SPEC, payload.label("payload"), *more)
    return select(*columns).join_from(tasks, task_specs, task_specs.c.task_key == tasks.c.key)


_WITHOUT_PAYLOAD = _selected(null())
_AT_HAND = _selected(_SMALL_PAYLOAD)
_WHOLE = _selected(null(), task_specs.c.payload.label("whole_payload"))
_RESULTS = select(*(task_results.c[name] for name in (*RESULT_COLUMNS, *RESULT_RARE_COLUMNS)))
_ENDED = (
    select(
        *(tasks.c[name] for name in END_COLUMNS),
        task_specs.c.metadata,
        tasks.c.key,
        tasks.c.grants,
        func.coalesce(func.length(task_results.c.output), 0).label("size"),
    )
    .join_from(tasks, task_specs, task_specs.c.task_key == tasks.c.key)
    .outerjoin(task_results, task_results.c.task_key == tasks.c.key)
    .where(tasks.c.finished_at.is_not(None))
)


def granted(connection: Connection) -> list[Task]:
    """The tasks that agents hold."""
    queries = [_WITHOUT_PAYLOAD.where(_of_status(status)).order_by(tasks.c.key) for status in sorted(GRANTED)]
    found = [task_of(row) for query in queries for row in connection.execute(query)]
    return sorted(found, key=lambda task: task.key)


def all_agents(connection: Connection) -> list[AgentRecord]:
    """Every agent that has ever come."""
    return [agent_of(row) for row in connection.execute(select(agents))]


def shapes(connection: Connection) -> list[Shape]:
    """The shapes that tasks wait with: from each the next one is found in the index, whatever the number of tasks."""
    return [*_shapes(connection, has_plan=False), *_shapes(connection, has_plan=True)]


def _shapes(connection: Connection, *, has_plan: bool) -> Iterator[Shape]:
    query = select(*_SHAPE).where(_APPLY_PENDING if has_plan else _PENDING).order_by(*_SHAPE).limit(1)
    row = connection.execute(query).one_or_none()
    while row is not None:
        yield Shape(*row, has_plan)
        row = connection.execute(query.where(tuple_(*_SHAPE) > tuple(row))).one_or_none()


def planned(connection: Connection) -> list[Task]:
    """The tasks with a plan that are with no agent and have not ended."""
    statuses = [_of_status(status) for status in sorted(PLANNED)]
    found = [task_of(row) for one in statuses for row in connection.execute(_WITHOUT_PAYLOAD.where(one))]
    return sorted(found, key=lambda task: task.key)


def all_limits(connection: Connection) -> dict[str, int]:
    """The limits that people have set, by key."""
    return {row.key: row.most for row in connection.execute(select(limits.c.key, limits.c.most))}


def find(connection: Connection, task_ids: Sequence[str]) -> list[Task]:
    """Tasks by id."""
    return [task_of(row) for row in _among(connection, _AT_HAND, tasks.c.id, task_ids)]


def payloads(connection: Connection, keys: Sequence[int]) -> dict[int, bytes]:
    """Payloads by key."""
    query = select(task_specs.c.task_key, task_specs.c.payload)
    return dict(_among(connection, query, task_specs.c.task_key, keys))


def waiting(connection: Connection, shape: Shape, after: Place | None, limit: int) -> list[Task]:
    """Ready tasks of a shape."""
    query = _AT_HAND.where(*_is_of(shape))
    return [task_of(row) for row in _page(connection, query, tasks.c.rank, after, limit)]


def count_before(connection: Connection, shape: Shape, place: Place, most: int) -> int:
    """How many ready tasks of a shape go before a place."""
    before = tuple_(tasks.c.rank, tasks.c.key) < tuple_(place.value, place.key)
    found = select(tasks.c.key).where(*_is_of(shape), before)
    counted = select(func.count()).select_from(found.limit(most).subquery("some"))
    return int(connection.execute(counted).scalar_one())


def _is_of(shape: Shape) -> tuple[ColumnElement[bool] | TextClause, ...]:
    """That a task is ready, and of a shape."""
    same = (column == part for column, part in zip(_SHAPE, shape[:3], strict=True))
    return (_APPLY_PENDING if shape.has_plan else _PENDING, *same)


def waiting_on(connection: Connection, key: str, after: Mapping[Shape, Place], most: int) -> list[Task]:
    """The first pending tasks of each shape that name a key: from each shape the next is found in the index.

    Those that name it by a lock and those that name it otherwise have an index each.
    """
    if not key:
        return []
    found: dict[int, Task] = {}
    for keyed in keyed_by(key):
        keys = [key for shape in keyed.shapes(connection) for key in keyed.first(connection, shape, after, most)]
        for part in parts(keys):
            tasks_found = (task_of(row) for row in connection.execute(_AT_HAND.where(_PENDING, tasks.c.key.in_(part))))
            found.update((task.key, task) for task in tasks_found)
    in_order = sorted(found.values(), key=lambda task: (shape_of(task), place_of(task)))
    return [task for _, some in groupby(in_order, shape_of) for task in islice(some, most)]


def keyed_by(key: str) -> tuple[Keyed, Keyed]:
    """The waiting tasks that name a key: by a lock, and otherwise. One that names it twice is in both."""
    locked = select(tasks.c.key).where(_PENDING, _LOCKED, tasks.c.lock == key)
    named = select(task_keys.c.task_key).where(task_keys.c.key == key)
    return (
        Keyed(locked, _SHAPE, tasks.c.rank, tasks.c.key),
        Keyed(named, _SHAPE_OF_KEYS, task_keys.c.rank, task_keys.c.task_key),
    )


class Keyed(NamedTuple):
    """The waiting tasks that name a key, by one of the two indexes that have them."""

    query: Select[Any]
    shape: tuple[ColumnElement[str], ColumnElement[str], ColumnElement[str]]
    rank: ColumnElement[int]
    key: ColumnElement[int]

    def shapes(self, connection: Connection) -> Iterator[Shape]:
        """Their shapes."""
        query = self.query.with_only_columns(*self.shape).order_by(*self.shape).limit(1)
        row = connection.execute(query).one_or_none()
        while row is not None:
            shape = Shape(*row)
            yield shape
            row = connection.execute(query.where(tuple_(*self.shape) > tuple(row))).one_or_none()

    def first(self, connection: Connection, shape: Shape, after: Mapping[Shape, Place], most: int) -> Iterator[int]:
        """The first of a shape, by key."""
        same = [column == part for column, part in zip(self.shape, shape[:3], strict=True)]
        rows = _page(connection, self.query.where(*same), self.rank, after.get(shape), most, key=self.key)
        yield from (row[0] for row in rows)


def lines(connection: Connection) -> dict[tuple[str, str], tuple[int, int]]:
    """For each fairness key of a pool, the first and the last place in line of its waiting tasks."""
    line = (tasks.c.pool, tasks.c.fairness_key)
    ends = select(*line, func.min(tasks.c.fair_tag).label("first"), func.max(tasks.c.fair_tag).label("last"))
    query = ends.where(_PENDING, _FAIR, tasks.c.fair_tag.is_not(None)).group_by(*line)
    return {(row.pool, row.fairness_key): (row.first, row.last) for row in connection.execute(query)}


def due(connection: Connection, after: Place | None, limit: int) -> list[tuple[Place, str]]:
    """Scheduled tasks."""
    return _by_moment(connection, tasks.c.due_at, _SCHEDULED, after, limit)


def retrying(connection: Connection, after: Place | None, limit: int) -> list[tuple[Place, str]]:
    """Tasks that are to be tried again."""
    return _by_moment(connection, tasks.c.retry_at, _SCHEDULED, after, limit)


def limited(connection: Connection, after: Place | None, limit: int) -> list[tuple[Place, str]]:
    """Live tasks with a total deadline."""
    return _by_moment(connection, tasks.c.total_deadline, tasks.c.finished_at.is_(None), after, limit)


def expiring(connection: Connection, after: Place | None, limit: int) -> list[tuple[Place, str]]:
    """Tasks with a deadline that wait for an agent, or for an approval."""
    pending = _by_moment(connection, tasks.c.queue_deadline, _PENDING, after, limit)
    waits = and_(_PLANNED, _UNFINISHED, tasks.c.status.in_(sorted(PLANNED)))
    planned = _by_moment(connection, tasks.c.queue_deadline, waits, after, limit)
    return list(islice(heapq.merge(pending, planned), limit))


def _by_moment(
    connection: Connection,
    moment: ColumnElement[int],
    condition: ColumnElement[bool] | TextClause,
    after: Place | None,
    limit: int,
) -> list[tuple[Place, str]]:
    """Tasks that have a moment, in order of (that, key)."""
    query = select(moment.label("moment"), tasks.c.key, tasks.c.id).where(condition, moment.is_not(None))
    return [(Place(row.moment, row.key), row.id) for row in _page(connection, query, moment, after, limit)]


def _page(
    connection: Connection,
    query: Select[Any],
    order: ColumnElement[Any],
    after: Place | None,
    limit: int,
    *,
    key: ColumnElement[int] = tasks.c.key,
) -> Sequence[Row[Any]]:
    """Rows in order of (a column, key), behind a place: the rest of its value first, then what comes after."""
    ordered = query.order_by(order, key)
    if after is None:
        return connection.execute(ordered.limit(limit)).all()
    same = connection.execute(ordered.where(order == after.value, key > after.key).limit(limit)).all()
    return [*same, *connection.execute(ordered.where(order > after.value).limit(limit - len(same)))]


def read(connection: Connection, task_id: str) -> TaskRecord | None:
    """Everything about one task."""
    row = connection.execute(_WHOLE.where(tasks.c.id == task_id)).one_or_none()
    if row is None:
        return None
    return _whole(connection, [_record(row)])[0]


def history(connection: Connection, task_id: str) -> Sequence[TaskEvent]:
    """The events of one task, made again."""
    row = connection.execute(_WITHOUT_PAYLOAD.where(tasks.c.id == task_id)).one_or_none()
    if row is None:
        return []
    key = row.key
    past, notes = _past(connection, [key])[key], _notes(connection, [key])[key]
    task, finished = task_of(row), _finished(connection, {key: row.grants}).get(key)
    return with_artifacts(rebuilt(task, steps_in(row), past, notes, finished), task, blob_rows.told(connection, key))


def _record(row: Row[Any]) -> TaskRecord:
    return TaskRecord(task=task_of(row), payload=row.whole_payload, updated_at=row.updated_at)


def _whole(connection: Connection, records: Sequence[TaskRecord]) -> list[TaskRecord]:
    """The same with all that hangs on them."""
    keys = [record.task.key for record in records]
    grants = {record.task.key: record.task.grants for record in records}
    finished, past = _finished(connection, grants), _past(connection, keys)
    notes, late = _notes(connection, keys), _late(connection, keys)
    return [
        replace(
            record,
            finished=finished.get(record.task.key),
            earlier=tuple(one.superseded for one in past[record.task.key]),
            remarks=tuple(one.remark for one in notes[record.task.key]),
            late_results=tuple(late[record.task.key]),
        )
        for record in records
    ]


def _finished(connection: Connection, grants: Mapping[int, int]) -> Mapping[int, Finished]:
    """How the latest attempts ended, by the key of their task. `grants`: the number of each one's latest attempt."""
    rows = _among(connection, _RESULTS, task_results.c.task_key, list(grants))
    return {row[0]: finished_of(row) for row in rows if row[1] in (0, grants[row[0]])}


def _past(connection: Connection, keys: Sequence[int]) -> Mapping[int, list[Past]]:
    return _hanging(_of_keys(connection, attempts, keys), past_of, lambda one: one.superseded.attempt.number)


def _notes(connection: Connection, keys: Sequence[int]) -> Mapping[int, list[Noted]]:
    return _hanging(_of_keys(connection, task_remarks, keys), noted_of, lambda one: one.remark.revision)


def _late(connection: Connection, keys: Sequence[int]) -> Mapping[int, list[LateResult]]:
    return _hanging(_of_keys(connection, late_results, keys), late_of, lambda one: (one.at, one.attempt, one.fence))


def _of_keys(connection: Connection, table: Table, keys: Sequence[int]) -> Iterator[Row[Any]]:
    return _among(connection, select(table), table.c.task_key, keys)


def _hanging(rows: Iterable[Row[Any]], of: Callable[[Row[Any]], T], order: Callable[[T], Any]) -> Mapping[int, list[T]]:
    """Rows by the key of their task, those of each in order."""
    found: defaultdict[int, list[T]] = defaultdict(list)
    for row in rows:
        found[row.task_key].append(of(row))
    for some in found.values():
        some.sort(key=order)
    return found


def records(connection: Connection, keys: Sequence[int]) -> list[TaskRecord]:
    """Tasks by key, in the order of the keys, without their ends and earlier attempts."""
    by_key = {row.key: _record(row) for row in _among(connection, _WHOLE, tasks.c.key, keys)}
    return [by_key[key] for key in keys]


def values(connection: Connection, keys: Sequence[int]) -> list[Task]:
    """Tasks by key, in the order of the keys, without their payloads."""
    by_key = {row.key: task_of(row) for row in _among(connection, _WITHOUT_PAYLOAD, tasks.c.key, keys)}
    return [by_key[key] for key in keys]


def have_ended(connection: Connection, task_ids: Sequence[str]) -> dict[str, bool]:
    """Whether each of these tasks has ended, of those that there are."""
    query = select(tasks.c.id, tasks.c.finished_at)
    rows = _among(connection, query, tasks.c.id, task_ids)
    return {task_id: finished_at is not None for task_id, finished_at in rows}


def read_ended(connection: Connection, task_ids: Sequence[str]) -> list[TaskEnd]:
    """How those of these tasks have ended that have, until enough is loaded."""
    by_id = {row[0]: row for row in _among(connection, _ENDED, tasks.c.id, task_ids)}
    ended = [by_id[task_id] for task_id in task_ids if task_id in by_id]
    ended = ended[: fitting(row.size for row in ended)]
    finished = _finished(connection, {row.key: row.grants for row in ended})
    return [end_of(row, finished.get(row.key)) for row in ended]


def _of_status(status: TaskStatus) -> ColumnElement[bool]:
    """Of one status: by the index, unless it is that of nearly all tasks."""
    same = text(f"tasks.status = '{status}'")
    return and_(same) if status is TaskStatus.COMPLETED else and_(same, text(f"tasks.{UNCOMPLETED}"))


def counts(connection: Connection) -> LiveCounts:
    """Live tasks. Those that wait, by far the most, are counted along an index in order of pools."""
    bands = [func.count().filter(_in_band(band)).label(band) for band in PRIORITIES]
    by_status: dict[tuple[str, str], int] = {}
    queued: dict[tuple[str, str], int] = {}
    for pool, *numbers in connection.execute(select(tasks.c.pool, *bands).where(_PENDING).group_by(tasks.c.pool)):
        by_status[str(TaskStatus.PENDING), pool] = sum(numbers)
        queued.update({(pool, band): number for band, number in zip(PRIORITIES, numbers, strict=True) if number})
    for status in sorted(LIVE - {TaskStatus.PENDING}):
        others = select(tasks.c.pool, func.count()).where(_of_status(status)).group_by(tasks.c.pool)
        by_status.update({(str(status), pool): number for pool, number in connection.execute(others)})
    return LiveCounts(by_status=by_status, queued=queued)


def _in_band(band: str) -> ColumnElement[bool]:
    below = [number for name, number in PRIORITIES.items() if number < PRIORITIES[band]]
    return tasks.c.priority.between(max(below, default=0) + 1, PRIORITIES[band])


def events_behind(connection: Connection, after: int, limit: int) -> list[TaskEvent]:
    """Whole blocks behind a revision, until there are `limit` events."""
    blocks = select(events.c.last_revision, events.c.block).order_by(events.c.last_revision).limit(1)
    found: list[TaskEvent] = []
    last = after
    while len(found) < limit:
        row = connection.execute(blocks.where(events.c.last_revision > last)).one_or_none()
        if row is None:
            break
        found.extend(event for event in decode_block(row.block) if event.revision > after)
        last = row.last_revision
    return found


def oldest_revision(connection: Connection) -> int:
    """The revision before the first kept event."""
    first = select(events.c.first_revision).order_by(events.c.last_revision).limit(1)
    oldest = connection.execute(first).scalar_one_or_none()
    return int(connection.execute(select(meta.c.revision)).scalar_one()) if oldest is None else int(oldest) - 1


def finished_keys(connection: Connection, before: int, limit: int) -> list[int]:
    """The tasks that finished before a moment, the oldest first."""
    ended = tasks.c.finished_at
    query = select(tasks.c.key).where(ended < before, ended.is_not(None)).order_by(ended).limit(limit)
    return list(connection.execute(query).scalars())


def parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut values into lists short enough for one statement."""
    for start in range(0, len(values), MOST_NAMES):
        yield values[start : start + MOST_NAMES]


def _among(
    connection: Connection, query: Select[Any], column: ColumnElement[Any], values: Sequence[Any]
) -> Iterator[Any]:
    """The rows of a query in which a column has one of these values."""
    for part in parts(values):
        yield from connection.execute(query.where(column.in_(part))).all()
