"""Servers that break a rule of keeping, telling or forgetting: queues, keys, events, output, memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nodelink.task import LogAck, LogChunk
from nodelink_server.core.ports import Batch, LogRow, Receipt
from nodelink_server.core.session import AgentSession
from nodelink_server.store.disk import Disk
from nodelink_server.store.history import events_of, revisions_of


def refills_over_what_came_meanwhile(manager: Any) -> None:
    """A task that came while a queue was read from the database is passed over."""
    scheduler = manager.scheduler
    front_of, refill = scheduler._front, scheduler._refill

    async def blind(shape: Any, front: Any) -> None:
        end = type(front).end_refill

        def end_refill(fetched: Any) -> int:
            front._first_kept_out = None
            return int(end(front, fetched))

        front.end_refill = end_refill
        await refill(shape, front)

    scheduler._front, scheduler._refill = front_of, blind


def ignores_idempotency_keys(manager: Any) -> None:
    """A request that is repeated is a new task."""
    manager.rooms.submissions._key = lambda submission, caller: None


def forgets_what_resuming_listeners_missed(manager: Any) -> None:
    """Whoever comes back hears only what is new."""
    bus = manager.events
    watch = bus.watch
    bus.watch = lambda filter, after: watch(filter, after=None if after is None else bus.newest)


def appends_output_as_it_comes(manager: Any) -> None:
    """Output that was sent twice is stored twice."""
    row_of = manager.logs._row

    def careless(session: AgentSession, chunk: LogChunk) -> LogRow | None:
        intake = manager.logs._intakes.get(chunk.ref)
        if intake is not None:
            chunk = chunk._replace(offset=intake.ends[chunk.stream])
        row: LogRow | None = row_of(session, chunk)
        return row

    manager.logs._row = careless


def never_cleans_up(manager: Any) -> None:
    """Finished tasks stay in memory."""
    manager.rooms.cleanup.forget_old = lambda: None


def publishes_before_the_commit(manager: Any) -> None:
    """Listeners hear of what is only about to become durable."""
    store, bus = manager._store, manager.events
    apply, publish, disk = store.apply, manager.ledger._publish, store._disk

    async def hasty(batch: Batch) -> Receipt:
        expected = _expected(disk, batch)
        publish(expected)
        receipt: Receipt = await apply(batch)
        return receipt

    manager.ledger._publish = lambda events: publish([event for event in events if event.revision > bus.newest])
    store.apply = hasty


def _expected(disk: Disk, batch: Batch) -> Sequence[Any]:
    """The events that a batch makes if nothing goes wrong."""
    events, revision = [], disk.revision
    for change in batch.changes:
        row = disk.rows.get(disk.keys.get(change.task.id, 0))
        if (row.task.revision if row is not None else 0) == change.expected:
            events += events_of(change, revision + 1, batch.now)
            revision += revisions_of(change)
    return events


def acknowledges_output_before_it_is_stored(manager: Any) -> None:
    """An agent may forget output that a crash would lose."""
    logs = manager.logs
    receive = logs.receive

    def hasty(session: AgentSession, chunks: Sequence[LogChunk]) -> None:
        receive(session, chunks)
        session.ack_logs([LogAck(chunk.ref, chunk.stream, chunk.end) for chunk in chunks])

    logs.receive = hasty
