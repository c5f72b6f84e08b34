"""What agents count as taken of them, held against what follows from the tasks that they have.

They may differ while frames are on their way, or while an agent stops what counts no more. So the two are compared only
while nothing moves on either side, and a difference is told of when it has stood for some heartbeats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

import structlog

from nodelink.quantities import format_quantity
from nodelink.taken import Taken, total
from nodelink.task import DEFAULT_GRACE_MS, AttemptRef
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.needs import taken_of
from nodelink_server.core.ports import EventName, Notice
from nodelink_server.core.session import SILENT_PERIODS, AgentSession
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task

BEATS = 3
"""So many heartbeats in a row must differ in the same way."""
STOP_SECONDS = DEFAULT_GRACE_MS / 1000 + 5
"""An agent may take so long to stop what it is told counts no more."""

log = structlog.get_logger(__name__)


class _Standing(NamedTuple):
    """What was counted and differed, and of which attempts; since when, until when and for how many heartbeats it has
    stood, in monotonic seconds; and whether it was told.
    """

    counted: Taken
    refs: frozenset[AttemptRef]
    since: float
    until: float
    beats: int = 0
    is_told: bool = False


class Counting:
    """Compares, heartbeat by heartbeat, and tells of each lasting difference once."""

    def __init__(self, *, ledger: Ledger, tally: Tally) -> None:
        self._ledger = ledger
        self._tally = tally
        self._standing: WeakKeyDictionary[AgentSession, _Standing] = WeakKeyDictionary()

    def compare(self, session: AgentSession, tasks: Mapping[AttemptRef, Task], *, stops: bool) -> None:
        """A heartbeat has come from an agent that should have these tasks. `stops`: it lists others, and is told so."""
        counted = session.counted
        if counted is None:
            return
        derived = total(taken_of(task) for task in tasks.values())
        if counted == derived or not session.is_settled:
            self._standing.pop(session, None)
            return
        standing, refs, now = self._standing.get(session), frozenset(tasks), session.last_heard
        if standing is None or (standing.counted, standing.refs) != (counted, refs):
            self._standing[session] = _Standing(counted, refs, now, now)
            return
        if now - standing.until < session.period / 2:
            return  # it was held up on its way, and tells of what was
        beats = standing.beats + 1
        patience = max(SILENT_PERIODS * session.period, STOP_SECONDS if stops else 0.0)
        lasts = beats >= BEATS and now - standing.since >= patience
        self._standing[session] = standing._replace(until=now, beats=beats, is_told=standing.is_told or lasts)
        if lasts and not standing.is_told:
            self._tell(session, counted, derived)

    def _tell(self, session: AgentSession, counted: Taken, derived: Taken) -> None:
        differs = _difference(counted, derived)
        log.warning("agent_use_differs", agent_id=session.agent_id, pool=session.pool, **differs)
        self._tally.count_difference(session.pool)
        error = {"error": "use_differs", **differs}
        self._ledger.post(notices=[Notice(EventName.AGENT_ERROR, session.agent_id, session.pool, error)])


def _difference(counted: Taken, derived: Taken) -> Mapping[str, object]:
    """What differs, by name: what the agent counts, and what the server does."""
    differs: dict[str, object] = {}
    if counted.slots != derived.slots:
        differs["slots"] = {"agent": counted.slots, "server": derived.slots}
    for name in ("plans", "applies"):
        mine, ours = getattr(counted, name), getattr(derived, name)
        if mine != ours:
            differs[name] = {"agent": mine, "server": ours}
    names = sorted(counted.resources.keys() | derived.resources.keys())
    amounts = {name: (counted.resources.get(name, 0), derived.resources.get(name, 0)) for name in names}
    resources = {
        name: {"agent": format_quantity(mine), "server": format_quantity(ours)}
        for name, (mine, ours) in amounts.items()
        if mine != ours
    }
    if resources:
        differs["resources"] = resources
    return differs
