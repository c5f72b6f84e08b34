"""Grants that never arrived: what was lost on its way to an agent is given to somebody else once that is known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tests.checking.history import History, Known
from tests.checking.past import OFFER_SECONDS, Grant, grants_of
from tests.checking.rule import Rule, needs

SETTLED_SECONDS = 35.0
"""So long after a hello, with a database that answers, nothing of it is left to decide: an agent whose disk is full
declines what it cannot write down.
"""
LINKS = frozenset({"agent.connected", "agent.disconnected"})


def what_never_arrived_is_given_back(history: History) -> Iterator[str]:
    """A grant of which its agent knows nothing ends with the next hello, and not with its lease."""
    begun = {(run.ref.task_id, run.ref.attempt) for run in history.runs}
    for name, grant in grants_of(history).items():
        if name in begun or grant.doubts or grant.is_decided_by_people or _may_be_elsewhere(history, grant):
            continue
        for connected, over in _links(history, grant):
            if _was_at_work(history, grant.agent_id, connected + SETTLED_SECONDS, over):
                what = f"{grant.task_id} attempt {grant.attempt} never began on {grant.agent_id}"
                yield f"{what}, which connected at {connected:.3f}; it was granted until {_end(grant):.3f}"


def _end(grant: Grant) -> float:
    return float("inf") if grant.until is None else grant.until


def _links(history: History, grant: Grant) -> Iterator[tuple[float, float]]:
    """From when to when its agent was linked while the grant counted, from the next hello on."""
    words = [
        (at, event.name)
        for at, event in history.commits
        if event.agent_id == grant.agent_id and event.name in LINKS and grant.since < at < _end(grant)
    ]
    for (at, name), (over, _) in pairwise([*words, (_end(grant), "")]):
        if name == "agent.connected":
            yield at, over


def _was_at_work(history: History, machine: str, since: float, until: float) -> bool:
    """Whether the server heard of a machine, and its database answered, after one moment and before another one."""
    heard = [contact.at for contact in history.contacts if contact.machine == machine and since < contact.at < until]
    return any(since < at < heard[-1] for at, _ in history.commits) if heard else False


def _may_be_elsewhere(history: History, grant: Grant) -> bool:
    """Whether it may have gone to a copy of its agent, or to a machine that has forgotten it with its disk."""
    name, since = grant.agent_id, grant.since - OFFER_SECONDS
    return any(
        life.machine.startswith(f"{name} copy")
        or (life.machine == name and life.kind == "host" and since < (life.ended_at or 0.0) < _end(grant))
        for life in history.lives
    )


RULES: tuple[Rule, ...] = (
    needs(
        what_never_arrived_is_given_back,
        Known.RUNS,
        Known.EVENTS,
        Known.EVENT_TIMES,
        Known.LIVES,
        Known.CONTACTS,
    ),
)
