"""The order of waiting: one number, fixed when a task becomes ready, so that memory and the database agree and
ageing costs nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from nodelink.task import PRIORITIES, TaskSpec
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.fairness import Fairness
from nodelink_server.core.task import Task

AGEING_MS = 60_000
"""A task that is one point more important goes before one that has waited a minute longer."""
CRITICAL = 100
MOST_LATE_MS = 7 * 24 * 3600 * 1000
"""Whoever is later than this is as late as this: a wall clock that was far wrong shall not upset the order for ever."""
_ABOVE_ALL = 1 << 52


def band_of(priority: int) -> str:
    """The name that stands for a priority: of the names with a number, the first that is not below it."""
    return next(name for name, number in PRIORITIES.items() if priority <= number)


class Standing(NamedTuple):
    """How a task stands that waits for an agent: a smaller rank goes first. See `Task` for the others."""

    rank: int
    queue_deadline: int | None = None
    fair_tag: int | None = None


class Ranking:
    """Gives ready tasks their rank and their deadline, in control time."""

    def __init__(self, control: ControlTime, fairness: Fairness, *, ageing_ms: int = AGEING_MS) -> None:
        self._control = control
        self._fairness = fairness
        self._ageing_ms = ageing_ms

    def of(self, spec: TaskSpec, *, late_ms: int = 0) -> Standing:
        """How a task stands that becomes ready now. `late_ms`: it has been due for so long, which counts as waiting."""
        place, fair_tag = self._fairness.place(spec, late_ms=min(max(0, late_ms), MOST_LATE_MS))
        return Standing(self.rank(place, spec.priority), self.queue_deadline(spec), fair_tag)

    def rank(self, place: int, priority: int) -> int:
        """The rank of a task of a priority that has this place in line."""
        return place - self._step(priority)

    def _step(self, priority: int) -> int:
        """How far before its place in line a task of a priority stands."""
        step = priority * self._ageing_ms
        return step + _ABOVE_ALL if priority >= CRITICAL else step

    def rank_at(self, task: Task, priority: int) -> int:
        """The rank that a waiting task has with another priority: its place in line stays."""
        step = self._step(task.spec.priority) - self._step(priority)
        return task.rank + step

    def queue_deadline(self, spec: TaskSpec) -> int | None:
        """Until when a task that begins to wait now may wait; None: for ever."""
        return None if spec.queue_timeout_ms is None else self._control.now() + spec.queue_timeout_ms

    def total_deadline(self, spec: TaskSpec, delay_ms: int) -> int | None:
        """When a task that is due after so long has to have ended; None: never."""
        return None if spec.total_timeout_ms is None else self._control.now() + delay_ms + spec.total_timeout_ms
