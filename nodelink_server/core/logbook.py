"""What tasks print: taken in by offset, made durable in groups, acknowledged, read and followed.

Output has a commit of its own, so that a flood of it slows no task. The server appends only at its own end of a
stream; what an agent could not keep is stored as a gap. Nothing is silently missing.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from nodelink.errors import CreditExceeded, FieldError, InvalidTask, StoreError, TaskNotFound
from nodelink.task import AttemptRef, LogAck, LogChunk, LogStream
from nodelink_server.core.attempt import Attempt
from nodelink_server.core.clock import set_within
from nodelink_server.core.ports import Clock, EventName, LogEnds, LogRow, Store, TaskEvent
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import TaskRecord

MAX_CHUNK_BYTES = 64 * 1024
MOST_PER_COMMIT = 4 * 1024 * 1024
PAGE_BYTES = 256 * 1024
MOST_PENDING_CHUNKS = 16_384
"""How many runs of output of one session may wait. Gaps cost no credit, so the credit alone does not bound them."""
MOST_INTAKES = 20_000
RETRY_SECONDS = 0.5
PATIENCE_SECONDS = 10.0
"""How long a follower of a finished task waits for output that its agent still owes."""
SETTLING_SECONDS = 1.0
"""How long a reader of a finished task waits at most for the rest: the end and the output have commits of their own."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LogPage:
    """A run of stored output. `complete`: nothing comes behind it."""

    rows: Sequence[LogRow]
    next_offset: int
    complete: bool
    attempt: int


class LogExtent(NamedTuple):
    """How much output of an attempt is stored. `complete`: nothing more will come."""

    total: int
    complete: bool
    attempt: int


class _Intake:
    """Where the stored output of one attempt ends, as of the commit under way."""

    __slots__ = ("agent_id", "ends", "key", "position")

    def __init__(self, key: int, agent_id: str, ends: LogEnds) -> None:
        self.key = key
        self.agent_id = agent_id
        self.ends = {LogStream.STDOUT: ends.stdout, LogStream.STDERR: ends.stderr}
        self.position = ends.position


class LogBook:
    """The output of all tasks."""

    def __init__(
        self,
        *,
        store: Store,
        registry: TaskRegistry,
        clock: Clock,
        publish: Callable[[Sequence[TaskEvent]], None],
        is_heard: Callable[[str], bool],
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._publish = publish
        self._is_heard = is_heard
        self._queue: deque[tuple[AgentSession, LogChunk]] = deque()
        self._pending: Counter[AgentSession] = Counter()
        self._wake = asyncio.Event()
        self._intakes: dict[AttemptRef, _Intake] = {}
        self._followers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._closing = False

    # -- taking in ----------------------------------------------------------------------------------------------------

    def receive(self, session: AgentSession, chunks: Sequence[LogChunk]) -> None:
        """Take in output, within the session's credit. Raises `CreditExceeded` past it."""
        session.count_log_bytes(sum(len(chunk.data) for chunk in chunks))
        self._pending[session] += len(chunks)
        if self._pending[session] > MOST_PENDING_CHUNKS:
            raise CreditExceeded(f"more than {MOST_PENDING_CHUNKS} runs of output that are not acknowledged")
        self._queue.extend((session, chunk) for chunk in chunks)
        self._wake.set()

    async def ends(self, task: Task, ref: AttemptRef) -> LogEnds | None:
        """Where the durable output of an attempt ends; None: it is not wanted any more."""
        wanted = await self._attempt(task, ref)
        return await self._store.log_ends(task.key, ref.attempt) if wanted is not None else None

    async def run(self) -> None:
        """Make output durable, for ever."""
        while True:
            await self._wake.wait()
            taken = self._take()
            while True:
                try:
                    await self._append(taken)
                    break
                except StoreError as error:
                    log.warning("log_append_failed", chunks=len(taken), error=error.message)
                    self._intakes.clear()
                    await self._clock.sleep(RETRY_SECONDS)

    def _take(self) -> list[tuple[AgentSession, LogChunk]]:
        taken: list[tuple[AgentSession, LogChunk]] = []
        size = 0
        while self._queue and size < MOST_PER_COMMIT:
            item = self._queue.popleft()
            self._settle_pending(item[0])
            size += len(item[1].data)
            taken.append(item)
        if not self._queue:
            self._wake.clear()
        return taken

    def _settle_pending(self, session: AgentSession) -> None:
        self._pending[session] -= 1
        if not self._pending[session]:
            del self._pending[session]

    async def _append(self, taken: Sequence[tuple[AgentSession, LogChunk]]) -> None:
        await self._open_intakes({chunk.ref for _, chunk in taken})
        rows: list[LogRow] = []
        acks: dict[AgentSession, dict[tuple[AttemptRef, LogStream], LogAck]] = defaultdict(dict)
        sizes: dict[AgentSession, int] = defaultdict(int)
        grown: dict[str, list[tuple[LogChunk, LogRow]]] = defaultdict(list)
        for session, chunk in taken:
            sizes[session] += len(chunk.data)
            row = self._row(session, chunk)
            if row is not None:
                rows.append(row)
                grown[chunk.ref.task_id].append((chunk, row))
            acks[session][chunk.ref, chunk.stream] = self._ack(session, chunk)
        if rows:
            await self._store.append_logs(rows)
        for session, answers in acks.items():
            session.ack_logs(answers.values())
            session.give_log_credit(sizes[session])
        self._tell(grown)

    async def _open_intakes(self, refs: set[AttemptRef]) -> None:
        """Know where the output of these attempts ends. Refs that name no execution are left out."""
        if len(self._intakes) > MOST_INTAKES:
            self._intakes.clear()
        unknown = [ref for ref in refs if ref not in self._intakes]
        if not unknown:
            return
        shown = {ref.task_id: self._registry.get(ref.task_id) for ref in unknown}
        missing = [task_id for task_id, task in shown.items() if task is None]
        stored = {task.id: task for task in await self._store.find(missing)} if missing else {}
        for ref in unknown:
            task = shown[ref.task_id] or stored.get(ref.task_id)
            attempt = await self._attempt(task, ref) if task is not None else None
            if task is not None and attempt is not None:
                ends = await self._store.log_ends(task.key, ref.attempt)
                self._intakes[ref] = _Intake(task.key, attempt.agent_id, ends)

    async def _attempt(self, task: Task, ref: AttemptRef) -> Attempt | None:
        """The attempt that a name means, if its output is still wanted: the current one, and any whose end was told."""
        if task.attempt is not None and task.ref == ref:
            return task.attempt
        has_earlier = task.grants > (task.attempt is not None)
        record = await self._store.read(task.id) if has_earlier else None
        earlier = record.earlier if record is not None else ()
        told = (past.attempt for past in earlier if past.failure is not None)
        return next((one for one in told if (one.number, one.fence) == (ref.attempt, ref.fence)), None)

    def _row(self, session: AgentSession, chunk: LogChunk) -> LogRow | None:
        """What a chunk adds to its stream; None if it adds nothing, would leave a hole, or is not the agent's to
        say.
        """
        intake = self._intakes.get(chunk.ref)
        if intake is None or intake.agent_id != session.agent_id:
            return None
        end = intake.ends[chunk.stream]
        if chunk.offset > end or chunk.end <= end:
            return None
        overlap = end - chunk.offset
        data = chunk.data[overlap:]
        gap = chunk.gap - overlap if chunk.gap else 0
        row = LogRow(intake.key, chunk.ref.attempt, chunk.stream, end, intake.position, data, gap)
        intake.ends[chunk.stream] = chunk.end
        intake.position += row.length
        return row

    def _ack(self, session: AgentSession, chunk: LogChunk) -> LogAck:
        """Where to go on; behind the chunk for what is not the agent's to say, so that it does not come again."""
        intake = self._intakes.get(chunk.ref)
        if intake is None or intake.agent_id != session.agent_id:
            return LogAck(chunk.ref, chunk.stream, chunk.end)
        return LogAck(chunk.ref, chunk.stream, intake.ends[chunk.stream])

    def _tell(self, grown: Mapping[str, Sequence[tuple[LogChunk, LogRow]]]) -> None:
        for task_id, entries in grown.items():
            for event in self._followers.get(task_id, ()):
                event.set()
            if self._is_heard(task_id):
                self._publish([self._output_event(chunk, row) for chunk, row in entries])

    def _output_event(self, chunk: LogChunk, row: LogRow) -> TaskEvent:
        data: dict[str, object] = {"stream": row.stream, "offset": row.offset}
        if row.data:
            data["text"] = row.data.decode(errors="replace")
        else:
            data["gap"] = row.gap
        now = self._clock.now()
        return TaskEvent(0, EventName.TASK_OUTPUT, now, chunk.ref.task_id, attempt=row.attempt, data=data)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def read(
        self,
        task_id: str,
        *,
        stream: LogStream | None = None,
        attempt: int = 0,
        offset: int = 0,
        limit: int = PAGE_BYTES,
    ) -> LogPage:
        """Stored output from an offset, counted in the stream or in both together. Raises `TaskNotFound`.

        Waits a moment for what the agent of an attempt that has ended still owes.
        """
        record = await self._record(task_id)
        page = await self._page(record, stream, attempt, offset, limit)
        if page.complete or page.next_offset - offset >= limit:
            return page
        await self._settle(record, page.attempt, stream)
        return await self._page(record, stream, page.attempt, offset, limit)

    async def _page(
        self, record: TaskRecord, stream: LogStream | None, attempt: int, offset: int, limit: int = PAGE_BYTES
    ) -> LogPage:
        number = self._number(record, attempt)
        rows = await self._store.read_logs(record.task.key, number, stream, offset, limit) if number else ()
        behind = offset + sum(row.length for row in rows)
        return LogPage(rows, behind, self._is_complete(record, number, stream, behind), number)

    async def extent(self, task_id: str, *, stream: LogStream | None = None, attempt: int = 0) -> LogExtent:
        """How much is stored, in bytes, of a stream or of both together. Raises `TaskNotFound`, `InvalidTask`.

        Waits as `read` does.
        """
        record = await self._record(task_id)
        number = self._number(record, attempt)
        await self._settle(record, number, stream)
        ends = await self._store.log_ends(record.task.key, number) if number else LogEnds()
        total = _end_of(ends, stream)
        return LogExtent(total, self._is_complete(record, number, stream, total), number)

    async def read_tail(self, task_id: str, *, stream: LogStream | None = None, attempt: int = 0, tail: int) -> LogPage:
        """The last `tail` bytes that are stored."""
        extent = await self.extent(task_id, stream=stream, attempt=attempt)
        offset = max(0, extent.total - tail)
        return await self.read(task_id, stream=stream, attempt=extent.attempt, offset=offset, limit=tail)

    async def follow(
        self, task_id: str, *, stream: LogStream | None = None, attempt: int = 0, offset: int = 0
    ) -> AsyncGenerator[LogPage, None]:
        """Output as it is stored. The last page of an attempt is complete, unless the rest is not to be had.

        `attempt` 0: of the current one, and of each that follows, from its beginning.
        """
        number = attempt
        record: TaskRecord | None = None
        with self._growth_of(task_id) as grown:
            while not self._closing:
                grown.clear()
                if record is None or record.log_totals_of(number) is None:  # else it tells for ever how long it is
                    record = await self._record(task_id)
                page = await self._page(record, stream, number, offset)
                offset, number = page.next_offset, page.attempt
                if page.rows or page.complete:
                    yield page
                if not page.complete and (page.rows or await self._more(task_id, number, grown)):
                    continue
                if not page.complete:
                    yield page
                if attempt or not await self._next_attempt(task_id, number, grown):
                    return
                number, offset = number + 1, 0

    @contextmanager
    def _growth_of(self, task_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever more output of a task is stored, or the task changes."""
        grown = asyncio.Event()
        self._followers[task_id].add(grown)
        try:
            yield grown
        finally:
            self._followers[task_id].discard(grown)
            if not self._followers[task_id]:
                del self._followers[task_id]

    def wake(self, task_id: str) -> None:
        """A task has changed: its followers look again."""
        for event in self._followers.get(task_id, ()):
            event.set()

    def close(self) -> None:
        """End every follower."""
        self._closing = True
        for events in self._followers.values():
            for event in events:
                event.set()

    async def _settle(self, record: TaskRecord, attempt: int, stream: LogStream | None) -> None:
        """Wait a moment, until all that an ended attempt printed is stored."""
        if record.log_totals_of(attempt) is None:
            return
        with self._growth_of(record.task.id) as grown, suppress(TimeoutError):
            async with self._clock.timeout(SETTLING_SECONDS):
                while not self._closing:
                    grown.clear()
                    stored = _end_of(await self._store.log_ends(record.task.key, attempt), stream)
                    if self._is_complete(record, attempt, stream, stored):
                        return
                    await grown.wait()

    async def _more(self, task_id: str, attempt: int, grown: asyncio.Event) -> bool:
        """Wait for more of an attempt's output. False: nothing more is to be expected."""
        record = await self._record(task_id)
        over = record.task.is_terminal or (attempt != 0 and attempt < record.task.grants)
        if not over:
            await grown.wait()
            return True
        if record.log_totals_of(attempt) is None:
            return False
        return await set_within(grown, self._clock, PATIENCE_SECONDS)

    async def _next_attempt(self, task_id: str, number: int, grown: asyncio.Event) -> bool:
        """Wait until another attempt follows one whose output has ended. False: none does."""
        while not self._closing:
            grown.clear()
            task = (await self._record(task_id)).task
            if task.grants > number:
                return True
            if task.is_terminal:
                return False
            await grown.wait()
        return False

    async def _record(self, task_id: str) -> TaskRecord:
        record = await self._store.read(task_id)
        if record is None:
            raise TaskNotFound(f"there is no task {task_id[:64]}")
        return record

    def _number(self, record: TaskRecord, attempt: int) -> int:
        if not 0 <= attempt <= record.task.grants:
            raise InvalidTask(FieldError("attempt", f"the task has had {record.task.grants} attempt(s)"))
        return attempt or record.task.grants

    def _is_complete(self, record: TaskRecord, attempt: int, stream: LogStream | None, behind: int) -> bool:
        """Whether everything that was printed stands before an offset."""
        if record.task.is_terminal and record.task.grants == 0:
            return True
        totals = record.log_totals_of(attempt)
        if totals is None:
            return False
        total = sum(totals.values()) if stream is None else totals.get(stream, 0)
        return behind >= total


def _end_of(ends: LogEnds, stream: LogStream | None) -> int:
    if stream is None:
        return ends.position
    return ends.stdout if stream is LogStream.STDOUT else ends.stderr
