"""The tries to give a waiting task to an agent: how many there were, why they came to nothing, when the next one is.

Nobody waits for such a try: an agent that comes, or a slot that becomes free, wakes the tasks that it is for at once.
All that wait are looked over now and then all the same, should a wake-up ever be lost. So nothing is counted anywhere:
the number follows from how long a task has waited. Only a task that could not be sent really waits (`core/sends.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Unassigned(StrEnum):
    """Why no agent was given a waiting task. The names are public."""

    NO_POOL = "no_pool"
    NO_AGENT_ONLINE = "no_agent_online"
    NONE_FREE = "none_free"
    SEND_FAILED = "send_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentDelays:
    """How far apart two tries are, at most, in milliseconds. `send_failed`: after the first failure, the second, and so
    on; the last of them after every further one.
    """

    no_pool: int = 10_000
    no_agent_online: int = 15_000
    none_free: int = 10_000
    send_failed: tuple[int, ...] = (5_000, 10_000, 20_000, 40_000, 60_000)

    @property
    def look_seconds(self) -> float:
        """How often all that waits is looked over."""
        return min(self.no_pool, self.no_agent_online, self.none_free) / 1000


class Assignment(NamedTuple):
    """The tries so far, the first included; when the next one is at the latest, in wall-clock milliseconds; and why the
    last one came to nothing.
    """

    tries: int
    next_at: int
    reason: Unassigned


def assignment_since(ready_at: int, now: int, reason: Unassigned, delays: AssignmentDelays) -> Assignment:
    """How the tries stand for a task that has waited since a moment. Not for one that could not be sent."""
    period = {
        Unassigned.NO_POOL: delays.no_pool,
        Unassigned.NO_AGENT_ONLINE: delays.no_agent_online,
        Unassigned.NONE_FREE: delays.none_free,
    }[reason]
    tries = 1 + max(0, now - ready_at) // period
    return Assignment(tries, ready_at + tries * period, reason)
