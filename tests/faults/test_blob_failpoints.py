"""A process is killed at every named place around blobs and states, amid a change; and the change is made once.

The places of a group share a server and an agent: a process that has died at one is started again, takes up what it
finds, and is armed with the next one when the change is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nodelink_agent.settings import AgentSettings
from nodelink_server.settings import ServerSettings
from tests.faults.changes import Changes
from tests.faults.stage import SERVER_SETTINGS, died, flags_of
from tests.support.processes import Agent, Server, Service, Services, services_in

HIT_SECONDS = 120.0
MADE_SECONDS = 120.0

PLACES: Mapping[str, Sequence[str]] = {
    # A change has seven pieces and more in four uploads: the caller's source, the plan, the new state, the noted state.
    "server takes pieces": (
        "server.piece.before_write",
        "server.piece.before_write:2",
        "server.piece.after_write",
        "server.piece.after_write:2",
        "server.piece.after_write:4",
        "server.piece.after_write:6",
    ),
    "server completes uploads": (
        "server.upload.sealed",
        "server.upload.sealed:3",
        "server.upload.renamed",
        "server.upload.renamed:2",
        "server.upload.placed",
        "server.upload.placed:3",
        "server.blob.before_commit",
        "server.blob.after_commit",
        "server.upload.before_answer",
        "server.upload.before_answer:2",
        "server.upload.before_answer:3",
    ),
    "server keeps artifacts and states": (
        # the caller's artifact, then that of the attempt; the attempt's state, then the caller's
        "server.artifact.before_commit",
        "server.artifact.before_commit:2",
        "server.artifact.after_commit",
        "server.artifact.after_commit:2",
        "server.artifact.before_answer",
        "server.artifact.before_answer:2",
        "server.state.before_commit",
        "server.state.before_commit:2",
        "server.state.after_commit",
        "server.state.after_commit:2",
        "server.state.before_answer",
        "server.state.before_answer:2",
    ),
    "agent sends": (
        "agent.upload.announced",
        "agent.upload.announced:2",
        "agent.piece.sent",
        "agent.piece.sent:3",
        "agent.upload.complete",
        "agent.upload.complete:2",
        "agent.state.before_save",
        "agent.state.saved",
    ),
    "agent fetches": (
        "agent.piece.fetched",
        "agent.piece.fetched:2",
        "agent.download.complete",
        "agent.download.complete:2",
    ),
}


class House:
    """A server, and its agent with a tool."""

    def __init__(self, services: Services, changes: Changes) -> None:
        self._services = services
        self.changes = changes
        self._server: Server | None = None
        self._agent: Agent | None = None

    @property
    def server(self) -> Server:
        """The server that runs, or ran last."""
        assert self._server is not None
        return self._server

    async def start_server(self, failpoint: str = "") -> Server:
        """Start it where it was, or for the first time."""
        if self._server is not None and not self._server.has_ended:
            await self._server.kill()
        flags = flags_of(ServerSettings, SERVER_SETTINGS)
        self._server = await self._services.server(*flags, again=self._server, failpoint=failpoint)
        return self._server

    async def start_agent(self, failpoint: str = "") -> Agent:
        """Start it where it was, or for the first time."""
        if self._agent is not None and not self._agent.has_ended:
            await self._agent.kill()
        flags = flags_of(AgentSettings, {"tools": "terraform"})
        self._agent = await self._services.agent(self.server, *flags, failpoint=failpoint, env=self.changes.environment)
        return self._agent

    async def die_at(self, place: str) -> None:
        """Have the process die there amid a change, start it again, and see the change to its end."""
        start = self.start_server if place.startswith("server.") else self.start_agent
        doomed: Service = await start(place)
        if doomed is self._server:
            await self.start_agent()  # one that had lost many servers would stay away for long
        change = asyncio.create_task(self.changes.make(self.server))
        try:
            has_died = asyncio.create_task(died(doomed, HIT_SECONDS))
            await asyncio.wait({change, has_died}, return_when=asyncio.FIRST_COMPLETED)
            if change.done():
                change.result()
            assert await has_died, f"nothing came to {place}"
            await start()
            async with asyncio.timeout(MADE_SECONDS):
                await change
        finally:
            change.cancel()
            await asyncio.wait({change})


@asynccontextmanager
async def house_in(directory: Path) -> AsyncIterator[House]:
    """A server and its agent, up."""
    changes = await asyncio.to_thread(Changes, directory / "tool")
    async with services_in(directory / "services") as services:
        house = House(services, changes)
        await house.start_server()
        await house.start_agent()
        yield house


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("group", PLACES)
async def test_killed_around_blobs_a_change_is_made_once(group: str, tmp_path: Path) -> None:
    async with house_in(tmp_path) as house:
        for place in PLACES[group]:
            await house.die_at(place)
            assert not (problems := await house.changes.problems(house.server)), f"{place}: " + "\n".join(problems)
