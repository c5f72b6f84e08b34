"""The store in SQLite: tasks in one file, output in another; a writing thread for each, and a few that read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import Connection, select, update

from nodelink.failpoints import hit
from nodelink.task import LogStream
from nodelink_server.core.deeds import Deed
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
    Shape,
    TaskEvent,
    TaskPage,
    TaskQuery,
    Waiters,
    Workspace,
)
from nodelink_server.core.statistics import Counts, StatsRange
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import TaskEnd, TaskRecord
from nodelink_server.store import (
    answers,
    holds,
    listing,
    output,
    pauses,
    queries,
    rates,
    sessions,
    spans,
    statistics,
    sweeping,
    workspaces,
)
from nodelink_server.store.blob_files import RESERVE_BYTES, BlobFiles
from nodelink_server.store.blobs import DiskBlobs
from nodelink_server.store.chain import Chain
from nodelink_server.store.commit import Commit
from nodelink_server.store.connections import reading_engine, writing_engine
from nodelink_server.store.failpoints import hit_commit
from nodelink_server.store.files import Files, files_of, held
from nodelink_server.store.numbering import Counters
from nodelink_server.store.opening import prepare
from nodelink_server.store.readers import Readers
from nodelink_server.store.tables import meta
from nodelink_server.store.waiters import waiters
from nodelink_server.store.writer import Work, Writer

PAGE_BYTES = 4096
ROWS_PER_PAGE = 2
MOST_FORGOTTEN = 2_000
MOST_PAGES = 1 << 16


@asynccontextmanager
async def open_store(
    database_url: str, *, ids: Callable[[], str], blob_reserve: int = RESERVE_BYTES
) -> AsyncIterator[SqlStore]:
    """Open a database (`sqlite:///path`), made if it is not there, and have it to ourselves until the end.

    `ids` names a new database. `blob_reserve`: how many bytes of the disk blobs leave free. Raises a `StoreError` that
    says why the database cannot be opened.
    """
    files = files_of(database_url)
    with held(files):
        counters = await asyncio.to_thread(prepare, files, ids)
        store = SqlStore(files, counters, blob_reserve=blob_reserve)
        try:
            await store.blobs.prepare()
            yield store
        finally:
            await store.close()


class SqlStore:
    """A `Store` over two SQLite files. `open_store` makes it."""

    def __init__(self, files: Files, counters: Counters, *, blob_reserve: int = RESERVE_BYTES) -> None:
        self._forgotten: deque[int] = deque(maxlen=MOST_FORGOTTEN)
        self._writer = Writer("store-writer", writing_engine(files.tasks))
        self._log_writer = Writer("log-writer", writing_engine(files.logs))
        self._readers = Readers("store-reader", reading_engine(files.tasks))
        self._log_readers = Readers("log-reader", reading_engine(files.logs))
        self._chain = Chain(self._writer, counters)
        blob_files = BlobFiles(files.blobs, reserve_bytes=blob_reserve)
        self.blobs = DiskBlobs(blob_files, self._writer, self._chain, self._readers)
        self._writer.start()
        self._log_writer.start()

    async def begin_with(
        self, load: Callable[[Connection, Counters], Counters], is_there: Callable[[Connection], bool]
    ) -> bool:
        """Have an empty database filled by a function that is given what to count on from, and returns what to count
        on from then. False: it returned the same, and nothing is done.
        """

        def do(connection: Connection) -> tuple[Counters, Counters]:
            return self._chain.counters, load(connection, self._chain.counters)

        before, after = await self._writer.write(
            Work(do, lambda connection, _: is_there(connection), self._chain.count_on, pages=MOST_PAGES)
        )
        return after is not before

    def watch_lag(self, late: Callable[[float], None]) -> None:
        """Have `late` called with each commit: how many seconds the event loop took to look at its answer."""
        self._writer.late = late

    async def close(self) -> None:
        """Finish what was handed in, and let go of the files."""
        for part in (self.blobs, self._readers, self._log_readers, self._writer, self._log_writer):
            await part.close()

    async def boot(self, now: int) -> Boot:
        """Raise the start number, and return what the server starts from."""
        start_number = await self._writer.write(Work(_raise_start_number, _is_start_number))
        hit("server.boot.counted")
        return await self._readers.read(partial(_boot, start_number))

    async def look_again(self) -> Boot:
        """What a server goes on from whose database holds other tasks than before."""
        return await self._readers.read(_boot_again)

    async def apply(self, batch: Batch) -> Receipt:
        """Make a batch durable in one commit."""
        work = Work(partial(self._commit, batch), _is_committed, self._chain.count_on, pages=_pages_of(batch))
        receipt, _ = await self._writer.write(work)
        hit_commit(batch, "after_commit")
        return receipt

    def _commit(self, batch: Batch, connection: Connection) -> tuple[Receipt, Counters]:
        made = Commit(connection, batch, self._chain.counters).run()
        hit_commit(batch, "before_commit")
        return made

    async def find(self, task_ids: Sequence[str]) -> Sequence[Task]:
        """The stored tasks among these ids, with small payloads."""
        return await self._readers.read(lambda connection: queries.find(connection, task_ids))

    async def payloads(self, keys: Sequence[int]) -> Mapping[int, bytes]:
        """The payloads of tasks, by key."""
        return await self._readers.read(lambda connection: queries.payloads(connection, keys))

    async def waiting(self, shape: Shape, after: Place | None, limit: int) -> Sequence[Task]:
        """Pending tasks of a shape in order of (rank, key), behind a place."""
        return await self._readers.read(lambda connection: queries.waiting(connection, shape, after, limit))

    async def count_before(self, shape: Shape, place: Place, most: int) -> int:
        """How many pending tasks of a shape go before a place: at most so many are counted."""
        return await self._readers.read(lambda connection: queries.count_before(connection, shape, place, most))

    async def waiting_on(self, key: str, after: Mapping[Shape, Place], most: int) -> Sequence[Task]:
        """Of the pending tasks that name a key, the first of each shape, behind the place given for it."""
        return await self._readers.read(lambda connection: queries.waiting_on(connection, key, after, most))

    async def waiters(self, keys: Sequence[str], most_keys: int, few: int, most: int) -> Mapping[str, Waiters]:
        """By key, who waits and names it."""
        return await self._readers.read(lambda connection: waiters(connection, keys, most_keys, few, most))

    async def set_limit(self, name: str, most: int | None, now: int, deed: Deed | None = None) -> None:
        """Set a limit, or (None) let there be none."""
        do = partial(holds.set_limit, name=name, most=most, now=now)
        await self._audited(do, lambda connection: queries.all_limits(connection).get(name) == most, deed)

    async def create_workspace(self, workspace: Workspace, deed: Deed | None = None) -> bool:
        """Keep a new workspace, if there is none of its name."""
        do = partial(workspaces.create, workspace=workspace)
        return await self._audited(do, partial(workspaces.is_kept, workspace=workspace), deed)

    async def change_workspace(self, workspace: Workspace, deed: Deed | None = None) -> bool:
        """Give a workspace another pool and mode, if there is one of its name."""
        do = partial(workspaces.change, workspace=workspace)
        return await self._audited(do, partial(workspaces.is_kept, workspace=workspace), deed)

    async def remove_workspace(self, name: str, deed: Deed | None = None) -> bool:
        """Let there be no workspace of this name, if no live task names it."""
        do = partial(workspaces.remove, name=name)
        return await self._audited(do, partial(workspaces.is_gone, name=name), deed)

    async def _audited(
        self, do: Callable[[Connection], bool], is_there: Callable[[Connection], bool], deed: Deed | None
    ) -> bool:
        """Do something, and record the deed in the same transaction if it is done; whether it is."""
        return await self._chain.write(do, lambda connection, _: is_there(connection), deed=deed, is_done=bool)

    async def answer(self, caller: str, key: str) -> Answer | None:
        """What was answered under a key."""
        return await self._readers.read(lambda connection: answers.find(connection, caller, key))

    async def keep_answer(self, answer: Answer) -> None:
        """Keep an answer under its key."""
        caller, key = answer.key.caller, answer.key.key
        do = partial(answers.keep, answer=answer)
        await self._writer.write(Work(do, lambda connection, _: answers.find(connection, caller, key) is not None))

    async def due(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Scheduled tasks in order of (due_at, key), behind a place."""
        return await self._readers.read(lambda connection: queries.due(connection, after, limit))

    async def retrying(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Tasks that are to be tried again in order of (retry_at, key), behind a place."""
        return await self._readers.read(lambda connection: queries.retrying(connection, after, limit))

    async def limited(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Live tasks with a total deadline in order of (total_deadline, key), behind a place."""
        return await self._readers.read(lambda connection: queries.limited(connection, after, limit))

    async def expiring(self, after: Place | None, limit: int) -> Sequence[tuple[Place, str]]:
        """Pending tasks in order of (queue_deadline, key), behind a place."""
        return await self._readers.read(lambda connection: queries.expiring(connection, after, limit))

    async def read(self, task_id: str) -> TaskRecord | None:
        """Everything about one task."""
        return await self._readers.read(lambda connection: queries.read(connection, task_id))

    async def have_ended(self, task_ids: Sequence[str]) -> Mapping[str, bool]:
        """Whether each of these tasks has ended, of those that there are."""
        return await self._readers.read(lambda connection: queries.have_ended(connection, task_ids))

    async def read_ended(self, task_ids: Sequence[str]) -> Sequence[TaskEnd]:
        """How those of these tasks have ended that have, until enough is loaded."""
        return await self._readers.read(lambda connection: queries.read_ended(connection, task_ids))

    async def list(self, query: TaskQuery) -> TaskPage:
        """A page of tasks, newest first."""
        return await self._readers.read(lambda connection: listing.listed(connection, query))

    async def select(self, query: TaskQuery) -> Selection:
        """The tasks of a page as values."""
        return await self._readers.read(lambda connection: listing.selected(connection, query))

    async def agent_sessions(self, agent_id: str, before: int, limit: int) -> Sequence[AgentSessionRecord]:
        """Sessions of an agent, the newest first."""
        return await self._readers.read(lambda connection: sessions.of_agent(connection, agent_id, before, limit))

    async def counts(self) -> LiveCounts:
        """How many live tasks there are."""
        return await self._readers.read(queries.counts)

    async def events(self, after: int, limit: int) -> Sequence[TaskEvent]:
        """Kept events behind a revision, whole blocks."""
        return await self._readers.read(lambda connection: queries.events_behind(connection, after, limit))

    async def oldest_revision(self) -> int:
        """The revision before the first kept event."""
        return await self._readers.read(queries.oldest_revision)

    async def history(self, task_id: str) -> Sequence[TaskEvent]:
        """The events of one task from its first."""
        return await self._readers.read(lambda connection: queries.history(connection, task_id))

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        """Make output durable."""

        def do(connection: Connection) -> None:
            output.append(connection, rows)

        size = sum(len(row.data) for row in rows)
        pages = size // PAGE_BYTES + len(rows)
        hit("server.logs.before_append")
        await self._log_writer.write(Work(do, lambda connection, _: output.is_appended(connection, rows), pages=pages))
        hit("server.logs.after_append")

    async def log_ends(self, task_key: int, attempt: int) -> LogEnds:
        """How much of an attempt's output is stored."""
        return await self._log_readers.read(lambda connection: output.ends(connection, task_key, attempt))

    async def read_logs(
        self, task_key: int, attempt: int, stream: LogStream | None, offset: int, limit: int
    ) -> Sequence[LogRow]:
        """Stored output from an offset."""
        return await self._log_readers.read(
            lambda connection: output.read(connection, task_key, attempt, stream, offset, limit)
        )

    async def sweep(
        self, *, finished_before: int, events_before: int, keys_before: int, sessions_before: int, limit: int
    ) -> int:
        """Delete what is old; how many tasks that were."""
        await self._in_portions(partial(sweeping.forget_idempotency, before=keys_before), sweeping.MOST_KEYS)
        await self._in_portions(partial(answers.forget, before=keys_before), answers.MOST_FORGOTTEN)
        await self._in_portions(partial(sessions.forget, before=sessions_before), sessions.MOST_FORGOTTEN)
        await self._in_portions(partial(sweeping.forget_events, before=events_before), sweeping.MOST_BLOCKS)
        await self._swept(spans.forget)
        await self._in_portions(rates.forget, rates.MOST_FORGOTTEN)
        keys = await self._readers.read(partial(queries.finished_keys, before=finished_before, limit=limit))
        # Those before again: a little may have come just behind the first time.
        spoken = await self._which_have_output((*self._forgotten, *keys))
        await self._forget_output([key for key in self._forgotten if key in spoken])
        for part in sweeping.portions(keys):
            hit("server.sweep.begun")
            # Output first: a task without its output is swept again, output without its task would stay for ever.
            await self._forget_output([key for key in part if key in spoken])
            hit("server.sweep.between")
            await self._swept(partial(sweeping.forget_tasks, keys=part))
        self._forgotten.extend(keys)
        return len(keys)

    async def _which_have_output(self, keys: Sequence[int]) -> frozenset[int]:
        if not keys:
            return frozenset()
        return await self._log_readers.read(partial(output.which_have, task_keys=keys))

    async def _forget_output(self, keys: Sequence[int]) -> None:
        if keys:
            await self._log_writer.write(Work(partial(output.forget, task_keys=keys), _never, pages=sweeping.PORTION))

    async def statistics(self, wanted: StatsRange) -> Mapping[tuple[int, str], Counts]:
        """What the rows of a range add up to."""
        return await self._readers.read(lambda connection: statistics.grouped(connection, wanted))

    async def coarsen(self, *, before: int, series: int, forget_before: int, limit: int) -> int:
        """Merge old rows of minutes into rows of hours, and delete the oldest; how many rows were found."""
        forget = partial(statistics.forget, before=forget_before)
        merge = partial(statistics.merge, before=before, series=series)
        forgotten = await self._in_portions(forget, statistics.PORTION, limit)
        return forgotten + await self._in_portions(merge, statistics.PORTION, limit)

    async def _in_portions(self, deed: Callable[[Connection], int], portion: int, limit: int | None = None) -> int:
        """Do something a portion a transaction, until one is not full, or about `limit` are done; how many."""
        found = 0
        while limit is None or found < limit:
            some = await self._swept(deed)
            found += some
            if some < portion:
                break
        return found

    async def _swept(self, deed: Callable[[Connection], int]) -> int:
        return await self._writer.write(Work(deed, _never, pages=sweeping.PORTION))


def _raise_start_number(connection: Connection) -> int:
    sessions.end_left_open(connection)
    raised = update(meta).values(start_number=meta.c.start_number + 1).returning(meta.c.start_number)
    return int(connection.execute(raised).scalar_one())


def _is_start_number(connection: Connection, start_number: int) -> bool:
    return bool(connection.execute(select(meta.c.start_number)).scalar_one() == start_number)


def _is_committed(connection: Connection, result: tuple[Receipt, Counters]) -> bool:
    return bool(connection.execute(select(meta.c.commits)).scalar_one() == result[1].commits)


def _never(_connection: Connection, _result: object) -> bool:
    """For work that may be done again: if in doubt, it was not done."""
    return False


def _boot(start_number: int, connection: Connection) -> Boot:
    row = connection.execute(select(meta)).one()
    return Boot(
        start_number=start_number,
        cluster_id=row.cluster_id,
        control_ms=row.control_ms,
        revision=row.revision,
        granted=queries.granted(connection),
        agents=queries.all_agents(connection),
        shapes=queries.shapes(connection),
        holds=holds.all_holders(connection),
        limits=queries.all_limits(connection),
        rates=rates.ahead(connection, row.control_ms),
        lines=queries.lines(connection),
        workspaces=workspaces.all_workspaces(connection),
        pauses=pauses.all_pauses(connection),
        loaded=pauses.loaded(connection),
        planned=queries.planned(connection),
    )


def _boot_again(connection: Connection) -> Boot:
    return _boot(int(connection.execute(select(meta.c.start_number)).scalar_one()), connection)


def _pages_of(batch: Batch) -> int:
    """About how many pages of the log a batch takes: what is large is counted, what is small shares pages."""
    large = sum(
        len(change.task.payload or b"") + len(change.finished.output if change.finished else b"")
        for change in batch.changes
    )
    return large // PAGE_BYTES + len(batch.changes) // ROWS_PER_PAGE
