"""What is read from the database of tasks. Each query is a range of an index: none walks a table, none sorts much.

The condition of a partial index must stand in the query word for word, so statuses are written out in its text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, case, func, null, select, text, tuple_

from nodelink.task import LIVE, PRIORITIES, Finished, TaskStatus
from nodelink_server.core.ports import AgentRecord, LiveCounts, Place, Shape, TaskEvent
from nodelink_server.core.states import GRANTED
from nodelink_server.core.task import Task, TaskRecord
from nodelink_server.store.blocks import decode_block
from nodelink_server.store.history import Past, rebuilt
from nodelink_server.store.pages import fitting
from nodelink_server.store.records import agent_of, finished_of, past_of, steps_in, task_of
from nodelink_server.store.tables import UNCOMPLETED, agents, attempts, events, meta, task_results, task_specs, tasks

PAYLOAD_AT_HAND_BYTES = 1024
MOST_NAMES = 500

T = TypeVar("T")

_PENDING = text("tasks.status = 'pending'")
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
)


def _selected(payload: ColumnElement[Any], *more: ColumnElement[Any]) -> Select[Any]:
    """Tasks with what was asked for."""
    columns = (*tasks.c, *_SPEC, payload.label("payload"), *more)
    return select(*columns).join_from(tasks, task_specs, task_specs.c.task_key == tasks.c.key)


_WITHOUT_PAYLOAD = _selected(null())
_AT_HAND = _selected(_SMALL_PAYLOAD)
_WHOLE = _selected(null(), task_specs.c.payload.label("whole_payload"))


def granted(connection: Connection) -> list[Task]:
    """The tasks that agents hold."""
    queries = [_WITHOUT_PAYLOAD.where(_of_status(status)).order_by(tasks.c.key) for status in sorted(GRANTED)]
    return [task_of(row) for query in queries for row in connection.execute(query)]


def all_agents(connection: Connection) -> list[AgentRecord]:
    """Every agent that has ever come."""
    return [agent_of(row) for row in connection.execute(select(agents))]


def shapes(connection: Connection) -> list[Shape]:
    """The shapes that tasks wait with: from each the next one is found in the index, whatever the number of tasks."""
    found: list[Shape] = []
    shape = tuple_(tasks.c.pool, tasks.c.type)
    query = select(tasks.c.pool, tasks.c.type).where(_PENDING).order_by(tasks.c.pool, tasks.c.type).limit(1)
    row = connection.execute(query).one_or_none()
    while row is not None:
        found.append(Shape(row.pool, row.type))
        row = connection.execute(query.where(shape > found[-1])).one_or_none()
    return found


def find(connection: Connection, task_ids: Sequence[str]) -> list[Task]:
    """Tasks by id."""
    queries = (_AT_HAND.where(tasks.c.id.in_(part)) for part in parts(task_ids))
    return [task_of(row) for query in queries for row in connection.execute(query)]


def payloads(connection: Connection, keys: Sequence[int]) -> dict[int, bytes]:
    """Payloads by key."""
    columns = select(task_specs.c.task_key, task_specs.c.payload)
    queries = (columns.where(task_specs.c.task_key.in_(part)) for part in parts(keys))
    return {row.task_key: row.payload for query in queries for row in connection.execute(query)}


def waiting(connection: Connection, shape: Shape, after: Place | None, limit: int) -> list[Task]:
    """Pending tasks of a shape."""
    query = _AT_HAND.where(_PENDING, tasks.c.pool == shape.pool, tasks.c.type == shape.type)
    return [task_of(row) for row in _page(connection, query, tasks.c.rank, after, limit)]


def due(connection: Connection, after: Place | None, limit: int) -> list[tuple[Place, str]]:
    """Scheduled tasks."""
    query = select(tasks.c.due_at, tasks.c.key, tasks.c.id).where(_SCHEDULED, tasks.c.due_at.is_not(None))
    page = _page(connection, query, tasks.c.due_at, after, limit)
    return [(Place(row.due_at, row.key), row.id) for row in page]


def expiring(connection: Connection, after: Place | None, limit: int) -> list[tuple[Place, str]]:
    """Pending tasks with a queue deadline."""
    deadline = tasks.c.queue_deadline
    query = select(deadline, tasks.c.key, tasks.c.id).where(_PENDING, deadline.is_not(None))
    page = _page(connection, query, deadline, after, limit)
    return [(Place(row.queue_deadline, row.key), row.id) for row in page]


def _page(
    connection: Connection, query: Select[Any], order: ColumnElement[Any], after: Place | None, limit: int
) -> Sequence[Row[Any]]:
    """Rows in order of (a column, key), behind a place: the rest of its value first, then what comes after."""
    ordered = query.order_by(order, tasks.c.key)
    if after is None:
        return connection.execute(ordered.limit(limit)).all()
    same = connection.execute(ordered.where(order == after.value, tasks.c.key > after.key).limit(limit)).all()
    return [*same, *connection.execute(ordered.where(order > after.value).limit(limit - len(same)))]


def read(connection: Connection, task_id: str) -> TaskRecord | None:
    """Everything about one task."""
    row = connection.execute(_WHOLE.where(tasks.c.id == task_id)).one_or_none()
    if row is None:
        return None
    earlier = tuple(past.superseded for past in _past(connection, row.key))
    return _record(row, finished=_finished(connection, row.key), earlier=earlier)


def history(connection: Connection, task_id: str) -> list[TaskEvent]:
    """The events of one task, made again."""
    row = connection.execute(_WITHOUT_PAYLOAD.where(tasks.c.id == task_id)).one_or_none()
    if row is None:
        return []
    return rebuilt(task_of(row), steps_in(row), _past(connection, row.key), _finished(connection, row.key))


def _record(row: Row[Any], **more: Any) -> TaskRecord:
    return TaskRecord(task=task_of(row), payload=row.whole_payload, updated_at=row.updated_at, **more)


def _past(connection: Connection, key: int) -> list[Past]:
    query = select(attempts).where(attempts.c.task_key == key).order_by(attempts.c.number)
    return [past_of(row) for row in connection.execute(query)]


def _finished(connection: Connection, key: int) -> Finished | None:
    row = connection.execute(select(task_results).where(task_results.c.task_key == key)).one_or_none()
    return None if row is None else finished_of(row)


def records(connection: Connection, keys: Sequence[int]) -> list[TaskRecord]:
    """Tasks by key, in the order of the keys, without their ends and earlier attempts."""
    found = (connection.execute(_WHOLE.where(tasks.c.key.in_(part))) for part in parts(keys))
    by_key = {row.key: _record(row) for rows in found for row in rows}
    return [by_key[key] for key in keys]


def read_ended(connection: Connection, task_ids: Sequence[str]) -> list[TaskRecord]:
    """Everything about those tasks that have ended, until enough is loaded."""
    sizes = _ended_sizes(connection, task_ids)
    ended = [sizes[task_id] for task_id in task_ids if task_id in sizes]
    keys = [key for key, _ in ended[: fitting(size for _, size in ended)]]
    finished = {row.task_key: finished_of(row) for row in _of_keys(connection, task_results, keys)}
    past = defaultdict(list)
    for row in _of_keys(connection, attempts, keys):
        past[row.task_key].append(past_of(row).superseded)
    return [
        replace(
            record,
            finished=finished.get(record.task.key),
            earlier=tuple(sorted(past[record.task.key], key=lambda one: one.attempt.number)),
        )
        for record in records(connection, keys)
    ]


def _ended_sizes(connection: Connection, task_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """For each task that has ended, its key, and the bytes of its payload and its result."""
    size = func.length(task_specs.c.payload) + func.coalesce(func.length(task_results.c.output), 0)
    query = (
        select(tasks.c.id, tasks.c.key, size.label("size"))
        .join_from(tasks, task_specs, task_specs.c.task_key == tasks.c.key)
        .outerjoin(task_results, task_results.c.task_key == tasks.c.key)
        .where(tasks.c.finished_at.is_not(None))
    )
    found = (connection.execute(query.where(tasks.c.id.in_(part))) for part in parts(task_ids))
    return {row.id: (row.key, row.size) for rows in found for row in rows}


def _of_keys(connection: Connection, table: Table, keys: Sequence[int]) -> Iterator[Row[Any]]:
    for part in parts(keys):
        yield from connection.execute(select(table).where(table.c.task_key.in_(part)))


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
