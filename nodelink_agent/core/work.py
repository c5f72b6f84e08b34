"""What the core wants done: a value that its host carries out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from nodelink.task import AttemptRef, Reason, TaskRequest
from nodelink_agent.core.records import Record


class Stop(NamedTuple):
    """An attempt to be stopped: signal, `grace_ms`, kill. The host tells of its end as of any other."""

    ref: AttemptRef
    grace_ms: int
    reason: Reason


class Extension(NamedTuple):
    """Until when an attempt may run now, by CLOCK_BOOTTIME: whoever holds it stops it then."""

    ref: AttemptRef
    until: float


class NewLimits(NamedTuple):
    """Other limits of an attempt: the end of its run by CLOCK_BOOTTIME, and how long it may be silent. None: as before.

    `number` counts those that the server gives, from 1; 0: the work has given them to itself.
    """

    ref: AttemptRef
    number: int
    run_until: float | None = None
    heartbeat_seconds: float | None = None

    def over(self, older: NewLimits | None) -> NewLimits:
        """Both together: what this one leaves as before is as the older one has it."""
        if older is None:
            return self
        run_until = older.run_until if self.run_until is None else self.run_until
        seconds = older.heartbeat_seconds if self.heartbeat_seconds is None else self.heartbeat_seconds
        return self._replace(run_until=run_until, heartbeat_seconds=seconds)


@dataclass(slots=True)
class Work:
    """What the host has to do, in this order. What a forgotten attempt printed can be removed.

    Records are appended to the journal; what has to wait until they are durable comes with the Work of `written`.
    """

    records: list[Record] = field(default_factory=list)
    stop: list[Stop] = field(default_factory=list)
    start: list[TaskRequest] = field(default_factory=list)
    extend: list[Extension] = field(default_factory=list)
    limits: list[NewLimits] = field(default_factory=list)
    forget: list[AttemptRef] = field(default_factory=list)
