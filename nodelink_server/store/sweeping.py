"""Forgetting what is old, a portion a transaction, so that no commit waits long behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, delete, select, update

from nodelink_server.store.records import labels_in
from nodelink_server.store.tables import (
    KEYS_IN_SPAN,
    attempts,
    events,
    task_labels,
    task_results,
    task_spans,
    task_specs,
    tasks,
)

PORTION = 100
MOST_BLOCKS = 10_000
MOST_KEYS = 5_000


def portions(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut keys into lists for one transaction each."""
    for start in range(0, len(keys), PORTION):
        yield keys[start : start + PORTION]


def forget_tasks(connection: Connection, keys: Sequence[int]) -> int:
    """Delete finished tasks with all that hangs on them."""
    _forget_labels(connection, keys)
    for table in (task_specs, task_results, attempts):
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


def forget_spans(connection: Connection) -> int:
    """Delete what is known of keys that are older than those of all tasks."""
    first = select(tasks.c.key).where(tasks.c.key > 0).order_by(tasks.c.key).limit(1)
    oldest = connection.execute(first).scalar_one_or_none()
    if oldest is None:
        return 0
    return connection.execute(delete(task_spans).where(task_spans.c.span < oldest // KEYS_IN_SPAN)).rowcount


def last_old_block(connection: Connection, before: int) -> int:
    """The last revision of the leading blocks that are older than a moment; 0: there are none."""
    blocks = select(events.c.last_revision, events.c.time).order_by(events.c.last_revision).limit(MOST_BLOCKS)
    last = 0
    for revision, time in connection.execute(blocks):
        if time >= before:
            break
        last = revision
    return last


def forget_events(connection: Connection, last: int) -> int:
    """Delete the blocks up to a revision."""
    return connection.execute(delete(events).where(events.c.last_revision <= last)).rowcount


def forget_idempotency(connection: Connection, before: int) -> int:
    """Free the idempotency keys of tasks that were created before a moment."""
    named = tasks.c.idempotency_key.is_not(None)
    old = select(tasks.c.key).where(named, tasks.c.created_at < before).limit(MOST_KEYS)
    freed = update(tasks).where(tasks.c.key.in_(old)).values(idempotency_key=None, idempotency_digest=None)
    return connection.execute(freed).rowcount
