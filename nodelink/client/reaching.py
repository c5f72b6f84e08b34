"""Whether a task has come as far as somebody waits for, by what is heard of it. Pure: both clients share it."""

from __future__ import annotations

from collections.abc import Mapping

from nodelink.client.checks import text_of
from nodelink.client.nouns import Event, Task
from nodelink.errors import FieldError, InvalidTask, TaskAlreadyFinished
from nodelink.task import TERMINAL, TaskStatus

FINISHED = "finished"
"""In place of a status: any that a task ends with."""

STATUSES = (*(status.value for status in TaskStatus), FINISHED)
"""What can be waited for."""

_ORDER: Mapping[TaskStatus, int] = {
    TaskStatus.CREATED: 0,
    TaskStatus.SCHEDULED: 1,
    TaskStatus.BLOCKED: 1,
    TaskStatus.PENDING: 2,
    TaskStatus.SENT: 3,
    TaskStatus.IN_PROGRESS: 4,
}
"""The way that every task goes, of which it may leave out some of the stations. What is behind one is past it."""


class Reaching:
    """Hears of one task, from its first event on, until it has reached a status or can reach it no more."""

    def __init__(self, task_id: str, status: str) -> None:
        """Raises `InvalidTask` for a status that is none."""
        if text_of("until", status) not in STATUSES:
            raise InvalidTask(FieldError("until", f"{status!r:.100} is not known; use one of {', '.join(STATUSES)}"))
        self._task_id = task_id
        self._wanted = status
        self.is_reached = False

    def hear(self, event: Event) -> None:
        """Something has happened. Raises `TaskAlreadyFinished` if the status cannot be reached any more."""
        if event.status is not None and event.task_id == self._task_id:
            self._stands(event.status)

    def see(self, task: Task) -> None:
        """As a task stands, whatever happened before. Raises as `hear`."""
        if task.attempts:
            has_begun = any(attempt.started_at is not None for attempt in task.attempts)
            self._stands(TaskStatus.IN_PROGRESS if has_begun else TaskStatus.SENT)
        self._stands(task.status)

    def _stands(self, status: TaskStatus) -> None:
        if self.is_reached:
            return
        if status in TERMINAL:
            self.is_reached = self._wanted in {FINISHED, status.value}
            if not self.is_reached:
                raise TaskAlreadyFinished(f"{self._task_id} has ended ({status.value}) and was never {self._wanted}")
        else:
            self.is_reached = self._wanted == status.value or self._is_past(status)

    def _is_past(self, status: TaskStatus) -> bool:
        if self._wanted == FINISHED:
            return False
        wanted = _ORDER.get(TaskStatus(self._wanted))
        return wanted is not None and wanted <= _ORDER.get(status, _ORDER[TaskStatus.SENT])
