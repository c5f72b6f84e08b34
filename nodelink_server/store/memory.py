"""A store in memory, with the same meaning as the real one: for tests and for simulation.

What survives a crash is the `Disk`; a `MemoryStore` is a server's open connection to it. A batch is on the disk wholly
or not at all: it gets there in one step, between the pauses "apply" and "applied".
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from nodelink.task import LogStream, TaskStatus
from nodelink_server.core.ports import (
    AgentSessionRecord,
    Batch,
    Boot,
    LiveCounts,
    LogEnds,
    LogRow,
    Place,
    Receipt,
    SessionEnding,
    Shape,
    TaskEvent,
    TaskPage,
    TaskQuery,
)
from nodelink_server.core.ranking import band_of
from nodelink_server.core.states import GRANTED
from nodelink_server.core.statistics import HOUR_MS, MINUTE_MS, Counts, StatsKey, StatsRange
from nodelink_server.core.task import Task, TaskRecord
from nodelink_server.store.chunks import cut
from nodelink_server.store.disk import Commit, Disk, Row
from nodelink_server.store.gathering import gather, hour_of
from nodelink_server.store.history import rebuilt
from nodelink_server.store.memory_listing import listed
from nodelink_server.store.pages import fitting

PAYLOAD_AT_HAND_BYTES = 1024


async def _no_pause(kind: str) -> None:
    """Go on at once."""


def _no_fault(kind: str) -> None:
    """Nothing goes wrong."""


class MemoryStore:
    """A `Store` over a `Disk`.

    `pause` is awaited around each deed (kinds: boot, apply, applied, append, appended, sweep, read). `fault` is called
    before it is done (not for applied, appended), and may raise what a real store would raise.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        pause: Callable[[str], Awaitable[None]] = _no_pause,
        fault: Callable[[str], None] = _no_fault,
    ) -> None:
        self._disk = disk
        self._pause = pause
        self._fault = fault

    async def boot(self, now: int) -> Boot:
        """Raise the start number, and return what the server starts from."""
        await self._begin("boot")
        disk = self._disk
        disk.start_number += 1
        for name, session in disk.sessions.items():
            if session.disconnected_at is None:
                ended_at = max(session.connected_at, disk.committed_at)
                disk.sessions[name] = replace(
                    session, disconnected_at=ended_at, reason=SessionEnding.SERVER_STOPPED.value
                )
        granted = [row.task for _, row in sorted(disk.live.items()) if row.task.status in GRANTED]
        pending = [row.task for row in disk.live.values() if row.task.status is TaskStatus.PENDING]
        return Boot(
            start_number=disk.start_number,
            cluster_id=disk.cluster_id,
            control_ms=disk.control_ms,
            revision=disk.revision,
            granted=granted,
            agents=list(disk.agents.values()),
            shapes=sorted({Shape(task.spec.pool, task.spec.type) for task in pending}),
        )

    async def apply(self, batch: Batch) -> Receipt:
        """Make a batch durable in one commit."""
        await self._begin("apply")
        receipt = Commit(self._disk, batch).run()
        await self._pause("applied")
        return receipt

    async def find(self, task_ids: Sequence[str]) -> Sequence[Task]:
        """The stored tasks among these ids, with small payloads."""
        await self._begin("read")
        keys = {self._disk.keys[task_id] for task_id in task_ids if task_id in self._disk.keys}
        return [_at_hand(self._disk.rows[key]) for key in keys]

    async def payloads(self, keys: Sequence[int]) -> Mapping[int, bytes]:
        """The payloads of tasks, by key."""
        await self._begin("read")
        return {key: self._disk.rows[key].payload for key in keys if key in self._disk.rows}

    async def waiting(self, shape: Shape, after: Place | None, limit: int) -> Sequence[Task]:
        """Pending tasks of a shape in order of (rank, key), behind a place."""
        await self._begin("read")
        places = {
            Place(row.task.rank, key): row
            for key, row in self._disk.live.items()
            if row.task.status is TaskStatus.PENDING and (row.task.spec.pool, row.task.spec.type) == shape
        }
        return [_at_hand(places[place]) for place in _page(places, after, limit)]

    async def due(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Scheduled tasks in order of (due_at, key), behind a place."""
        await self._begin("read")
        places = {
            Place(row.task.due_at, key): row.task.id
            for key, row in self._disk.live.items()
            if row.task.status is TaskStatus.SCHEDULED and row.task.due_at is not None
        }
        return [(place, places[place]) for place in _page(places, after, limit)]

    async def expiring(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Pending tasks in order of (queue_deadline, key), behind a place."""
        await self._begin("read")
        places = {
            Place(row.task.queue_deadline, key): row.task.id
            for key, row in self._disk.live.items()
            if row.task.status is TaskStatus.PENDING and row.task.queue_deadline is not None
        }
        return [(place, places[place]) for place in _page(places, after, limit)]

    async def read(self, task_id: str) -> TaskRecord | None:
        """Everything about one task."""
        await self._begin("read")
        row = self._row(task_id)
        return None if row is None else _record(row)

    async def read_ended(self, task_ids: Sequence[str]) -> Sequence[TaskRecord]:
        """Everything about those of these tasks that have ended, until enough is loaded."""
        await self._begin("read")
        found = [row for task_id in task_ids if (row := self._row(task_id)) is not None and row.task.is_terminal]
        size = fitting(len(row.payload) + len(row.finished.output if row.finished else b"") for row in found)
        return [_record(row) for row in found[:size]]

    async def list(self, query: TaskQuery) -> TaskPage:
        """A page of tasks, newest first."""
        await self._begin("read")
        return listed(self._disk, query)

    async def agent_sessions(self, agent_id: str, before: int, limit: int) -> Sequence[AgentSessionRecord]:
        """Sessions of an agent, the newest first."""
        await self._begin("read")
        found = [one for one in self._disk.sessions.values() if one.agent_id == agent_id]
        below = [one for one in found if not before or one.number < before]
        return heapq.nlargest(limit, below, key=lambda one: one.number)

    async def counts(self) -> LiveCounts:
        """How many live tasks there are."""
        await self._begin("read")
        tasks = [row.task for row in self._disk.live.values()]
        return LiveCounts(
            by_status=Counter((str(task.status), task.spec.pool) for task in tasks),
            queued=Counter(
                (task.spec.pool, band_of(task.spec.priority)) for task in tasks if task.status is TaskStatus.PENDING
            ),
        )

    async def events(self, after: int, limit: int) -> Sequence[TaskEvent]:
        """Kept events behind a revision, whole blocks."""
        await self._begin("read")
        found: list[TaskEvent] = []
        first = bisect_right(self._disk.blocks, after, key=lambda block: block[0])
        for _, _, block in self._disk.blocks[first:]:
            if len(found) >= limit:
                break
            found.extend(event for event in block if event.revision > after)
        return found

    async def oldest_revision(self) -> int:
        """The revision before the first kept event."""
        await self._begin("read")
        blocks = self._disk.blocks
        return blocks[0][2][0].revision - 1 if blocks else self._disk.revision

    async def history(self, task_id: str) -> Sequence[TaskEvent]:
        """The events of one task from its first."""
        await self._begin("read")
        row = self._row(task_id)
        return rebuilt(row.task, row.steps, row.past, row.finished) if row else []

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        """Make output durable."""
        await self._begin("append")
        for row in rows:
            self._disk.output.setdefault((row.task_key, row.attempt), {}).setdefault(row.position, row)
        await self._pause("appended")

    async def log_ends(self, task_key: int, attempt: int) -> LogEnds:
        """How much of an attempt's output is stored."""
        await self._begin("read")
        rows = self._disk.output.get((task_key, attempt), {}).values()
        ends = {
            stream: max((row.offset + row.length for row in rows if row.stream is stream), default=0)
            for stream in LogStream
        }
        position = max((row.position + row.length for row in rows), default=0)
        return LogEnds(ends[LogStream.STDOUT], ends[LogStream.STDERR], position)

    async def read_logs(
        self, task_key: int, attempt: int, stream: LogStream | None, offset: int, limit: int
    ) -> Sequence[LogRow]:
        """Stored output from an offset."""
        await self._begin("read")
        rows = self._disk.output.get((task_key, attempt), {})
        in_order = [rows[position] for position in sorted(rows) if stream is None or rows[position].stream is stream]
        behind = [row for row in in_order if _end(row, by_stream=stream is not None) > offset]
        return cut(behind, by_stream=stream is not None, offset=offset, limit=limit)

    async def sweep(
        self, *, finished_before: int, events_before: int, keys_before: int, sessions_before: int, limit: int
    ) -> int:
        """Delete what is old; how many tasks that were."""
        await self._begin("sweep")
        self._forget_sessions(sessions_before)
        self._forget_keys(keys_before)
        self._forget_events(events_before)
        ended = sorted(
            (row.task.finished_at, key)
            for key, row in self._disk.rows.items()
            if row.task.finished_at is not None and row.task.finished_at < finished_before
        )
        for _, key in ended[:limit]:
            self._delete(key)
        return len(ended[:limit])

    async def statistics(self, wanted: StatsRange) -> Mapping[tuple[int, str], Counts]:
        """What the rows of a range add up to."""
        await self._begin("read")
        rows = chain(self._disk.minutes.items(), self._disk.hours.items())
        return gather((row for row in rows if wanted.since <= row[0].start < wanted.until), wanted, Counts.add)

    async def coarsen(self, *, before: int, series: int, forget_before: int, limit: int) -> int:
        """Merge old rows of minutes into rows of hours, and delete the oldest; how many rows were found."""
        await self._begin("sweep")
        minutes, hours = self._disk.minutes, self._disk.hours
        forgotten = _forget_rows(minutes, forget_before - MINUTE_MS) + _forget_rows(hours, forget_before - HOUR_MS)
        old = sorted(key for key in minutes if key.start < before and key.series <= series)[:limit]
        for key in old:
            hours.setdefault(hour_of(key), Counts()).add(minutes.pop(key))
        return forgotten + len(old)

    async def _begin(self, kind: str) -> None:
        await self._pause(kind)
        self._fault(kind)

    def _row(self, task_id: str) -> Row | None:
        key = self._disk.keys.get(task_id)
        return None if key is None else self._disk.rows[key]

    def _forget_keys(self, before: int) -> None:
        kept = self._disk.idempotency
        for name in [name for name, entry in kept.items() if entry.at < before]:
            del kept[name]

    def _forget_sessions(self, before: int) -> None:
        kept = self._disk.sessions
        for name in [name for name, one in kept.items() if (one.disconnected_at or before) < before]:
            del kept[name]

    def _forget_events(self, before: int) -> None:
        blocks = self._disk.blocks
        while blocks and blocks[0][1] < before:
            del blocks[0]

    def _delete(self, key: int) -> None:
        row = self._disk.rows.pop(key)
        del self._disk.keys[row.task.id]
        for attempt in [attempt for attempt in self._disk.output if attempt[0] == key]:
            del self._disk.output[attempt]
        kept = self._disk.idempotency
        for name in [name for name, entry in kept.items() if entry.task_id == row.task.id]:
            del kept[name]


def _at_hand(row: Row) -> Task:
    """A task with its payload, if that is small."""
    return replace(row.task, payload=row.payload) if len(row.payload) <= PAYLOAD_AT_HAND_BYTES else row.task


def _page(places: Iterable[Place], after: Place | None, limit: int) -> list[Place]:
    """The next places, in order."""
    return heapq.nsmallest(limit, (place for place in places if after is None or place > after))


def _forget_rows(rows: dict[StatsKey, Counts], last: int) -> int:
    """Delete the rows that start at a moment or before; how many those were."""
    old = [key for key in rows if key.start <= last]
    for key in old:
        del rows[key]
    return len(old)


def _end(row: LogRow, *, by_stream: bool) -> int:
    return (row.offset if by_stream else row.position) + row.length


def _record(row: Row) -> TaskRecord:
    earlier = tuple(past.superseded for past in row.past)
    return TaskRecord(
        task=row.task, payload=row.payload, updated_at=row.updated_at, finished=row.finished, earlier=earlier
    )
