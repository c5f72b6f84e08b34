"""Which agent is kept for which waiting apply. An apply needs an agent that does nothing else, and whatever comes after
it would keep every agent busy for ever; so one agent that it fits is given only what goes before it, until it is empty.

There is one for each queue of applies, for the first that waits in it. Any other agent that happens to be empty may
take it all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from nodelink_server.core.ports import Place, Shape
from nodelink_server.core.session import AgentSession

First = Callable[[Shape], Place | None]


class Reserving:
    """Keeps agents for applies. `first`: the place of the first task of a queue; None: nothing waits there.
    `last_seen`: the same as of a moment ago. `may_run`: whether an agent is not kept from a queue by a limit.
    """

    def __init__(self, *, first: First, last_seen: First, may_run: Callable[[Shape, AgentSession], bool]) -> None:
        self._first = first
        self._last_seen = last_seen
        self._may_run = may_run
        self._queues: dict[Shape, AgentSession | None] = {}
        self._kept: dict[AgentSession, Shape] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for an agent of its own."""
        return not self._queues

    def watch(self, shape: Shape) -> None:
        """Something waits in a queue of applies, or may."""
        self._queues.setdefault(shape, None)

    def may_have(self, session: AgentSession, shape: Shape) -> bool:
        """Whether an agent is not kept for an apply that goes before the first of a queue."""
        kept_for = self._kept.get(session) if self._kept else None
        if kept_for is None or kept_for == shape:
            return True
        apply, other = self._last_seen(kept_for), self._last_seen(shape)
        return apply is None or (other is not None and other < apply)

    def is_kept(self, session: AgentSession) -> bool:
        """Whether an agent is kept for an apply."""
        return session in self._kept

    def arrange(self, sessions: Collection[AgentSession]) -> Sequence[AgentSession]:
        """Keep an agent for each queue of applies in which something waits, of those that are there. Returns those that
        are not kept any more, and may have room.
        """
        released = [session for shape in list(self._queues) for session in self._release(shape, sessions)]
        for shape, session in self._queues.items():
            if session is None:
                self._keep(shape, sessions)
        return [session for session in released if session not in self._kept]

    def _release(self, shape: Shape, sessions: Collection[AgentSession]) -> Iterator[AgentSession]:
        session = self._queues[shape]
        is_over = self._first(shape) is None
        if session is not None and (is_over or session not in sessions or not self._could_run(shape, session)):
            del self._kept[session]
            self._queues[shape] = None
            yield session
        if is_over:
            del self._queues[shape]

    def _keep(self, shape: Shape, sessions: Collection[AgentSession]) -> None:
        """Keep the agent that will be empty first, as far as that can be seen."""
        free = [one for one in sessions if one not in self._kept and self._could_run(shape, one)]
        session = min(free, key=lambda one: (one.busy, one.agent_id), default=None)
        if session is not None:
            self._queues[shape] = session
            self._kept[session] = shape

    def _could_run(self, shape: Shape, session: AgentSession) -> bool:
        is_open = session.is_open and not (session.draining or session.cordoned)
        return is_open and session.fits(shape) and self._may_run(shape, session)
