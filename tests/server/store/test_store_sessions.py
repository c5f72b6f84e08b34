"""The history of the agents' sessions, over every store."""

from __future__ import annotations

from dataclasses import replace

from nodelink_server.core.ports import AgentSessionRecord, Batch, SessionEnding, Store
from tests.server.store.conftest import Database
from tests.server.store.lives import NOW, agent, put

MOST = 1_000


def begun(number: int, *, agent_id: str = "a", at: int = NOW) -> AgentSessionRecord:
    """A session that goes on."""
    return AgentSessionRecord(agent_id=agent_id, number=number, connected_at=at, software_version="0.3.0")


def ended(session: AgentSessionRecord, *, at: int = NOW + 9, reason: str = "lost") -> AgentSessionRecord:
    """The same session when it is over."""
    return replace(session, disconnected_at=at, reason=reason)


async def numbers(store: Store, *, before: int = 0, limit: int = 10_000) -> list[int]:
    """The sessions of agent a."""
    return [session.number for session in await store.agent_sessions("a", before, limit)]


async def test_sessions_are_read_newest_first_a_page_at_a_time(store: Store) -> None:
    await put(store, sessions=[begun(number) for number in (1, 2, 5)])
    await put(store, sessions=[begun(7), begun(9, agent_id="b")])

    assert await numbers(store) == [7, 5, 2, 1]
    assert await numbers(store, limit=2) == [7, 5]
    assert await numbers(store, before=5, limit=2) == [2, 1]
    assert await store.agent_sessions("nobody", 0, 5) == []
    assert (await store.agent_sessions("b", 0, 5))[0] == begun(9, agent_id="b")


async def test_a_session_ends_once(store: Store) -> None:
    first = begun(1)
    await put(store, sessions=[first])
    await put(store, sessions=[ended(first, reason="silent")])
    await put(store, sessions=[ended(first, at=NOW + 99, reason="goodbye"), first])

    assert await store.agent_sessions("a", 0, 5) == [ended(first, reason="silent")]


async def test_a_session_that_never_began_does_not_end(store: Store) -> None:
    await put(store, sessions=[ended(begun(1))])

    assert await numbers(store) == []


async def test_a_refused_agent_begins_no_session(store: Store) -> None:
    await put(store, agents=[agent("a", session=5)], sessions=[begun(5)])
    receipt = await put(store, agents=[agent("a", session=4), agent("b", session=1)], sessions=[begun(4), begun(6)])

    assert receipt.refused_agents == {0}
    assert await numbers(store) == [6, 5]


async def test_of_each_agent_the_newest_thousand_are_kept(store: Store) -> None:
    await put(store, sessions=[begun(1, agent_id="b")])
    await put(store, sessions=[begun(number) for number in range(1, MOST + 1)])
    await put(store, sessions=[begun(MOST + 1), begun(MOST + 2)])

    assert await numbers(store) == list(range(MOST + 2, 2, -1))
    assert len(await store.agent_sessions("b", 0, 5)) == 1


async def test_a_start_ends_what_a_killed_server_left_open_at_its_last_commit(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        await put(store, sessions=[begun(1)])
        await put(store, sessions=[ended(begun(1)), begun(2), begun(3, at=NOW + 9_000)])
        await store.apply(Batch(now=NOW + 5_000, control_ms=5_000))
    async with database.open() as store:
        await store.boot(NOW + 77_000)
        found = await store.agent_sessions("a", 0, 5)

    stopped = SessionEnding.SERVER_STOPPED.value
    assert [(one.number, one.disconnected_at, one.reason) for one in found] == [
        (3, NOW + 9_000, stopped),
        (2, NOW + 5_000, stopped),
        (1, NOW + 9, "lost"),
    ]


async def test_sessions_that_ended_long_ago_are_swept(store: Store) -> None:
    await put(store, sessions=[begun(1), begun(2), begun(3)])
    await put(store, sessions=[ended(begun(1), at=NOW + 1), ended(begun(2), at=NOW + 2)])

    await store.sweep(finished_before=0, events_before=0, keys_before=0, sessions_before=NOW + 2, limit=10)

    assert await numbers(store) == [3, 2]


async def test_a_session_ends_though_its_agent_has_connected_again_meanwhile(store: Store) -> None:
    await put(store, agents=[agent("a", session=1)], sessions=[begun(1)])
    await put(store, agents=[agent("a", session=2)], sessions=[begun(2)])
    receipt = await put(store, agents=[agent("a", session=1)], sessions=[ended(begun(1))])

    assert receipt.refused_agents == {0}
    assert await store.agent_sessions("a", 2, 5) == [ended(begun(1))]
