"""What the clients do with bytes, against a real server, over connections that break: both clients alike."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from nodelink.blob_files import CHUNK_BYTES, Target
from nodelink.client import AsyncClient, BlobRef, Client
from nodelink.errors import (
    BlobConflict,
    BlobNotFound,
    DigestMismatch,
    InvalidTask,
    LinkLost,
    QuotaExceeded,
    StateChanged,
    TaskNotFound,
    WorkspaceConflict,
    WorkspaceNotFound,
)
from tests.support.grpc_door import GrpcDoor, grpc_door
from tests.support.tcp_proxy import Fault, TcpProxy

Ask = Callable[..., Awaitable[Any]]
"""Calls a method of a client by its name."""

DATA = bytes(range(256)) * 40
LARGE = b"".join(bytes([number]) * CHUNK_BYTES for number in range(6)) + b"the end"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
async def proxy(door: GrpcDoor) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(lambda: (door.address.host, door.address.port)) as proxy:
        yield proxy


@pytest.fixture(params=["sync", "async"])
async def ask(request: pytest.FixtureRequest, proxy: TcpProxy) -> AsyncIterator[Ask]:
    if request.param == "async":
        async with AsyncClient(proxy.address) as client:

            async def of_async(name: str, *given: Any, **named: Any) -> Any:
                answer = attrgetter(name)(client)(*given, **named)
                if hasattr(answer, "__aiter__"):
                    return [one async for one in answer]
                return await answer if inspect.isawaitable(answer) else answer

            yield of_async
        return
    with await asyncio.to_thread(Client, proxy.address) as blocking:

        async def of_sync(name: str, *given: Any, **named: Any) -> Any:
            def do() -> Any:
                answer = attrgetter(name)(blocking)(*given, **named)
                return list(answer) if inspect.isgenerator(answer) else answer

            return await asyncio.to_thread(do)

        yield of_sync


class Cutter:
    """Cuts every connection each time that a transfer has come so much farther. It is told how far, from any thread."""

    def __init__(self, proxy: TcpProxy, step: int) -> None:
        self._proxy = proxy
        self._loop = asyncio.get_running_loop()
        self._step = self._next = step
        self.cuts = 0

    def __call__(self, offset: int, size: int) -> None:
        if offset >= self._next and offset < size:
            self._next = offset + self._step
            self.cuts += 1
            self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        self._proxy.inflict(Fault.RESET)
        self._proxy.heal()


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def refused(ask: Ask, kind: type[Exception], name: str, *given: Any, **named: Any) -> None:
    with pytest.raises(kind):
        await ask(name, *given, **named)


async def test_bytes_go_up_and_come_down(ask: Ask, tmp_path: Path) -> None:
    assert await ask("artifacts.upload", DATA) == BlobRef(sha256=digest(DATA), size=len(DATA))
    assert b"".join(await ask("artifacts.read", digest(DATA))) == DATA
    assert b"".join(await ask("artifacts.read", digest(DATA), offset=10_000)) == DATA[10_000:]
    assert await ask("artifacts.download", digest(DATA), tmp_path / "down") == tmp_path / "down"
    assert (tmp_path / "down").read_bytes() == DATA
    assert names_in(tmp_path) == ["down"]


async def test_no_bytes_go_up_and_come_down_too(ask: Ask, tmp_path: Path) -> None:
    await ask("artifacts.upload", b"")
    assert (await ask("artifacts.download", digest(b""), tmp_path / "down")).read_bytes() == b""


async def test_a_file_goes_up_over_connections_that_break_and_only_once(
    ask: Ask, proxy: TcpProxy, door: GrpcDoor, tmp_path: Path
) -> None:
    (tmp_path / "up").write_bytes(LARGE)
    cutter = Cutter(proxy, 2 * CHUNK_BYTES)
    assert (await ask("artifacts.upload", tmp_path / "up", moved=cutter)).sha256 == digest(LARGE)
    assert cutter.cuts >= 2
    assert door.manager.tally.blob_bytes["written"] == len(LARGE)


async def test_a_file_comes_down_over_connections_that_break(
    ask: Ask, proxy: TcpProxy, door: GrpcDoor, tmp_path: Path
) -> None:
    await ask("artifacts.upload", LARGE)
    cutter = Cutter(proxy, 2 * CHUNK_BYTES)
    path = await ask("artifacts.download", digest(LARGE), tmp_path / "down", moved=cutter)
    assert path.read_bytes() == LARGE
    assert cutter.cuts >= 2


async def test_what_an_earlier_try_has_left_is_gone_on_from(ask: Ask, door: GrpcDoor, tmp_path: Path) -> None:
    await ask("artifacts.upload", DATA)
    with Target(tmp_path / "down", digest(DATA)) as target:
        target.write(DATA[:10_000])
    await ask("artifacts.download", digest(DATA), tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == DATA
    assert door.manager.tally.blob_bytes["read"] == len(DATA) - 10_000


async def test_what_an_earlier_try_has_left_wrong_is_found_and_removed(ask: Ask, tmp_path: Path) -> None:
    await ask("artifacts.upload", DATA)
    with Target(tmp_path / "down", digest(DATA)) as target:
        target.write(b"x" * 10)
    await refused(ask, DigestMismatch, "artifacts.download", digest(DATA), tmp_path / "down")
    assert names_in(tmp_path) == []
    await ask("artifacts.download", digest(DATA), tmp_path / "down")


async def test_a_file_that_becomes_shorter_meanwhile_is_not_sent(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "up"
    path.write_bytes(LARGE)

    def cut(offset: int, _size: int) -> None:
        path.write_bytes(LARGE[:offset])

    await refused(ask, DigestMismatch, "artifacts.upload", path, moved=cut)


async def test_a_file_that_is_not_there_is_told_at_once(ask: Ask, tmp_path: Path) -> None:
    await refused(ask, FileNotFoundError, "artifacts.upload", tmp_path / "nothing")
    await ask("artifacts.upload", DATA)
    await refused(ask, FileNotFoundError, "artifacts.download", digest(DATA), tmp_path / "no" / "folder")


async def test_refusals_have_classes_of_their_own(ask: Ask, door: GrpcDoor, tmp_path: Path) -> None:
    await refused(ask, WorkspaceNotFound, "artifacts.upload", DATA, workspace="nobody's")
    await refused(ask, BlobNotFound, "artifacts.download", "0" * 64, tmp_path / "down")
    await refused(ask, InvalidTask, "artifacts.read", "x")
    door.manager.blobs.quota = 10
    await refused(ask, QuotaExceeded, "artifacts.upload", DATA)


async def test_a_server_that_never_answered_is_not_waited_for() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(LinkLost):
            await client.artifacts.upload(DATA)


async def test_bytes_are_listed_with_what_a_workspace_has(ask: Ask) -> None:
    await ask("create_workspace", "site")
    for data, workspace in ((DATA, "site"), (b"other", "")):
        await ask("artifacts.upload", data, workspace=workspace)

    [listed] = await ask("artifacts.list", "site")
    assert (listed.sha256, listed.size, listed.workspace) == (digest(DATA), len(DATA), "site")
    assert len(await ask("artifacts.list")) == 2
    assert len(await ask("artifacts.list", limit=1)) == 1
    usage = await ask("artifacts.usage", "site")
    assert usage.used == len(DATA)
    assert usage.quota > usage.used


async def test_bytes_become_parts_of_a_task(ask: Ask, door: GrpcDoor) -> None:
    task_id = await door.submit()
    for data in (DATA, b"other"):
        await ask("artifacts.upload", data)
    attached = await ask("artifacts.attach", task_id, "in.tar", digest(DATA))
    assert (attached.name, attached.attempt, attached.size) == ("in.tar", 0, len(DATA))
    assert list(await ask("artifacts.of_task", task_id)) == [attached]
    await refused(ask, BlobConflict, "artifacts.attach", task_id, "in.tar", digest(b"other"))
    await refused(ask, TaskNotFound, "artifacts.of_task", "nobody")


async def test_states_are_saved_by_who_knows_the_one_before(ask: Ask, door: GrpcDoor) -> None:
    await ask("create_workspace", "site")
    first = await ask("states.save", "site", b"one", if_match="")
    await refused(ask, StateChanged, "states.save", "site", b"two", if_match="")
    second = await ask("states.save", "site", b"two", if_match=first.etag)
    assert await ask("states.get", "site") == second
    assert await ask("states.get", "site", version=1) == first
    assert list(await ask("states.list", "site")) == [second, first]
    assert b"".join(await ask("artifacts.read", second.sha256)) == b"two"

    async with door.agent() as agent:
        await door.submit(workspace="site")
        await agent.take()
        await refused(ask, WorkspaceConflict, "states.save", "site", b"three", if_match=second.etag)
