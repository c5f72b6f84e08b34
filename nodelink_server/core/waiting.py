"""Waiting for the end of tasks. Nobody polls: a waiter is told by the commit that ends its task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from nodelink.errors import FieldError, InvalidTask, TaskNotFound, TooLarge
from nodelink_server.core.clock import set_within
from nodelink_server.core.consequences import Consequences, Endings
from nodelink_server.core.ports import Change, Clock, Store
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.task_record import TaskEnd, TaskRecord

MAX_WAIT_MS = 24 * 3600 * 1000
MOST_TASKS = 1_000


class Waiting:
    """Answers when tasks have ended, or the time is up, or the server stops."""

    def __init__(
        self,
        *,
        store: Store,
        registry: TaskRegistry,
        consequences: Consequences,
        clock: Clock,
        read: Callable[[str], Awaitable[TaskRecord]],
    ) -> None:
        self._store = store
        self._registry = registry
        self._consequences = consequences
        self._clock = clock
        self._read = read
        self._closing = False

    def close(self) -> None:
        """Answer everybody who waits, and whoever comes from now on, with how things stand."""
        self._closing = True
        self._consequences.wake_waiters()

    async def for_one(self, task_id: str, timeout_ms: int | None) -> TaskRecord:
        """A task when it has ended, or as it stands when the time is up. Raises `TaskNotFound`."""
        deadline = self._deadline(timeout_ms)
        payload = None
        with self._consequences.ends_of([task_id]) as endings:
            while endings.last is None:
                over = self._is_over(deadline)
                shown = self._registry.get(task_id)
                if over or shown is None or shown.is_terminal:
                    record = await self._read(task_id)
                    if over or record.task.is_terminal:
                        return record
                else:
                    payload = shown.payload
                await self._next(endings, deadline)
        return _record_of(endings.last, payload) or await self._read(task_id)

    async def for_some(self, task_ids: Sequence[str], timeout_ms: int | None, *, all: bool) -> Sequence[TaskEnd]:
        """How those have ended that have, in the order asked, as soon as one (`all`: every one) has or the time is up.

        As many as `PAGE_BYTES` allow. Raises `InvalidTask`, `TooLarge`, `TaskNotFound`.
        """
        wanted = list(dict.fromkeys(task_ids))
        if not wanted:
            raise InvalidTask(FieldError("task_ids", "must name at least one task"))
        if len(wanted) > MOST_TASKS:
            raise TooLarge(FieldError("task_ids", f"names {len(wanted):,} tasks; at most {MOST_TASKS:,} are allowed"))
        deadline = self._deadline(timeout_ms)
        with self._consequences.ends_of(wanted) as endings:
            ended = await self._ended(wanted)
            needed = len(wanted) if all else 1
            while (missing := needed - len(ended | endings.task_ids)) > 0 and not self._is_over(deadline):
                endings.wanted = len(endings.task_ids) + missing
                await self._next(endings, deadline)
            ended |= endings.task_ids
        return await self._store.read_ended([task_id for task_id in wanted if task_id in ended])

    async def _ended(self, task_ids: Sequence[str]) -> set[str]:
        """Those of these tasks that have ended, as memory shows where it has them. Raises `TaskNotFound`."""
        shown = [task for task_id in task_ids if (task := self._registry.get(task_id)) is not None]
        missing = set(task_ids).difference(task.id for task in shown)
        stored = await self._store.have_ended(sorted(missing)) if missing else {}
        unknown = missing.difference(stored)
        if unknown:
            raise TaskNotFound(f"there is no task {min(unknown)[:64]}")
        ended = {task_id for task_id, has_ended in stored.items() if has_ended}
        return ended.union(task.id for task in shown if task.is_terminal)

    def _deadline(self, timeout_ms: int | None) -> float:
        longest = MAX_WAIT_MS if timeout_ms is None else min(timeout_ms, MAX_WAIT_MS)
        return self._clock.monotonic() + longest / 1000

    def _is_over(self, deadline: float) -> bool:
        return self._closing or self._clock.monotonic() >= deadline

    async def _next(self, endings: Endings, deadline: float) -> None:
        """Wait until enough tasks have ended, or it is time to look again."""
        await set_within(endings.wake, self._clock, deadline - self._clock.monotonic())
        endings.wake.clear()


def _record_of(end: Change, payload: bytes | None) -> TaskRecord | None:
    """Everything about a task as its end tells it; None if there is more to it than memory knows."""
    task = end.task
    if payload is None or task.finished_at is None or task.grants != 1:
        return None
    return TaskRecord(task=task, payload=payload, updated_at=task.finished_at, finished=end.finished)
