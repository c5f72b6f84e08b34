"""The order of waiting: one number, fixed when a task becomes ready, so that memory and the database agree and
ageing costs nothing.
"""

from __future__ import annotations

from nodelink.task import PRIORITIES, TaskSpec
from nodelink_server.core.clock import ControlTime

AGEING_MS = 60_000
"""A task that is one point more important goes before one that has waited a minute longer."""
CRITICAL = 100
_ABOVE_ALL = 1 << 52


def band_of(priority: int) -> str:
    """The name that stands for a priority: of the names with a number, the first that is not below it."""
    return next(name for name, number in PRIORITIES.items() if priority <= number)


class Ranking:
    """Gives ready tasks their rank and their deadline, in control time."""

    def __init__(self, control: ControlTime, *, ageing_ms: int = AGEING_MS) -> None:
        self._control = control
        self._ageing_ms = ageing_ms

    def of(self, spec: TaskSpec) -> tuple[int, int | None]:
        """The rank (smaller goes first) and the queue deadline of a task that becomes ready now."""
        now = self._control.now()
        rank = now - spec.priority * self._ageing_ms
        if spec.priority >= CRITICAL:
            rank -= _ABOVE_ALL
        deadline = now + spec.queue_timeout_ms if spec.queue_timeout_ms is not None else None
        return rank, deadline
