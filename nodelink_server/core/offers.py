"""Tasks that an agent has been asked to take, and that are not granted yet. They live in memory alone.

A task that may start only once is offered first and granted when its agent has accepted, so that a grant is committed
only for work that is about to begin. Whatever happens to an offer, its task provably never began.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nodelink.task import AttemptRef
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Task

ANSWER_SECONDS = 30.0
"""How long an agent may take to answer an offer, before it is withdrawn."""


class Offer(NamedTuple):
    """One task, as it stood when it was offered, to one session, in monotonic seconds."""

    session: AgentSession
    task: Task
    at: float


class Offers:
    """The open offers of all sessions."""

    def __init__(self) -> None:
        self._open: dict[AttemptRef, Offer] = {}

    def __len__(self) -> int:
        return len(self._open)

    def made(self, ref: AttemptRef, offer: Offer) -> None:
        """An offer goes out."""
        self._open[ref] = offer

    def is_open(self, ref: AttemptRef, session: AgentSession) -> bool:
        """Whether a session has this offer."""
        offer = self._open.get(ref)
        return offer is not None and offer.session is session

    def take(self, ref: AttemptRef, session: AgentSession) -> Task | None:
        """End an offer, and return its task; None: the session has no such offer."""
        if not self.is_open(ref, session):
            return None
        return self._open.pop(ref).task

    def end_session(self, session: AgentSession) -> Sequence[Task]:
        """End every offer of a session that is over; their tasks."""
        return [self._open.pop(ref).task for ref in self.of_session(session)]

    def of_session(self, session: AgentSession) -> Sequence[AttemptRef]:
        """The open offers of a session."""
        return [ref for ref, offer in self._open.items() if offer.session is session]

    def all(self) -> Sequence[tuple[AttemptRef, Task]]:
        """Every open offer."""
        return [(ref, offer.task) for ref, offer in self._open.items()]

    def unanswered(self, now: float) -> Sequence[AttemptRef]:
        """The offers that have waited too long for an answer. The oldest stand first."""
        late = []
        for ref, offer in self._open.items():
            if offer.at + ANSWER_SECONDS > now:
                break
            late.append(ref)
        return late

    def session_of(self, ref: AttemptRef) -> AgentSession:
        """Who has an open offer."""
        return self._open[ref].session
