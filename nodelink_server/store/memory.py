"""A store in memory, with the same meaning as the real one: for tests and for simulation.

What survives a crash is the `Disk`; a `MemoryStore` is a server's open connection to it. A batch is on the disk wholly
or not at all: it gets there in one step, between the pauses "apply" and "applied".
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from nodelink.task import LogStream, TaskStatus
from nodelink.values import evolve
from nodelink_server.core.deeds import Deed
from nodelink_server.core.needs import place_of, shape_of
from nodelink_server.core.ports import (
    AgentSessionRecord,
    Answer,
    Batch,
    Boot,
    LiveCounts,
    LogEnds,
    LogRow,
    Place,
    Receipt,
    Selection,
    SessionEnding,
    Shape,
    TaskEvent,
    TaskPage,
    TaskQuery,
    Waiters,
    Workspace,
)
from nodelink_server.core.ranking import band_of
from nodelink_server.core.states import GRANTED, PLANNED, QUEUED
from nodelink_server.core.statistics import HOUR_MS, MINUTE_MS, Counts, StatsKey, StatsRange
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import TaskEnd, TaskRecord
from nodelink_server.core.waiters import waiter_of
from nodelink_server.store.chunks import cut
from nodelink_server.store.disk import Commit, Disk, Row
from nodelink_server.store.gathering import gather, hour_of
from nodelink_server.store.history import rebuilt, with_artifacts
from nodelink_server.store.memory_blobs import MemoryBlobs
from nodelink_server.store.memory_listing import listed, selected
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
        self.blobs = MemoryBlobs(disk, pause=pause, fault=fault)

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
        return boot_of(disk)

    async def apply(self, batch: Batch) -> Receipt:
        """Make a batch durable in one commit."""
        await self._pause("apply")
        self._fault("apply")
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
            if row.task.status in QUEUED and shape_of(row.task) == shape
        }
        return [_at_hand(places[place]) for place in _page(places, after, limit)]

    async def count_before(self, shape: Shape, place: Place, most: int) -> int:
        """How many pending tasks of a shape go before a place: at most so many are counted."""
        await self._begin("read")
        pending = [row.task for row in self._disk.live.values() if row.task.status in QUEUED]
        same = [task for task in pending if shape_of(task) == shape]
        return min(most, sum((task.rank, task.key) < place for task in same))

    async def waiting_on(self, key: str, after: Mapping[Shape, Place], most: int) -> Sequence[Task]:
        """Of the pending tasks that name a key, the first of each shape, behind the place given for it."""
        await self._begin("read")
        first: defaultdict[Shape, list[Row]] = defaultdict(list)
        for row in sorted(self._disk.live.values(), key=lambda row: place_of(row.task)):
            shape = shape_of(row.task)
            is_behind = shape not in after or place_of(row.task) > after[shape]
            if _waits_for(row.task, key) and is_behind and len(first[shape]) < most:
                first[shape].append(row)
        return [_at_hand(row) for shape in sorted(first) for row in first[shape]]

    async def waiters(self, keys: Sequence[str], most_keys: int, few: int, most: int) -> Mapping[str, Waiters]:
        """By key, who waits and names it."""
        await self._begin("read")
        in_line = sorted((row.task for row in self._disk.live.values()), key=place_of)
        named = {key: [waiter_of(task) for task in in_line if _waits_for(task, key)] for key in keys}
        waited_for = [(key, some) for key, some in named.items() if some][:most_keys]
        return {key: Waiters(tuple(some[:few]), min(most, len(some[few:]))) for key, some in waited_for}

    async def set_limit(self, name: str, most: int | None, now: int, deed: Deed | None = None) -> None:
        """Set a limit, or (None) let there be none."""
        await self._begin("apply")
        self._disk.audit(deed)
        if most is None:
            self._disk.limits.pop(name, None)
        else:
            self._disk.limits[name] = most

    async def create_workspace(self, workspace: Workspace, deed: Deed | None = None) -> bool:
        """Keep a new workspace, if there is none of its name."""
        await self._begin("apply")
        is_new = self._disk.workspaces.setdefault(workspace.name, workspace) is workspace
        self._disk.audit(deed if is_new else None)
        return is_new

    async def change_workspace(self, workspace: Workspace, deed: Deed | None = None) -> bool:
        """Give a workspace another pool and mode, if there is one of its name."""
        await self._begin("apply")
        kept = self._disk.workspaces.get(workspace.name)
        if kept is not None:
            self._disk.workspaces[workspace.name] = replace(workspace, created_at=kept.created_at)
            self._disk.audit(deed)
        return kept is not None

    async def remove_workspace(self, name: str, deed: Deed | None = None) -> bool:
        """Let there be no workspace of this name, if no live task names it."""
        await self._begin("apply")
        is_used = any(row.task.spec.workspace == name for row in self._disk.live.values())
        if not is_used:
            self._disk.workspaces.pop(name, None)
            self._disk.audit(deed)
            self.blobs.forget_states(name)
        return not is_used

    async def answer(self, caller: str, key: str) -> Answer | None:
        """What was answered under a key."""
        await self._begin("read")
        return self._disk.answers.get((caller, key))

    async def keep_answer(self, answer: Answer) -> None:
        """Keep an answer under its key."""
        await self._begin("apply")
        self._disk.answers.setdefault((answer.key.caller, answer.key.key), answer)

    async def due(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Scheduled tasks in order of (due_at, key), behind a place."""
        return await self._by_moment(_due_at, after, limit)

    async def retrying(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Tasks that are to be tried again in order of (retry_at, key), behind a place."""
        return await self._by_moment(_retry_at, after, limit)

    async def limited(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Live tasks with a total deadline in order of (total_deadline, key), behind a place."""
        return await self._by_moment(lambda task: task.total_deadline, after, limit)

    async def expiring(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Tasks that wait for an agent, or for an approval, in order of (queue_deadline, key), behind a place."""
        return await self._by_moment(_queue_deadline, after, limit)

    async def _by_moment(
        self, moment: Callable[[Task], int | None], after: Place | None, limit: int
    ) -> Sequence[tuple[Place, str]]:
        """Live tasks that have a moment in order of (that, key), behind a place."""
        await self._begin("read")
        moments = {key: (moment(row.task), row.task.id) for key, row in self._disk.live.items()}
        places = {Place(at, key): task_id for key, (at, task_id) in moments.items() if at is not None}
        return [(place, places[place]) for place in _page(places, after, limit)]

    async def read(self, task_id: str) -> TaskRecord | None:
        """Everything about one task."""
        await self._begin("read")
        row = self._row(task_id)
        return None if row is None else _record(row)

    async def have_ended(self, task_ids: Sequence[str]) -> Mapping[str, bool]:
        """Whether each of these tasks has ended, of those that there are."""
        await self._begin("read")
        return {task_id: row.task.is_terminal for task_id in task_ids if (row := self._row(task_id)) is not None}

    async def read_ended(self, task_ids: Sequence[str]) -> Sequence[TaskEnd]:
        """How those of these tasks have ended that have, until enough is loaded."""
        await self._begin("read")
        found = [row for task_id in task_ids if (row := self._row(task_id)) is not None and row.task.is_terminal]
        size = fitting(len(row.finished.output if row.finished else b"") for row in found)
        return [_record(row).end for row in found[:size]]

    async def list(self, query: TaskQuery) -> TaskPage:
        """A page of tasks, newest first."""
        await self._begin("read")
        return listed(self._disk, query)

    async def select(self, query: TaskQuery) -> Selection:
        """The tasks of a page as values."""
        await self._begin("read")
        return selected(self._disk, query)

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
        if row is None:
            return []
        shelf = self._disk.blobs
        told = [
            (revision, shelf.artifacts[name][1]) for name, revision in shelf.told.items() if name[0] == row.task.key
        ]
        return with_artifacts(rebuilt(row.task, row.steps, row.past, row.notes, row.finished), row.task, told)

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
        answers = self._disk.answers
        for name in [name for name, answer in answers.items() if answer.at < before]:
            del answers[name]

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
        self.blobs.forget_artifacts(key)
        del self._disk.keys[row.task.id]
        for hold in [hold for hold, holder in self._disk.holds.items() if holder == key]:
            del self._disk.holds[hold]
        for attempt in [attempt for attempt in self._disk.output if attempt[0] == key]:
            del self._disk.output[attempt]
        kept = self._disk.idempotency
        for name in [name for name, entry in kept.items() if entry.task_id == row.task.id]:
            del kept[name]


def boot_of(disk: Disk) -> Boot:
    """What a server goes on from that has counted its start."""
    granted = [row.task for _, row in sorted(disk.live.items()) if row.task.status in GRANTED]
    pending = [row.task for row in disk.live.values() if row.task.status is TaskStatus.PENDING]
    planned = [row.task for _, row in sorted(disk.live.items()) if row.task.status in PLANNED]
    to_apply = {shape_of(task) for task in planned if task.status is TaskStatus.APPLY_PENDING}
    return Boot(
        start_number=disk.start_number,
        cluster_id=disk.cluster_id,
        control_ms=disk.control_ms,
        revision=disk.revision,
        granted=granted,
        agents=list(disk.agents.values()),
        shapes=sorted({shape_of(task) for task in pending}) + sorted(to_apply),
        planned=planned,
        holds={hold: disk.rows[key].task.id for hold, key in disk.holds.items()},
        limits=dict(disk.limits),
        rates={place: until for place, until in disk.rates.items() if until > disk.control_ms},
        lines=_lines(pending),
        workspaces=[disk.workspaces[name] for name in sorted(disk.workspaces)],
        pauses=list(disk.pauses.values()),
        loaded=None if disk.is_revived else disk.loaded,
    )


def _at_hand(row: Row) -> Task:
    """A task with its payload, if that is small."""
    return evolve(row.task, payload=row.payload) if len(row.payload) <= PAYLOAD_AT_HAND_BYTES else row.task


def _waits_for(task: Task, key: str) -> bool:
    is_named = task.lock == key or key in task.shared_keys
    return task.status is TaskStatus.PENDING and is_named and key != ""


def _lines(pending: Sequence[Task]) -> dict[tuple[str, str], tuple[int, int]]:
    """For each fairness key of a pool, the first and the last place in line of its waiting tasks."""
    tags: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for task in pending:
        if task.fair_tag is not None:
            tags[task.spec.pool, task.spec.fairness_key].append(task.fair_tag)
    return {line: (min(some), max(some)) for line, some in tags.items()}


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
    return TaskRecord(
        task=row.task,
        payload=row.payload,
        updated_at=row.updated_at,
        finished=row.finished,
        earlier=tuple(past.superseded for past in row.past),
        remarks=tuple(note.remark for note in row.notes),
        late_results=tuple(sorted(row.late.values(), key=lambda late: (late.at, late.attempt, late.fence))),
    )


def _due_at(task: Task) -> int | None:
    return task.due_at if task.status is TaskStatus.SCHEDULED else None


def _retry_at(task: Task) -> int | None:
    return task.retry_at if task.status is TaskStatus.SCHEDULED else None


def _queue_deadline(task: Task) -> int | None:
    return task.queue_deadline if task.status in QUEUED | PLANNED else None
