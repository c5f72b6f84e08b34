"""Everything that happens because time passes: due tasks, queue timeouts, overdue runs, silent agents. One tick.

Due times follow the wall clock, as the calendar asks; waiting is counted in control time, so that an outage ages
nothing.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence

import structlog

from nodelink.errors import LinkLost, StoreError
from nodelink.task import AttemptRef, Reason, TaskStatus
from nodelink_server.core.agents import AgentRegistry
from nodelink_server.core.clock import ControlTime, set_within
from nodelink_server.core.contacts import Contacts
from nodelink_server.core.front import Front
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.ports import Change, Clock, EventName, Place, Store
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.states import GRANTED
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Stop, Task, expired, ready, stopping

TICK_SECONDS = 1.0
MOST_PER_TICK = 1_000
WINDOW = 10_000
LEAST_RUNS = 10_000
OVERDUE_SECONDS = 30.0
"""How long an agent may take beyond a task's run timeout before the server asks it to stop the task."""

log = structlog.get_logger(__name__)


class Timers:
    """The clocks of all tasks. What lies far ahead stays in the database."""

    def __init__(
        self,
        *,
        store: Store,
        ledger: Ledger,
        registry: TaskRegistry,
        agents: AgentRegistry,
        contacts: Contacts,
        clock: Clock,
        control: ControlTime,
        ranking: Ranking,
        tally: Tally,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._registry = registry
        self._agents = agents
        self._contacts = contacts
        self._clock = clock
        self._control = control
        self._ranking = ranking
        self._tally = tally
        self._due: Front[str] = Front(WINDOW, all_behind=True)
        self._deadlines: Front[str] = Front(WINDOW, all_behind=True)
        self._runs: list[tuple[float, AttemptRef]] = []
        self._most_runs = LEAST_RUNS
        self._is_troubled = False
        self._wake = asyncio.Event()
        self.rounds = 0
        """How many steps of ticks have been done."""

    # -- what is to be timed ------------------------------------------------------------------------------------------

    def delayed(self, task: Task) -> None:
        """A task waits for its time."""
        assert task.due_at is not None
        self._due.offer(Place(task.due_at, task.key), task.id)
        self._wake.set()

    def queued(self, task: Task) -> None:
        """A task waits for room, perhaps not for ever."""
        if task.queue_deadline is not None:
            self._deadlines.offer(Place(task.queue_deadline, task.key), task.id)
            self._wake.set()

    def running(self, task: Task) -> None:
        """A task runs, perhaps not for ever. Its agent is the one that stops it in time."""
        if task.spec.timeout_ms is None:
            return
        if len(self._runs) >= self._most_runs:
            self._forget_ended_runs()
        overdue = self._clock.monotonic() + task.spec.timeout_ms / 1000 + OVERDUE_SECONDS
        heapq.heappush(self._runs, (overdue, task.ref))

    # -- the tick -----------------------------------------------------------------------------------------------------

    def nudge(self) -> None:
        """It ticks each second by itself."""

    async def run(self) -> None:
        """Tick each second, and when something is due, for ever."""
        while True:
            await self.tick()
            await self._wait(self._pause())

    async def _wait(self, seconds: float) -> None:
        """Wait for the next tick. By how much it comes late is the lag of the loop."""
        self._wake.clear()
        since = self._clock.monotonic()
        if not await set_within(self._wake, self._clock, seconds):
            self._tally.loop_lag.observe(max(0.0, self._clock.monotonic() - since - seconds))

    async def tick(self) -> None:
        """Do everything that is due now."""
        self._close_silent()
        self._contacts.write_again()
        self._is_troubled = False
        for step in (self._wake_due, self._expire_queued, self._stop_overdue):
            await self._guarded(step)

    async def _guarded(self, step: Callable[[], Awaitable[None]]) -> None:
        """A database that is away delays what is due; nothing is forgotten."""
        try:
            await step()
            self.rounds += 1
        except StoreError as error:
            self._is_troubled = True
            log.warning("timer_failed", step=step.__name__, error=error.message)

    def _pause(self) -> float:
        if self._is_troubled:
            return TICK_SECONDS
        pauses = [TICK_SECONDS]
        if self._due.first is not None:
            pauses.append((self._due.first.value - self._clock.now()) / 1000)
        if self._deadlines.first is not None:
            pauses.append((self._deadlines.first.value - self._control.now()) / 1000)
        return max(0.0, min(pauses))

    def _close_silent(self) -> None:
        for session in self._agents.silent():
            self._agents.close(session, LinkLost("nothing was heard for three heartbeats"))

    async def _wake_due(self) -> None:
        await self._refill(self._due, self._store.due)
        await self._move(self._due, self._clock.now(), self._readied)

    async def _expire_queued(self) -> None:
        await self._refill(self._deadlines, self._store.expiring)
        await self._move(self._deadlines, self._control.now(), self._expired)

    async def _refill(
        self,
        front: Front[str],
        read: Callable[[Place | None, int], Awaitable[Sequence[tuple[Place, str]]]],
    ) -> None:
        if not front.wants_refill:
            return
        after, limit = front.begin_refill()
        try:
            found = await read(after, limit)
        except BaseException:
            front.abandon_refill()
            raise
        front.end_refill(found)

    async def _move(self, front: Front[str], now: int, change: Callable[[Task], Change | None]) -> None:
        """Carry out a change for every task of a front whose place has come.

        What fails is tried again at the next tick.
        """
        taken: list[tuple[Place, str]] = []
        while front.first is not None and front.first.value <= now and len(taken) < MOST_PER_TICK:
            taken.append((front.first, front.take()))
        if not taken:
            return
        try:
            again = await self._apply([task_id for _, task_id in taken], change)
        except BaseException:
            again = {task_id for _, task_id in taken}
            raise
        finally:
            for place, task_id in taken:
                if task_id in again:
                    front.offer(place, task_id)
        if len(taken) == MOST_PER_TICK or again:
            self._wake.set()

    async def _apply(self, task_ids: Sequence[str], change: Callable[[Task], Change | None]) -> set[str]:
        """Returns the ids whose tasks changed meanwhile and are to be looked at again."""
        tasks = await self._store.find(task_ids)
        changes = [made for task in tasks if (made := change(task)) is not None]
        if not changes:
            return set()
        committed = await self._ledger.commit(changes)
        return {c.task.id for c, revision in zip(changes, committed.revisions, strict=True) if not revision}

    def _readied(self, task: Task) -> Change | None:
        if task.status is not TaskStatus.SCHEDULED:  # its time came, even if the wall clock has gone back since
            return None
        rank, deadline = self._ranking.of(task.spec)
        after = ready(task, rank=rank, now=self._clock.now(), queue_deadline=deadline)
        return Change(task=after, expected=task.revision, events=(EventName.TASK_PENDING,))

    def _expired(self, task: Task) -> Change | None:
        deadline = task.queue_deadline
        if task.status is not TaskStatus.PENDING or deadline is None or deadline > self._control.now():
            return None
        why = self._agents.why_nobody(task.spec.pool, task.spec.type)
        after = expired(task, reason=Reason.QUEUE_TIMEOUT, message=why, now=self._clock.now())
        return Change(task=after, expected=task.revision, events=(EventName.TASK_TIMEOUT,))

    async def _stop_overdue(self) -> None:
        """An agent has not kept a task's run timeout: it is asked to."""
        now, overdue = self._clock.monotonic(), []
        while self._runs and self._runs[0][0] <= now:
            overdue.append(heapq.heappop(self._runs))
        changes = [change for _, ref in overdue if (change := self._overdue(ref)) is not None]
        if not changes:
            return
        try:
            await self._ledger.commit(changes)
        except StoreError:
            self._runs.extend(overdue)
            heapq.heapify(self._runs)
            raise

    def _overdue(self, ref: AttemptRef) -> Change | None:
        task = self._registry.get(ref.task_id)
        if task is None or task.status is not TaskStatus.IN_PROGRESS or task.ref != ref:
            return None
        stop = Stop(reason=Reason.RUN_TIMEOUT, message="ran too long", grace_ms=10_000, asked_at=self._clock.now())
        after = stopping(task, stop=stop)
        return Change(task=after, expected=task.revision, events=(EventName.TASK_CANCELLING,))

    def _forget_ended_runs(self) -> None:
        """Most runs end long before they are overdue: let go of those, so that memory follows what runs."""
        self._runs = [(overdue, ref) for overdue, ref in self._runs if self._is_granted(ref)]
        heapq.heapify(self._runs)
        self._most_runs = max(LEAST_RUNS, 2 * len(self._runs))

    def _is_granted(self, ref: AttemptRef) -> bool:
        task = self._registry.get(ref.task_id)
        return task is not None and task.status in GRANTED and task.ref == ref
