"""The active tasks by id, behind a readers-writer lock. Whoever reads sees a whole commit or nothing of it.

The loop alone writes. It may read without the lock, since nothing changes under it between two awaits; every other
thread reads through `snapshot`. Nobody awaits, logs or calls out while holding the lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from readerwriterlock import rwlock

from nodelink.task import Progress
from nodelink_server.core.task import Task


class TaskRegistry:
    """Tasks under way, tasks finished a moment ago, and the front of every queue."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._progress: dict[str, Progress] = {}
        self._lock = rwlock.RWLockWrite()

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def get(self, task_id: str) -> Task | None:
        """A task, or None if it is not active. For the loop."""
        return self._tasks.get(task_id)

    def progress(self, task_id: str) -> Progress | None:
        """The latest progress of an active task."""
        return self._progress.get(task_id)

    def advance(self, task_id: str, progress: Progress) -> None:
        """Note the latest progress of an active task."""
        if task_id in self._tasks:
            self._progress[task_id] = progress

    def swap(self, *, put: Collection[Task], drop: Collection[str] = ()) -> None:
        """Show the tasks of one commit at once. An older value never replaces a newer one."""
        if not put and not drop:
            return
        with self._lock.gen_wlock():
            for task in put:
                shown = self._tasks.get(task.id)
                if shown is None or shown.revision < task.revision:
                    self._tasks[task.id] = task
            for task_id in drop:
                self._tasks.pop(task_id, None)
                self._progress.pop(task_id, None)

    def snapshot(self) -> list[Task]:
        """All active tasks as they stood after one commit. For any thread."""
        with self._lock.gen_rlock():
            return list(self._tasks.values())
