"""The agents that are known, and the session of each that is connected.

An agent is known by its id and secret, never by its name.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from nodelink.errors import AgentNotFound, HandshakeRefused, LinkError, Overloaded, SessionReplaced, StoreError
from nodelink.taken import Taken, total
from nodelink.task import AttemptRef, Execution
from nodelink_server.core.admission import Admission
from nodelink_server.core.assignment import Unassigned
from nodelink_server.core.brake import Brake
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.clones import Clones
from nodelink_server.core.contacts import Contacts
from nodelink_server.core.cordons import Kept, kept_of
from nodelink_server.core.deeds import Deed
from nodelink_server.core.handshake import FEATURES, Hello, check_hello, hash_of
from nodelink_server.core.leases import Leases
from nodelink_server.core.ledger import Committed, Ledger
from nodelink_server.core.needs import taken_of
from nodelink_server.core.pace import Pace
from nodelink_server.core.ports import AgentRecord, Clock, EventName, Notice, SessionEnding, Shape
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.session import SILENT_PERIODS, AgentSession, DrainRequest, OnBeat, Origin
from nodelink_server.core.validation import BUILT_IN

CONTACT_SECONDS = 60.0
"""So often it is written down that a connected agent is heard of."""
MOST_CONTACTS = 200


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """An agent as people see it. `status`: online, draining, cordoned, unreachable or offline.

    `drained_at`: since when a person wants it to be empty. What runs at the `drain_deadline` is stopped: about then, in
    wall-clock milliseconds, for an outage puts it off. `resources`: what it has of each; `used`: what its tasks take of
    it; both in thousandths.
    """

    id: str
    name: str
    pool: str
    status: str
    labels: Mapping[str, str]
    slots: int
    free_slots: int
    resources: Mapping[str, int]
    type_limits: Mapping[str, int]
    plan_limit: int
    used: Taken
    current_tasks: Sequence[str]
    last_heartbeat_at: int
    types: Sequence[str]
    software_version: str
    cordon: str = ""
    drained_at: int | None = None
    drain_deadline: int | None = None
    drain_note: str = ""


class AgentRegistry:
    """Who is known, and who is connected. `ended` is called with each session that is over."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        scheduler: Scheduler,
        clock: Clock,
        control: ControlTime,
        contacts: Contacts,
        leases: Leases,
        brake: Brake,
        admission: Admission,
        pace: Pace,
        take_back: Callable[[int, Sequence[AttemptRef]], None],
        ended: Callable[[AgentSession], None],
        on_beat: OnBeat,
        on_owed: Callable[[AgentSession], None],
    ) -> None:
        self._ledger = ledger
        self._take_back = take_back
        self._ended = ended
        self._on_beat = on_beat
        self._on_owed = on_owed
        self._leases = leases
        self._brake = brake
        self._admission = admission
        self.pace = pace
        self._clones = Clones()
        self._contact_due: deque[tuple[float, AgentSession]] = deque()
        self._scheduler = scheduler
        self._clock = clock
        self._control = control
        self._contacts = contacts
        self._drained: set[str] = set()
        self._known: dict[str, AgentRecord] = {}
        self._arriving: dict[str, AgentRecord] = {}
        """What the last hello of each agent has said that is being committed."""
        self._sessions: dict[str, AgentSession] = {}
        self._connected: Counter[str] = Counter()
        """How many sessions are open, by pool."""
        self.types: dict[str, Execution] = dict(BUILT_IN)
        """The types that can be asked for, with the class of each: the built-in ones and what agents have declared."""

    def restore(self, records: Iterable[AgentRecord]) -> None:
        """Know the agents of earlier starts."""
        for record in records:
            self._remember(record)

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def connect(self, hello: Hello) -> AgentSession:
        """Open a session, durably. The newest wins: an older one of the same agent ends.

        Raises `HandshakeRefused`; `Overloaded` if too many come at a time; `StoreUnavailable` if it cannot be made
        durable.
        """
        self._check(hello)
        others = len(self._sessions) - (hello.agent_id in self._sessions)
        self._admission.check(self._clock.monotonic(), connected=others)
        record = self._record(hello)
        notice = Notice(EventName.AGENT_CONNECTED, hello.agent_id, hello.pool, {"name": hello.name})
        begun = self._contacts.begun(hello.agent_id, hello.session, hello.software_version)
        self._arriving[hello.agent_id] = record  # two that come at once must not both be the same session
        try:
            committed = await self._ledger.commit(
                agents=[record],
                notices=[notice],
                sessions=[begun],
                first=lambda outcome: self._arrived(record, outcome),
            )
        except asyncio.CancelledError:  # it is committed all the same, and nobody is there any longer
            self._ledger.post(sessions=[self._contacts.closed(begun, SessionEnding.LOST)])
            raise
        finally:
            if self._arriving.get(hello.agent_id) is record:
                del self._arriving[hello.agent_id]
        if committed.refused_agents:
            last = max(self._last_session(hello.agent_id), hello.session)
            raise HandshakeRefused("the session number must be greater than the last one", last_session=last)
        current = self._sessions.get(hello.agent_id)
        if current is not None and current.number >= hello.session:
            if current.number > hello.session:
                self._ledger.post(sessions=[self._contacts.closed(begun, SessionEnding.REPLACED)])
            raise HandshakeRefused("the agent has connected again meanwhile", last_session=current.number)
        if current is not None:
            self.close(current, SessionReplaced())
        self._clones.connected(hello)
        self._brake.came_back(hello.pool, hello.agent_id)
        # By its own record: of hellos that are committed together, the last one is what is known by now.
        kept = kept_of(self._known[hello.agent_id])
        self.pace.set_for(len(self._sessions) + 1)
        session = self._open(hello, replace(record, **kept._asdict()))
        self._contact_due.append((self._clock.monotonic() + CONTACT_SECONDS, session))
        self._sessions[hello.agent_id] = session
        self._connected[session.pool] += 1
        self._contacts.opened(session, begun)
        log.info("agent_connected", agent_id=hello.agent_id, name=hello.name, pool=hello.pool, session=hello.session)
        return session

    def _arrived(self, record: AgentRecord, outcome: Committed | StoreError) -> None:
        """What an agent has said of itself is durable, whoever still waits for that."""
        if isinstance(outcome, StoreError) or outcome.refused_agents:
            return
        kept = kept_of(self._known.get(record.id, record))
        if kept != kept_of(record):  # it was said meanwhile, and has been written over
            record = replace(record, **kept._asdict())
            self._ledger.post(agents=[record])
        self._remember(record)

    def close(self, session: AgentSession, end: LinkError, *, left: bool = False) -> None:
        """End a session. `left`: the agent said goodbye. What it runs stays its own; what it was never told of waits
        again.
        """
        if not session.is_open:
            return
        unsent = session.close(end)
        if self._sessions.get(session.agent_id) is session:
            del self._sessions[session.agent_id]
            self._connected[session.pool] -= 1
            if not self._connected[session.pool]:
                del self._connected[session.pool]
            self.pace.set_for(len(self._sessions))
        self._scheduler.send_failed([ref.task_id for ref in unsent], session.agent_id)
        self._take_back(session.number, unsent)
        self._ended(session)
        self._note_end(session, end, left)
        log.info("agent_disconnected", agent_id=session.agent_id, session=session.number, left=left, why=end.message)

    def session(self, agent_id: str) -> AgentSession | None:
        """The open session of an agent."""
        return self._sessions.get(agent_id)

    def sessions(self) -> Sequence[AgentSession]:
        """Every open session."""
        return list(self._sessions.values())

    def all(self) -> Iterator[tuple[AgentRecord, AgentSession | None]]:
        """Every agent that is known, with its open session."""
        for record in self._known.values():
            yield record, self._sessions.get(record.id)

    def record(self, agent_id: str) -> AgentRecord:
        """What the database keeps of an agent. Only of one that is known."""
        return self._known[agent_id]

    def knows(self, agent_id: str, feature: str) -> bool:
        """Whether an agent knows an optional part of the protocol, as far as it has ever said."""
        record = self._known.get(agent_id)
        return record is not None and feature in record.features

    def silent(self) -> Sequence[AgentSession]:
        """The open sessions from which nothing has come for three heartbeats."""
        now = self._clock.monotonic()
        return [one for one in self._sessions.values() if now - one.last_heard > SILENT_PERIODS * one.period]

    def write_contacts(self) -> None:
        """Have it written down, each minute for each agent, that it is heard of."""
        now = self._clock.monotonic()
        due: list[AgentRecord] = []
        while self._contact_due and self._contact_due[0][0] <= now and len(due) < MOST_CONTACTS:
            _, session = self._contact_due.popleft()
            if session.is_open:
                due.append(self._seen(session))
                self._contact_due.append((now + CONTACT_SECONDS, session))
        if due:
            self._ledger.post(agents=due)

    def _seen(self, session: AgentSession) -> AgentRecord:
        known = self._known[session.agent_id]
        record = self._known[known.id] = replace(known, last_seen_at=self._last_seen(known))
        return record

    # -- who is kept from new work ------------------------------------------------------------------------------------

    def cordon(self, agent_id: str, why: str) -> None:
        """Keep an agent from new work, until a person lifts that."""
        before = kept_of(self._known[agent_id])
        record = self._keep(agent_id, before._replace(cordon=why))
        deed = self._deed("agent_cordoned", "server", record, before)
        alert = {"alert": "agent_cordoned", "message": why}
        notice = Notice(EventName.ALERT_RAISED, record.id, record.pool, alert)
        self._ledger.post(agents=[record], notices=[notice], deeds=[deed])
        log.error("agent_cordoned", agent_id=agent_id, why=why)

    async def keep(self, agent_id: str, kept: Kept, *, kind: str, by: str) -> None:
        """Keep an agent from new work, or let it have some again. It is so at once, and durable on return.

        `kind` and `by`: as what, and as whose, it is audited. Raises `StoreUnavailable`: then it is as before. Only for
        an agent that is known.
        """
        before = kept_of(self._known[agent_id])
        deed = self._deed(kind, by, self._keep(agent_id, kept), before)
        try:
            while (await self._ledger.commit(agents=[self._known[agent_id]], deeds=[deed])).refused_agents:
                continue  # it has connected meanwhile, and is known with its new session now
        except StoreError:
            if kept_of(self._known[agent_id]) == kept:
                self._keep(agent_id, before)
            raise

    def _deed(self, kind: str, by: str, record: AgentRecord, before: Kept) -> Deed:
        """What is audited of an agent that is kept from new work, or no more. Deadlines are told in wall-clock time."""
        now, ahead = self._clock.now(), self._clock.now() - self._control.now()
        return Deed(kind, by, f"agent:{record.id}", now, before.shown(ahead), kept_of(record).shown(ahead))

    def drained(self) -> Sequence[AgentRecord]:
        """The agents that a person wants to be empty."""
        return [self._known[agent_id] for agent_id in self._drained]

    def is_drained(self, agent_id: str) -> bool:
        """Whether a person wants an agent to be empty."""
        return agent_id in self._drained

    def drain_request(self, record: AgentRecord) -> DrainRequest:
        """What is said to an agent that is to be empty."""
        deadline = record.drain_deadline
        left = None if deadline is None else max(0, deadline - self._control.now())
        return DrainRequest(record.drain_note, left)

    def _keep(self, agent_id: str, kept: Kept) -> AgentRecord:
        record = replace(self._known[agent_id], **kept._asdict())
        self._remember(record)
        session = self._sessions.get(agent_id)
        if session is not None and kept != Kept():
            session.cordoned, session.drained = True, kept.drained_at is not None
        elif session is not None:
            session.lift_cordon()
        return record

    # -- for callers --------------------------------------------------------------------------------------------------

    def unassigned(self, shape: Shape) -> Unassigned:
        """Why no agent takes a waiting task of a shape, by the name of it."""
        if not any(record.pool == shape.pool for record in self._known.values()):
            return Unassigned.NO_POOL
        is_online = any(session.fits(shape) for session in self._sessions.values())
        return Unassigned.NONE_FREE if is_online else Unassigned.NO_AGENT_ONLINE

    def why_nobody(self, shape: Shape) -> str:
        """Why no agent takes a waiting task of a shape, in words."""
        here = [session for session in self._sessions.values() if session.pool == shape.pool]
        if not here:
            return f"no agent of pool {shape.pool!r} is connected"
        handling = [session for session in here if shape.type in session.types]
        if not handling:
            return f"no connected agent of pool {shape.pool!r} handles type {shape.type!r}"
        fitting = [session for session in handling if session.fits(shape)]
        if not fitting:
            return f"none of {len(handling)} agent(s) has what it needs: its labels, slots or resources, or its id"
        if all(session.cordoned for session in fitting):
            return f"{len(fitting)} agent(s) would fit and are kept from new work"
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
        return self._last_seen(record)

    def _last_seen(self, record: AgentRecord) -> int:
        session = self._sessions.get(record.id)
        if session is None:
            return record.last_seen_at
        return self._clock.now() - int((self._clock.monotonic() - session.last_heard) * 1000)

    def _view(self, record: AgentRecord) -> AgentView:
        session, tasks = self._sessions.get(record.id), self._leases.with_agent(record.id)
        deadline = record.drain_deadline
        return AgentView(
            id=record.id,
            name=record.name,
            pool=record.pool,
            status=_status_of(record, session, is_busy=bool(tasks)),
            labels=record.labels,
            slots=record.slots,
            free_slots=max(0, session.room) if session else 0,
            resources=record.resources,
            type_limits=record.type_limits,
            plan_limit=record.plan_limit,
            used=self._used(record),
            current_tasks=sorted(tasks),
            last_heartbeat_at=self._last_seen(record),
            types=sorted(record.handlers),
            software_version=record.software_version,
            cordon=record.cordon,
            drained_at=record.drained_at,
            drain_deadline=None if deadline is None else self._clock.now() + deadline - self._control.now(),
            drain_note=record.drain_note,
        )

    def _used(self, record: AgentRecord) -> Taken:
        """What its tasks take. While results and grants pass each other, that may be more slots than it has: all."""
        used = total(taken_of(task) for task in self._leases.tasks_with(record.id))
        return used._replace(slots=min(used.slots, record.slots))

    # -- the handshake ------------------------------------------------------------------------------------------------

    def _check(self, hello: Hello) -> None:
        check_hello(hello)
        known = self._known.get(hello.agent_id)
        arriving = self._arriving.get(hello.agent_id)
        last = max(known.session if known else 0, arriving.session if arriving else 0)
        if known is not None:
            self._check_secret(hello, known)
        if hello.session <= last:
            raise HandshakeRefused("the session number must be greater than the last one", last_session=last)
        if known is not None:
            self._check_alone(hello)

    def _check_secret(self, hello: Hello, known: AgentRecord) -> None:
        if not hmac.compare_digest(known.secret_hash, hash_of(hello.secret)):
            log.error("agent_secret_wrong", agent_id=hello.agent_id, name=hello.name)
            raise HandshakeRefused("this agent id is known with another secret")

    def _check_alone(self, hello: Hello) -> None:
        """Two processes that call themselves the same agent must not both have work."""
        current, now = self._sessions.get(hello.agent_id), self._clock.monotonic()
        why = self._clones.is_clone(hello, current, now)
        if why:
            self._tell_of_clone(hello)
            raise HandshakeRefused(why)
        seconds = self._clones.must_wait(hello, current, now)
        if not seconds:
            return
        if current is not None and self._clones.persists(hello, current, now):
            self._tell_of_clone(hello)
            raise HandshakeRefused("another process with this agent's identity stays connected")
        raise Overloaded("another process of this agent was heard of a moment ago", retry_after=seconds)

    def _tell_of_clone(self, hello: Hello) -> None:
        if not self._clones.is_news(hello.agent_id, self._clock.monotonic()):
            return
        log.error("agent_cloned", agent_id=hello.agent_id, name=hello.name)
        error = {"error": "cloned"}
        alert = {"alert": "agent_cloned", "message": f"two agents have the identity of {hello.name}"}
        self._ledger.post(
            notices=[
                Notice(EventName.AGENT_ERROR, hello.agent_id, hello.pool, error),
                Notice(EventName.ALERT_RAISED, hello.agent_id, hello.pool, alert),
            ]
        )

    def _record(self, hello: Hello) -> AgentRecord:
        known, now = self._known.get(hello.agent_id), self._clock.now()
        return AgentRecord(
            id=hello.agent_id,
            secret_hash=hash_of(hello.secret),
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
            **(kept_of(known) if known else Kept())._asdict(),
            host_since=self._host_since(hello, self._arriving.get(hello.agent_id, known)),
            resources=dict(hello.resources),
            type_limits=dict(hello.type_limits),
            plan_limit=hello.plan_limit,
            features=FEATURES.intersection(hello.features),
        )

    def _host_since(self, hello: Hello, before: AgentRecord | None) -> int:
        """Since which session an agent could know of its grants: what was granted before went to another process.
        `before`: the agent as it came last, durable or about to be.
        """
        if before is None or before.host_id != hello.host_id or self._clones.comes_back(hello):
            return hello.session
        return before.host_since

    def _open(self, hello: Hello, record: AgentRecord) -> AgentSession:
        session = AgentSession(
            record,
            origin=Origin(
                host_id=hello.host_id,
                instance_id=hello.instance_id,
                host_since=record.host_since,
                remembers_since=hello.remembers_since,
                process_since=max(hello.process_since, hello.remembers_since),
            ),
            now=self._clock.monotonic(),
            on_room=self._scheduler.has_room,
            on_beat=self._on_beat,
            on_owed=self._on_owed,
            protocol=hello.protocol,
            pace=self.pace,
            cordoned=kept_of(record) != Kept(),
        )
        for task in self._leases.tasks_with(hello.agent_id):
            session.use.take(task)
        if record.drained_at is not None:
            session.drained = True
            session.ask_drain(self.drain_request(record))
        return session

    def _note_end(self, session: AgentSession, end: LinkError, left: bool) -> None:
        ended = self._contacts.ended(session, end, left=left)
        notice = Notice(EventName.AGENT_DISCONNECTED, session.agent_id, session.pool, {"reason": end.message})
        if isinstance(end, SessionReplaced):
            self._contacts.write([ended], notices=[notice])
            return
        record = replace(self._known[session.agent_id], last_seen_at=self._clock.now(), left=left)
        self._known[session.agent_id] = record
        notices = [notice]
        if not left and self._pulls_brake(session):
            alert = {"alert": "agents_silent", "message": f"half of the agents of pool {session.pool} fell silent"}
            log.error("brake_pulled", pool=session.pool)
            notices.append(Notice(EventName.ALERT_RAISED, "", session.pool, alert))
        if not left:
            self._clones.lost(session)
        self._contacts.write([ended], agents=[record], notices=notices)

    def _pulls_brake(self, session: AgentSession) -> bool:
        connected = self._connected[session.pool]
        return self._brake.fell_silent(session.pool, session.agent_id, connected=connected)

    def _remember(self, record: AgentRecord) -> None:
        known = self._known.get(record.id)
        if known is None or known.session <= record.session:
            self._known[record.id] = record
            (self._drained.discard if record.drained_at is None else self._drained.add)(record.id)
        for type, execution in record.handlers.items():
            self.types.setdefault(type, execution)

    def _last_session(self, agent_id: str) -> int:
        known = self._known.get(agent_id)
        return known.session if known else 0


def _status_of(record: AgentRecord, session: AgentSession | None, *, is_busy: bool) -> str:
    if session is None:
        return "offline" if record.left else "unreachable"
    if record.drained_at is not None:
        return "draining" if is_busy else "cordoned"
    if record.cordon:
        return "cordoned"
    return "draining" if session.draining else "online"
