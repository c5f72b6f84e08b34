"""What the clients and the command line know of pauses and checkpoints, against a real server: all alike."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from nodelink.address import Address
from nodelink.client import AsyncClient, Client, LeftOutBlob
from nodelink.errors import CheckpointNotFound, InvalidTask, ServerNotEmpty
from nodelink_server.rpc.server import grpc_server
from nodelink_server.store.checkpoint_blobs import Bounds
from tests.support.blobs_given import give, save_state
from tests.support.checkpointed import Checkpointed, checkpointed_core
from tests.support.cli_shell import Shell
from tests.support.core_parts import make_submission

Ask = Callable[..., Awaitable[Any]]
"""Calls a method of a client by its name."""


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Checkpointed]:
    async with checkpointed_core(tmp_path / "first") as core:
        yield core


@pytest.fixture
async def address(core: Checkpointed) -> AsyncIterator[Address]:
    port = Address("127.0.0.1", 0)
    async with grpc_server(core.manager, port, clock=core.clock, server_id="s1", version="1.2.3") as address:
        yield address


@pytest.fixture(params=["sync", "async"])
async def ask(request: pytest.FixtureRequest, address: Address) -> AsyncIterator[Ask]:
    if request.param == "async":
        async with AsyncClient(str(address)) as client:

            async def of_async(name: str, *given: Any, **named: Any) -> Any:
                answer = getattr(client, name)(*given, **named)
                if inspect.isasyncgen(answer):
                    return [part async for part in answer]
                return await answer

            yield of_async
        return
    with await asyncio.to_thread(Client, str(address)) as blocking:

        async def of_sync(name: str, *given: Any, **named: Any) -> Any:
            def do() -> Any:
                answer = getattr(blocking, name)(*given, **named)
                return list(answer) if inspect.isgenerator(answer) else answer

            return await asyncio.to_thread(do)

        yield of_sync


async def test_clients_pause_and_resume(ask: Ask, core: Checkpointed) -> None:
    paused = await ask("pause", pool="gpu", reason="hot")
    assert (paused.pause.scope, paused.pause.by, paused.pause.reason) == ("pool:gpu", "local", "hot")
    assert paused.content == core.file(paused.checkpoint.id).read_bytes()
    assert (await ask("pause")).checkpoint.complete
    status = await ask("scheduler_status")
    assert (status.state, [one.scope for one in status.pauses]) == ("paused", ["scheduler", "pool:gpu"])
    resumed = await ask("resume", pool="gpu")
    assert (resumed.was_paused, resumed.loaded) == (True, False)
    assert not (await ask("resume", pool="gpu")).was_paused
    with pytest.raises(InvalidTask):
        await ask("pause", pool="gpu", type="shell")


async def test_clients_take_list_verify_read_and_load_checkpoints(ask: Ask, core: Checkpointed, tmp_path: Path) -> None:
    async with checkpointed_core(tmp_path / "other") as other:
        [task_id] = await other.submit()
        header = await other.manager.checkpoints.take()
        content = other.file(header.id).read_bytes()
    taken = await ask("take_checkpoint")
    assert list(await ask("checkpoints")) == [taken]
    assert await ask("verify_checkpoint", taken.id) == taken
    assert b"".join(await ask("checkpoint_parts", taken.id)) == core.file(taken.id).read_bytes()
    for name in ("verify_checkpoint", "checkpoint_parts"):
        with pytest.raises(CheckpointNotFound):
            await ask(name, "x")

    with pytest.raises(ServerNotEmpty, match="pause it first"):
        await ask("resume", checkpoint=content)
    await ask("pause")
    with pytest.raises(InvalidTask, match="truncated"):
        await ask("resume", checkpoint=content[:-1])
    loaded = await ask("resume", checkpoint=content, as_waiting=True)
    assert (loaded.loaded, loaded.checkpoint.id, loaded.checkpoint.left_out) == (True, header.id, ())
    assert (await ask("get", task_id)).id == task_id
    await ask("pause")
    assert not (await ask("resume", checkpoint=content)).loaded


async def test_commands_pause_keep_verify_and_resume(core: Checkpointed, address: Address, tmp_path: Path) -> None:
    shell = Shell(tmp_path, str(address))
    paused = json.loads((await shell("scheduler", "pause", "--type", "shell", "--reason", "hot", "-o", "json")).out)
    assert (paused["scope"], paused["reason"], paused["checkpoint"]["why"]) == ("type:shell", "hot", "pause")
    taken = json.loads((await shell("checkpoints", "take", "-o", "json")).out)
    ids = (await shell("checkpoints", "list", "-o", "id")).out.decode().split()
    assert ids == [taken["id"], paused["checkpoint"]["id"]]
    assert json.loads((await shell("checkpoints", "verify", taken["id"], "-o", "json")).out) == taken

    got = await shell("checkpoints", "get", taken["id"], "--to", "queue.checkpoint")
    assert got.code == 0
    file = tmp_path / "queue.checkpoint"
    assert file.read_bytes() == core.file(taken["id"]).read_bytes()
    here = json.loads((await shell("checkpoints", "verify", "queue.checkpoint", "-o", "json")).out)
    assert here == {**taken, "url": None}
    file.write_bytes(file.read_bytes()[:-1])
    spoiled = await shell("checkpoints", "verify", "./queue.checkpoint")
    assert (spoiled.code, "truncated" in spoiled.err) == (2, True)
    assert (await shell("checkpoints", "verify", "nothing")).code == 4
    assert (await shell("checkpoints", "verify", "./nothing")).code == 1

    assert (await shell("scheduler", "resume", "--checkpoint", taken["id"])).code == 5
    resumed = json.loads((await shell("scheduler", "resume", "--type", "shell", "-o", "json")).out)
    assert resumed == {"was_paused": True, "loaded": False, "checkpoint": None}
    assert (await shell("scheduler", "pause", "--pool", "a", "--type", "b")).code == 2


async def test_blobs_that_a_checkpoint_lacks_are_told_to_clients_and_to_people(tmp_path: Path) -> None:
    shell_place = tmp_path / "here"
    shell_place.mkdir()
    async with checkpointed_core(tmp_path / "lacking", bounds=Bounds(blob_bytes=5, blobs=1)) as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        [task_id] = await core.submit(make_submission(workspace="site"))
        await give(core, task_id, "fits", b"12345")
        artifact = await give(core, task_id, "in", b"too large")
        state = await save_state(core, "site", b"larger yet")
        port = Address("127.0.0.1", 0)
        async with grpc_server(core.manager, port, clock=core.clock, server_id="s1", version="1.2.3") as address:
            async with AsyncClient(str(address)) as client:
                taken = await client.take_checkpoint()
            shell = Shell(shell_place, str(address))
            verified = await shell("checkpoints", "verify", taken.id)
            got = await shell("checkpoints", "get", taken.id, "--to", "queue.checkpoint")
            here = await shell("checkpoints", "verify", "./queue.checkpoint")
            as_json = json.loads((await shell("checkpoints", "verify", taken.id, "-o", "json")).out)

        lacking = {"why": "too large", "workspace": "site"}
        assert taken.left_out == (
            LeftOutBlob(sha256=artifact, size=9, task_id=task_id, name="in", **lacking),
            LeftOutBlob(sha256=state.sha256, size=10, **lacking),
        )
        assert (taken.blobs, taken.blob_bytes, taken.blobs_left_out) == (1, 5, 2)
        assert as_json["left_out"][1] == {"sha256": state.sha256, "size": 10, "task_id": None, "name": None, **lacking}
        content = core.file(taken.id).read_bytes()
    said = [
        "2 blob(s) are not in it; bring them to its server: nodelink artifacts upload FILE",
        f"  {artifact}  9 bytes  too large  in of task {task_id}",
        f"  {state.sha256}  10 bytes  too large  the state of workspace site",
    ]
    assert verified.err.splitlines() == here.err.splitlines() == said
    assert got.err.splitlines()[1:] == said

    async with checkpointed_core(tmp_path / "second") as second:
        await second.manager.pause("scheduler")
        port = Address("127.0.0.1", 0)
        async with grpc_server(second.manager, port, clock=second.clock, server_id="s2", version="1.2.3") as address:
            resumed = await Shell(shell_place, str(address))(
                "scheduler", "resume", "--checkpoint", "./queue.checkpoint"
            )
            assert (resumed.code, resumed.err.splitlines()) == (0, said)
            await second.manager.pause("scheduler")
            async with AsyncClient(str(address)) as client:
                again = await client.resume(checkpoint=content)
            assert (again.loaded, again.checkpoint) == (False, taken)
