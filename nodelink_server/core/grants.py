"""Grants: who is given which task, made durable before anything leaves.

A grant that was committed and never reached the agent provably never began; it is taken back here, however often the
database fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import structlog

from nodelink.errors import StoreError, StoreUnavailable
from nodelink.task import AttemptRef, TaskRequest, TaskStatus
from nodelink_server.core.ledger import Committed, Ledger
from nodelink_server.core.ports import Change, Clock, EventName, Store
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.session import AgentSession
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Superseded, Task, drop_payload, given_back, granted, granted_at_once, stopped

KEPT_PAYLOAD_BYTES = 1_024
RETRY_SECONDS = 0.5

log = structlog.get_logger(__name__)


def never_began(task: Task, *, now: int) -> Change | None:
    """What follows from the proof that the current attempt of a task never began; None if nothing does."""
    if task.attempt is None:
        return None
    if task.status is TaskStatus.SENT:
        superseded = Superseded(attempt=task.attempt, state="void", ended_at=now)
        events = (EventName.TASK_PENDING,)
        return Change(task=given_back(task), expected=task.revision, events=events, superseded=superseded)
    if task.status is TaskStatus.CANCELLING:
        after = stopped(task, now=now)
        event = EventName.TASK_CANCELLED if after.status is TaskStatus.CANCELLED else EventName.TASK_TIMEOUT
        return Change(task=after, expected=task.revision, events=(event,))
    return None


class Grants:
    """Grants waiting tasks to sessions, and takes back what was granted in vain."""

    def __init__(
        self,
        *,
        store: Store,
        ledger: Ledger,
        scheduler: Scheduler,
        registry: TaskRegistry,
        clock: Clock,
        tally: Tally,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._scheduler = scheduler
        self._registry = registry
        self._clock = clock
        self._tally = tally
        self._start_number = 0
        self._counter = count(1)
        self._vain: dict[AttemptRef, None] = {}
        self._wake = asyncio.Event()
        self._loads = count(1)
        self._loading: dict[int, float] = {}
        self.rounds = 0
        """How often grants that came to nothing were taken back."""

    def restore(self, start_number: int) -> None:
        """Draw fences above those of every earlier start."""
        self._start_number = start_number

    def fence(self) -> int:
        """A fence above every fence before."""
        return self._start_number << 32 | next(self._counter)

    def to(self, session: AgentSession, task: Task) -> Task:
        """A task's next value if this session is given it."""
        return granted(
            task, agent_id=session.agent_id, session=session.number, fence=self.fence(), now=self._clock.now()
        )

    def at_once(self, session: AgentSession, task: Task, *, rank: int, queue_deadline: int | None) -> Task:
        """A new task's next value if this session is given it in the commit that accepts it."""
        return granted_at_once(
            task,
            rank=rank,
            queue_deadline=queue_deadline,
            agent_id=session.agent_id,
            session=session.number,
            fence=self.fence(),
            now=self._clock.now(),
        )

    async def feed(self, session: AgentSession) -> None:
        """Give a session work as it gets room, until cancelled."""
        while True:
            tasks = await self._scheduler.lease(session)
            try:
                self._check_ledger()
                await self._load_payloads(tasks)
            except BaseException as error:
                self._return(session, tasks)
                if not isinstance(error, StoreError):
                    raise
                log.warning("grants_postponed", tasks=len(tasks), error=error.message)
                await self._clock.sleep(RETRY_SECONDS)
                continue
            self._grant(session, tasks)

    def deliver(self, session: AgentSession | None, task: Task) -> None:
        """A grant is durable: hand the task over, unless its session has ended meanwhile."""
        attempt = task.attempt
        assert attempt is not None
        if session is None or session.number != attempt.session or not session.is_open:
            self.take_back([task.ref])
            return
        assert task.payload is not None
        session.deliver(
            TaskRequest(
                ref=task.ref,
                spec=task.spec,
                payload=task.payload,
                execution=task.execution,
                traceparent=task.traceparent,
            )
        )
        if len(task.payload) > KEPT_PAYLOAD_BYTES:
            drop_payload(task)

    def take_back(self, refs: Sequence[AttemptRef]) -> None:
        """These grants never reached their agent."""
        for ref in refs:
            self._vain[ref] = None
        if refs:
            self._wake.set()

    def feeding_since(self) -> float | None:
        """When the oldest grant that is being prepared was begun, in monotonic seconds; None: none is."""
        return min(self._loading.values(), default=None)

    def nudge(self) -> None:
        """Have it looked for what was granted in vain."""
        self._wake.set()

    async def run(self) -> None:
        """Take back what was granted in vain, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._take_back_all()
                self.rounds += 1
            except StoreError as error:
                log.warning("take_back_failed", tasks=len(self._vain), error=error.message)
                await self._clock.sleep(RETRY_SECONDS)
                self._wake.set()

    def _grant(self, session: AgentSession, tasks: Sequence[Task]) -> None:
        changes = [
            Change(task=self.to(session, task), expected=task.revision, events=(EventName.TASK_SENT,)) for task in tasks
        ]

        def done(outcome: Committed | StoreError) -> None:
            if isinstance(outcome, StoreError):
                self._tally.assignments["store_failed"] += len(tasks)
                self._return(session, tasks)
                return
            refused = [t for t, revision in zip(tasks, outcome.revisions, strict=True) if not revision]
            self._tally.assignments["granted"] += len(tasks) - len(refused)
            for task in tasks:
                self._scheduler.granted(task.id)
            if refused:
                self._tally.assignments["refused"] += len(refused)
                self._forget_stale(refused)
                session.release(len(refused))

        self._ledger.post(changes, done=done)

    def _return(self, session: AgentSession, tasks: Sequence[Task]) -> None:
        """Nothing came of a lease: the tasks are queued again, the slots are free again."""
        put: list[Task] = []
        drop: list[str] = []
        for task in tasks:
            self._scheduler.granted(task.id)
            kept, pushed_out = self._scheduler.admit(task)
            put.extend([task] if kept else ())
            drop.extend(pushed_out if kept else [*pushed_out, task.id])
        self._registry.swap(put=put, drop=drop)
        session.release(len(tasks))

    def _forget_stale(self, tasks: Sequence[Task]) -> None:
        """Values that the database has refused are shown no more, unless newer ones have come."""
        stale = [t.id for t in tasks if (shown := self._registry.get(t.id)) and shown.revision == t.revision]
        self._registry.swap(put=(), drop=stale)

    def _check_ledger(self) -> None:
        """Raise `StoreUnavailable` while commits fail: a grant that fails at once would be tried again at once."""
        if self._ledger.failing:
            raise StoreUnavailable(self._ledger.failing)

    async def _load_payloads(self, tasks: Sequence[Task]) -> None:
        missing = [task for task in tasks if task.payload is None]
        if not missing:
            return
        with self._timed():
            found = await self._store.payloads([task.key for task in missing])
        for task in missing:
            object.__setattr__(task, "payload", found[task.key])

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Let it be known since when this goes on."""
        number = next(self._loads)
        self._loading[number] = self._clock.monotonic()
        try:
            yield
        finally:
            del self._loading[number]

    async def _take_back_all(self) -> None:
        refs = list(self._vain)
        if not refs:
            return
        tasks = {task.id: task for task in await self._store.find([ref.task_id for ref in refs])}
        changes = []
        for ref in refs:
            task = tasks.get(ref.task_id)
            current = task is not None and task.attempt is not None and task.ref == ref
            change = never_began(task, now=self._clock.now()) if task is not None and current else None
            if change is None:
                del self._vain[ref]
            else:
                changes.append((ref, change))
        if not changes:
            return
        committed = await self._ledger.commit([change for _, change in changes])
        for (ref, _), revision in zip(changes, committed.revisions, strict=True):
            if revision:
                self._vain.pop(ref, None)
            else:
                self._wake.set()
