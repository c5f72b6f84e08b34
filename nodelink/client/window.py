"""The tasks of a `map` that are open at a time, and in which order their results are handed out. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from nodelink.client.awaited import MOST_AWAITED
from nodelink.client.nouns import TaskResult

DEFAULT_WINDOW = 256


class Window:
    """So many places. A place is taken by a task until its result has been handed out."""

    def __init__(self, size: int, *, ordered: bool) -> None:
        """Raises ValueError for a size that cannot be waited for at once."""
        if not 1 <= size <= MOST_AWAITED:
            raise ValueError(f"window must be from 1 to {MOST_AWAITED:,}, not {size}")
        self._ordered = ordered
        self.room = size
        """How many places are free."""
        self._waiting: dict[str, None] = {}
        self._order: deque[str] = deque()
        self._ended: dict[str, TaskResult] = {}

    @property
    def waiting(self) -> Sequence[str]:
        """The tasks whose end is not known."""
        return list(self._waiting)

    def place(self, task_ids: Iterable[str]) -> None:
        """These tasks have taken places; whoever submitted them has counted `room` down."""
        for task_id in task_ids:
            self._waiting[task_id] = None
            self._order.append(task_id)

    def take(self, results: Iterable[TaskResult]) -> Iterator[TaskResult]:
        """The results that are handed out now that these have come. Each gives its place free."""
        for result in results:
            self._waiting.pop(result.task_id, None)
            self._ended[result.task_id] = result
        ready = self._heads() if self._ordered else iter(tuple(self._ended))
        for task_id in ready:
            self.room += 1
            yield self._ended.pop(task_id)

    def _heads(self) -> Iterator[str]:
        while self._order and self._order[0] in self._ended:
            yield self._order.popleft()
