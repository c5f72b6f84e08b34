"""Forgetting what is old, a portion a transaction, so that no commit waits long behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, delete, select, update

from nodelink_server.store.tables import attempts, events, task_results, task_specs, tasks

PORTION = 100
MOST_BLOCKS = 10_000
MOST_KEYS = 5_000


def portions(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut keys into lists for one transaction each."""
    for start in range(0, len(keys), PORTION):
        yield keys[start : start + PORTION]


def forget_tasks(connection: Connection, keys: Sequence[int]) -> int:
    """Delete finished tasks with all that hangs on them."""
    for table in (task_specs, task_results, attempts):
        connection.execute(delete(table).where(table.c.task_key.in_(keys)))
    return connection.execute(delete(tasks).where(tasks.c.key.in_(keys))).rowcount


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
