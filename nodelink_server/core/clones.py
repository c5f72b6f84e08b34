"""Copies of an agent's identity: two processes that call themselves the same agent.

A process that comes back after another has taken its place has lived on beside it: it is refused while the other is
heard of. A process that comes while another is connected and heard of may be its successor, whose end is not known here
yet; if it goes on coming, it is a copy.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from nodelink_server.core.handshake import Hello
from nodelink_server.core.session import SILENT_PERIODS, AgentSession

REMEMBERED = 8
ALARM_SECONDS = 60.0
"""An alarm about one agent is raised at most so often."""


class _Contact(NamedTuple):
    """Where an agent was last heard of, until when that counts, and in which process."""

    host_id: str
    instance_id: str
    until: float


class Clones:
    """Which process of each agent was connected last, and which were before it. Forgotten with the server."""

    def __init__(self) -> None:
        self._current: dict[str, str] = {}
        self._replaced: dict[str, deque[str]] = {}
        self._contacts: dict[str, _Contact] = {}
        self._rivals: dict[str, tuple[str, float]] = {}
        self._alarms: dict[str, float] = {}

    def is_clone(self, hello: Hello, session: AgentSession | None, now: float) -> str:
        """Why a hello is a copy's; empty: it is not known to be one. `session`: the agent's open one."""
        is_alive = session is not None and now < _heard_until(session)
        contact = self._contacts.get(hello.agent_id)
        lately = contact is not None and contact.instance_id != hello.instance_id and now < contact.until
        if self.comes_back(hello) and (is_alive or lately):
            return "another process with this agent's identity has taken its place"
        if session is not None and is_alive and session.origin.host_id != hello.host_id:
            return "the same agent is connected from another host"
        return ""

    def comes_back(self, hello: Hello) -> bool:
        """Whether another process has taken its place before. It knows nothing of what that one was given."""
        return bool(hello.instance_id) and hello.instance_id in self._replaced.get(hello.agent_id, ())

    def is_news(self, agent_id: str, now: float) -> bool:
        """Whether an alarm about an agent is due, and not the same again."""
        if now < self._alarms.get(agent_id, now):
            return False
        self._alarms[agent_id] = now + ALARM_SECONDS
        return True

    def must_wait(self, hello: Hello, session: AgentSession | None, now: float) -> float:
        """For how many seconds another process of the agent still counts as alive; 0: it does not."""
        if session is None:
            contact = self._contacts.get(hello.agent_id)
            elsewhere = contact is not None and contact.host_id != hello.host_id
            return max(0.0, contact.until - now) if contact is not None and elsewhere else 0.0
        other = session.origin.instance_id
        is_rival = bool(hello.instance_id and other and hello.instance_id != other)
        return max(0.0, _heard_until(session) - now) if is_rival else 0.0

    def persists(self, hello: Hello, session: AgentSession, now: float) -> bool:
        """A process that must wait has come. Whether it has done so for longer than the other could be silent."""
        instance, since = self._rivals.get(hello.agent_id, ("", now))
        if instance != hello.instance_id:
            self._rivals[hello.agent_id] = hello.instance_id, now
            return False
        if now - since <= SILENT_PERIODS * session.period:
            return False
        del self._rivals[hello.agent_id]
        return True

    def connected(self, hello: Hello) -> None:
        """This process has connected."""
        agent_id, before = hello.agent_id, self._current.get(hello.agent_id)
        self._current[agent_id] = hello.instance_id
        self._rivals.pop(agent_id, None)
        self._contacts.pop(agent_id, None)
        if before and before != hello.instance_id:
            replaced = self._replaced.setdefault(agent_id, deque(maxlen=REMEMBERED))
            if hello.instance_id in replaced:
                replaced.remove(hello.instance_id)
            replaced.append(before)

    def lost(self, session: AgentSession) -> None:
        """A session has ended without a goodbye: its process may live on."""
        origin = session.origin
        self._contacts[session.agent_id] = _Contact(origin.host_id, origin.instance_id, _heard_until(session))


def _heard_until(session: AgentSession) -> float:
    return session.last_heard + SILENT_PERIODS * session.period
