"""Tasks that could not be sent to an agent. Each rests for a while, longer each time, unless somebody else has room.

Memory alone knows of it: after a restart of the server they are tried at once. Whoever rests is woken as soon as an
agent connects or a task ends somewhere, so nobody rests while somebody may have room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nodelink_server.core.assignment import AssignmentDelays
from nodelink_server.core.ports import Clock

MOST_KNOWN = 10_000


class FailedSends(NamedTuple):
    """How often in a row a task could not be sent, the last time to this agent; until when it rests, in monotonic
    seconds.
    """

    times: int
    agent_id: str
    until: float


class Sends:
    """Counts failures by task, until it has begun or ended."""

    def __init__(self, clock: Clock, delays: AssignmentDelays | None = None) -> None:
        self._clock = clock
        self._delays = (delays or AssignmentDelays()).send_failed
        self._failed: dict[str, FailedSends] = {}
        self._resting: dict[str, None] = {}

    def failed(self, task_id: str, agent_id: str, *, rests: bool) -> None:
        """A task could not be sent to an agent. `rests`: it is to rest now."""
        before = self._failed.pop(task_id, None)
        number = before.times if before is not None else 0
        delay = self._delays[min(number, len(self._delays) - 1)]
        self._failed[task_id] = FailedSends(number + 1, agent_id, self._clock.monotonic() + delay / 1000)
        if rests:
            self._resting[task_id] = None
        if len(self._failed) > MOST_KNOWN:
            self.forget(next(iter(self._failed)))

    def rest_of(self, task_id: str) -> FailedSends | None:
        """Why a task rests; None: it does not."""
        return self._failed.get(task_id) if task_id in self._resting else None

    def left_ms(self, failed: FailedSends) -> int:
        """How long a rest still goes on, at most."""
        return max(0, round((failed.until - self._clock.monotonic()) * 1000))

    def is_resting(self, task_id: str) -> bool:
        """Whether a task rests."""
        return task_id in self._resting

    def woken(self, *, all: bool) -> Sequence[str]:
        """End the rests that are over, or all of them; whose those were."""
        if not self._resting:
            return ()
        now = self._clock.monotonic()
        over = [task_id for task_id in self._resting if all or self._failed[task_id].until <= now]
        for task_id in over:
            del self._resting[task_id]
        return over

    def forget(self, task_id: str) -> None:
        """A task has begun, or has ended: what was before counts no more."""
        self._failed.pop(task_id, None)
        self._resting.pop(task_id, None)
