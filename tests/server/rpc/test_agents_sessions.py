"""The life of a session: heartbeats, stops, silence, and every way in which it can end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import pytest

from nodelink.taken import NOTHING, Taken
from nodelink.task import (
    AckDisposition,
    AttemptRef,
    LogStream,
    Outcome,
    Progress,
    Reason,
    TaskStatus,
)
from nodelink_server.core.ports import EventName
from nodelink_server.core.session import RESPONSE_WINDOW_FRAMES
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.wire_agent import WAIT_SECONDS, WireAgent, hello

LARGE = b'"' + b"x" * (250 * 1024) + b'"'
MORE_THAN_A_WINDOW = 60
"""So many large payloads do not fit between a server and an agent that reads nothing."""


@pytest.fixture
async def door() -> AsyncIterator[AgentDoor]:
    async with agent_door() as door:
        yield door


async def given(door: AgentDoor, agent: WireAgent, type: str = "echo") -> AttemptRef:
    """The attempt of a new task that this agent has received."""
    await door.submit(type)
    return (await agent.take()).ref


async def all_done(tasks: Iterable[asyncio.Task[object]]) -> None:
    """Wait until these tasks of the loop are done."""
    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.gather(*tasks, return_exceptions=True)


def busy() -> set[asyncio.Task[object]]:
    """The tasks of the loop, but for those in which gRPC waits for the next call: it has one at any time."""
    return {task for task in asyncio.all_tasks() if "AioServer." not in repr(task)}


def pumps() -> set[asyncio.Task[object]]:
    """The tasks of the loop that belong to streams of agents."""
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("agent ")}


# --- heartbeats and stops


async def test_heartbeats_are_acknowledged_by_number(door: AgentDoor) -> None:
    async with door.agent() as agent:
        for number in (1, 2, 7):
            await agent.beat(number)
            assert await agent.beat_acked() == number


@pytest.mark.parametrize(
    "said, counted",
    [
        ({}, None),
        ({"slots_used": 0}, NOTHING),
        ({"slots_used": 3, "resources_used": {"cpu": 500, "gpu": 0}}, Taken(3, {"cpu": 500})),
        (
            {"slots_used": 3, "resources_used": {f"r{n}": 1 for n in range(64)}},
            Taken(3, {f"r{n}": 1 for n in range(64)}),
        ),
        ({"slots_used": 1, "resources_used": {"cpu": (1 << 64) - 1}}, Taken(1, {"cpu": (1 << 63) - 1})),
    ],
    ids=["nothing said", "nothing", "something", "most", "too much"],
)
async def test_a_heartbeat_tells_what_the_agent_counts_as_taken(
    door: AgentDoor, said: dict[str, Any], counted: Taken | None
) -> None:
    async with door.agent() as agent:
        await agent.beat(1, **said)
        await agent.beat_acked()
        (session,) = door.manager.agents.sessions()
        assert session.counted == counted


@pytest.mark.parametrize("names", [[f"r{n}" for n in range(65)], ["CPU"], [""], ["r" * 64]])
async def test_a_heartbeat_that_counts_what_no_agent_can_have_ends_the_session(
    door: AgentDoor, names: list[str]
) -> None:
    async with door.agent() as agent:
        await agent.beat(1, slots_used=1, resources_used=dict.fromkeys(names, 1))
        assert (await agent.end()).code is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_draining_agent_gets_no_more_work_until_it_drains_no_more(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await agent.beat(1, draining=True)
        await agent.beat_acked()
        assert door.agent_status() == "draining"
        task_id = await door.submit()
        assert await door.status(task_id) == TaskStatus.PENDING
        await agent.beat(2)
        assert (await agent.take()).ref.task_id == task_id
        assert door.agent_status() == "online"


async def test_a_stop_is_sent_at_once_and_again_with_every_heartbeat_until_it_is_answered(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent, "shell")
        await agent.start(ref)
        await door.manager.cancel(ref.task_id, grace_ms=1_500)
        command = await agent.told_to_stop()
        assert (command.ref, command.grace_ms, command.reason) == (ref, 1_500, Reason.CANCELLED_BY_CALLER)
        for number in (1, 2):
            await agent.beat(number)
            assert await agent.told_to_stop() == command
        await agent.finish(ref, outcome=Outcome.CANCELLED)
        assert await agent.disposition(ref) is AckDisposition.COMMITTED
        told = sum(len(frame.cancels) for frame in agent.frames)
        await agent.beat(3)
        while await agent.beat_acked() != 3:
            pass
        assert sum(len(frame.cancels) for frame in agent.frames) == told
    task = (await door.stored(ref.task_id)).task
    assert (task.status, task.reason) == (TaskStatus.CANCELLED, Reason.CANCELLED_BY_CALLER)


async def test_a_result_that_was_there_before_the_stop_stands(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent, "shell")
        await door.manager.cancel(ref.task_id)
        await agent.told_to_stop()
        await agent.finish(ref)
        await agent.acked()
    assert await door.status(ref.task_id) == TaskStatus.COMPLETED


async def test_a_stop_never_overtakes_its_task(door: AgentDoor) -> None:
    task_ids = await door.submit_many(MORE_THAN_A_WINDOW, payload=LARGE)
    async with door.dial() as slow:
        await slow.introduce(hello(slots=MORE_THAN_A_WINDOW))
        await slow.credit(MORE_THAN_A_WINDOW)
        for task_id in task_ids:
            await door.events.next(EventName.TASK_SENT, task_id=task_id)
        for task_id in task_ids[-3:]:
            await door.manager.cancel(task_id)
        slow.listen()
        assert {(await slow.told_to_stop()).ref.task_id for _ in range(3)} == set(task_ids[-3:])
        sent: set[str] = set()
        for frame in slow.frames:
            sent |= {task.ref.task_id for task in frame.tasks}
            assert {command.ref.task_id for command in frame.cancels} <= sent


async def test_a_stop_of_a_task_that_waits_tells_no_agent(door: AgentDoor) -> None:
    async with door.agent(credit=0) as agent:
        task_id = await door.submit()
        await door.manager.cancel(task_id)
        await agent.beat(1)
        await agent.beat_acked()
        assert not any(frame.cancels for frame in agent.frames)
    assert await door.status(task_id) == TaskStatus.CANCELLED


# --- silence


async def test_a_silent_agent_is_given_up_and_keeps_its_work(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.beat(1)
        await agent.beat_acked()
        door.clock.skip(15.1)
        end = await agent.end()
        assert end.code is grpc.StatusCode.UNAVAILABLE
        assert "heard" in end.details
        assert door.agent_status() == "unreachable"
        assert await door.status(ref.task_id) == TaskStatus.SENT


@pytest.mark.parametrize("kind", ["heartbeat", "credit", "response"])
async def test_any_frame_is_a_sign_of_life(door: AgentDoor, kind: str) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        for number in range(1, 4):
            door.clock.skip(7)
            if kind == "heartbeat":
                await agent.beat(number)
                await agent.beat_acked()
            elif kind == "credit":
                await agent.credit(5)
                await agent.print(ref, b"")
                await agent.log_acked()
            else:
                await agent.say(ref, Progress(fraction=0.5))
                await door.events.next(EventName.TASK_PROGRESS)
            assert door.manager.agents.silent() == []
        assert door.agent_status() == "online"


# --- ends


async def test_an_end_without_a_goodbye_is_a_loss_of_contact(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.hang_up()
        assert (await agent.end()).code is grpc.StatusCode.OK
        await door.events.next(EventName.AGENT_DISCONNECTED, agent_id="a1")
        assert door.agent_status() == "unreachable"
        assert await door.status(ref.task_id) == TaskStatus.SENT


async def test_an_agent_that_said_goodbye_is_offline(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await agent.leave()
        assert (await agent.end()).code is grpc.StatusCode.OK
        await door.events.next(EventName.AGENT_DISCONNECTED, agent_id="a1")
        assert door.agent_status() == "offline"
    async with agent_door(store=door.store) as restarted:
        assert restarted.agent_status() == "offline"


async def test_what_comes_with_the_goodbye_counts(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await agent.finish(ref)
        await agent.leave()
        await door.events.next(EventName.TASK_COMPLETED, task_id=ref.task_id)


async def test_the_death_of_an_agent_leaves_nothing_running_for_it(
    door: AgentDoor, caplog: pytest.LogCaptureFixture
) -> None:
    before = busy()
    async with door.agent() as agent:
        await given(door, agent)
        during = busy() - before
        assert len(pumps()) == 2
        agent.vanish()
        await door.events.next(EventName.AGENT_DISCONNECTED, agent_id="a1")
        assert door.agent_status() == "unreachable"
    await all_done(during)
    assert door.manager.agents.sessions() == []
    assert not [record for record in caplog.records if record.name.startswith("grpc")]


async def test_the_death_of_many_agents_leaves_nothing_running_for_them(door: AgentDoor) -> None:
    before = busy()

    async def visit(number: int) -> None:
        async with door.agent(agent_id=f"a{number}") as agent:
            agent.vanish()

    await asyncio.gather(*(visit(number) for number in range(30)))
    await all_done(busy() - before)
    assert door.manager.agents.sessions() == []


async def test_an_agent_that_dies_before_its_welcome_leaves_nothing_behind(door: AgentDoor) -> None:
    before = busy()
    for number in range(20):
        async with door.dial() as agent:
            await agent.send(hello=hello(session=number + 1))
    await all_done(busy() - before)
    assert door.manager.agents.sessions() == []


async def test_tasks_that_never_left_for_a_dead_agent_go_to_another(door: AgentDoor) -> None:
    task_ids = await door.submit_many(MORE_THAN_A_WINDOW, payload=LARGE)
    async with door.dial() as deaf:
        await deaf.introduce(hello(slots=MORE_THAN_A_WINDOW))
        await deaf.credit(MORE_THAN_A_WINDOW)
        for task_id in task_ids:
            await door.events.next(EventName.TASK_SENT, task_id=task_id)
        deaf.vanish()
        await door.events.next(EventName.AGENT_DISCONNECTED, agent_id="a1")
    async with door.agent(agent_id="a2", slots=MORE_THAN_A_WINDOW) as other:
        first = await other.take()
        assert first.ref.attempt == 2
        async with door.agent(session=2, credit=0):  # what had left is not held by the same process: it never began
            rest = await other.take_many(MORE_THAN_A_WINDOW - 1)
        assert {request.ref.task_id for request in [first, *rest]} == set(task_ids)
        assert {request.ref.attempt for request in rest} == {2}


async def test_a_session_whose_agent_reads_nothing_can_still_be_replaced(door: AgentDoor) -> None:
    await door.submit_many(MORE_THAN_A_WINDOW, payload=LARGE)
    async with door.dial() as deaf:
        await deaf.introduce(hello(slots=MORE_THAN_A_WINDOW))
        await deaf.credit(MORE_THAN_A_WINDOW)
        for _ in range(MORE_THAN_A_WINDOW):
            await door.events.next(EventName.TASK_SENT)
        old = pumps()
        async with door.agent(session=2, credit=0):
            await all_done(old)
            current = door.manager.agents.session("a1")
            assert current is not None
            assert current.number == 2


async def test_a_server_that_drains_says_goodbye_and_lets_nobody_in(door: AgentDoor) -> None:
    async with door.agent() as agent:
        ref = await given(door, agent)
        await door.manager.drain()
        assert "stopping" in await agent.goodbye()
        assert (await agent.end()).code is grpc.StatusCode.OK
    assert await door.status(ref.task_id) == TaskStatus.SENT
    async with door.dial() as late:
        await late.send(hello=hello(session=2))
        late.listen()
        end = await late.end()
        assert end.code is grpc.StatusCode.UNAVAILABLE
        assert b"RetryInfo" in bytes(end.metadata["grpc-status-details-bin"])  # type: ignore[arg-type]


# --- everything at once


async def test_a_thousand_tasks_and_stops_and_results_share_one_stream(door: AgentDoor) -> None:
    count, window = 1_000, RESPONSE_WINDOW_FRAMES
    async with door.agent(slots=count) as agent:
        submitted = asyncio.create_task(door.submit_many(count))
        for number in range(count):
            ref = (await agent.take()).ref
            await agent.until_credit(responses=number + 1)
            if number % 10 == 0:
                await door.manager.cancel(ref.task_id)
                await agent.beat(number + 1)
            await agent.print(ref, b"line\n")
            await agent.finish(ref, log_totals={LogStream.STDOUT: 5})
        acks = [await agent.acked() for _ in range(count)]
        assert {ack.ref.task_id for ack in acks} == set(await submitted)
        assert {ack.disposition for ack in acks} == {AckDisposition.COMMITTED}
        await agent.until_credit(responses=count + window, log_bytes=agent.welcome.log_credit + 5 * count)
        assert door.agent_status() == "online"
