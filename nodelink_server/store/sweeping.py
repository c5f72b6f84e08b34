"""Forgetting what is old, a portion a transaction, so that no commit waits long behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import takewhile

from sqlalchemy import Connection, delete, select, text, update

from nodelink_server.store import driver
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

PORTION = 250
"""Tasks that are deleted in one transaction: 2 ms, and every commit may have to wait for one."""
MOST_BLOCKS = 1_000
MOST_KEYS = 500

# A server that is never idle deletes as many tasks as it accepts, so these go past SQLAlchemy: a third of the time.
_FORGET = tuple(
    f"DELETE FROM {column.table} WHERE {column.name} IN (SELECT value FROM json_each(?))"  # noqa: S608 (names of ours)
    for column in (
        *(
            table.c.task_key
            for table in (task_specs, task_results, attempts, task_remarks, late_results, holds, artifacts)
        ),
        tasks.c.key,
    )
)
"""From each table that has rows of tasks. Their own come last: how many those are is told."""
_LABELLED = text(
    "SELECT task_key, metadata FROM task_specs"
    " WHERE task_key IN (SELECT value FROM json_each(:keys)) AND metadata IS NOT NULL"
)


def portions(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut keys into lists for one transaction each."""
    for start in range(0, len(keys), PORTION):
        yield keys[start : start + PORTION]


def forget_tasks(connection: Connection, keys: Sequence[int]) -> int:
    """Delete finished tasks with all that hangs on them; how many there were."""
    named = json.dumps(list(keys))
    _forget_labels(connection, named)
    return [driver.execute(connection, statement, (named,)) for statement in _FORGET][-1]


def _forget_labels(connection: Connection, keys: str) -> None:
    """Delete the labels of tasks: they are found by the metadata that they were made from."""
    for key, encoded in connection.execute(_LABELLED, {"keys": keys}).all():
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
