"""The agents that are known, and the session of each that is connected.

An agent is known by its id and secret, never by its name.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from nodelink.errors import AgentNotFound, HandshakeRefused, LinkError, SessionReplaced
from nodelink.task import AttemptRef, Execution, HeldAttempt
from nodelink_server.core.contacts import Contacts
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.ports import AgentRecord, Clock, EventName, Notice, SessionEnding
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.session import AgentSession
from nodelink_server.core.validation import BUILT_IN, NAME

MOST_SLOTS = 4_096
MOST_TYPES = 256
MOST_CHARS = 200
SECRET_BYTES = 32
LAST_SESSION = (1 << 63) - 1
"""The greatest session number that a database can hold."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What an agent says of itself when it connects."""

    agent_id: str
    secret: bytes
    session: int
    remembers_since: int
    host_id: str
    name: str
    pool: str
    slots: int
    handlers: Mapping[str, Execution]
    labels: Mapping[str, str] = field(default_factory=dict)
    software_version: str = ""
    held: Sequence[HeldAttempt] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """An agent as people see it. `status`: online, draining, unreachable or offline."""

    id: str
    name: str
    pool: str
    status: str
    labels: Mapping[str, str]
    slots: int
    free_slots: int
    current_tasks: Sequence[str]
    last_heartbeat_at: int
    types: Sequence[str]
    software_version: str


class AgentRegistry:
    """Who is known, who is connected, and which granted tasks are where."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        scheduler: Scheduler,
        clock: Clock,
        contacts: Contacts,
        silence_seconds: float,
        take_back: Callable[[Sequence[AttemptRef]], None],
    ) -> None:
        self._ledger = ledger
        self._take_back = take_back
        self._scheduler = scheduler
        self._clock = clock
        self._contacts = contacts
        self._silence = silence_seconds
        self._known: dict[str, AgentRecord] = {}
        self._sessions: dict[str, AgentSession] = {}
        self._granted: dict[str, set[str]] = defaultdict(set)
        self.types: dict[str, Execution] = dict(BUILT_IN)
        """The types that can be asked for, with the class of each: the built-in ones and what agents have declared."""

    def restore(self, records: Iterable[AgentRecord]) -> None:
        """Know the agents of earlier starts."""
        for record in records:
            self._remember(record)

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def connect(self, hello: Hello) -> AgentSession:
        """Open a session, durably. The newest wins: an older one of the same agent ends.

        Raises `HandshakeRefused`; `StoreUnavailable` if it cannot be made durable.
        """
        self._check(hello)
        record = self._record(hello)
        notice = Notice(EventName.AGENT_CONNECTED, hello.agent_id, hello.pool, {"name": hello.name})
        begun = self._contacts.begun(hello.agent_id, hello.session, hello.software_version)
        try:
            committed = await self._ledger.commit(agents=[record], notices=[notice], sessions=[begun])
        except asyncio.CancelledError:  # it is committed all the same, and nobody is there any longer
            self._ledger.post(sessions=[self._contacts.closed(begun, SessionEnding.LOST)])
            raise
        if committed.refused_agents:
            last = max(self._last_session(hello.agent_id), hello.session)
            raise HandshakeRefused("the session number must be greater than the last one", last_session=last)
        current = self._sessions.get(hello.agent_id)
        if current is not None and current.number >= hello.session:
            if current.number > hello.session:
                self._ledger.post(sessions=[self._contacts.closed(begun, SessionEnding.REPLACED)])
            raise HandshakeRefused("the agent has connected again meanwhile", last_session=current.number)
        self._remember(record)
        if current is not None:
            self.close(current, SessionReplaced())
        session = self._open(hello)
        self._sessions[hello.agent_id] = session
        self._contacts.opened(session, begun)
        log.info("agent_connected", agent_id=hello.agent_id, name=hello.name, pool=hello.pool, session=hello.session)
        return session

    def close(self, session: AgentSession, end: LinkError, *, left: bool = False) -> None:
        """End a session. `left`: the agent said goodbye. What it runs stays its own; what it was never told of waits
        again.
        """
        if not session.is_open:
            return
        unsent = session.close(end)
        if self._sessions.get(session.agent_id) is session:
            del self._sessions[session.agent_id]
        self._take_back([request.ref for request in unsent])
        self._note_end(session, end, left)
        log.info("agent_disconnected", agent_id=session.agent_id, session=session.number, left=left, why=end.message)

    def session(self, agent_id: str) -> AgentSession | None:
        """The open session of an agent."""
        return self._sessions.get(agent_id)

    def sessions(self) -> Sequence[AgentSession]:
        """Every open session."""
        return list(self._sessions.values())

    def silent(self) -> Sequence[AgentSession]:
        """The open sessions from which nothing has come for three heartbeats."""
        oldest = self._clock.monotonic() - self._silence
        return [session for session in self._sessions.values() if session.last_heard < oldest]

    # -- tasks --------------------------------------------------------------------------------------------------------

    def task_granted(self, agent_id: str, task_id: str) -> None:
        """A granted task is with an agent."""
        self._granted[agent_id].add(task_id)

    def task_gone(self, agent_id: str, task_id: str) -> None:
        """A task is with that agent no more."""
        self._granted[agent_id].discard(task_id)

    def granted(self, agent_id: str) -> Sequence[str]:
        """The ids of the granted tasks that are with an agent."""
        return list(self._granted.get(agent_id, ()))

    def why_nobody(self, pool: str, type: str) -> str:
        """Why no agent takes a waiting task, in words."""
        here = [session for session in self._sessions.values() if session.pool == pool]
        if not here:
            return f"no agent of pool {pool!r} is connected"
        fitting = [session for session in here if type in session.types]
        if not fitting:
            return f"no connected agent of pool {pool!r} handles type {type!r}"
        return f"waits for a free slot among {len(fitting)} agent(s)"

    # -- for people ---------------------------------------------------------------------------------------------------

    def views(self) -> list[AgentView]:
        """Every known agent, by name."""
        return sorted((self._view(record) for record in self._known.values()), key=lambda view: (view.name, view.id))

    def view(self, agent_id: str) -> AgentView:
        """One agent. Raises `AgentNotFound`."""
        record = self._known.get(agent_id)
        if record is None:
            raise AgentNotFound(f"there is no agent {agent_id[:64]}")
        return self._view(record)

    def last_contact(self, agent_id: str) -> int | None:
        """When an agent was last heard of, on the wall clock."""
        record = self._known.get(agent_id)
        if record is None:
            return None
        session = self._sessions.get(agent_id)
        if session is None:
            return record.last_seen_at
        return self._clock.now() - int((self._clock.monotonic() - session.last_heard) * 1000)

    def _view(self, record: AgentRecord) -> AgentView:
        session = self._sessions.get(record.id)
        if session is not None:
            status = "draining" if session.draining else "online"
        else:
            status = "offline" if record.left else "unreachable"
        return AgentView(
            id=record.id,
            name=record.name,
            pool=record.pool,
            status=status,
            labels=record.labels,
            slots=record.slots,
            free_slots=max(0, session.room) if session else 0,
            current_tasks=sorted(self._granted.get(record.id, ())),
            last_heartbeat_at=self.last_contact(record.id) or record.last_seen_at,
            types=sorted(record.handlers),
            software_version=record.software_version,
        )

    # -- the handshake ------------------------------------------------------------------------------------------------

    def _check(self, hello: Hello) -> None:
        if len(hello.secret) != SECRET_BYTES or not hello.agent_id:
            raise HandshakeRefused("an agent needs an id and a secret of 32 bytes")
        if not 1 <= hello.slots <= MOST_SLOTS:
            raise HandshakeRefused(f"{hello.slots} slots; 1 to {MOST_SLOTS} are allowed")
        if not 1 <= len(hello.handlers) <= MOST_TYPES or not hello.host_id:
            raise HandshakeRefused(f"an agent needs a host and 1 to {MOST_TYPES} handlers")
        if not NAME.fullmatch(hello.pool) or not all(NAME.fullmatch(type) for type in hello.handlers):
            raise HandshakeRefused("pools and types are named by 1 to 63 letters, digits, '.', '_' or '-'")
        if max(map(len, (hello.agent_id, hello.name, hello.host_id, hello.software_version))) > MOST_CHARS:
            raise HandshakeRefused(f"a name or an id has more than {MOST_CHARS} characters")
        if not 1 <= hello.remembers_since <= hello.session <= LAST_SESSION:
            raise HandshakeRefused("remembers_since must be a session that is not later than this one")
        known = self._known.get(hello.agent_id)
        if known is None:
            return
        if not hmac.compare_digest(known.secret_hash, _hash(hello.secret)):
            log.error("agent_secret_wrong", agent_id=hello.agent_id, name=hello.name)
            raise HandshakeRefused("this agent id is known with another secret")
        if hello.session <= known.session:
            raise HandshakeRefused("the session number must be greater than the last one", last_session=known.session)
        self._check_host(hello)

    def _check_host(self, hello: Hello) -> None:
        """The same identity from a second host, while the first one lives, is a clone."""
        current = self._sessions.get(hello.agent_id)
        if current is None or current.host_id == hello.host_id:
            return
        if self._clock.monotonic() - current.last_heard < self._silence:
            log.error("agent_cloned", agent_id=hello.agent_id, name=hello.name)
            self._ledger.post(notices=[Notice(EventName.AGENT_ERROR, hello.agent_id, hello.pool, {"error": "cloned"})])
            raise HandshakeRefused("the same agent is connected from another host")

    def _record(self, hello: Hello) -> AgentRecord:
        known, now = self._known.get(hello.agent_id), self._clock.now()
        return AgentRecord(
            id=hello.agent_id,
            secret_hash=_hash(hello.secret),
            session=hello.session,
            host_id=hello.host_id,
            name=hello.name,
            pool=hello.pool,
            slots=hello.slots,
            handlers=dict(hello.handlers),
            labels=dict(hello.labels),
            software_version=hello.software_version,
            first_seen_at=known.first_seen_at if known else now,
            last_seen_at=now,
        )

    def _open(self, hello: Hello) -> AgentSession:
        return AgentSession(
            agent_id=hello.agent_id,
            pool=hello.pool,
            number=hello.session,
            types=hello.handlers,
            slots=hello.slots,
            remembers_since=hello.remembers_since,
            host_id=hello.host_id,
            now=self._clock.monotonic(),
            on_room=self._scheduler.has_room,
        )

    def _note_end(self, session: AgentSession, end: LinkError, left: bool) -> None:
        ended = self._contacts.ended(session, end, left=left)
        notice = Notice(EventName.AGENT_DISCONNECTED, session.agent_id, session.pool, {"reason": end.message})
        if isinstance(end, SessionReplaced):
            self._contacts.write([ended], notices=[notice])
            return
        record = replace(self._known[session.agent_id], last_seen_at=self._clock.now(), left=left)
        self._known[session.agent_id] = record
        self._contacts.write([ended], agents=[record], notices=[notice])

    def _remember(self, record: AgentRecord) -> None:
        known = self._known.get(record.id)
        if known is None or known.session <= record.session:
            self._known[record.id] = record
        for type, execution in record.handlers.items():
            self.types.setdefault(type, execution)

    def _last_session(self, agent_id: str) -> int:
        known = self._known.get(agent_id)
        return known.session if known else 0


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
