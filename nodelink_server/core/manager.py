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
from nodelink_server.core.agents import AgentRegistry, Hello
from nodelink_server.core.cleanup import Cleanup
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.consequences import Consequences
from nodelink_server.core.events import EventBus
from nodelink_server.core.grants import Grants
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.logbook import LogBook
from nodelink_server.core.ports import Change, Clock, EventName, Store, TaskQuery
from nodelink_server.core.processor import ResponseChannel, ResponseProcessor
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.reconcile import Reconciler
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.session import AgentSession
from nodelink_server.core.submissions import Accepted, Submissions
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Stop, Task, TaskRecord, cancelled, stopping
from nodelink_server.core.timers import Timers

MAX_GRACE_MS = 3600 * 1000
MAX_WAIT_MS = 24 * 3600 * 1000
TRIES = 20
HEALTHY_SECONDS = 10.0
COUNTS_FRESH_SECONDS = 1.0
STOPPING = "the server is stopping"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be set about the core. Seconds, unless the name says otherwise."""

    channel_size: int = 100
    cleanup_delay: float = 5.0
    cleanup_interval: float = 300.0
    retention: float = 30 * 24 * 3600.0
    heartbeat: float = 5.0
    window: int = 1_000
    max_live_tasks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the server can do its work."""

    database: bool
    dispatch: bool
    draining: bool
    message: str


class TaskManager:
    """Accepts tasks, has them run, and tells what became of them."""

    def __init__(
        self, *, store: Store, clock: Clock, new_id: Callable[[], str], options: Options | None = None
    ) -> None:
        options = options or Options()
        self._store = store
        self._clock = clock
        self.options = options
        self.tally = Tally()
        self.registry = TaskRegistry()
        self.events = EventBus(store=store, clock=clock, tally=self.tally)
        control = ControlTime(clock)
        self._control = control
        ranking = Ranking(control)
        self.ledger = Ledger(
            store=store,
            clock=clock,
            control=control,
            tally=self.tally,
            follow=self._follow,
            publish=self.events.publish,
        )
        self.scheduler = Scheduler(store=store, registry=self.registry, clock=clock, window=options.window)
        self._grants = Grants(
            store=store,
            ledger=self.ledger,
            scheduler=self.scheduler,
            registry=self.registry,
            clock=clock,
            tally=self.tally,
        )
        self.agents = AgentRegistry(
            ledger=self.ledger,
            scheduler=self.scheduler,
            clock=clock,
            silence_seconds=3 * options.heartbeat,
            take_back=self._grants.take_back,
        )
        self.logs = LogBook(
            store=store,
            registry=self.registry,
            clock=clock,
            publish=self.events.publish,
            is_heard=self.events.has_room,
        )
        self.channel = ResponseChannel(capacity=options.channel_size, tally=self.tally)
        self._processor = ResponseProcessor(
            channel=self.channel,
            ledger=self.ledger,
            store=store,
            registry=self.registry,
            clock=clock,
            tally=self.tally,
            publish=self.events.publish,
        )
        self._timers = Timers(
            store=store,
            ledger=self.ledger,
            registry=self.registry,
            agents=self.agents,
            clock=clock,
            control=control,
            ranking=ranking,
            tally=self.tally,
        )
        self._cleanup = Cleanup(
            store=store,
            registry=self.registry,
            clock=clock,
            tally=self.tally,
            delay_seconds=options.cleanup_delay,
            interval_seconds=options.cleanup_interval,
            retention_seconds=options.retention,
        )
        self._consequences = Consequences(
            registry=self.registry,
            scheduler=self.scheduler,
            agents=self.agents,
            grants=self._grants,
            timers=self._timers,
            cleanup=self._cleanup,
            logbook=self.logs,
            tally=self.tally,
            clock=clock,
        )
        self._reconciler = Reconciler(
            store=store, ledger=self.ledger, agents=self.agents, logbook=self.logs, clock=clock
        )
        self._submissions = Submissions(
            store=store,
            ledger=self.ledger,
            scheduler=self.scheduler,
            grants=self._grants,
            ranking=ranking,
            clock=clock,
            new_id=new_id,
            types=self.agents.types,
            tally=self.tally,
        )
        self._draining = False
        self._counts: tuple[float, Mapping[tuple[str, str], int]] = (float("-inf"), {})

    def _follow(self, changes: Sequence[Change]) -> None:
        self._consequences.follow(changes)

    # -- life ---------------------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Take up where an earlier start left off. Called once, before `running`."""
        boot = await self._store.boot(self._clock.now())
        self._control.resume(boot.control_ms)
        self._grants.restore(boot.start_number)
        self.events.newest = boot.revision
        self.agents.restore(boot.agents)
        self.registry.swap(put=boot.granted)
        for task in boot.granted:
            if task.attempt is not None:
                self.agents.task_granted(task.attempt.agent_id, task.id)
            if task.status is TaskStatus.IN_PROGRESS:
                self._timers.running(task)
        self.scheduler.restore(boot.shapes)
        log.info("restored", start=boot.start_number, granted=len(boot.granted), shapes=len(boot.shapes))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything that runs beside the doors. The death of one of these loops is the death of the server."""
        loops = {
            "ledger": self.ledger.run(),
            "scheduler": self.scheduler.run(),
            "grants": self._grants.run(),
            "response processor": self._processor.run(),
            "logbook": self.logs.run(),
            "timers": self._timers.run(),
            "clean-up": self._cleanup.run(),
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
        for session in self.agents.sessions():
            session.say_goodbye(STOPPING)

    def health(self) -> Health:
        """Whether the server can commit and its loops turn."""
        dispatch = self._clock.monotonic() - self._timers.last_tick < HEALTHY_SECONDS
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
            await self._submissions.check_live(await self.counts(), self.options.max_live_tasks, len(submissions))
        return await self._submissions.submit(submissions, caller=caller)

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
        deadline = (
            self._clock.monotonic() + min(timeout_ms if timeout_ms is not None else MAX_WAIT_MS, MAX_WAIT_MS) / 1000
        )
        record = await self.get(task_id)
        while not record.task.is_terminal and not self._draining:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                break
            await self._wait_for_change(record.task, left)
            record = await self.get(task_id)
        return record

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
            verdicts = await self._reconciler.answer(session, hello.held)
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
        await self._grants.feed(session)

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

    async def _wait_for_change(self, task: Task, seconds: float) -> None:
        shown = self.registry.get(task.id)
        if shown is None or not shown.is_terminal:
            await self._consequences.wait_for_end(task.id, seconds)
