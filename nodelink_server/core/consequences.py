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

from nodelink.task import CancelCommand, TaskStatus
from nodelink_server.core.accounts import Accounts
from nodelink_server.core.agents import AgentRegistry
from nodelink_server.core.cleanup import Cleanup
from nodelink_server.core.grants import Grants
from nodelink_server.core.logbook import LogBook
from nodelink_server.core.ports import Change
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.task import Task
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
        grants: Grants,
        timers: Timers,
        cleanup: Cleanup,
        logbook: LogBook,
        accounts: Accounts,
    ) -> None:
        self._registry = registry
        self._scheduler = scheduler
        self._agents = agents
        self._grants = grants
        self._timers = timers
        self._cleanup = cleanup
        self._logbook = logbook
        self._accounts = accounts
        self._waiters: dict[str, set[Endings]] = defaultdict(set)
        self._put: list[Task] = []
        self._drop: list[str] = []
        self._by_status: Mapping[TaskStatus, Callable[[Change], None]] = {
            TaskStatus.SCHEDULED: self._scheduled,
            TaskStatus.PENDING: self._pending,
            TaskStatus.SENT: self._sent,
            TaskStatus.IN_PROGRESS: self._in_progress,
            TaskStatus.CANCELLING: self._cancelling,
        }

    def follow(self, changes: Sequence[Change]) -> None:
        """Let memory follow a commit."""
        self._accounts.count(changes)
        self._put, self._drop = [], []
        for change in changes:
            if change.superseded is not None:
                self._agents.task_gone(change.superseded.attempt.agent_id, change.task.id)
            self._by_status.get(change.task.status, self._ended)(change)
        self._registry.swap(put=self._put, drop=self._drop)

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

    def _scheduled(self, change: Change) -> None:
        self._timers.delayed(change.task)

    def _pending(self, change: Change) -> None:
        task = change.task
        kept, pushed_out = self._scheduler.admit(task)
        if kept:
            self._put.append(task)
        else:
            self._drop.append(task.id)
        self._drop.extend(pushed_out)
        self._timers.queued(task)

    def _sent(self, change: Change) -> None:
        task = change.task
        assert task.attempt is not None
        self._put.append(task)
        self._agents.task_granted(task.attempt.agent_id, task.id)
        self._grants.deliver(self._agents.session(task.attempt.agent_id), task)

    def _in_progress(self, change: Change) -> None:
        self._put.append(change.task)
        self._timers.running(change.task)

    def _cancelling(self, change: Change) -> None:
        task = change.task
        assert task.attempt is not None
        assert task.stop is not None
        self._put.append(task)
        session = self._agents.session(task.attempt.agent_id)
        if session is not None:
            session.stop(CancelCommand(task.ref, task.stop.grace_ms, task.stop.reason))

    def _ended(self, change: Change) -> None:
        task = change.task
        self._put.append(task)
        self._cleanup.finished(task.id)
        if task.attempt is not None:
            self._agents.task_gone(task.attempt.agent_id, task.id)
            session = self._agents.session(task.attempt.agent_id)
            if session is not None:
                session.answered((task.ref,))
        self._logbook.wake(task.id)
        for endings in self._waiters.get(task.id, ()):
            endings.hear(change)
