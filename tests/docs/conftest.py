"""What the tests of the documentation share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.command_line import ROOT
from tests.support.processes import House, services_in
from tests.support.rest import Rest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A server and an agent that the tests of a file share."""
    async with services_in(tmp_path_factory.mktemp("house")) as services:
        server = await services.server()
        path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"  # as who follows the quick start has it
        agent = await services.agent(server, slots=20, env={"PATH": path})
        async with Rest(server) as rest:
            await rest.online()
        yield House(server, agent)
