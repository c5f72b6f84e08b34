"""The one door to everything that the server knows and does. Each room is given only what it needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog

from nodelink.checkpoint import CheckpointHeader
from nodelink.errors import (
    CallerError,
    LinkLost,
    Overloaded,
    ServerNotEmpty,
    StoreConflict,
    StoreError,
    StoreUnavailable,
    TaskAlreadyFinished,
    TaskNotFound,
)
from nodelink.task import (
    DEFAULT_GRACE_MS,
    Progress,
    Submission,
    TaskStatus,
    Verdict,
)
from nodelink_server.core.agents import AgentView
from nodelink_server.core.approvals import Named
from nodelink_server.core.assembly import Options, Rooms
from nodelink_server.core.bulk import BulkOrder, BulkOutcome, digest_of, outcome_of, text_of
from nodelink_server.core.changes import cancelled_by_caller
from nodelink_server.core.checkpoints import PAUSE, Loading, Resumption, Shelf, check_load
from nodelink_server.core.decisions import Resolution
from nodelink_server.core.extensions import NewLimits
from nodelink_server.core.handshake import Hello
from nodelink_server.core.leases import TaskContact
from nodelink_server.core.lookup import SchedulerStatus
from nodelink_server.core.observer import Observer
from nodelink_server.core.pauses import SCHEDULER, Pause
from nodelink_server.core.ports import AgentSessionRecord, Boot, Clock, IdempotencyKey, Store, TaskPage, TaskQuery
from nodelink_server.core.session import AgentSession
from nodelink_server.core.statistics import Stats, StatsQuery
from nodelink_server.core.submissions import Accepted, repetition
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import TaskEnd, TaskRecord
from nodelink_server.core.validation import check_cancel, check_key
from nodelink_server.core.vitals import STOPPING, Health
from nodelink_server.core.why import AgentWhy, TaskWhy

TRIES = 20

log = structlog.get_logger(__name__)


class TaskManager:
    """Accepts tasks, has them run, and tells what became of them."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        options: Options | None = None,
        observer: Observer | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self.options = options or Options()
        rooms = Rooms(store, clock, new_id, self.options, observer, shelf)
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
        self.vitals = rooms.vitals
        self.workspaces = rooms.workspaces
        self.limits = rooms.limit_views
        self.blobs = rooms.blobs
        self.artifacts = rooms.artifacts
        self.workspace_states = rooms.workspace_states
        self.attempt_access = rooms.attempt_access
        self.checkpoints = rooms.checkpoints
        self._is_loading = False
        self.plans = rooms.plan_views
        self.stopping = asyncio.Event()
        """Set when the server begins to stop: what is under way is answered, and nothing else is taken."""

    # -- life ---------------------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Take up where an earlier start left off. Called once, before `running`."""
        boot = await self._store.boot(self._clock.now())
        self.rooms.accounts.restore(boot.start_number)
        self.rooms.control.resume(boot.control_ms)
        self._take_up(boot)
        if self.options.start_paused:
            self.rooms.pausing.start_paused()
        log.info("restored", start=boot.start_number, granted=len(boot.granted), shapes=len(boot.shapes))

    def _take_up(self, boot: Boot) -> None:
        """Let memory go on from what the database holds."""
        self.rooms.grants.restore(boot.start_number)
        self.events.newest = boot.revision
        self.agents.restore(boot.agents)
        self.registry.swap(put=boot.granted)
        self.rooms.limits.restore(boot.holds, boot.limits, boot.rates, boot.granted, boot.planned)
        self.rooms.workspaces.restore(boot.workspaces)
        self.rooms.pauses.restore(boot.pauses)
        self.rooms.fairness.restore(boot.lines)
        for task in boot.granted:
            if task.attempt is not None:
                self.rooms.leases.granted(task.attempt.agent_id, task.id)
            if task.status is TaskStatus.IN_PROGRESS:
                self.rooms.timers.running(task)
            elif task.status is TaskStatus.SENT:
                self.rooms.timers.sent(task)
        self.scheduler.restore(boot.shapes)
        if boot.loaded is not None:
            changes = list(self.rooms.reviving.changes(boot.granted, boot.loaded, now=self._clock.now()))
            self.ledger.post(changes, revived=boot.loaded.id)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything that runs beside the doors. The death of one of these loops is the death of the server."""
        loops = {
            "ledger": self.ledger.run(),
            "scheduler": self.scheduler.run(),
            "limits": self.scheduler.run_limits(),
            "replacing": self.rooms.replacing.run(),
            "errands": self.rooms.errands.run(),
            "take-backs": self.rooms.takebacks.run(),
            "delayed acknowledgements": self.rooms.delayed_acks.run(),
            "response processor": self.rooms.processor.run(),
            "logbook": self.logs.run(),
            "timers": self.rooms.timers.run(),
            "clean-up": self.rooms.cleanup.run(),
            "sweeps": self.rooms.cleanup.run_sweeps(),
            "archive": self.rooms.archive.run(),
            "checkpoints": self.rooms.checkpoints.run(),
            "events": self.events.run(),
            "vitals": self.vitals.run(),
        }
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop, name=name) for name, loop in loops.items()]
            try:
                yield
                await self.rooms.archive.flush()
            finally:
                for task in tasks:
                    task.cancel()
                self.ledger.close()

    async def drain(self) -> None:
        """Take no more work, and end every listener and every session on purpose. Agents keep what they run."""
        self.stopping.set()
        self.vitals.drain()
        self.events.close()
        self.scheduler.paused = True
        self.logs.close()
        self.rooms.waiting.close()
        self.rooms.contacts.stopping = True
        for session in self.agents.sessions():
            session.say_goodbye(STOPPING)

    def health(self) -> Health:
        """Whether the server can commit and its loops turn. `vitals.changed` waits for another answer."""
        return self.vitals.health()

    # -- for callers --------------------------------------------------------------------------------------------------

    async def submit(self, submissions: Sequence[Submission], *, caller: str = "local") -> list[Accepted | CallerError]:
        """Accept tasks. Durable when it returns: one outcome each, in order, a `CallerError` for what was refused.

        Raises `StoreUnavailable` or `Overloaded` if nothing was accepted.
        """
        if self.stopping.is_set():
            raise StoreUnavailable(STOPPING, retry_after=5.0)
        if self._is_loading:
            raise Overloaded("a checkpoint is being loaded", retry_after=1.0)
        if self.options.max_live_tasks:
            await self.rooms.submissions.check_live(await self.counts(), self.options.max_live_tasks, len(submissions))
        return await self.rooms.submissions.submit(submissions, caller=caller)

    async def retry(
        self, task_id: str, *, idempotency_key: str | None = None, traceparent: str = "", caller: str = "local"
    ) -> Accepted:
        """Run a finished task again, as a new task that is due now: what has ended never changes.

        Raises `TaskNotFound`, `TaskNotFinished`, `IdempotencyConflict`, `StoreUnavailable`, `Overloaded`.
        """
        again = repetition(await self.get(task_id), idempotency_key=idempotency_key, traceparent=traceparent)
        [outcome] = await self.submit([again], caller=caller)
        if isinstance(outcome, CallerError):
            raise outcome
        return outcome

    async def get(self, task_id: str) -> TaskRecord:
        """A task. A waiting one says why it waits. Raises `TaskNotFound`."""
        return await self.rooms.lookup.get(task_id)

    async def list(self, query: TaskQuery) -> TaskPage:
        """A page of tasks, newest first. Raises `InvalidTask` for a `q` that means nothing."""
        return await self.rooms.lookup.list(query)

    async def wait(self, task_id: str, timeout_ms: int | None) -> TaskRecord:
        """A task when it has ended, or as it stands when the time is up. Raises `TaskNotFound`."""
        return await self.rooms.waiting.for_one(task_id, timeout_ms)

    async def wait_many(
        self, task_ids: Sequence[str], timeout_ms: int | None, *, all: bool = False
    ) -> Sequence[TaskEnd]:
        """How those have ended that have, in the order asked: when one (`all`: every one) has, or the time is up.

        As many as may be loaded at once (`ports.PAGE_BYTES`); ask again for the others. Raises `TaskNotFound` if one
        is unknown, `InvalidTask` for none or more than 1,000.
        """
        return await self.rooms.waiting.for_some(task_ids, timeout_ms, all=all)

    async def cancel(self, task_id: str, *, message: str = "", grace_ms: int = DEFAULT_GRACE_MS) -> TaskRecord:
        """Ask for a task to be stopped.

        It is cancelled at once if it never began; else its agent is told until it answers.

        Raises `InvalidTask`, `TaskNotFound`, `TaskAlreadyFinished`. Asking again changes nothing.
        """
        check_cancel(message, grace_ms)
        for _ in range(TRIES):
            task = await self._find(task_id)
            if task.is_terminal:
                raise TaskAlreadyFinished(f"the task has already finished: {task.status}")
            if task.stop is not None:
                return await self.get(task_id)
            change = cancelled_by_caller(task, message=message, grace_ms=grace_ms, now=self._clock.now())
            committed = await self.ledger.commit([change])
            if committed.revisions[0]:
                return await self.get(task_id)
        raise StoreConflict("the task changes faster than it can be cancelled; try again")

    async def extend(self, task_id: str, limits: NewLimits, *, by: str = "local") -> TaskRecord:
        """Give a task that is with an agent other limits, longer or shorter, each counted from now.

        Raises `InvalidTask`, `TaskNotFound`, `TaskAlreadyFinished`, `CannotExtend`.
        """
        await self.rooms.extensions.extend(task_id, limits, by=by)
        return await self.get(task_id)

    async def bulk(self, order: BulkOrder, *, idempotency_key: str | None = None, caller: str = "local") -> BulkOutcome:
        """Do one thing to every task that a filter selects, as many as one call may look at, newest first.

        Under an idempotency key it is done once, and the same order is given the first answer for a day. Raises
        `InvalidTask`, which names the wrong field; `IdempotencyConflict`: the key stands for another order;
        `StoreUnavailable`, `Overloaded`: then what was done before is done all the same.
        """
        run = partial(self.rooms.bulk.run, order, submit=partial(self.submit, caller=caller), by=caller)
        if idempotency_key is None:
            return await run()
        check_key(idempotency_key)
        key = IdempotencyKey(caller=caller, key=idempotency_key, digest=digest_of(order))

        async def told() -> str:
            return text_of(await run(key=idempotency_key))

        text, replayed = await self.rooms.answers.once(key, told)
        return outcome_of(text, replayed=replayed)

    async def abandon(self, task_id: str, *, reason: str, by: str = "local") -> TaskRecord:
        """End a live task as failed, whatever its agent does; the agent is told to stop it when it is next heard of.

        Raises `InvalidTask` without a reason, `TaskNotFound`, `TaskAlreadyFinished`.
        """
        await self.rooms.decisions.abandon(task_id, reason=reason, by=by)
        return await self.get(task_id)

    async def resolve(self, task_id: str, *, resolution: Resolution, reason: str, by: str = "local") -> TaskRecord:
        """Say what became of a task whose end is not known.

        Raises `InvalidTask` without a reason, `TaskNotFound`, `TaskAlreadyFinished`, `TaskNotInDoubt`.
        """
        await self.rooms.decisions.resolve(task_id, resolution=resolution, reason=reason, by=by)
        return await self.get(task_id)

    async def approve(self, task_id: str, named: Named, *, message: str = "", by: str = "local") -> TaskRecord:
        """Let a task apply its plan, which has to be the one that is named.

        Raises `InvalidTask`, `TaskNotFound`, `TaskAlreadyFinished`, `PlanNotWaiting`, `PlanChanged`, `NotAllowed`.
        """
        await self.rooms.approvals.approve(task_id, named, message=message, by=by)
        return await self.get(task_id)

    async def reject(
        self, task_id: str, named: Named | None = None, *, message: str = "", by: str = "local"
    ) -> TaskRecord:
        """End a task whose plan waits for an approval; if one is named, only if that one waits. Raises as `approve`."""
        await self.rooms.approvals.reject(task_id, named or Named(), message=message, by=by)
        return await self.get(task_id)

    async def drain_agent(
        self, agent_id: str, *, note: str = "", deadline_ms: int | None = None, by: str = "local"
    ) -> AgentView:
        """Have an agent become empty: it gets nothing new, and what still runs there after so long is stopped.

        Raises `InvalidTask`, `AgentNotFound`, `StoreUnavailable`.
        """
        return await self.rooms.drains.drain(agent_id, note=note, deadline_ms=deadline_ms, by=by)

    async def undrain(self, agent_id: str, *, by: str = "local") -> AgentView:
        """Let an agent that is kept from new work have new work again. Raises `AgentNotFound`."""
        return await self.rooms.drains.undrain(agent_id, by=by)

    def contact(self, task: Task) -> TaskContact | None:
        """How an agent is heard of that has a task; None: none has it."""
        return self.rooms.lookup.contact(task)

    def progress(self, task_id: str) -> Progress | None:
        """The latest progress of a task that runs."""
        return self.registry.progress(task_id)

    async def why(self, task_id: str) -> TaskWhy:
        """Why a task stands where it stands, and what would let it run. Raises `TaskNotFound`."""
        return await self.rooms.why.of_task(task_id)

    def agent_why(self, agent_id: str) -> AgentWhy:
        """Why an agent has the work that it has. Raises `AgentNotFound`."""
        return self.rooms.why.of_agent(agent_id)

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """How many live tasks there are by (status, pool), as of a moment ago."""
        return await self.rooms.lookup.counts()

    async def queued(self) -> Mapping[tuple[str, str], int]:
        """How many tasks are pending by (pool, priority band), as of a moment ago."""
        return await self.rooms.lookup.queued()

    async def scheduler_status(self) -> SchedulerStatus:
        """What waits and what runs."""
        return await self.rooms.lookup.scheduler_status()

    async def agent_sessions(self, agent_id: str, *, before: int = 0, limit: int = 50) -> Sequence[AgentSessionRecord]:
        """The sessions of an agent with a number below `before` (0: any), newest first. Raises `AgentNotFound`."""
        return await self.rooms.lookup.agent_sessions(agent_id, before=before, limit=limit)

    async def clean_up(self, older_than_ms: int) -> int:
        """Let tasks that finished longer ago than this leave the database now, with their output. Returns how many."""
        return await self.rooms.cleanup.clean_up(older_than_ms)

    async def stats(self, query: StatsQuery) -> Stats:
        """What was done over a time, how fast and how well. Raises `InvalidTask`, which names the wrong field."""
        return await self.rooms.reports.stats(query)

    def pauses(self) -> Sequence[Pause]:
        """What is paused: that of the scheduler first."""
        return self.rooms.pauses.all()

    async def pause(self, scope: str, *, reason: str = "", by: str = "local") -> Pause:
        """Let nothing new start in a scope (`core/pauses.py`). Durable when it returns.

        Raises `InvalidTask`, `StoreUnavailable`.
        """
        return await self.rooms.pausing.pause(scope, reason=reason, by=by)

    async def pause_and_keep(
        self, scope: str, *, reason: str = "", by: str = "local"
    ) -> tuple[Pause, CheckpointHeader | None]:
        """Pause, and take a checkpoint; None: it could not be taken, and the pause is in force all the same.

        Raises as `pause`.
        """
        pause = await self.pause(scope, reason=reason, by=by)
        if not self.checkpoints.are_kept:
            return pause, None
        try:
            return pause, await self.checkpoints.take(PAUSE)
        except StoreError as error:
            log.error("checkpoint_failed", error=error.message)
            return pause, None

    async def resume_from(
        self,
        scope: str,
        *,
        checkpoint_id: str = "",
        content: bytes = b"",
        as_waiting: bool = False,
        reason: str = "",
        by: str = "local",
    ) -> Resumption:
        """Resume, if one is given from a checkpoint that is kept here, or from the file of another server's.

        Raises as `resume` and `load_checkpoint`; then it stays paused.
        """
        check_load(scope, checkpoint_id=checkpoint_id, content=content, as_waiting=as_waiting)
        if content:
            checkpoint_id = (await self.checkpoints.keep(content)).id
        loading = await self._loading(checkpoint_id, as_waiting) if checkpoint_id else None
        was_paused = await self.resume(scope, reason=reason, by=by)
        if loading is None:
            return Resumption(was_paused, loaded=False, checkpoint=None)
        return Resumption(was_paused, loaded=loading.boot is not None, checkpoint=loading.header)

    async def load_checkpoint(self, checkpoint_id: str, *, as_waiting: bool = False) -> bool:
        """Go on from a checkpoint of another server, in one that is paused and has never had a task. Returns whether it
        was loaded now; False: it was before.

        Raises `CheckpointNotFound`, `CheckpointRefused`, `ServerNotEmpty`, `StoreUnavailable`.
        """
        return (await self._loading(checkpoint_id, as_waiting)).boot is not None

    async def _loading(self, checkpoint_id: str, as_waiting: bool) -> Loading:
        return await self.rooms.errands.do(partial(self._load, checkpoint_id, as_waiting))

    async def _load(self, checkpoint_id: str, as_waiting: bool) -> Loading:
        if self.rooms.pauses.get(SCHEDULER) is None:
            raise ServerNotEmpty("a checkpoint can only be loaded while the scheduler is paused: pause it first")
        self._is_loading = True
        try:
            await self.ledger.commit()  # what is under way is durable first: then the database is empty, or is not
            loading = await self.checkpoints.load(checkpoint_id, as_waiting=as_waiting)
            if loading.boot is not None:
                self._go_on(loading.boot)
            return loading
        finally:
            self._is_loading = False

    def _go_on(self, boot: Boot) -> None:
        if boot.control_ms > self.rooms.control.now():
            self.rooms.control.resume(boot.control_ms)
        self._take_up(boot)
        self.rooms.timers.look_anew()

    async def resume(self, scope: str, *, reason: str = "", by: str = "local") -> bool:
        """Let things start in a scope again. Returns whether it was paused. Raises as `pause`."""
        return await self.rooms.pausing.resume(scope, reason=reason, by=by)

    # -- for agents ---------------------------------------------------------------------------------------------------

    async def connect(self, hello: Hello) -> tuple[AgentSession, Sequence[Verdict]]:
        """Open an agent's session, and decide about what it holds. Raises `HandshakeRefused`, `StoreUnavailable`."""
        if self.stopping.is_set():
            raise StoreUnavailable(STOPPING, retry_after=5.0)
        session = await self.agents.connect(hello)
        try:
            verdicts = await self.rooms.reconciler.answer(session, hello.held)
        except BaseException:
            self.agents.close(session, LinkLost("the hello could not be answered"))
            raise
        if self.stopping.is_set():  # it began while the hello was being answered, and has not seen this session
            session.say_goodbye(STOPPING)
        return session, verdicts

    def disconnect(self, session: AgentSession, *, left: bool) -> None:
        """A session has ended. `left`: the agent said goodbye."""
        self.agents.close(session, LinkLost("goodbye" if left else "the stream ended"), left=left)

    def feed(self, session: AgentSession) -> Coroutine[Any, Any, None]:
        """Give a session work as it gets room, until cancelled."""
        return self.rooms.grants.feed(session)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _find(self, task_id: str) -> Task:
        """A task as memory shows it, which is as it is stored; only what is not active is looked up."""
        shown = self.registry.get(task_id)
        if shown is not None:
            return shown
        found = await self._store.find([task_id])
        if not found:
            raise TaskNotFound(f"there is no task {task_id[:64]}")
        return found[0]
