"""What keeps an agent from new work: a person, or that it fails to start what it is given."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import NamedTuple

from nodelink.task import ErrorCategory, Finished, Reason
from nodelink_server.core.ports import AgentRecord, Clock

MOST_FAILED_STARTS = 5
WINDOW_SECONDS = 60.0
_AGENT_AT_FAULT = frozenset({ErrorCategory.RESOURCE, ErrorCategory.INFRASTRUCTURE})


class Kept(NamedTuple):
    """What keeps an agent from new work: its own failures, or a person. As in `AgentRecord`."""

    cordon: str = ""
    drained_at: int | None = None
    drain_deadline: int | None = None
    drain_note: str = ""

    def shown(self, ahead: int) -> dict[str, object]:
        """What there is of it. `ahead`: by how much the wall clock is ahead of control time."""
        deadline = None if self.drain_deadline is None else self.drain_deadline + ahead
        shown = self._replace(drain_deadline=deadline)._asdict()
        return {name: told for name, told in shown.items() if told not in {None, ""}}


def kept_of(record: AgentRecord) -> Kept:
    """What keeps this agent from new work."""
    return Kept(record.cordon, record.drained_at, record.drain_deadline, record.drain_note)


class FailedStarts:
    """Counts, by agent, the starts that failed in a row through the agent's own fault.

    A command that does not exist is its submitter's mistake: it would fail on any agent, and is not counted.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: dict[str, deque[float]] = defaultdict(deque)

    def ended(self, agent_id: str, finished: Finished) -> bool:
        """An attempt has ended. Returns whether its agent has now failed too many starts within a minute."""
        if not _failed_to_start(finished):
            self._failed.pop(agent_id, None)
            return False
        return self.failed(agent_id)

    def failed(self, agent_id: str) -> bool:
        """A start has failed through the agent's fault. Returns whether those are now too many."""
        now, failed = self._clock.monotonic(), self._failed[agent_id]
        failed.append(now)
        while failed[0] < now - WINDOW_SECONDS:
            failed.popleft()
        if len(failed) < MOST_FAILED_STARTS:
            return False
        del self._failed[agent_id]
        return True


def _failed_to_start(finished: Finished) -> bool:
    at_fault = finished.error is not None and finished.error.category in _AGENT_AT_FAULT
    return finished.reason is Reason.START_ERROR and at_fault
