"""The gRPC server itself: its port, its options, a peer that is stopped dead, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import pytest

from nodelink.address import Address
from nodelink.errors import CannotListen
from nodelink_server.core.ports import EventName
from nodelink_server.rpc.server import OPTIONS, grpc_server
from tests.support.agent_door import AgentDoor, agent_door

STOPPED_AGENT = """
import asyncio, sys
from nodelink.address import parse_address
from tests.support.wire_agent import connected

async def main():
    async with connected(parse_address(sys.argv[1])) as agent:
        await agent.beat(1)
        await agent.beat_acked()
        print("ready", flush=True)
        await agent.end()

asyncio.run(main())
"""
IMPATIENT = {"grpc.keepalive_time_ms": 500, "grpc.http2.ping_timeout_ms": 500, "grpc.keepalive_timeout_ms": 500}


@pytest.fixture
async def door() -> AsyncIterator[AgentDoor]:
    async with agent_door() as door:
        yield door


def second_server(
    door: AgentDoor, options: Sequence[tuple[str, int]] = OPTIONS
) -> AbstractAsyncContextManager[Address]:
    """A server on the port of the first."""
    return grpc_server(door.manager, door.address, clock=door.clock, server_id="second", version="1", options=options)


@asynccontextmanager
async def agent_process(address: Address) -> AsyncIterator[asyncio.subprocess.Process]:
    """An agent in a process of its own, which has been welcomed."""
    root = Path(__file__).parents[3]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STOPPED_AGENT, str(address), cwd=root, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        with suppress(ProcessLookupError):  # a test may have ended it
            process.kill()
        await process.wait()


async def test_a_free_port_is_chosen_and_told(door: AgentDoor) -> None:
    assert door.address.host == "127.0.0.1"
    assert door.address.port > 0
    async with door.agent() as agent:
        assert agent.welcome.server_id == "server"


async def test_a_port_that_another_server_has_cannot_be_listened_on(door: AgentDoor) -> None:
    with pytest.raises(CannotListen, match=str(door.address)):
        async with second_server(door):
            pytest.fail("two servers share one port")
    async with door.agent() as agent:
        assert agent.welcome.server_id == "server"


async def test_the_port_would_be_shared_in_silence_without_the_option() -> None:
    shared = [(name, value) for name, value in OPTIONS if name != "grpc.so_reuseport"]
    async with agent_door(options=shared) as door, second_server(door, shared) as address:
        assert address == door.address


@pytest.mark.parametrize("name", [name for name, _ in OPTIONS])
def test_grpc_knows_every_option_by_its_name(name: str) -> None:
    spec = find_spec("grpc._cython.cygrpc")
    assert spec is not None
    assert spec.origin is not None
    assert name.encode() + b"\0" in Path(spec.origin).read_bytes()


def test_no_option_is_given_twice() -> None:
    assert len({name for name, _ in OPTIONS}) == len(OPTIONS)


async def test_a_call_costs_no_look_at_every_method_that_there_is(
    door: AgentDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC's loop waits for the next call of each method that is registered with it."""
    waited_for: list[int] = []
    wait = asyncio.wait

    def counting(fs: Any, **how: Any) -> Any:
        waited_for.append(len(fs))
        return wait(fs, **how)

    monkeypatch.setattr(asyncio, "wait", counting)
    async with door.agent():
        assert max(waited_for, default=0) <= 1


async def test_an_agent_whose_process_is_stopped_is_noticed_by_keepalive() -> None:
    options = [(name, IMPATIENT.get(name, value)) for name, value in OPTIONS]
    async with agent_door(options=options) as door, agent_process(door.address) as process:
        assert door.agent_status() == "online"
        process.send_signal(signal.SIGSTOP)
        await door.events.next(EventName.AGENT_DISCONNECTED, agent_id="a1")
        assert door.agent_status() == "unreachable"


async def test_an_agent_whose_process_is_killed_is_noticed_at_once(door: AgentDoor) -> None:
    async with agent_process(door.address) as process:
        process.kill()
        await door.events.next(EventName.AGENT_DISCONNECTED, agent_id="a1")
        assert door.agent_status() == "unreachable"


async def test_a_drained_server_stops_without_waiting_for_its_agents() -> None:
    async with asyncio.timeout(4):  # less than the grace that an open stream would be given
        async with agent_door() as door:
            agent = door.agent()
            session = await agent.__aenter__()
            await door.manager.drain()
            await session.goodbye()
    assert (await session.end()).code is grpc.StatusCode.OK
    await agent.__aexit__(None, None, None)


async def test_a_stopped_server_is_not_reached_any_more() -> None:
    async with agent_door() as door:
        address = door.address
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)


async def test_a_connection_that_says_nothing_is_closed() -> None:
    hurried = [(name, 100 if name == "grpc.server_handshake_timeout_ms" else value) for name, value in OPTIONS]
    async with agent_door(options=hurried) as door, door.agent() as agent:
        reader, writer = await asyncio.open_connection(*door.address)
        async with asyncio.timeout(60):
            await reader.read()
        writer.close()
        await agent.beat(1)
        assert await agent.beat_acked() == 1


@pytest.mark.parametrize("size, code", [(15_000, "INVALID_ARGUMENT"), (17_000, "RESOURCE_EXHAUSTED")])
async def test_a_call_with_too_much_metadata_is_refused_and_every_other_one_is_not(
    door: AgentDoor, size: int, code: str
) -> None:
    async with grpc.aio.insecure_channel(str(door.address)) as channel:
        ask: Any = channel.unary_unary("/nodelink.v1.TaskService/GetTask", None, None)
        codes = set()
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask(b"", metadata=(("long", "x" * size),), timeout=20)
            codes.add(refused.value.code().name)
    assert codes == {code}
