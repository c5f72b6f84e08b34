"""Services for the stories: of a test's own, or, for those that leave them whole, shared by the tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.latch import Latch
from tests.support.processes import House, Services, services_in
from tests.support.rest import Rest


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    """Services of this test's own."""
    async with services_in(tmp_path / "services") as services:
        yield services


@pytest.fixture
def latch(tmp_path: Path) -> Iterator[Latch]:
    """Holds commands up until the test lets them go."""
    latch = Latch(tmp_path / "latch")
    yield latch
    latch.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A server and an agent that the tests of a file share."""
    async with services_in(tmp_path_factory.mktemp("house")) as services:
        server = await services.server()
        agent = await services.agent(server, slots=20)
        async with Rest(server) as rest:
            await rest.online()
        yield House(server, agent)
