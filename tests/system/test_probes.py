"""The probes of health checks, asked of services as they run, stand still and stop."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.support.processes import Services, asked_until, environment
from tests.support.rest import Rest

pytestmark = pytest.mark.slow


async def probe(module: str, data_dir: Path) -> str:
    """What a probe has found wrong. Empty: nothing."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"{module}.probe", "--data-dir", str(data_dir)),
        env=environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, words = await process.communicate()
    assert (process.returncode == 0) == (not words), words
    return words.decode()


async def well(module: str, data_dir: Path) -> None:
    """Wait until a probe finds nothing wrong."""

    async def nothing() -> bool | None:
        return not await probe(module, data_dir) or None

    await asked_until(nothing, f"{module} well")


async def ill(module: str, data_dir: Path) -> str:
    """Wait until a probe finds something wrong. Returns what."""

    async def something() -> str | None:
        return await probe(module, data_dir) or None

    return await asked_until(something, f"{module} ill")


async def test_the_server_is_well_while_it_answers(services: Services) -> None:
    server = await services.server()
    assert await probe("nodelink_server", server.data_dir) == ""
    server.freeze()
    assert "does not answer" in await probe("nodelink_server", server.data_dir)
    server.thaw()
    await well("nodelink_server", server.data_dir)

    server.terminate()
    await server.ended()
    assert f"no server is ready on {server.data_dir}" in await probe("nodelink_server", server.data_dir)


async def test_the_agent_is_well_while_it_is_linked(services: Services) -> None:
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
    await well("nodelink_agent", agent.data_dir)
    await server.kill()
    assert f"not linked to the server {server.grpc}" in await ill("nodelink_agent", agent.data_dir)
    await services.server(again=server)
    await well("nodelink_agent", agent.data_dir)

    agent.terminate()
    await agent.ended()
    assert "no agent runs on" in await probe("nodelink_agent", agent.data_dir)
