"""Forgetting what is old, a portion a transaction, so that no commit waits long behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

from sqlalchemy import Connection, delete, select, update

from nodelink_server.store.records import labels_in
from nodelink_server.store.tables import (
    artifacts,
    attempts,
    events,
    holds,
    late_results,
    task_labels,
    task_remarks,
    task_results,
    task_specs,
    tasks,
)

PORTION = 100
MOST_BLOCKS = 1_000
MOST_KEYS = 500


def portions(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut keys into lists for one transaction each."""
    for start in range(0, len(keys), PORTION):
        yield keys[start : start + PORTION]


def forget_tasks(connection: Connection, keys: Sequence[int]) -> int:
    """Delete finished tasks with all that hangs on them."""
    _forget_labels(connection, keys)
    for table in (task_specs, task_results, attempts, task_remarks, late_results, holds, artifacts):
        connection.execute(delete(table).where(table.c.task_key.in_(keys)))
    return connection.execute(delete(tasks).where(tasks.c.key.in_(keys))).rowcount


def _forget_labels(connection: Connection, keys: Sequence[int]) -> None:
    """Delete the labels of tasks: they are found by the metadata that they were made from."""
    metadata = task_specs.c["metadata"]
    query = select(task_specs.c.task_key, metadata).where(task_specs.c.task_key.in_(keys), metadata.is_not(None))
    for key, encoded in connection.execute(query).all():
        for name, value in labels_in(encoded):
            entry = (task_labels.c.name == name, task_labels.c.value == value, task_labels.c.task_key == key)
            connection.execute(delete(task_labels).where(*entry))


def forget_events(connection: Connection, before: int) -> int:
    """Delete some of the leading blocks that are older than a moment; how many, `MOST_BLOCKS` if there may be more."""
    leading = select(events.c.last_revision, events.c.time).where(events.c.last_revision > 0)
    blocks = leading.order_by(events.c.last_revision).limit(MOST_BLOCKS)
    old = [last for last, _ in takewhile(lambda block: block.time < before, connection.execute(blocks))]
    if not old:
        return 0
    return connection.execute(delete(events).where(events.c.last_revision <= old[-1])).rowcount


def forget_idempotency(connection: Connection, before: int) -> int:
    """Free some of the idempotency keys of tasks that were created before a moment; how many, `MOST_KEYS` if there may
    be more.
    """
    named = tasks.c.idempotency_key.is_not(None)
    old = select(tasks.c.key).where(named, tasks.c.created_at < before).limit(MOST_KEYS)
    freed = update(tasks).where(tasks.c.key.in_(old)).values(idempotency_key=None, idempotency_digest=None)
    return connection.execute(freed).rowcount
