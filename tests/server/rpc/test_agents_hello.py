"""The first frames of a session: who is let in, what the welcome says, and who is sent away with which status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from nodelink import wire
from nodelink.errors import StoreUnavailable
from nodelink.quantities import LARGEST_QUANTITY
from nodelink.task import Execution, TaskStatus
from nodelink.v1 import agent_pb2
from nodelink_server.core.ports import EventName
from nodelink_server.rpc.statuses import LAST_SESSION_KEY
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.gate import Gate
from tests.support.wire_agent import End, hello

REFUSED = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
async def door() -> AsyncIterator[AgentDoor]:
    async with agent_door() as door:
        yield door


async def refusal(door: AgentDoor, **fields: Any) -> End:
    """How the server ends a stream whose hello has these fields."""
    async with door.dial() as agent:
        await agent.send(hello=hello(**fields))
        agent.listen()
        end = await agent.end()
        assert agent.frames == []
        return end


async def test_the_welcome_says_how_to_go_on(door: AgentDoor) -> None:
    async with door.agent(session=7) as agent:
        welcome = agent.welcome
    assert (welcome.protocol, welcome.session) == (2, 7)
    assert (welcome.server_id, welcome.software_version) == ("server", "1.2.3")
    assert wire.ms_of(welcome.heartbeat_interval) == 5_000
    assert (welcome.max_frame_bytes, welcome.max_log_chunk_bytes) == (1 << 20, 1 << 16)
    assert (welcome.response_credit, welcome.log_credit) == (8, 4 << 20)
    assert not welcome.verdicts


async def test_an_agent_is_shown_as_it_has_introduced_itself(door: AgentDoor) -> None:
    async with door.agent(name="north", pool="gpu", slots=3, labels={"zone": "z"}, handlers={"render": Execution.ONCE}):
        view = door.manager.agents.view("a1")
    assert (view.name, view.pool, view.slots, view.labels) == ("north", "gpu", 3, {"zone": "z"})
    assert (view.status, view.types, view.software_version) == ("online", ["render"], "test")


async def test_so_is_what_it_offers(door: AgentDoor) -> None:
    async with door.agent(resources={"cpu": 3_500, "gpu": 2_000}, type_limits={"shell": 2}):
        view = door.manager.agents.view("a1")
    assert (view.resources, view.type_limits) == ({"cpu": 3_500, "gpu": 2_000}, {"shell": 2})


async def test_a_session_is_durable_before_it_is_welcomed(door: AgentDoor) -> None:
    async with door.agent(session=3):
        pass
    async with agent_door(store=door.store) as restarted:
        assert (await refusal(restarted, session=3)).metadata[LAST_SESSION_KEY] == "3"


async def test_a_hello_that_cannot_be_made_durable_is_answered_with_when_to_come_again() -> None:
    full = asyncio.Event()
    full.set()

    def fault(kind: str) -> None:
        if kind == "apply" and full.is_set():
            raise StoreUnavailable("the disk is full")

    async with agent_door(store=MemoryStore(Disk(), fault=fault)) as door:
        end = await refusal(door)
        assert end.code is grpc.StatusCode.UNAVAILABLE
        assert b"RetryInfo" in bytes(end.metadata["grpc-status-details-bin"])  # type: ignore[arg-type]
        assert door.manager.agents.sessions() == []
        full.clear()
        async with door.agent() as agent:
            assert agent.welcome.session == 1


async def test_who_comes_while_the_server_begins_to_drain_is_sent_away_too() -> None:
    gate = Gate("apply")
    async with agent_door(store=MemoryStore(Disk(), pause=gate.pass_through)) as door, door.dial() as agent:
        with gate.closed():
            await agent.send(hello=hello())
            await gate.reached()
            await door.manager.drain()
        agent.listen()
        await agent.end()
        assert door.manager.agents.sessions() == []


async def test_nothing_may_come_before_the_hello(door: AgentDoor) -> None:
    async with door.dial() as agent:
        await agent.beat(1)
        agent.listen()
        end = await agent.end()
    assert end.code is REFUSED
    assert "hello" in end.details


async def test_a_stream_that_ends_before_its_hello_is_no_session(door: AgentDoor) -> None:
    async with door.dial() as agent:
        await agent.hang_up()
        agent.listen()
        assert (await agent.end()).code is grpc.StatusCode.UNAVAILABLE
    assert door.manager.agents.sessions() == []


async def test_who_says_nothing_is_not_listened_to_for_long() -> None:
    async with agent_door(hello_seconds=0.01) as door, door.dial() as agent:
        agent.listen()
        end = await agent.end()
        assert end.code is REFUSED
        assert "hello" in end.details


async def test_a_second_hello_ends_the_session(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await agent.send(hello=hello(session=2))
        assert (await agent.end()).code is REFUSED


async def test_an_agent_with_a_wrong_secret_is_refused(door: AgentDoor, caplog: pytest.LogCaptureFixture) -> None:
    async with door.agent():
        end = await refusal(door, session=2, secret=b"x" * 32)
        assert end.code is REFUSED
        assert LAST_SESSION_KEY not in end.metadata
        assert door.agent_status() == "online"
    assert "agent_secret_wrong" in caplog.text


@pytest.mark.parametrize("number", [4, 5])
async def test_a_session_number_must_be_greater_than_every_one_before(door: AgentDoor, number: int) -> None:
    async with door.agent(session=5):
        end = await refusal(door, session=number)
        assert end.code is REFUSED
        assert end.metadata[LAST_SESSION_KEY] == "5"
        assert door.agent_status() == "online"


@pytest.mark.parametrize(
    "fields",
    [
        {"slots": 0},
        {"slots": 4_097},
        {"handlers": {}},
        {"handlers": {f"t{n}": Execution.ONCE for n in range(257)}},
        {"pool": ""},
        {"host_id": ""},
        {"agent_id": ""},
        {"secret": b"short"},
        {"session": 0, "remembers_since": 0},
        {"session": 1, "remembers_since": 2},
        {"remembers_since": 0},
        {"session": 1 << 63},
        {"resources": {f"r{n}": 1 for n in range(65)}},
        {"resources": {"Cpu": 1}},
        {"resources": {"cpu": LARGEST_QUANTITY + 1}},
        {"type_limits": {"shell": 0}},
        {"type_limits": {"shell": 4_097}},
    ],
    ids=",".join,
)
async def test_a_hello_that_makes_no_sense_is_refused(door: AgentDoor, fields: dict[str, Any]) -> None:
    assert (await refusal(door, **fields)).code is REFUSED
    assert door.manager.agents.views() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"slots": 1},
        {"slots": 4_096},
        {"session": (1 << 63) - 1},
        {"resources": {"cpu": LARGEST_QUANTITY, **{f"r{n}": 1 for n in range(63)}}},
        {"type_limits": {"echo": 1, "shell": 4_096}},
    ],
    ids=",".join,
)
async def test_a_hello_at_the_limit_is_accepted(door: AgentDoor, fields: dict[str, Any]) -> None:
    async with door.agent(credit=0, **fields) as agent:
        assert agent.welcome.session


async def test_as_many_handlers_as_are_allowed_are_accepted(door: AgentDoor) -> None:
    async with door.agent(handlers={f"t{n}": Execution.ONCE for n in range(256)}):
        assert len(door.manager.agents.view("a1").types) == 256


@pytest.mark.parametrize("lowest, highest", [(3, 4), (0, 0)])
async def test_an_agent_without_a_common_protocol_is_refused(door: AgentDoor, lowest: int, highest: int) -> None:
    end = await refusal(door, protocol_min=lowest, protocol_max=highest)
    assert end.code is REFUSED
    assert f"{lowest} to {highest}" in end.details


@pytest.mark.parametrize("lowest, highest, spoken", [(1, 1, 1), (1, 2, 2), (2, 2, 2), (1, 9, 2), (0, 1, 1)])
async def test_the_newest_common_protocol_is_spoken(door: AgentDoor, lowest: int, highest: int, spoken: int) -> None:
    async with door.agent(protocol_min=lowest, protocol_max=highest) as agent:
        assert agent.welcome.protocol == spoken


async def test_a_handler_without_a_class_is_started_at_most_once(door: AgentDoor) -> None:
    message = hello(handlers={})
    message.handlers.add(type="mystery")
    async with door.dial() as agent:
        await agent.introduce(message)
        task = (await door.stored(await door.submit("mystery"))).task
    assert task.execution is Execution.ONCE


async def test_an_agent_that_connects_again_replaces_its_older_session(door: AgentDoor) -> None:
    async with door.agent(session=1) as old, door.agent(session=2) as new:
        end = await old.end()
        assert end.code is grpc.StatusCode.ABORTED
        await door.submit()
        await new.take()
        assert door.agent_status() == "online"
        assert [session.number for session in door.manager.agents.sessions()] == [2]


async def test_the_status_of_a_replaced_session_names_its_reason(door: AgentDoor) -> None:
    async with door.agent(session=1) as old, door.agent(session=2):
        details = (await old.end()).metadata["grpc-status-details-bin"]
    assert b"SESSION_REPLACED" in bytes(details)  # type: ignore[arg-type]


async def test_the_end_of_a_replaced_session_does_not_make_its_agent_unreachable(door: AgentDoor) -> None:
    async with door.agent(session=1) as old, door.agent(session=2):
        await old.end()
        assert door.agent_status() == "online"
        assert not door.events.has(EventName.AGENT_DISCONNECTED, data={"reason": "the stream ended"})


async def test_the_same_agent_from_a_second_living_host_is_refused_and_told_of(door: AgentDoor) -> None:
    async with door.agent(host_id="h1") as first:
        end = await refusal(door, session=2, host_id="h2")
        assert end.code is REFUSED
        event = await door.events.next(EventName.AGENT_ERROR, agent_id="a1")
        assert event.data == {"error": "cloned"}
        await first.beat(1)
        assert await first.beat_acked() == 1


async def test_a_second_host_is_accepted_when_the_first_has_fallen_silent(door: AgentDoor) -> None:
    async with door.agent(session=1, host_id="h1", credit=0):
        door.clock.skip(16)
        async with door.agent(session=2, host_id="h2") as second:
            await second.beat(1)
            assert await second.beat_acked() == 1


async def test_a_refused_hello_changes_nothing_about_the_agents_tasks(door: AgentDoor) -> None:
    async with door.agent(session=2):
        task_id = await door.submit()
        await door.events.next(EventName.TASK_SENT, task_id=task_id)
        await refusal(door, session=2, remembers_since=2)
        assert await door.status(task_id) == TaskStatus.SENT


async def test_a_hello_larger_than_a_frame_may_be_is_refused(door: AgentDoor) -> None:
    end = await refusal(door, labels={"big": "x" * (1 << 20)})
    assert end.code is REFUSED
    assert door.manager.agents.views() == []


async def test_fields_that_are_not_known_are_ignored(door: AgentDoor) -> None:
    unknown = b"\xfa\x7f\x03new"  # field 2047, three bytes
    message = agent_pb2.Hello.FromString(hello().SerializeToString() + unknown)
    async with door.dial() as agent:
        await agent.introduce(message)
        assert agent.welcome.session == 1


async def test_many_agents_are_welcomed_at_once(door: AgentDoor) -> None:
    async def visit(number: int) -> None:
        async with door.agent(agent_id=f"a{number}", credit=0):
            pass

    async with asyncio.timeout(20):
        await asyncio.gather(*(visit(number) for number in range(50)))
    assert len(door.manager.agents.views()) == 50
