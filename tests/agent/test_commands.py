"""The line between the agent and its spawner: what happens when either of them goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodelink_agent.command import CommandSpec, SpawnerLost
from nodelink_agent.commands import Commands, start_spawner
from nodelink_agent.spool import Extent
from tests.support.commands import PATIENCE, Shop, alive, exited, handle, open_shop, sh

ROOT = Path(__file__).resolve().parents[2]
AGENT = """
import asyncio, sys
from pathlib import Path
from tests.support.commands import open_shop

async def main():
    async with open_shop(Path(sys.argv[1])) as shop:
        script = "(setsid sleep 1000 &) ; trap '' TERM; echo $$; while :; do sleep 1; done"
        watched = await shop.start("/bin/sh", "-c", script)
        print(shop.spawner_pid, *await watched.pids(), flush=True)
        await watched.end()

asyncio.run(main())
"""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as shop:
        yield shop


async def test_leaving_kills_what_runs(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        watched = await shop.start(*sh("(setsid sleep 1000 &) ; trap '' TERM; echo $$; while :; do sleep 1; done"))
        [pid] = await watched.pids()
    assert not alive(pid)
    assert not alive(shop.spawner_pid)
    with pytest.raises(SpawnerLost):
        await watched.end()


async def test_when_the_agent_is_killed_its_commands_are_killed_too(tmp_path: Path) -> None:
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AGENT, str(tmp_path)), cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ}
    )
    assert agent.stdout is not None
    async with asyncio.timeout(PATIENCE):
        spawner, command = (int(word) for word in (await agent.stdout.readline()).split())
    with handle(spawner) as spawner_handle, handle(command) as command_handle:
        agent.kill()
        await exited(command_handle)
        await exited(spawner_handle)
        await agent.wait()


async def test_when_the_spawner_dies_every_command_is_lost_and_killed(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        running = [await shop.start(*sh("echo $$; exec sleep 1000")) for _ in range(3)]
        pids = [pid for watched in running for pid in await watched.pids()]
        with ExitStack() as handles:
            descriptors = [handles.enter_context(handle(pid)) for pid in pids]
            os.kill(shop.spawner_pid, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE):
                await shop.commands.broken.wait()
            for watched, descriptor in zip(running, descriptors, strict=True):
                with pytest.raises(SpawnerLost):
                    await watched.end()
                await exited(descriptor)
        with pytest.raises(SpawnerLost):
            await shop.start("true")


async def test_a_spawner_that_died_at_once_is_told(tmp_path: Path) -> None:
    spawner = start_spawner()
    spawner.process.kill()
    commands = Commands(spawner)
    with pytest.raises(SpawnerLost):
        await commands.__aenter__()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_spawner_leaves_signals_to_the_agent(shop: Shop, number: signal.Signals) -> None:
    os.kill(shop.spawner_pid, number)
    _, end = await shop.run("true")
    assert end.exit_code == 0


async def test_the_spawner_is_in_a_session_of_its_own(shop: Shop) -> None:
    assert os.getsid(shop.spawner_pid) == shop.spawner_pid


async def test_it_tells_how_processes_are_held_together(shop: Shop) -> None:
    assert shop.commands.containment == "subreaper"


async def test_two_commands_of_the_same_id_cannot_run_at_once(shop: Shop, tmp_path: Path) -> None:
    spec = CommandSpec(id="same", argv=["sleep", "1000"], env={"PATH": os.environ["PATH"]}, cwd="/", directory=tmp_path)
    first = await shop.commands.start(spec, _ignore)
    with pytest.raises(ValueError, match="same"):
        await shop.commands.start(spec, _ignore)
    first.stop(0)
    async with asyncio.timeout(PATIENCE):
        assert (await first.wait()).signalled_alive


async def test_a_start_that_is_cancelled_leaves_no_command_behind(shop: Shop, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"]}
    spec = CommandSpec(id="cut", argv=["sleep", "1000"], env=env, cwd="/", directory=tmp_path)
    start = asyncio.create_task(shop.commands.start(spec, _ignore))
    await asyncio.sleep(0)
    command = shop.commands._running["cut"]
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    async with asyncio.timeout(PATIENCE):
        assert (await command.wait()).tree_gone


async def test_a_stop_after_the_end_changes_nothing(shop: Shop) -> None:
    watched, end = await shop.run("true")
    watched.command.stop(0)
    assert await watched.end() == end


async def test_whoever_stops_waiting_does_not_disturb_the_command(shop: Shop) -> None:
    watched = await shop.start(*sh("echo up; exec sleep 1000"))
    await watched.line()
    waiter = asyncio.create_task(watched.command.wait())
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter])
    watched.command.stop(0)
    assert (await watched.end()).signalled_alive


def _ignore(_stream: str, _extent: Extent) -> None:
    """These commands print nothing."""
