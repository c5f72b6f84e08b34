"""Fairness: the keys of a pool take turns, each by its weight, however much of one of them waits.

Start-time fair queueing. A pool has a line, whose present end is the place of the task last taken, or now, whichever is
later. A task with a key stands a step behind the one before it of the same key, but not before the present end; a task
without a key stands at the present end. Where a task stands is fixed when it becomes ready, so that the database can
keep it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from nodelink.task import TaskSpec
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.task import Task

STEP_MS = 60_000
"""How far apart two tasks of a key of weight 1 stand: as far as one point of priority reaches."""
MOST_KEYS = 100_000
"""So many keys are remembered of a pool; of more, those that are behind the present end are forgotten, then any."""


class Fairness:
    """The lines of all pools, in control time."""

    def __init__(self, control: ControlTime) -> None:
        self._control = control
        self._ends: dict[str, int] = {}
        self._lasts: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def restore(self, lines: Mapping[tuple[str, str], tuple[int, int]]) -> None:
        """Go on from how far the waiting tasks of each (pool, key) reach: from their first place to their last."""
        for (pool, key), (_, last) in lines.items():
            self._lasts[pool][key] = last
        for pool in self._lasts:
            self._ends[pool] = min(first for (of, _), (first, _) in lines.items() if of == pool)

    def place(self, spec: TaskSpec, *, late_ms: int = 0) -> tuple[int, int | None]:
        """Where a task stands in line that became ready so long ago; and the same again if it has a key, else None."""
        end = max(self._control.now() - late_ms, self._ends.get(spec.pool, 0))
        if not spec.fairness_key:
            return end, None
        lasts = self._lasts[spec.pool]
        last = lasts.get(spec.fairness_key)
        place = end if last is None else max(end, last + STEP_MS // spec.fairness_weight)
        lasts[spec.fairness_key] = place
        if len(lasts) > MOST_KEYS:
            self._forget(spec.pool, end)
        return place, place

    def took(self, task: Task) -> None:
        """A task is given to an agent: the present end is where it stood."""
        if task.fair_tag is not None and task.fair_tag > self._ends.get(task.spec.pool, 0):
            self._ends[task.spec.pool] = task.fair_tag

    def tidy(self) -> None:
        """Forget what makes no difference any more."""
        now = self._control.now()
        for pool in list(self._lasts):
            self._forget(pool, max(now, self._ends.get(pool, 0)))
        for pool in [pool for pool, end in self._ends.items() if end <= now]:
            del self._ends[pool]

    def _forget(self, pool: str, end: int) -> None:
        """Keys that have not been used for as long as their next task would not stand behind the present end."""
        kept = {key: last for key, last in self._lasts[pool].items() if last + STEP_MS > end}
        self._lasts[pool] = dict(list(kept.items())[-MOST_KEYS // 2 :]) if len(kept) > MOST_KEYS else kept
        if not kept:
            del self._lasts[pool]
