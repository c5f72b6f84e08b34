"""The one door to everything that the server knows and does. Each room is given only what it needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from nodelink.errors import (
    CallerError,
    LinkLost,
    StoreConflict,
    StoreUnavailable,
    TaskAlreadyFinished,
    TaskNotFound,
)
from nodelink.task import (
    DEFAULT_GRACE_MS,
    Progress,
    Reason,
    Submission,
    TaskStatus,
    Verdict,
)
from nodelink_server.core.agents import Hello
from nodelink_server.core.assembly import Options, assemble
from nodelink_server.core.clock import set_within
from nodelink_server.core.ports import Change, Clock, EventName, Store, TaskQuery
from nodelink_server.core.session import AgentSession
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task import Stop, Task, TaskRecord, cancelled, stopping

MAX_GRACE_MS = 3600 * 1000
MAX_WAIT_MS = 24 * 3600 * 1000
TRIES = 20
HEALTHY_SECONDS = 10.0
COUNTS_FRESH_SECONDS = 1.0
STOPPING = "the server is stopping"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the server can do its work."""

    database: bool
    dispatch: bool
    draining: bool
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStatus:
    """What waits and what runs. `queue_by_priority` is by band: CRITICAL, HIGH, NORMAL, LOW."""

    state: str
    queued_tasks: int
    running_tasks: int
    max_concurrent_tasks: int
    available_slots: int
    queue_by_priority: Mapping[str, int]
    last_checkpoint_at: int | None = None


class TaskManager:
    """Accepts tasks, has them run, and tells what became of them."""

    def __init__(
        self, *, store: Store, clock: Clock, new_id: Callable[[], str], options: Options | None = None
    ) -> None:
        self.options = options or Options()
        rooms = assemble(store, clock, new_id, self.options)
        self._store = store
        self._clock = clock
        self.rooms = rooms
        self.agents = rooms.agents
        self.channel = rooms.channel
        self.events = rooms.events
        self.ledger = rooms.ledger
        self.logs = rooms.logs
        self.registry = rooms.registry
        self.scheduler = rooms.scheduler
        self.tally = rooms.tally
        self._draining = False
        self._counts: tuple[float, Mapping[tuple[str, str], int]] = (float("-inf"), {})

    # -- life ---------------------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Take up where an earlier start left off. Called once, before `running`."""
        boot = await self._store.boot(self._clock.now())
        self.rooms.control.resume(boot.control_ms)
        self.rooms.grants.restore(boot.start_number)
        self.events.newest = boot.revision
        self.agents.restore(boot.agents)
        self.registry.swap(put=boot.granted)
        for task in boot.granted:
            if task.attempt is not None:
                self.agents.task_granted(task.attempt.agent_id, task.id)
            if task.status is TaskStatus.IN_PROGRESS:
                self.rooms.timers.running(task)
        self.scheduler.restore(boot.shapes)
        log.info("restored", start=boot.start_number, granted=len(boot.granted), shapes=len(boot.shapes))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything that runs beside the doors. The death of one of these loops is the death of the server."""
        loops = {
            "ledger": self.ledger.run(),
            "scheduler": self.scheduler.run(),
            "grants": self.rooms.grants.run(),
            "response processor": self.rooms.processor.run(),
            "logbook": self.logs.run(),
            "timers": self.rooms.timers.run(),
            "clean-up": self.rooms.cleanup.run(),
        }
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop, name=name) for name, loop in loops.items()]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                self.ledger.close()

    async def drain(self) -> None:
        """Take no more work, and end every listener and every session on purpose. Agents keep what they run."""
        self._draining = True
        self.scheduler.paused = True
        self.events.close()
        self.logs.close()
        self.rooms.consequences.close()
        for session in self.agents.sessions():
            session.say_goodbye(STOPPING)

    def health(self) -> Health:
        """Whether the server can commit and its loops turn."""
        dispatch = self._clock.monotonic() - self.rooms.timers.last_tick < HEALTHY_SECONDS
        return Health(
            database=not self.ledger.failing,
            dispatch=dispatch,
            draining=self._draining,
            message=self.ledger.failing,
        )

    # -- for callers --------------------------------------------------------------------------------------------------

    async def submit(self, submissions: Sequence[Submission], *, caller: str = "local") -> list[Accepted | CallerError]:
        """Accept tasks. Durable when it returns: one outcome each, in order, a `CallerError` for what was refused.

        Raises `StoreUnavailable` or `Overloaded` if nothing was accepted.
        """
        if self._draining:
            raise StoreUnavailable(STOPPING, retry_after=5.0)
        if self.options.max_live_tasks:
            await self.rooms.submissions.check_live(await self.counts(), self.options.max_live_tasks, len(submissions))
        return await self.rooms.submissions.submit(submissions, caller=caller)

    async def get(self, task_id: str) -> TaskRecord:
        """A task. A waiting one says why it waits. Raises `TaskNotFound`."""
        record = await self._store.read(task_id)
        if record is None:
            raise TaskNotFound(f"there is no task {task_id[:64]}")
        return self._explained(record)

    async def list(self, query: TaskQuery) -> Sequence[TaskRecord]:
        """A page of tasks, newest first."""
        return [self._explained(record) for record in await self._store.list(query)]

    async def wait(self, task_id: str, timeout_ms: int | None) -> TaskRecord:
        """A task when it has ended, or as it stands when the time is up. Raises `TaskNotFound`."""
        longest = MAX_WAIT_MS if timeout_ms is None else min(timeout_ms, MAX_WAIT_MS)
        deadline = self._clock.monotonic() + longest / 1000
        payload = None
        with self.rooms.consequences.end_of(task_id) as ending:
            while ending.change is None:
                left = deadline - self._clock.monotonic()
                over = left <= 0 or self._draining
                shown = self.registry.get(task_id)
                if over or shown is None or shown.is_terminal:
                    record = await self.get(task_id)
                    if over or record.task.is_terminal:
                        return record
                else:
                    payload = shown.payload
                await set_within(ending.wake, self._clock, left)
                ending.wake.clear()
        return _record_of(ending.change, payload) or await self.get(task_id)

    async def cancel(self, task_id: str, *, message: str = "", grace_ms: int = DEFAULT_GRACE_MS) -> TaskRecord:
        """Ask for a task to be stopped.

        It is cancelled at once if it never began; else its agent is told until it answers.

        Raises `TaskNotFound`, `TaskAlreadyFinished`. Asking again changes nothing.
        """
        grace_ms = max(0, min(grace_ms, MAX_GRACE_MS))
        for _ in range(TRIES):
            task = await self._find(task_id)
            if task.is_terminal:
                raise TaskAlreadyFinished(f"the task has already finished: {task.status}")
            if task.status is TaskStatus.CANCELLING:
                return await self.get(task_id)
            committed = await self.ledger.commit([self._cancel_change(task, message, grace_ms)])
            if committed.revisions[0]:
                return await self.get(task_id)
        raise StoreConflict("the task changes faster than it can be cancelled; try again")

    def progress(self, task_id: str) -> Progress | None:
        """The latest progress of a task that runs."""
        return self.registry.progress(task_id)

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """How many live tasks there are by (status, pool), at most a second old."""
        now = self._clock.monotonic()
        if now - self._counts[0] >= COUNTS_FRESH_SECONDS:
            self._counts = (now, await self._store.counts())
        return self._counts[1]

    # -- for agents ---------------------------------------------------------------------------------------------------

    async def connect(self, hello: Hello) -> tuple[AgentSession, Sequence[Verdict]]:
        """Open an agent's session, and decide about what it holds. Raises `HandshakeRefused`, `StoreUnavailable`."""
        if self._draining:
            raise StoreUnavailable(STOPPING, retry_after=5.0)
        session = await self.agents.connect(hello)
        try:
            verdicts = await self.rooms.reconciler.answer(session, hello.held)
        except BaseException:
            self.agents.close(session, LinkLost("the hello could not be answered"))
            raise
        if self._draining:  # it began while the hello was being answered, and has not seen this session
            session.say_goodbye(STOPPING)
        return session, verdicts

    def disconnect(self, session: AgentSession, *, left: bool) -> None:
        """A session has ended. `left`: the agent said goodbye."""
        self.agents.close(session, LinkLost("goodbye" if left else "the stream ended"), left=left)

    async def feed(self, session: AgentSession) -> None:
        """Give a session work as it gets room, until cancelled."""
        await self.rooms.grants.feed(session)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _find(self, task_id: str) -> Task:
        found = await self._store.find([task_id])
        if not found:
            raise TaskNotFound(f"there is no task {task_id[:64]}")
        return found[0]

    def _cancel_change(self, task: Task, message: str, grace_ms: int) -> Change:
        now = self._clock.now()
        if task.is_waiting:
            after, event = cancelled(task, message=message, now=now), EventName.TASK_CANCELLED
        else:
            stop = Stop(reason=Reason.CANCELLED_BY_CALLER, message=message, grace_ms=grace_ms, asked_at=now)
            after, event = stopping(task, stop=stop), EventName.TASK_CANCELLING
        return Change(task=after, expected=task.revision, events=(event,))

    def _explained(self, record: TaskRecord) -> TaskRecord:
        task = record.task
        if task.status is not TaskStatus.PENDING or task.message:
            return record
        why = self.agents.why_nobody(task.spec.pool, task.spec.type)
        return replace(record, task=replace(task, message=why))


def _record_of(end: Change, payload: bytes | None) -> TaskRecord | None:
    """Everything about a task as its end tells it; None if there is more to it than memory knows."""
    task = end.task
    if payload is None or task.finished_at is None or task.grants != 1:
        return None
    return TaskRecord(task=task, payload=payload, updated_at=task.finished_at, finished=end.finished)
