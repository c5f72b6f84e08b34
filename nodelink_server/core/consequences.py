"""What follows from a commit, whoever asked for it: the registry shows it, queues and sessions learn of it, waiters
wake.

The one place for this, so that a task that becomes pending is queued in the same way whether it is new, due or given
back.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from nodelink.task import CancelCommand, TaskStatus
from nodelink_server.core.agents import AgentRegistry
from nodelink_server.core.cleanup import Cleanup
from nodelink_server.core.grants import Grants
from nodelink_server.core.logbook import LogBook
from nodelink_server.core.ports import Change
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task
from nodelink_server.core.timers import Timers


class Ending:
    """How somebody who waits hears of a task's end: `wake` is set then, and perhaps before."""

    __slots__ = ("change", "wake")

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.change: Change | None = None


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
        tally: Tally,
    ) -> None:
        self._registry = registry
        self._scheduler = scheduler
        self._agents = agents
        self._grants = grants
        self._timers = timers
        self._cleanup = cleanup
        self._logbook = logbook
        self._tally = tally
        self._waiters: dict[str, set[Ending]] = defaultdict(set)
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
        self._put, self._drop = [], []
        for change in changes:
            if change.superseded is not None:
                self._agents.task_gone(change.superseded.attempt.agent_id, change.task.id)
            self._by_status.get(change.task.status, self._ended)(change)
        self._registry.swap(put=self._put, drop=self._drop)

    @contextmanager
    def end_of(self, task_id: str) -> Iterator[Ending]:
        """Hear of a task's end, from now until the context is left."""
        ending = Ending()
        self._waiters[task_id].add(ending)
        try:
            yield ending
        finally:
            self._waiters[task_id].discard(ending)
            if not self._waiters[task_id]:
                del self._waiters[task_id]

    def close(self) -> None:
        """Let everybody look once more who waits for an end."""
        for endings in self._waiters.values():
            for ending in endings:
                ending.wake.set()

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
        self._count(change)
        self._logbook.wake(task.id)
        for ending in self._waiters.get(task.id, ()):
            ending.change = change
            ending.wake.set()

    def _count(self, change: Change) -> None:
        task, tally = change.task, self._tally
        kind = tally.kind(task.spec.type, task.spec.pool)
        tally.finished[(*kind, task.status.value)] += 1
        assert task.finished_at is not None
        tally.total_seconds[kind].observe((task.finished_at - task.created_at) / 1000)
        if change.finished is not None and task.attempt is not None:
            tally.run_seconds[kind].observe(change.finished.run_seconds)
            queued_since = task.ready_at if task.ready_at is not None else task.created_at
            tally.queue_seconds[kind].observe(max(0, task.attempt.sent_at - queued_since) / 1000)
