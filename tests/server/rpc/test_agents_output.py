"""Output on its way in: appended only at its own end, acknowledged when durable, sent again from a hole on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from nodelink.task import AttemptRef, LogAck, LogStream
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.gate import Gate
from tests.support.wire_agent import WireAgent

OUT, ERR = LogStream.STDOUT, LogStream.STDERR


@pytest.fixture
async def door() -> AsyncIterator[AgentDoor]:
    async with agent_door() as door:
        yield door


async def given(door: AgentDoor, agent: WireAgent) -> AttemptRef:
    """The attempt of a new task that this agent has received."""
    await door.submit()
    return (await agent.take()).ref


async def stored(door: AgentDoor, ref: AttemptRef, stream: LogStream = OUT) -> list[tuple[bytes, int]]:
    """The stored runs of a stream: bytes, or the length of a gap."""
    key = (await door.stored(ref.task_id)).task.key
    rows = await door.store.read_logs(key, ref.attempt, stream, 0, 1 << 20)
    return [(row.data, row.gap) for row in rows]


async def test_output_is_durable_when_it_is_acknowledged(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.print(ref, b"one")
        assert await agent.log_acked() == LogAck(ref, OUT, 3)
        assert await stored(door, ref) == [(b"one", 0)]
        await agent.print(ref, b"two", offset=3)
        assert await agent.log_acked() == LogAck(ref, OUT, 6)
        assert await stored(door, ref) == [(b"one", 0), (b"two", 0)]


async def test_output_is_not_acknowledged_before_it_is_durable() -> None:
    gate = Gate("append")
    async with agent_door(store=MemoryStore(Disk(), pause=gate.pass_through)) as door, door.agent() as agent:
        ref = await given(door, agent)
        with gate.closed():
            await agent.print(ref, b"one")
            await gate.reached()
            await agent.beat(1)
            await agent.beat_acked()
            assert not any(frame.log_acks for frame in agent.frames)
        assert await agent.log_acked() == LogAck(ref, OUT, 3)


async def test_the_two_streams_have_offsets_of_their_own(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.print(ref, b"out")
        await agent.print(ref, b"error", stream=ERR)
        assert {await agent.log_acked(), await agent.log_acked()} == {LogAck(ref, OUT, 3), LogAck(ref, ERR, 5)}


async def test_what_is_already_there_is_trimmed(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.print(ref, b"hello")
        await agent.log_acked()
        await agent.print(ref, b"hello world")
        assert await agent.log_acked() == LogAck(ref, OUT, 11)
        await agent.print(ref, b"hello")
        assert await agent.log_acked() == LogAck(ref, OUT, 11)
        assert await stored(door, ref) == [(b"hello", 0), (b" world", 0)]


async def test_a_hole_makes_the_agent_go_back(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.print(ref, b"hello")
        await agent.log_acked()
        await agent.print(ref, b"world", offset=6)
        assert await agent.log_acked() == LogAck(ref, OUT, 5)
        await agent.print(ref, b" world", offset=5)
        assert await agent.log_acked() == LogAck(ref, OUT, 11)
        assert await stored(door, ref) == [(b"hello", 0), (b" world", 0)]


async def test_a_gap_is_stored_as_one(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.print(ref, b"", gap=100)
        assert await agent.log_acked() == LogAck(ref, OUT, 100)
        await agent.print(ref, b"rest", offset=100)
        assert await agent.log_acked() == LogAck(ref, OUT, 104)
        assert await stored(door, ref) == [(b"", 100), (b"rest", 0)]


async def test_output_may_follow_its_result(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.finish(ref, log_totals={OUT: 4})
        await agent.acked()
        await agent.print(ref, b"late")
        assert await agent.log_acked() == LogAck(ref, OUT, 4)
        assert (await door.manager.logs.read(ref.task_id)).complete


@pytest.mark.parametrize("change", [{"task_id": "01900000-0000-7000-8000-00000000ffff"}, {"attempt": 9}, {"fence": 1}])
async def test_output_of_an_attempt_that_counts_no_more_is_acknowledged_to_its_end_and_not_stored(
    door: AgentDoor, change: dict[str, object]
) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        other = ref._replace(**change)  # type: ignore[arg-type]
        await agent.print(other, b"ghost", offset=7)
        assert await agent.log_acked() == LogAck(other, OUT, 12)
        assert await stored(door, ref) == []


async def test_output_of_another_agents_attempt_is_acknowledged_to_its_end_and_not_stored(door: AgentDoor) -> None:
    async with door.agent(agent_id="a1") as holder, door.agent(agent_id="a2", credit=0) as stranger:
        ref = await given(door, holder)
        await stranger.print(ref, b"ghost")
        assert await stranger.log_acked() == LogAck(ref, OUT, 5)
        await holder.print(ref, b"mine")
        assert await holder.log_acked() == LogAck(ref, OUT, 4)
        assert await stored(door, ref) == [(b"mine", 0)]


async def test_an_empty_chunk_is_answered_and_adds_nothing(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.print(ref, b"")
        assert await agent.log_acked() == LogAck(ref, OUT, 0)
        assert await stored(door, ref) == []
