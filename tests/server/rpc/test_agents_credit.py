"""Who may send how much: tasks within the agent's credit, responses and output within the server's, frames by size."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from nodelink.task import AttemptRef, Finished, LogStream, Outcome, Progress, TaskResponse
from nodelink.v1 import agent_pb2
from nodelink_server.core.assembly import Options
from nodelink_server.core.ports import EventName
from nodelink_server.rpc.messages import READABLE_BYTES
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.gate import Gate
from tests.support.wire_agent import WireAgent, response_frame

EXCEEDED = grpc.StatusCode.RESOURCE_EXHAUSTED
REFUSED = grpc.StatusCode.FAILED_PRECONDITION
FRAME_BYTES = 1 << 20
CHUNK_BYTES = 64 * 1024


@pytest.fixture
async def door() -> AsyncIterator[AgentDoor]:
    async with agent_door() as door:
        yield door


async def given(door: AgentDoor, agent: WireAgent) -> AttemptRef:
    """The attempt of a new task that this agent has received."""
    await door.submit()
    return (await agent.take()).ref


def frame_of_size(size: int) -> agent_pb2.ConnectRequest:
    """A heartbeat made exactly so large by what it names."""
    frame = agent_pb2.ConnectRequest(heartbeat=agent_pb2.Heartbeat(number=1))
    name = frame.heartbeat.running.add()
    name.task_id = "x" * (size - 64)
    name.task_id += "x" * (size - frame.ByteSize())
    assert frame.ByteSize() == size
    return frame


async def test_an_agent_is_given_no_more_tasks_than_its_credit_allows(door: AgentDoor) -> None:
    task_ids = await door.submit_many(5)
    async with door.agent(slots=4, credit=2) as agent:
        first = await agent.take_many(2)
        await agent.beat(1)
        await agent.beat_acked()
        assert agent.waiting_tasks == 0
        await agent.credit(3)
        first.append(await agent.take())
        assert [request.ref.task_id for request in first] == task_ids[:3]


@pytest.mark.parametrize("payload", [b"1", b'"' + b"x" * (250 * 1024) + b'"'], ids=["small", "large"])
async def test_tasks_with_all_the_metadata_that_is_allowed_arrive_in_frames_of_the_allowed_size(
    door: AgentDoor, payload: bytes
) -> None:
    metadata = {f"{number:02}" + "\U0001f600" * 1_022: "\U0001f600" * 1_024 for number in range(64)}
    task_ids = await door.submit_many(12, payload=payload, metadata=metadata)
    async with door.agent(slots=12) as agent:
        requests = await agent.take_many(12)
        assert [request.ref.task_id for request in requests] == task_ids
        assert requests[-1].spec.metadata == metadata
        assert max(frame.ByteSize() for frame in agent.frames) <= FRAME_BYTES


async def test_credit_that_is_repeated_or_smaller_changes_nothing(door: AgentDoor) -> None:
    await door.submit_many(5)
    async with door.agent(slots=4, credit=2) as agent:
        await agent.take_many(2)
        for credit in (2, 1):
            await agent.credit(credit)
        await agent.beat(1)
        await agent.beat_acked()
        assert agent.waiting_tasks == 0


@pytest.mark.parametrize("credit", [5, (1 << 64) - 1])
async def test_more_task_credit_than_slots_ends_the_session(door: AgentDoor, credit: int) -> None:
    async with door.agent(slots=4, credit=0) as agent:
        await agent.credit(credit)
        end = await agent.end()
        assert end.code is REFUSED
        assert "slots" in end.details


async def test_credit_may_grow_with_every_task_that_was_received(door: AgentDoor) -> None:
    await door.submit_many(6)
    async with door.agent(slots=2) as agent:
        for received in (2, 4, 6):
            for request in await agent.take_many(2):
                await agent.finish(request.ref)
                await agent.acked()
            await agent.credit(received + 2)
        await agent.beat(1)
        await agent.beat_acked()
        assert door.manager.agents.view("a1").free_slots == 2


async def test_frames_with_responses_are_paid_back_when_they_are_settled(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        for number in range(3 * agent.welcome.response_credit):
            await agent.until_credit(responses=number + 1)
            await agent.say(ref, Progress(fraction=0.5))
        await agent.until_credit(responses=4 * agent.welcome.response_credit)


async def test_more_frames_with_responses_than_the_credit_end_the_session() -> None:
    gate = Gate("apply")
    async with agent_door(store=MemoryStore(Disk(), pause=gate.pass_through)) as door, door.agent() as agent:
        ref = await given(door, agent)
        with gate.closed():
            for _ in range(agent.welcome.response_credit + 1):
                await agent.finish(ref)
            end = await agent.end()
        assert end.code is EXCEEDED
        assert "responses" in end.details


async def test_no_credit_is_given_back_before_what_was_sent_is_settled() -> None:
    gate = Gate("apply")
    store = MemoryStore(Disk(), pause=gate.pass_through)
    async with agent_door(store=store, core=Options(channel_size=2)) as door, door.agent(slots=8) as agent:
        await door.submit_many(4)
        refs = [request.ref for request in await agent.take_many(4)]
        with gate.closed():
            for ref in refs:
                await agent.finish(ref)
            await gate.reached()
            await agent.beat(1)
            await agent.beat_acked()
            assert agent.response_credit == agent.welcome.response_credit
            assert door.manager.channel.is_full
        for _ in refs:
            await agent.acked()
        await agent.until_credit(responses=agent.welcome.response_credit + 4)


async def test_more_output_than_the_credit_ends_the_session() -> None:
    gate = Gate("append")
    async with agent_door(store=MemoryStore(Disk(), pause=gate.pass_through)) as door, door.agent() as agent:
        ref = await given(door, agent)
        chunks, odd = divmod(agent.welcome.log_credit, CHUNK_BYTES)
        assert odd == 0
        with gate.closed():
            for number in range(chunks):
                await agent.print(ref, b"x" * CHUNK_BYTES, offset=number * CHUNK_BYTES)
            await agent.print(ref, b"x", offset=chunks * CHUNK_BYTES)
            end = await agent.end()
        assert end.code is EXCEEDED
        assert "output" in end.details


async def test_output_is_paid_back_when_it_is_durable(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.print(ref, b"x" * 1000)
        await agent.until_credit(log_bytes=agent.welcome.log_credit + 1000)


async def test_output_that_cannot_be_read_is_paid_back_too(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await agent.send(logs=[agent_pb2.LogChunk(stream=9, data=b"x" * 1000)])  # type: ignore[arg-type]
        await agent.until_credit(log_bytes=agent.welcome.log_credit + 1000)


async def test_the_largest_chunk_is_taken_and_a_larger_one_ends_the_session(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.print(ref, b"x" * CHUNK_BYTES)
        assert (await agent.log_acked()).offset == CHUNK_BYTES
        await agent.print(ref, b"x" * (CHUNK_BYTES + 1), offset=CHUNK_BYTES)
        end = await agent.end()
        assert end.code is REFUSED
        assert str(CHUNK_BYTES) in end.details
    assert (await door.store.log_ends(1, 1)).stdout == CHUNK_BYTES


@pytest.mark.parametrize("offset, gap", [((1 << 64) - 1, 0), (0, (1 << 64) - 1), (1 << 61, 1)])
async def test_output_at_an_impossible_offset_ends_the_session(door: AgentDoor, offset: int, gap: int) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.print(ref, b"" if gap else b"x", offset=offset, gap=gap, stream=LogStream.STDERR)
        assert (await agent.end()).code is REFUSED
    async with door.agent(session=2) as agent:
        assert agent.welcome.session == 2


async def test_the_largest_frame_is_taken_and_a_larger_one_ends_the_session(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await agent.send(frame_of_size(FRAME_BYTES))
        assert await agent.beat_acked() == 1
        await agent.send(frame_of_size(FRAME_BYTES + 1))
        end = await agent.end()
        assert end.code is REFUSED
        assert str(FRAME_BYTES) in end.details


async def test_a_frame_that_grpc_itself_refuses_is_a_loss_of_contact(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await agent.send(frame_of_size(READABLE_BYTES + 1))
        assert (await agent.end()).code is EXCEEDED
        await door.events.next(EventName.AGENT_DISCONNECTED, agent_id="a1")
        assert door.agent_status() == "unreachable"


async def test_more_items_than_a_frame_may_carry_end_the_session(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        responses = [TaskResponse(ref, Progress(fraction=0.0))] * 4_097
        await agent.send(response_frame(*responses))
        assert (await agent.end()).code is REFUSED


async def test_what_a_session_was_sent_before_its_violation_still_counts(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.respond(TaskResponse(ref, Finished(outcome=Outcome.COMPLETED)))
        await agent.send(frame_of_size(FRAME_BYTES + 1))
        await agent.end()
        await door.events.next(EventName.TASK_COMPLETED, task_id=ref.task_id)
