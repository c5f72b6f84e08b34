"""That attempts have begun: said a moment later, for short work is over by then, and both go into one frame.

Nobody acts on a start by itself, and a frame takes more of both sides than all the rest of a short command. Whoever has
more to say of an attempt than that it has begun, has its start hurried before.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from nodelink.task import AttemptRef, Started, TaskResponse

MOMENT_SECONDS = 0.05
"""How long after it has begun an attempt may end, for its start to be said with its end."""


class Begun(NamedTuple):
    """When work began, by the clock of the caller, and how its processes are held together."""

    at: float
    containment: str


class Starts:
    """The starts that are not said yet: those that may wait, and those that are due."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[AttemptRef, Begun] = OrderedDict()  # the first of a dict is found by going through
        self._due: dict[AttemptRef, Begun] = {}

    @property
    def are_left(self) -> bool:
        """Whether there is one that is not said yet."""
        return bool(self._waiting or self._due)

    @property
    def are_due(self) -> bool:
        """Whether there is one that the next frame says."""
        return bool(self._due)

    @property
    def next_due(self) -> float | None:
        """When the first of those that wait falls due. None: none waits."""
        return next(iter(self._waiting.values())).at + MOMENT_SECONDS if self._waiting else None

    def add(self, ref: AttemptRef, *, at: float, containment: str) -> None:
        """To be said: work has started, at this moment of the caller's clock."""
        self._waiting[ref] = Begun(at, containment)

    def hurry(self, ref: AttemptRef) -> None:
        """There is more to say of this attempt, or somebody asks after it: its start waits no longer."""
        begun = self._waiting.pop(ref, None)
        if begun is not None:
            self._due[ref] = begun

    def hurry_all(self) -> None:
        """None waits any longer."""
        self._due.update(self._waiting)
        self._waiting.clear()

    def fall_due(self, now: float) -> None:
        """Those that have waited for their moment wait no longer."""
        while (due := self.next_due) is not None and due <= now:
            self.hurry(next(iter(self._waiting)))

    def take(self, count: int, *, now: float) -> list[TaskResponse]:
        """What the next frame says."""
        return [_told(ref, self._due.pop(ref), now) for ref in list(self._due)[:count]]

    def forget(self, ref: AttemptRef) -> None:
        """It is not to be said any more."""
        self._waiting.pop(ref, None)
        self._due.pop(ref, None)


def _told(ref: AttemptRef, begun: Begun, now: float) -> TaskResponse:
    ago_ms = max(round((now - begun.at) * 1000), 0)
    return TaskResponse(ref, Started(ago_ms=ago_ms, containment=begun.containment))
