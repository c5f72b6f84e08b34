"""Everything that happens because time passes: due tasks, queue timeouts, overdue runs, silent agents. One tick.

Due times follow the wall clock, as the calendar asks; waiting is counted in control time, so that an outage ages
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from nodelink.errors import LinkLost, StoreError
from nodelink.task import AttemptRef, Reason, TaskStatus
from nodelink_server.core.agents import AgentRegistry
from nodelink_server.core.attempt import Stop
from nodelink_server.core.changes import changed
from nodelink_server.core.clock import ControlTime, set_within
from nodelink_server.core.contacts import Contacts
from nodelink_server.core.expiry import Expiry
from nodelink_server.core.front import Front
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.moments import Moments
from nodelink_server.core.needs import shape_of
from nodelink_server.core.ports import Change, Clock, EventName, Place, Store
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.states import GRANTED, QUEUED
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task, expired, ready, skipped, stop_wanted, stopping

TICK_SECONDS = 1.0
MOST_PER_TICK = 1_000
WINDOW = 10_000
GRACE_MS = 10_000
"""How long work may take to end that a timer stops."""
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
        expiry: Expiry,
        is_promised: Callable[[str], bool],
        is_to_be_skipped: Callable[[Task], bool],
        withdraw_offers: Callable[[], None],
        look_over: Callable[[], None],
        look_seconds: float,
        wake_rested: Callable[[], None],
        stop_drained: Callable[[], None],
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
        self._expiry = expiry
        self._is_promised = is_promised
        self._is_to_be_skipped = is_to_be_skipped
        self._withdraw_offers = withdraw_offers
        self._look_over = look_over
        self._look_seconds = look_seconds
        self._look_at = clock.monotonic() + look_seconds
        self._wake_rested = wake_rested
        self._stop_drained = stop_drained
        self._clock = clock
        self._control = control
        self._ranking = ranking
        self._tally = tally
        self._due: Front[str] = Front(WINDOW, all_behind=True)
        self._retrying: Front[str] = Front(WINDOW, all_behind=True)
        self._deadlines: Front[str] = Front(WINDOW, all_behind=True)
        self._totals: Front[str] = Front(WINDOW, all_behind=True)
        self._starts = Moments(self._is_unstarted)
        self._runs = Moments(self._is_granted)
        self._is_troubled = False
        self._wake = asyncio.Event()
        self.rounds = 0
        """How many steps of ticks have been done."""

    def look_anew(self) -> None:
        """The database holds other tasks than before."""
        self._due, self._retrying = Front(WINDOW, all_behind=True), Front(WINDOW, all_behind=True)
        self._deadlines, self._totals = Front(WINDOW, all_behind=True), Front(WINDOW, all_behind=True)
        self._wake.set()

    # -- what is to be timed ------------------------------------------------------------------------------------------

    def delayed(self, task: Task) -> None:
        """A task waits for its time."""
        assert task.due_at is not None
        self._due.offer(Place(task.due_at, task.key), task.id)
        self._wake.set()

    def retrying(self, task: Task) -> None:
        """A task waits for its next try."""
        assert task.retry_at is not None
        self._retrying.offer(Place(task.retry_at, task.key), task.id)
        self._wake.set()

    def queued(self, task: Task) -> None:
        """A task waits for room, perhaps not for ever."""
        if task.queue_deadline is not None:
            self._deadlines.offer(Place(task.queue_deadline, task.key), task.id)
            self._wake.set()

    def limited(self, task: Task) -> None:
        """A task may take only so long in all: it is new, or may take longer or less than before."""
        assert task.total_deadline is not None
        self._totals.offer(Place(task.total_deadline, task.key), task.id)
        self._wake.set()

    def sent(self, task: Task) -> None:
        """A task was given to an agent, which may have only so long to begin."""
        if task.spec.start_timeout_ms is not None:
            self._starts.add(self._clock.monotonic() + task.spec.start_timeout_ms / 1000, task.ref)
            self._wake.set()

    def running(self, task: Task) -> None:
        """A task runs, perhaps not for ever. Its agent is the one that stops it in time."""
        left = self._run_left(task)
        if left is not None:
            self._runs.add(self._clock.monotonic() + left + OVERDUE_SECONDS, task.ref)

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
        self._withdraw_offers()
        self._wake_rested()
        self._look_over_now_and_then()
        self._stop_drained()
        self._contacts.write_again()
        self._agents.write_contacts()
        self._is_troubled = False
        expire = (self._expire_queued, self._expire_totals, self._stop_unstarted, self._stop_overdue)
        for step in (self._wake_due, self._try_again, *expire, self._expiry.expire_leases):
            try:
                await step()
                self.rounds += 1
            except StoreError as error:  # a database that is away delays what is due; nothing is forgotten
                self._is_troubled = True
                log.warning("timer_failed", step=step.__name__, error=error.message)

    def _pause(self) -> float:
        if self._is_troubled:
            return TICK_SECONDS
        pauses = [TICK_SECONDS]
        if self._due.first is not None:
            pauses.append((self._due.first.value - self._clock.now()) / 1000)
        now = self._control.now()
        fronts = (self._retrying, self._deadlines, self._totals)
        pauses.extend((front.first.value - now) / 1000 for front in fronts if front.first is not None)
        if self._starts.first is not None:
            pauses.append(self._starts.first - self._clock.monotonic())
        return max(0.0, min(pauses))

    def _look_over_now_and_then(self) -> None:
        """Should a wake-up ever be lost, nobody waits for longer than this."""
        if self._clock.monotonic() >= self._look_at:
            self._look_at = self._clock.monotonic() + self._look_seconds
            self._look_over()

    def _close_silent(self) -> None:
        for session in self._agents.silent():
            self._agents.close(session, LinkLost("nothing was heard for three heartbeats"))

    async def _wake_due(self) -> None:
        if self._due.wants_refill:
            await self._refill(self._due, self._store.due)
        if self._due.first is not None:
            await self._move(self._due, self._clock.now(), self._readied)

    async def _try_again(self) -> None:
        if self._retrying.wants_refill:
            await self._refill(self._retrying, self._store.retrying)
        if self._retrying.first is not None:
            await self._move(self._retrying, self._control.now(), self._readied)

    async def _expire_queued(self) -> None:
        if self._deadlines.wants_refill:
            await self._refill(self._deadlines, self._store.expiring)
        if self._deadlines.first is not None:
            await self._move(self._deadlines, self._control.now(), self._expired)

    async def _expire_totals(self) -> None:
        if self._totals.wants_refill:
            await self._refill(self._totals, self._store.limited)
        if self._totals.first is not None:
            await self._move(self._totals, self._control.now(), self._outlived)

    async def _refill(
        self,
        front: Front[str],
        read: Callable[[Place | None, int], Awaitable[Sequence[tuple[Place, str]]]],
    ) -> None:
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
        if task.retry_at is not None and task.retry_at > self._control.now():
            return None
        if self._is_to_be_skipped(task):
            return changed(task, skipped(task, now=self._clock.now()), EventName.TASK_SKIPPED)
        due = task.due_at if task.due_at is not None else self._clock.now()
        standing = self._ranking.of(task.spec, late_ms=self._clock.now() - due)
        after = ready(task, now=self._clock.now(), **standing._asdict())
        return changed(task, after, EventName.TASK_PENDING)

    def _expired(self, task: Task) -> Change | None:
        deadline = task.queue_deadline
        if deadline is None or deadline > self._control.now():
            return None
        if task.status is TaskStatus.PLAN_COMPLETED:
            return self._unapproved(task)
        if task.status not in QUEUED:
            return None
        if self._is_promised(task.id):  # it is told of again if nothing comes of that
            return None
        why = self._agents.why_nobody(shape_of(task))
        after = expired(task, reason=Reason.QUEUE_TIMEOUT, message=why, now=self._clock.now())
        return changed(task, after, EventName.TASK_TIMEOUT)

    def _unapproved(self, task: Task) -> Change:
        message = "nobody has approved its plan in time"
        after = expired(task, reason=Reason.APPROVAL_EXPIRED, message=message, now=self._clock.now())
        self._tally.approvals["expired"] += 1
        return changed(task, after, EventName.TASK_TIMEOUT)

    def _outlived(self, task: Task) -> Change | None:
        """It has taken too long in all: it ends if it waits, and is to stop if it runs."""
        deadline = task.total_deadline  # none any more, if a person wanted it to run again
        if task.is_terminal or task.stop is not None or deadline is None or deadline > self._control.now():
            return None
        now, message = self._clock.now(), "took too long in all"
        if task.is_waiting:
            return changed(
                task, expired(task, reason=Reason.TOTAL_TIMEOUT, message=message, now=now), EventName.TASK_TIMEOUT
            )
        stop = Stop(reason=Reason.TOTAL_TIMEOUT, message=message, grace_ms=GRACE_MS, asked_at=now)
        if task.status is TaskStatus.UNKNOWN:
            return changed(task, stop_wanted(task, stop=stop))
        return changed(task, stopping(task, stop=stop), EventName.TASK_CANCELLING)

    async def _stop_unstarted(self) -> None:
        """An agent has not begun in time: it is not to begin any more."""
        await self._stop_late(self._starts, self._unstarted)

    async def _stop_overdue(self) -> None:
        """An agent has not kept a task's run timeout: it is asked to."""
        await self._stop_late(self._runs, self._overdue)

    async def _stop_late(self, moments: Moments, change: Callable[[AttemptRef], Change | None]) -> None:
        """Stop every attempt whose moment has passed, unless it is not to be stopped any more."""
        if moments.first is None:
            return
        late = moments.take(self._clock.monotonic())
        changes = [made for _, ref in late if (made := change(ref)) is not None]
        if not changes:
            return
        try:
            await self._ledger.commit(changes)
        except StoreError:
            moments.put_back(late)
            raise

    def _unstarted(self, ref: AttemptRef) -> Change | None:
        return self._stopped(ref, TaskStatus.SENT, Reason.START_TIMEOUT, "its agent did not begin in time")

    def _overdue(self, ref: AttemptRef) -> Change | None:
        task = self._registry.get(ref.task_id)
        if task is not None and self._has_longer(task, ref):
            self.running(task)
            return None
        return self._stopped(ref, TaskStatus.IN_PROGRESS, Reason.RUN_TIMEOUT, "ran too long")

    def _run_left(self, task: Task) -> float | None:
        """How many seconds the run of a task that has just begun, or was extended, may take from now; None: no end."""
        until = _extended_until(task)
        if until is not None:
            return (until - self._control.now()) / 1000
        return None if task.spec.timeout_ms is None else task.spec.timeout_ms / 1000

    def _has_longer(self, task: Task, ref: AttemptRef) -> bool:
        """Whether an attempt was given more time since its moment was chosen."""
        until = _extended_until(task)
        if until is None or not self._is_granted(ref):
            return False
        return until + OVERDUE_SECONDS * 1000 > self._control.now()

    def _stopped(self, ref: AttemptRef, status: TaskStatus, reason: Reason, message: str) -> Change | None:
        """A stop of an attempt, if it still stands so."""
        task = self._registry.get(ref.task_id)
        if task is None or task.status is not status or task.ref != ref:
            return None
        stop = Stop(reason=reason, message=message, grace_ms=GRACE_MS, asked_at=self._clock.now())
        return changed(task, stopping(task, stop=stop), EventName.TASK_CANCELLING)

    def _is_granted(self, ref: AttemptRef) -> bool:
        task = self._registry.get(ref.task_id)
        return task is not None and task.status in GRANTED and task.ref == ref

    def _is_unstarted(self, ref: AttemptRef) -> bool:
        task = self._registry.get(ref.task_id)
        return task is not None and task.status is TaskStatus.SENT and task.ref == ref


def _extended_until(task: Task) -> int | None:
    """Until when the run of a task may go on if it was given another time than it asks for, in control time."""
    extension = task.attempt.extension if task.attempt is not None else None
    return None if extension is None else extension.run_until
