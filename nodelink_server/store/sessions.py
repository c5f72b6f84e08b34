"""The history of the agents' sessions."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from nodelink_server.core.ports import AgentSessionRecord, SessionEnding
from nodelink_server.store.records import session_of
from nodelink_server.store.rows import session_row
from nodelink_server.store.tables import agent_sessions, meta

MOST_PER_AGENT = 1_000
MOST_FORGOTTEN = 500

_OPEN = agent_sessions.c.disconnected_at.is_(None)
_BEGIN = insert(agent_sessions).on_conflict_do_nothing()


def keep(connection: Connection, sessions: Iterable[AgentSessionRecord], refused: Collection[tuple[str, int]]) -> None:
    """Begin and end sessions, but begin none of those (agent, number) whose agent was refused."""
    for session in sessions:
        if session.disconnected_at is not None:
            ended = update(agent_sessions).where(_named(session.agent_id, session.number), _OPEN)
            connection.execute(ended.values(disconnected_at=session.disconnected_at, reason=session.reason))
        elif (session.agent_id, session.number) not in refused:
            connection.execute(_BEGIN, session_row(session))
            _forget_oldest(connection, session.agent_id)


def _named(agent_id: str, number: int) -> ColumnElement[bool]:
    return and_(agent_sessions.c.agent_id == agent_id, agent_sessions.c.number == number)


def _forget_oldest(connection: Connection, agent_id: str) -> None:
    """Keep the newest of an agent's sessions."""
    of_agent, number = agent_sessions.c.agent_id == agent_id, agent_sessions.c.number
    first_too_many = select(number).where(of_agent).order_by(number.desc()).limit(1).offset(MOST_PER_AGENT)
    connection.execute(delete(agent_sessions).where(of_agent, number <= first_too_many.scalar_subquery()))


def of_agent(connection: Connection, agent_id: str, before: int, limit: int) -> list[AgentSessionRecord]:
    """Sessions of an agent, the newest first."""
    number = agent_sessions.c.number
    query = select(agent_sessions).where(agent_sessions.c.agent_id == agent_id)
    if before:
        query = query.where(number < before)
    return [session_of(row) for row in connection.execute(query.order_by(number.desc()).limit(limit))]


def end_left_open(connection: Connection) -> None:
    """End the sessions that a killed server has left open: nothing is known of them after its last commit."""
    last = connection.execute(select(meta.c.committed_at)).scalar_one()
    ended = update(agent_sessions).where(_OPEN)
    connection.execute(
        ended.values(
            disconnected_at=func.max(agent_sessions.c.connected_at, last), reason=SessionEnding.SERVER_STOPPED.value
        )
    )


def forget(connection: Connection, before: int) -> int:
    """Delete sessions that ended before a moment; how many."""
    ended_at = agent_sessions.c.disconnected_at
    name = (agent_sessions.c.agent_id, agent_sessions.c.number)
    old = select(*name).where(ended_at < before, ended_at.is_not(None)).limit(MOST_FORGOTTEN)
    found = [tuple(row) for row in connection.execute(old)]
    for agent_id, number in found:
        connection.execute(delete(agent_sessions).where(_named(agent_id, number)))
    return len(found)
