"""Grants: who is given which task, made durable before anything may start.

A replayable task is granted and handed over; any other is offered, and granted when its agent has accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import structlog

from nodelink.errors import StoreError, StoreUnavailable
from nodelink.plan import Plan
from nodelink.task import AttemptRef, Execution, StartCommand, TaskRequest
from nodelink_server.core.attempt import Hold
from nodelink_server.core.changes import changed
from nodelink_server.core.ledger import Committed, Ledger
from nodelink_server.core.limits import Limits, keys_of
from nodelink_server.core.needs import shape_of
from nodelink_server.core.offers import Offer, Offers
from nodelink_server.core.ports import Change, Clock, EventName, Store
from nodelink_server.core.ranking import Standing
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.session import AgentSession
from nodelink_server.core.states import QUEUED
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task, drop_payload, granted, granted_at_once

KEPT_PAYLOAD_BYTES = 1_024
RETRY_SECONDS = 0.5
BEATS_PER_START = 4
"""A lease to start in is counted from the last heartbeat, so it spans some of them."""
FIRST_LEASED_PROTOCOL = 2
"""Agents of older protocols know neither offers nor leases."""

log = structlog.get_logger(__name__)


class Grants:
    """Gives waiting tasks to sessions.

    `lease_ms`, `start_lease_ms`: the leases of what is replayable, and of every other start. `take_back` is called
    with grants that did not reach the session, `requeued` with a task that waits again although nothing of it was
    committed.
    """

    def __init__(
        self,
        *,
        store: Store,
        ledger: Ledger,
        scheduler: Scheduler,
        registry: TaskRegistry,
        limits: Limits,
        clock: Clock,
        tally: Tally,
        lease_ms: int,
        start_lease_ms: int,
        take_back: Callable[[int, Sequence[AttemptRef]], None],
        requeued: Callable[[Task], None],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._scheduler = scheduler
        self._registry = registry
        self._limits = limits
        self._clock = clock
        self._tally = tally
        self._lease_ms = lease_ms
        self._start_lease_ms = start_lease_ms
        self._take_back = take_back
        self._requeued = requeued
        self.offers = Offers()
        self._starting: dict[AttemptRef, AgentSession] = {}
        self._declined_early: set[AttemptRef] = set()
        """Of these, what the agent will not start after all."""
        self._start_number = 0
        self._counter = count(1)
        self._loads = count(1)
        self._loading: dict[int, float] = {}

    def restore(self, start_number: int) -> None:
        """Draw fences above those of every earlier start."""
        self._start_number = start_number

    # -- giving -------------------------------------------------------------------------------------------------------

    def is_under_way(self, ref: AttemptRef, session: AgentSession) -> bool:
        """Whether a session has this open offer, or has accepted it and its grant is being committed."""
        return ref in self._starting or self.offers.is_open(ref, session)

    def is_offered(self, session: AgentSession, task: Task) -> bool:
        """Whether a task is offered to a session before it is granted."""
        return task.phase_execution is not Execution.REPLAYABLE and session.protocol >= FIRST_LEASED_PROTOCOL

    def is_at_once(self, session: AgentSession, task: Task) -> bool:
        """Whether a new task may be granted to a session in the commit that accepts it."""
        execution = task.phase_execution
        if session.protocol >= FIRST_LEASED_PROTOCOL:
            return execution is Execution.REPLAYABLE
        return execution is not Execution.EXCLUSIVE

    def at_once(self, session: AgentSession, task: Task, standing: Standing, holds: tuple[Hold, ...], now: int) -> Task:
        """A new task's next value if this session is given it in the commit that accepts it, with these places."""
        rank, queue_deadline, fair_tag = standing
        return granted_at_once(
            task,
            rank=rank,
            queue_deadline=queue_deadline,
            fair_tag=fair_tag,
            agent_id=session.agent_id,
            session=session.number,
            fence=self._fence(),
            now=now,
            lease_ms=self._lease_of(session, task),
            holds=holds,
        )

    async def feed(self, session: AgentSession) -> None:
        """Give a session work as it gets room, until cancelled."""
        self._scheduler.wake_rested(all=True)  # here is somebody to whom it may be sent
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
            self.give(session, tasks)

    def give(self, session: AgentSession, tasks: Sequence[Task]) -> None:
        """Give a session tasks that were leased for it, with their payloads: grant them, or offer them."""
        if session.drained:
            self._return(session, tasks)
            return
        to_grant, unfit, held = [], [], []
        for task in tasks:
            if self._scheduler.is_paused(shape_of(task)):
                held.append(task)
            elif self.is_offered(session, task):
                self._offer(session, task)
            elif task.phase_execution is Execution.EXCLUSIVE:
                unfit.append(task)
            else:
                to_grant.append(task)
        if to_grant:
            self._grant(session, to_grant)
        if held:  # it was paused while they were being prepared
            self._return(session, held)
        if unfit:  # its protocol cannot start them safely
            session.types.difference_update({task.spec.type for task in unfit})
            self._return(session, unfit)

    def deliver(self, session: AgentSession | None, task: Task) -> None:
        """A grant is durable: hand the task over, or have it started, unless its session has ended meanwhile."""
        attempt = task.attempt
        assert attempt is not None
        accepted_by, is_declined = self._accepted_by(task.ref) if self._starting else (None, False)
        if session is None or session.number != attempt.session or not session.is_open:
            self._scheduler.send_failed([task.id], attempt.agent_id)
            self._take_back(attempt.session, [task.ref])
            return
        if session.drained or is_declined:
            self._deliver_nothing(session, task, is_there=accepted_by is not None)
            return
        if accepted_by is not None:
            session.start(self.start_of(session, task))
        else:
            session.deliver(self._request(session, task))
        _let_go_of_payload(task)

    def _accepted_by(self, ref: AttemptRef) -> tuple[AgentSession | None, bool]:
        """Who has accepted the offer whose grant is durable now, and whether it has declined it since."""
        accepted_by = self._starting.pop(ref, None)
        is_declined = ref in self._declined_early
        self._declined_early.discard(ref)
        return accepted_by, is_declined

    def _deliver_nothing(self, session: AgentSession, task: Task, *, is_there: bool) -> None:
        """A grant has become durable that is not wanted any more. `is_there`: the agent has accepted it."""
        assert task.attempt is not None
        self._take_back(task.attempt.session, [task.ref])
        if is_there:
            session.withdraw(task.ref)
        else:
            session.release([task])

    def start_of(self, session: AgentSession, task: Task) -> StartCommand:
        """What tells an agent to start a task that it has accepted."""
        lease_ms = max(self._start_lease_ms, int(session.period * BEATS_PER_START * 1000))
        return StartCommand(task.ref, lease_ms, session.last_beat)

    # -- offers -------------------------------------------------------------------------------------------------------

    def accepted(self, session: AgentSession, refs: Sequence[AttemptRef]) -> None:
        """An agent has accepted offers: grant them. What is not offered to it any more, it may forget."""
        tasks = []
        for ref in refs:
            task = self.offers.take(ref, session)
            if task is None:
                self._withdraw_unless_granted(session, ref)
            else:
                self._tally.offers["accepted"] += 1
                self._starting[ref] = session
                tasks.append((ref, task))
        if tasks:
            self._grant_accepted(session, tasks)

    def declined(self, session: AgentSession, ref: AttemptRef) -> Task | None:
        """An agent has declined an offer: its task waits again. Returns it; None: it was no open offer."""
        task = self.offers.take(ref, session)
        if task is not None:
            self._tally.offers["declined"] += 1
            self._wait_again([task])
            _let_go(session, task)
        elif self._starting.get(ref) is session:  # its grant is being committed, and will come to nothing
            self._declined_early.add(ref)
        return task

    def hand_back(self, session: AgentSession) -> None:
        """A session's agent is to be empty: what provably has not begun there waits again."""
        self._take_back(session.number, session.take_unsent())
        for ref in self.offers.of_session(session):
            self._withdraw(ref, "drained")

    def withdraw_paused(self) -> None:
        """Take back the offers of what has been paused. What is accepted by now is being granted, and runs."""
        for ref, task in self.offers.all():
            if self._scheduler.is_paused(shape_of(task)):
                self._withdraw(ref, "paused")

    def _withdraw(self, ref: AttemptRef, why: str) -> None:
        """Take back an open offer: its task waits again."""
        session = self.offers.session_of(ref)
        task = self.offers.take(ref, session)
        assert task is not None
        self._tally.offers[why] += 1
        session.withdraw(ref)
        self._wait_again([task])
        _let_go(session, task)

    def end_session(self, session: AgentSession) -> None:
        """A session is over: what was offered to it waits again."""
        tasks = self.offers.end_session(session)
        if tasks:
            self._tally.offers["session_ended"] += len(tasks)
            self._scheduler.send_failed([task.id for task in tasks], session.agent_id)
            self._wait_again(tasks)

    def withdraw_unanswered(self) -> None:
        """Take back the offers that an agent has left unanswered for too long."""
        for ref in self.offers.unanswered(self._clock.monotonic()):
            agent_id = self.offers.session_of(ref).agent_id
            log.warning("offer_unanswered", task_id=ref.task_id, agent_id=agent_id)
            self._scheduler.send_failed([ref.task_id], agent_id)
            self._withdraw(ref, "unanswered")

    def feeding_since(self) -> float | None:
        """When the oldest grant that is being prepared was begun, in monotonic seconds; None: none is."""
        return min(self._loading.values(), default=None)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _fence(self) -> int:
        """A fence above every fence before."""
        return self._start_number << 32 | next(self._counter)

    def _lease_of(self, session: AgentSession, task: Task) -> int | None:
        is_leased = task.phase_execution is Execution.REPLAYABLE and session.protocol >= FIRST_LEASED_PROTOCOL
        return self._lease_ms if is_leased else None

    def _granted(self, session: AgentSession, task: Task, fence: int) -> Change:
        reserved = self._limits.reservation(task.id)
        after = granted(
            task,
            agent_id=session.agent_id,
            session=session.number,
            fence=fence,
            now=self._clock.now(),
            lease_ms=self._lease_of(session, task),
            holds=(*task.holds, *reserved.holds),
        )
        return changed(task, after, EventName.TASK_SENT, uses=reserved.uses)

    def _request(self, session: AgentSession, task: Task) -> TaskRequest:
        """A granted task as it is handed over."""
        assert task.payload is not None
        assert task.attempt is not None
        return TaskRequest(
            ref=task.ref,
            spec=task.spec,
            payload=task.payload,
            execution=task.phase_execution,
            traceparent=task.traceparent,
            lease_ms=task.attempt.lease_ms,
            basis=session.last_beat,
            plan=_plan_of(task),
        )

    def _offer(self, session: AgentSession, task: Task) -> None:
        assert task.payload is not None
        ref = AttemptRef(task.id, task.grants + 1, self._fence())
        self.offers.made(ref, Offer(session, task, self._clock.monotonic()))
        session.deliver(
            TaskRequest(
                ref=ref,
                spec=task.spec,
                payload=task.payload,
                execution=task.phase_execution,
                traceparent=task.traceparent,
                granted=False,
                plan=_plan_of(task),
            )
        )
        _let_go_of_payload(task)
        if not session.is_open:  # it ended while the task was being committed, and nobody will end the offer
            self.end_session(session)

    def _grant(self, session: AgentSession, tasks: Sequence[Task]) -> None:

        def done(outcome: Committed | StoreError) -> None:
            refused = self._settle_grants(tasks, outcome)
            if refused:
                session.release(refused)

        self._ledger.post([self._granted(session, task, self._fence()) for task in tasks], done=done)

    def _grant_accepted(self, session: AgentSession, offered: Sequence[tuple[AttemptRef, Task]]) -> None:
        tasks = [task for _, task in offered]

        def done(outcome: Committed | StoreError) -> None:
            refused = {task.id for task in self._settle_grants(tasks, outcome)}
            for ref, task in offered:
                if task.id in refused:
                    self._starting.pop(ref, None)
                    self._declined_early.discard(ref)
                    session.withdraw(ref)
                    _let_go(session, task)

        self._ledger.post([self._granted(session, task, ref.fence) for ref, task in offered], done=done)

    def _settle_grants(self, tasks: Sequence[Task], outcome: Committed | StoreError) -> Sequence[Task]:
        """What became of grants. Returns those that came to nothing: they wait again, or have changed meanwhile."""
        if isinstance(outcome, StoreError):
            self._tally.assignments["store_failed"] += len(tasks)
            self._wait_again(tasks)
            return tasks
        refused = [t for t, revision in zip(tasks, outcome.revisions, strict=True) if not revision]
        self._tally.assignments["granted"] += len(tasks) - len(refused)
        for task, revision in zip(tasks, outcome.revisions, strict=True):
            self._scheduler.granted(task.id)
            if revision:
                self._limits.granted(task.id)
        if refused:
            self._tally.assignments["refused"] += len(refused)
            self._forget_refused(refused, {tasks[index].id for index in outcome.locked})
        return refused

    def _return(self, session: AgentSession, tasks: Sequence[Task]) -> None:
        """Nothing came of a lease: the tasks are queued again, the slots are free again."""
        self._wait_again(tasks)
        session.release(tasks)

    def _wait_again(self, tasks: Sequence[Task]) -> None:
        """Tasks that were to be given away, and of which nothing was committed, wait on."""
        for task in tasks:
            self._scheduler.granted(task.id)
            self._limits.give_back(task.id)
        self._queue([shown for task in tasks if (shown := self._registry.get(task.id)) is not None])

    def _queue(self, tasks: Sequence[Task]) -> None:
        """Tasks as they are shown are queued again, if they wait: something else may have become of them meanwhile."""
        drop: list[str] = []
        for task in tasks:
            if task.status in QUEUED:
                kept, pushed_out = self._scheduler.admit(task)
                drop.extend(pushed_out if kept else [*pushed_out, task.id])
                self._requeued(task)
        self._registry.swap(put=(), drop=drop)
        self._scheduler.reserve()

    def _forget_refused(self, tasks: Sequence[Task], locked: set[str]) -> None:
        """Values that the database has refused are shown no more, unless newer ones have come."""
        for task in tasks:
            if task.id in locked:
                log.error("place_held_by_another", task_id=task.id)
                self._limits.refused(task)
            else:
                self._limits.give_back(task.id)
        shown = [(task, now) for task in tasks if (now := self._registry.get(task.id)) is not None]
        same = [now for task, now in shown if now.revision == task.revision]
        by_gates = [
            task for task in same if task.id in locked and (task.has_plan or not keys_of(task))
        ]  # nobody looks for those
        self._registry.swap(put=(), drop=[task.id for task in same if task not in by_gates])
        changed_since = [now for task, now in shown if now.revision > task.revision]  # of another priority by now
        self._queue([*by_gates, *changed_since])

    def _withdraw_unless_granted(self, session: AgentSession, ref: AttemptRef) -> None:
        """An acceptance came twice, or too late. Of what is granted, or about to be, the agent hears anyhow."""
        task = self._registry.get(ref.task_id)
        is_granted = task is not None and task.attempt is not None and task.ref == ref
        if ref not in self._starting and not is_granted:
            session.withdraw(ref)

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


def _let_go(session: AgentSession, task: Task) -> None:
    """A task takes nothing of an agent after all."""
    if session.let_go(task.id):
        session.has_more_room()


def _let_go_of_payload(task: Task) -> None:
    """What has been handed over and is large need not be kept beside what the stream has of it."""
    if task.payload is not None and len(task.payload) > KEPT_PAYLOAD_BYTES:
        drop_payload(task)


def _plan_of(task: Task) -> Plan | None:
    """The approved plan that is to be applied."""
    return task.plan.plan if task.plan is not None else None
