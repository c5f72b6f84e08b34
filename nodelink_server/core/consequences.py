"""What follows from a commit, whoever asked for it: the registry shows it, queues and sessions learn of it, waiters
wake.

The one place for this, so that a task that becomes pending is queued in the same way whether it is new, due or given
back.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from nodelink.task import AttemptRef, CancelCommand, ExtendCommand, TaskStatus
from nodelink_server.core.accounts import Accounts
from nodelink_server.core.agents import AgentRegistry
from nodelink_server.core.attempt import Attempt
from nodelink_server.core.changes import is_moved
from nodelink_server.core.cleanup import Cleanup
from nodelink_server.core.grants import Grants
from nodelink_server.core.leases import Leases
from nodelink_server.core.limits import Limits
from nodelink_server.core.logbook import LogBook
from nodelink_server.core.ports import Change, EventName
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.replacing import Replacing
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.sends import Sends
from nodelink_server.core.session import AgentSession
from nodelink_server.core.states import HOLDING
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import RemarkKind
from nodelink_server.core.timers import Timers


class Endings:
    """How somebody who waits hears of the ends of tasks: `wake` is set at the `wanted`-th, and perhaps before.

    Of all the ends only the `last` is kept: results are large, and may be many.
    """

    __slots__ = ("last", "task_ids", "wake", "wanted")

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.task_ids: set[str] = set()
        self.last: Change | None = None
        self.wanted = 1

    def hear(self, end: Change) -> None:
        """A task has ended."""
        self.task_ids.add(end.task.id)
        self.last = end
        if len(self.task_ids) >= self.wanted:
            self.wake.set()


class Consequences:
    """Carries a commit into memory. Nothing here awaits, so whoever looks sees all of it or nothing."""

    def __init__(
        self,
        *,
        registry: TaskRegistry,
        scheduler: Scheduler,
        agents: AgentRegistry,
        leases: Leases,
        limits: Limits,
        grants: Grants,
        timers: Timers,
        cleanup: Cleanup,
        logbook: LogBook,
        accounts: Accounts,
        replacing: Replacing,
        sends: Sends,
        left: Callable[[str], None],
        extend_command: Callable[[Task], ExtendCommand | None],
    ) -> None:
        """`left` is called with an agent that has lost a task. `extend_command`: what an agent has to know of the
        limits of a task.
        """
        self._registry = registry
        self._scheduler = scheduler
        self._agents = agents
        self._leases = leases
        self._limits = limits
        self._grants = grants
        self._timers = timers
        self._cleanup = cleanup
        self._logbook = logbook
        self._accounts = accounts
        self._replacing = replacing
        self._sends = sends
        self._left = left
        self._extend_command = extend_command
        self._waiters: dict[str, set[Endings]] = defaultdict(set)
        self._put: list[Task] = []
        self._drop: list[str] = []
        self._pushed_out: list[str] = []
        self._to_begin: list[Task] = []
        self._roomier: list[AgentSession] = []
        self._over: list[str] = []
        self._by_status: Mapping[TaskStatus, Callable[[Change], None]] = {
            TaskStatus.SCHEDULED: self._scheduled,
            TaskStatus.PENDING: self._pending,
            TaskStatus.SENT: self._sent,
            TaskStatus.IN_PROGRESS: self._in_progress,
            TaskStatus.CANCELLING: self._cancelling,
            TaskStatus.UNKNOWN: self._unknown,
            TaskStatus.PLAN_COMPLETED: self._plan_completed,
            TaskStatus.APPLY_PENDING: self._apply_pending,
        }

    def follow(self, changes: Sequence[Change]) -> None:
        """Let memory follow a commit."""
        self._accounts.count(changes)
        self._put, self._drop, self._pushed_out, self._to_begin, self._roomier = [], [], [], [], []
        self._over = []
        for change in changes:
            task = change.task
            if change.superseded is not None:
                self._left_behind(task.id, change.superseded.attempt)
            if change.frees or self._leaves_adopted(task):
                self._limits.freed(task.id, change.frees)
            if task.total_deadline is not None and change.expected == 0:
                self._timers.limited(task)
            if change.remark is None:
                self._by_status.get(task.status, self._ended)(change)
            else:
                self._remarked(change, change.remark.kind)
        self._cleanup.finished(self._over)
        self._registry.swap(put=self._put, drop=self._drop)
        if self._pushed_out:  # only now are they shown at their present places
            out_of_reach = list(filter(self._scheduler.is_out_of_reach, self._pushed_out))
            self._registry.swap(put=(), drop=out_of_reach)
        for task in self._to_begin:  # only now are they shown as sent
            self._timers.sent(task)
        if self._over:  # where something ended there is room
            self._scheduler.wake_rested(all=True)
        for session in self._roomier:  # whoever has room now looks at what is shown
            session.has_more_room()
        self._limits.tell_opened()
        self._scheduler.reserve()

    def _remarked(self, change: Change, kind: RemarkKind) -> None:
        follow = self._moved if is_moved(change) else self._by_status.get(change.task.status, self._ended)
        follow(change)
        if kind is RemarkKind.EXTENDED:
            self._extended(change.task)

    @contextmanager
    def ends_of(self, task_ids: Collection[str]) -> Iterator[Endings]:
        """Hear of the ends of tasks, from now until the context is left."""
        endings = Endings()
        for task_id in task_ids:
            self._waiters[task_id].add(endings)
        try:
            yield endings
        finally:
            for task_id in task_ids:
                self._waiters[task_id].discard(endings)
                if not self._waiters[task_id]:
                    del self._waiters[task_id]

    def wake_waiters(self) -> None:
        """Let everybody look once more who waits for an end."""
        for waiting in self._waiters.values():
            for endings in waiting:
                endings.wake.set()

    def _leaves_adopted(self, task: Task) -> bool:
        """Whether a task is with an agent no more that had places of which only memory knows."""
        return self._limits.has_adopted and task.status not in HOLDING and self._limits.is_adopted(task.id)

    def _scheduled(self, change: Change) -> None:
        task = change.task
        if task.retry_at is None:
            self._timers.delayed(task)
            return
        self._drop.append(task.id)
        self._timers.retrying(task)
        self._logbook.wake(task.id)

    def _pending(self, change: Change) -> None:
        self._admit(change.task)
        self._timers.queued(change.task)
        self._replacing.ready(change.task)

    def _plan_completed(self, change: Change) -> None:
        """A task waits for a person, with no agent. What it keeps of its places, it has until it ends."""
        task = change.task
        self._limits.freed(task.id, change.frees)
        self._drop.append(task.id)
        self._timers.queued(task)
        self._logbook.wake(task.id)

    def _apply_pending(self, change: Change) -> None:
        """A task waits to be applied, and is with no agent: no attempt is about to free the places that it has kept."""
        self._limits.freed(change.task.id, change.frees)
        self._admit(change.task)
        self._timers.queued(change.task)

    def _moved(self, change: Change) -> None:
        """A task waits at another place. In the queue, what it has at the old one is passed over."""
        if change.task.status is TaskStatus.PENDING:
            self._admit(change.task)

    def _admit(self, task: Task) -> None:
        kept, pushed_out = self._scheduler.admit(task)
        if kept:
            self._put.append(task)
        else:
            self._drop.append(task.id)
        self._pushed_out.extend(pushed_out)

    def _sent(self, change: Change) -> None:
        task, attempt = change.task, change.task.attempt
        assert attempt is not None
        self._put.append(task)
        self._logbook.wake(task.id)
        session = self._agents.session(attempt.agent_id)
        if EventName.TASK_SENT in change.events:  # else granted before, and its start is said by the hello's answer
            self._leases.granted(attempt.agent_id, task.id)
            if task.spec.start_timeout_ms is not None:
                self._to_begin.append(task)
            self._grants.deliver(session, task)
        elif session is not None:  # it may have been granted after that session had begun
            session.use.take(task)

    def _in_progress(self, change: Change) -> None:
        task = change.task
        self._put.append(task)
        self._sends.forget(task.id)
        self._timers.running(task)
        if EventName.TASK_RECOVERED in change.events and task.attempt is not None:
            session = self._agents.session(task.attempt.agent_id)
            if session is not None:
                session.use.take(task)

    def _cancelling(self, change: Change) -> None:
        task = change.task
        assert task.attempt is not None
        assert task.stop is not None
        self._put.append(task)
        session = self._agents.session(task.attempt.agent_id)
        if session is not None:
            session.stop(CancelCommand(task.ref, task.stop.grace_ms, task.stop.reason))

    def _left_behind(self, task_id: str, attempt: Attempt) -> None:
        """An attempt counts no more: nothing is to be repeated about it."""
        self._leases.gone(attempt.agent_id, task_id)
        self._left(attempt.agent_id)
        session = self._agents.session(attempt.agent_id)
        if session is not None:
            session.answered((AttemptRef(task_id, attempt.number, attempt.fence),))
            self._let_go(session, task_id)

    def _let_go(self, session: AgentSession, task_id: str) -> None:
        if session.let_go(task_id):
            self._roomier.append(session)

    def _extended(self, task: Task) -> None:
        """A task has other limits, unless it has ended since, in the same commit."""
        if task.is_terminal:
            return
        if task.total_deadline is not None:
            self._timers.limited(task)
        command = self._extend_command(task)
        session = self._agents.session(task.attempt.agent_id) if task.attempt is not None else None
        if command is not None and session is not None:
            session.extend(command)

    def _unknown(self, change: Change) -> None:
        """A task in doubt takes nothing of its agent, until that has it after all."""
        task = change.task
        self._put.append(task)
        session = self._agents.session(task.attempt.agent_id) if task.attempt is not None else None
        if session is not None:
            self._let_go(session, task.id)

    def _ended(self, change: Change) -> None:
        task, attempt, task_id = change.task, change.task.attempt, change.task.id
        self._put.append(task)
        self._over.append(task_id)
        self._sends.forget(task_id)
        if attempt is not None:
            agent_id = attempt.agent_id
            self._leases.gone(agent_id, task_id)
            self._left(agent_id)
            session = self._agents.session(agent_id)
            if session is not None:
                if session.is_stopping_any:
                    session.answered((task.ref,))
                self._let_go(session, task_id)
        if not change.frees and (task.lock or task.shared_keys):
            self._limits.left(task)
        self._logbook.wake(task_id)
        for endings in self._waiters.get(task_id, ()):
            endings.hear(change)
