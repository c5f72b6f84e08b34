"""Both images, built once for the tests of a file, and a server and an agent made of them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.containers import AGENT, SERVER, Engine, Pair, own_engine, start_pair


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    """An engine that has both images."""
    async with own_engine() as engine:
        await engine.build(SERVER, "Dockerfile.server")
        await engine.build(AGENT, "Dockerfile.agent")
        yield engine
        for container in engine.started:
            sys.stdout.write(f"--- {container.name}\n{await container.log()}")  # shown with a test that fails


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(engine: Engine) -> Pair:
    """A server and an agent that work together."""
    return await start_pair(engine, "shared")
