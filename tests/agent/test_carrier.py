"""What an attempt has of the server's blobs, against a real server, over connections that break."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nodelink.address import Address, parse_address
from nodelink.blob_files import CHUNK_BYTES
from nodelink.errors import (
    BlobConflict,
    BlobNotFound,
    InvalidTask,
    NotAllowed,
    NotAuthenticated,
    QuotaExceeded,
    StateChanged,
)
from nodelink.task import AttemptRef, TaskRequest
from nodelink_agent.blobs import State
from nodelink_agent.carrier import AttemptBlobs, Carrier
from nodelink_server.core.blob_ports import UploadName
from tests.support.agent_parts import Manual, open_pool
from tests.support.core_parts import eventually
from tests.support.grpc_door import GrpcDoor, grpc_door
from tests.support.http_door import ManualAgent
from tests.support.pool_talk import give as hand_over
from tests.support.pool_talk import open_session
from tests.support.pool_talk import request as request_of
from tests.support.tcp_proxy import Fault, TcpProxy

LARGE = b"".join(bytes([number]) * CHUNK_BYTES for number in range(5)) + b"the end"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        await door.manager.workspaces.create("site", pool="default", mode="agent")
        yield door


@pytest.fixture
async def agent(door: GrpcDoor) -> AsyncIterator[ManualAgent]:
    async with door.agent() as agent:
        yield agent


async def working(door: GrpcDoor, agent: ManualAgent, **spec: Any) -> TaskRequest:
    await door.submit(**spec)
    request = await agent.take()
    agent.start(request.ref)
    return request


async def give(door: GrpcDoor, data: bytes, workspace: str = "") -> str:
    name = UploadName(digest(data), len(data), workspace)
    await door.manager.blobs.announce(name)
    for offset in range(0, len(data), CHUNK_BYTES):
        await door.manager.blobs.append(name, offset, data[offset : offset + CHUNK_BYTES])
    return name.sha256


class Signs:
    """Counts signs of life, and cuts connections at some of them."""

    def __init__(self, proxy: TcpProxy | None = None, *, at: tuple[int, ...] = ()) -> None:
        self.count = 0
        self._proxy = proxy
        self._at = at

    def __call__(self) -> None:
        self.count += 1
        if self._proxy is not None and self.count in self._at:
            self._proxy.inflict(Fault.RESET)
            self._proxy.heal()


@asynccontextmanager
async def carried(
    address: Address, ref: AttemptRef, *, signs: Signs | None = None, secret: bytes = b"s" * 32
) -> AsyncIterator[AttemptBlobs]:
    carrier = Carrier(address, agent_id="a1", secret=secret, random=lambda: 0.1)
    async with asyncio.timeout(30), carrier.open():
        yield carrier.blobs(ref, signs or Signs())


async def test_an_attempt_sees_what_there_is_and_has_it_in_files(
    door: GrpcDoor, agent: ManualAgent, tmp_path: Path
) -> None:
    request = await working(door, agent, workspace="site")
    await door.manager.artifacts.attach(request.ref.task_id, "in", await give(door, b"input"))
    async with carried(door.address, request.ref) as blobs:
        inputs = await blobs.load()
        assert (inputs.workspace, inputs.state) == ("site", None)
        [given] = inputs.artifacts
        assert (given.name, given.attempt, given.size) == ("in", 0, 5)
        path = await blobs.get(given.sha256, tmp_path / "in")
        assert path.read_bytes() == b"input"


async def test_what_an_attempt_leaves_is_its_artifact(door: GrpcDoor, agent: ManualAgent, tmp_path: Path) -> None:
    request = await working(door, agent)
    (tmp_path / "plan").write_bytes(b"a plan")
    async with carried(door.address, request.ref) as blobs:
        assert await blobs.put(tmp_path / "plan", name="plan") == digest(b"a plan")
        assert await blobs.put(b"a plan", name="plan") == digest(b"a plan")
        with pytest.raises(BlobConflict):
            await blobs.put(b"another plan", name="plan")
        with pytest.raises(InvalidTask):
            await blobs.put(b"a plan", name="../plan")
    [made] = await door.manager.artifacts.list(request.ref.task_id)
    assert (made.name, made.attempt, made.sha256) == ("plan", 1, digest(b"a plan"))


async def test_transfers_go_on_over_connections_that_break(door: GrpcDoor, agent: ManualAgent, tmp_path: Path) -> None:
    request = await working(door, agent)
    async with TcpProxy(lambda: (door.address.host, door.address.port)) as proxy:
        address = parse_address(proxy.address)
        up = Signs(proxy, at=(2, 4))
        async with carried(address, request.ref, signs=up) as blobs:
            await blobs.put(LARGE)
        assert door.manager.tally.blob_bytes["written"] == len(LARGE)
        down = Signs(proxy, at=(2, 4))
        async with carried(address, request.ref, signs=down) as blobs:
            path = await blobs.get(digest(LARGE), tmp_path / "down")
            assert path.read_bytes() == LARGE
    assert min(up.count, down.count) >= 5


async def test_the_state_is_loaded_before_it_is_saved(door: GrpcDoor, agent: ManualAgent, tmp_path: Path) -> None:
    request = await working(door, agent, workspace="site")
    async with carried(door.address, request.ref) as blobs:
        state = State(blobs)
        with pytest.raises(RuntimeError):
            await state.save(b"one")
        assert await state.load(tmp_path / "state") is None
        assert not (tmp_path / "state").exists()
        first = await state.save(b"one")
        second = await state.save(b"two")
        assert (first.version, second.version) == (1, 2)
        with pytest.raises(StateChanged):
            await blobs.save_state(digest(b"one"), if_match=first.etag)
        loaded = await State(blobs).load(tmp_path / "state")
        assert loaded == second
        assert (tmp_path / "state").read_bytes() == b"two"


async def test_what_the_server_refuses_is_raised_at_once(door: GrpcDoor, agent: ManualAgent, tmp_path: Path) -> None:
    request = await working(door, agent)
    async with carried(door.address, request.ref) as blobs:
        with pytest.raises(BlobNotFound):
            await blobs.get("0" * 64, tmp_path / "down")
        door.manager.blobs.quota = 3
        with pytest.raises(QuotaExceeded) as over:
            await blobs.put(b"more")
        assert "no room for 4" in over.value.message
    async with carried(door.address, request.ref._replace(fence=request.ref.fence + 1)) as blobs:
        with pytest.raises(NotAllowed):
            await blobs.put(b"x")
    async with carried(door.address, request.ref, secret=b"x" * 32) as blobs:
        with pytest.raises(NotAuthenticated):
            await blobs.load()


async def test_a_server_that_is_away_is_waited_for(door: GrpcDoor, agent: ManualAgent) -> None:
    request = await working(door, agent)
    async with TcpProxy(lambda: (door.address.host, door.address.port)) as proxy:
        proxy.inflict(Fault.HOLE_UP)
        async with carried(parse_address(proxy.address), request.ref) as blobs:
            putting = asyncio.create_task(blobs.put(b"x"))
            await eventually(lambda: proxy.open_connections > 0)
            proxy.inflict(Fault.RESET)
            proxy.heal()
            assert await putting == digest(b"x")


async def test_a_handler_has_the_blobs_of_its_attempt_and_a_piece_is_a_sign_of_life(tmp_path: Path) -> None:
    opened: list[tuple[AttemptRef, Callable[[], None]]] = []

    def open_blobs(ref: AttemptRef, sign: Callable[[], None]) -> AttemptBlobs:
        opened.append((ref, sign))
        return Carrier(Address("127.0.0.1", 1), agent_id="a1", secret=b"s", random=lambda: 0.1).blobs(ref, sign)

    manual, request = Manual(), request_of()
    async with open_pool(tmp_path, manual.entry, open_blobs=open_blobs) as pool:
        open_session(pool)
        hand_over(pool, request)
        context = await manual.begun(request.ref.task_id)
        assert context.blobs is context.blobs
        assert context.state is context.state
        [(ref, sign)] = opened
        assert ref == request.ref
        sign()
        manual.end(request.ref.task_id)
