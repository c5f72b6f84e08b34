"""Many agents at once, and hellos that carry much: who comes too early is told when to come again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from nodelink import wire
from nodelink.task import AttemptRef, HeldState
from nodelink.v1 import agent_pb2
from nodelink_server.core.assembly import Options
from nodelink_server.core.pace import MOST_AT_FULL_BEAT
from nodelink_server.rpc.reading import (
    MOST_FEATURES,
    MOST_HELD,
    MOST_LABEL_CHARS,
    MOST_LABELS,
    MOST_NAME_CHARS,
    hello_of,
)
from nodelink_server.rpc.statuses import RETRY_AFTER_KEY
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.wire_agent import End, hello

SECONDS_EACH = 5
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
async def door() -> AsyncIterator[AgentDoor]:
    """A server that lets one agent in every five seconds."""
    async with agent_door(core=Options(hello_rate=1 / SECONDS_EACH)) as door:
        yield door


async def knock(door: AgentDoor, **fields: Any) -> End | None:
    """How the server ends a stream with such a hello; None: the agent was welcomed, and has left again."""
    async with door.dial() as agent:
        try:
            await agent.introduce(hello(**fields))
        except grpc.aio.AioRpcError as error:
            metadata: Any = error.trailing_metadata()
            return End(error.code(), error.details() or "", dict(metadata))
        agent.listen()
        await agent.leave()
        await agent.end()
        return None


async def refused(door: AgentDoor, **fields: Any) -> End:
    """How the server refuses such a hello."""
    end = await knock(door, **fields)
    assert end is not None
    return end


async def test_who_comes_too_early_is_told_when_to_come_again(door: AgentDoor) -> None:
    assert await knock(door, agent_id="first") is None
    ends = [await refused(door, agent_id=f"late-{number}") for number in range(3)]
    waits = [int(end.metadata[RETRY_AFTER_KEY]) for end in ends]

    assert [end.code for end in ends] == [FULL] * 3
    assert 0 < waits[0] < waits[1] < waits[2] <= 3 * SECONDS_EACH * 1000
    assert [told_in_details(end) for end in ends] == waits


async def test_who_comes_when_it_was_told_is_let_in(door: AgentDoor) -> None:
    await knock(door, agent_id="first")
    end = await refused(door, agent_id="late")
    door.clock.skip(int(end.metadata[RETRY_AFTER_KEY]) / 1000)
    assert await knock(door, agent_id="late") is None


async def test_an_agent_that_connects_again_and_again_is_slowed_down_and_keeps_its_session(door: AgentDoor) -> None:
    async with door.agent(session=1) as agent:
        assert (await refused(door, session=2)).code is FULL
        await agent.beat(1)
        assert await agent.beat_acked() == 1


async def test_a_refused_hello_leaves_no_trace(door: AgentDoor) -> None:
    await knock(door, agent_id="first")
    await knock(door, agent_id="late", session=7)
    assert [view.id for view in door.manager.agents.views()] == ["first"]
    door.clock.skip(SECONDS_EACH)
    assert await knock(door, agent_id="late", session=1) is None


async def test_above_two_thousand_agents_the_welcome_asks_for_fewer_heartbeats() -> None:
    async with agent_door(core=Options(hello_rate=0)) as door:
        many = MOST_AT_FULL_BEAT + 400
        hellos = [hello_of(agent_pb2.ConnectRequest(hello=hello(agent_id=f"a{n}"))) for n in range(many - 1)]
        sessions = [session for session, _ in await asyncio.gather(*map(door.manager.connect, hellos))]
        async with door.agent(agent_id="one-more") as agent:
            assert wire.ms_of(agent.welcome.heartbeat_interval) == many / 400 * 1000
        for session in sessions:
            door.manager.disconnect(session, left=True)


async def test_agents_are_told_to_report_less_often_when_many_have_come_and_more_often_when_they_have_gone(
    door: AgentDoor,
) -> None:
    async with door.agent() as agent:
        pace = door.manager.agents.pace
        pace.set_for(4 * MOST_AT_FULL_BEAT)
        await agent.beat(1, interval_ms=5_000)
        await agent.beat_acked()
        pace.set_for(1)
        await agent.beat(2, interval_ms=20_000)
        await agent.beat_acked()
        assert agent.intervals == [20_000, 5_000]


def told_in_details(end: End) -> int:
    """The milliseconds in the RetryInfo of a status."""
    status = status_pb2.Status.FromString(bytes(end.metadata["grpc-status-details-bin"]))  # type: ignore[arg-type]
    info = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return info.retry_delay.ToMilliseconds()


def names(count: int, chars: int = 1) -> dict[str, str]:
    """So many labels, of which one is so long."""
    return {f"l{number}": "" for number in range(count - 1)} | {"x" * chars: "y" * chars}


def refs(count: int) -> list[tuple[AttemptRef, HeldState]]:
    """So many attempts that an agent may hold, with names as long as real ones."""
    return [
        (AttemptRef(f"01900000-0000-7000-8000-{n:012x}", 1, (1 << 62) + n), HeldState.RUNNING) for n in range(count)
    ]


WITHIN: list[dict[str, Any]] = [
    {"held": refs(MOST_HELD)},
    {"labels": names(MOST_LABELS)},
    {"labels": names(1, MOST_LABEL_CHARS)},
    {"features": ["f"] * MOST_FEATURES},
    {"features": ["f" * MOST_NAME_CHARS]},
    {"instance_id": "i" * MOST_NAME_CHARS},
]
PAST: list[dict[str, Any]] = [
    {"held": refs(MOST_HELD + 1)},
    {"labels": names(MOST_LABELS + 1)},
    {"labels": names(1, MOST_LABEL_CHARS + 1)},
    {"features": ["f"] * (MOST_FEATURES + 1)},
    {"features": ["f" * (MOST_NAME_CHARS + 1)]},
    {"instance_id": "i" * (MOST_NAME_CHARS + 1)},
]


@pytest.mark.parametrize("fields", WITHIN, ids=lambda fields: next(iter(fields)))
async def test_a_hello_that_carries_as_much_as_it_may_is_welcomed(door: AgentDoor, fields: dict[str, Any]) -> None:
    assert await knock(door, **fields) is None


@pytest.mark.parametrize("fields", PAST, ids=lambda fields: next(iter(fields)))
async def test_a_hello_that_carries_more_than_it_may_is_refused(door: AgentDoor, fields: dict[str, Any]) -> None:
    assert (await refused(door, **fields)).code is grpc.StatusCode.FAILED_PRECONDITION
    assert door.manager.agents.views() == []
