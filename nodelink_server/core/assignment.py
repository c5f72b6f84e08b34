"""The tries to give a waiting task to an agent: how many there were, why they came to nothing, when the next one is.

Nobody waits for such a try: an agent that comes, or a slot that becomes free, wakes the tasks that it is for at once.
All that wait are looked over now and then all the same, should a wake-up ever be lost. So nothing is counted anywhere:
the number follows from how long a task has waited.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Unassigned(StrEnum):
    """Why no agent was given a waiting task. The names are public."""

    NO_POOL = "no_pool"
    NO_AGENT_ONLINE = "no_agent_online"
    NONE_FREE = "none_free"


PERIOD_MS: Mapping[Unassigned, int] = {
    Unassigned.NO_POOL: 10_000,
    Unassigned.NO_AGENT_ONLINE: 15_000,
    Unassigned.NONE_FREE: 10_000,
}
"""How far apart two tries are, at most."""
LOOK_SECONDS = min(PERIOD_MS.values()) / 1000
"""How often all that waits is looked over."""


class Assignment(NamedTuple):
    """The tries so far, the first included; when the next one is at the latest, in wall-clock milliseconds; and why the
    last one came to nothing.
    """

    tries: int
    next_at: int
    reason: Unassigned


def assignment_since(ready_at: int, now: int, reason: Unassigned) -> Assignment:
    """How the tries stand for a task that has waited since a moment."""
    period = PERIOD_MS[reason]
    tries = 1 + max(0, now - ready_at) // period
    return Assignment(tries, ready_at + tries * period, reason)
