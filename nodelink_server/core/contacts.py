"""The history of the agents' sessions: when each began, when it ended, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nodelink.errors import LinkError, SessionReplaced, StoreError
from nodelink_server.core.ledger import Committed, Ledger
from nodelink_server.core.ports import AgentRecord, AgentSessionRecord, Clock, Notice, SessionEnding
from nodelink_server.core.session import SILENT_PERIODS, AgentSession


class Contacts:
    """Says how sessions are written down, and sees to it that their ends are."""

    def __init__(self, *, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._open: dict[AgentSession, AgentSessionRecord] = {}
        self._unwritten: list[AgentSessionRecord] = []
        self.stopping = False
        """The server stops: the sessions that end from now on end because of that."""

    def begun(self, agent_id: str, number: int, software_version: str) -> AgentSessionRecord:
        """A session that begins now."""
        now = self._clock.now()
        return AgentSessionRecord(agent_id=agent_id, number=number, connected_at=now, software_version=software_version)

    def opened(self, session: AgentSession, begun: AgentSessionRecord) -> None:
        """A session is open whose begin is durable."""
        self._open[session] = begun

    def ended(self, session: AgentSession, end: LinkError, *, left: bool) -> AgentSessionRecord:
        """A session that ends now."""
        return self.closed(self._open.pop(session), self._ending(session, end, left=left))

    def closed(self, begun: AgentSessionRecord, ending: SessionEnding) -> AgentSessionRecord:
        """A session that has begun, and ends now."""
        now = max(begun.connected_at, self._clock.now())  # the clock may have been set back
        return replace(begun, disconnected_at=now, reason=ending.value)

    def write(
        self, ended: Sequence[AgentSessionRecord], *, agents: Sequence[AgentRecord] = (), notices: Sequence[Notice] = ()
    ) -> None:
        """Have ends committed, with what else happens then. Sessions that the database does not take are kept for
        `write_again`: no more than there are agents, since without the database none begins.
        """

        def done(outcome: Committed | StoreError) -> None:
            if isinstance(outcome, StoreError):
                self._unwritten.extend(ended)

        self._ledger.post(agents=agents, notices=notices, sessions=ended, done=done)

    def write_again(self) -> None:
        """Try once more what the database has not taken."""
        ended, self._unwritten = self._unwritten, []
        if ended:
            self.write(ended)

    def _ending(self, session: AgentSession, end: LinkError, *, left: bool) -> SessionEnding:
        if isinstance(end, SessionReplaced):
            return SessionEnding.REPLACED
        if self.stopping:
            return SessionEnding.SERVER_STOPPED
        if left:
            return SessionEnding.GOODBYE
        silent_for = self._clock.monotonic() - session.last_heard
        return SessionEnding.SILENT if silent_for > SILENT_PERIODS * session.period else SessionEnding.LOST
