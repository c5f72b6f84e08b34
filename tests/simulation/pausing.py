"""Simulated people who pause the scheduler, a pool or a type now and then, and forget none of it in the end."""

from __future__ import annotations

import asyncio
import random

from nodelink.errors import NodelinkError
from nodelink_server.core.pauses import SCHEDULER
from nodelink_server.store.disk import Disk
from tests.simulation.servers import ServerHost, Unanswered

SCOPES = (SCHEDULER, "pool:default", "type:shell", "type:echo", "type:render")
WORLDS = 0.12
"""In so many worlds people pause anything."""


class Pauser:
    """Pauses something, and resumes it soon after. `chance` is its own: the rest of a world stays as it was."""

    def __init__(self, *, disk: Disk, server: ServerHost, chance: random.Random) -> None:
        self._disk = disk
        self._server = server
        self._chance = chance
        self._loop = asyncio.get_running_loop()

    async def meddle(self, *, seconds: float) -> None:
        """Do so for so many seconds, in some worlds."""
        until = self._loop.time() + seconds
        if self._chance.random() > WORLDS:
            return
        while self._loop.time() < until:
            await asyncio.sleep(self._chance.uniform(0.2, seconds / 4))
            scope = self._chance.choice(SCOPES)
            await self._say(lambda manager, scope=scope: manager.pause(scope))
            if self._chance.random() < 0.8:
                await asyncio.sleep(self._chance.uniform(0.1, 5.0))
                await self._say(lambda manager, scope=scope: manager.resume(scope))

    async def settle(self) -> None:
        """Resume what is still paused."""
        for scope in sorted(self._disk.pauses):
            await self._say(lambda manager, scope=scope: manager.resume(scope))

    async def _say(self, word: object) -> None:
        try:
            await self._server.call(word)  # type: ignore[arg-type]  # both words are calls of a manager
        except (Unanswered, NodelinkError):
            return
