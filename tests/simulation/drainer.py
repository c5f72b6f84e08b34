"""A simulated person who has agents drained for maintenance, and lets them work again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from nodelink.errors import CallerError, NodelinkError
from tests.checking.history import Drain, History
from tests.simulation.servers import ServerHost, Unanswered


class Drainer:
    """Drains one agent after the other, and takes each drain back."""

    def __init__(self, *, server: ServerHost, history: History, chance: random.Random) -> None:
        self._server = server
        self._history = history
        self._chance = chance
        self._loop = asyncio.get_running_loop()

    async def drain(self, agents: Sequence[str], *, seconds: float) -> None:
        """In some worlds: have an agent become empty, for a while, now and then; some have a deadline."""
        until = self._loop.time() + seconds
        rounds = self._chance.choice((0, 0, 0, 1, 3))
        for _ in range(rounds):
            await asyncio.sleep(self._chance.uniform(0, seconds / rounds))
            if self._loop.time() < until:
                await self._drain(self._chance.choice(agents))

    async def _drain(self, agent_id: str) -> None:
        deadline_ms = self._chance.choice((None, None, 0, 3_000, 15_000))
        drain = None
        try:
            await self._server.call(lambda manager: manager.drain_agent(agent_id, note="", deadline_ms=deadline_ms))
            drain = Drain(agent_id, self._loop.time())
        except CallerError:
            return
        except (Unanswered, NodelinkError):
            pass
        await asyncio.sleep(self._chance.uniform(1, 20))
        if drain is not None:
            self._history.drains.append(drain._replace(until=self._loop.time()))
        while not await self._undrained(agent_id):  # noqa: ASYNC110 - it is asked of a server that may be down
            await asyncio.sleep(1.0)

    async def _undrained(self, agent_id: str) -> bool:
        try:
            await self._server.call(lambda manager: manager.undrain(agent_id))
        except CallerError:
            return True
        except (Unanswered, NodelinkError):
            return False
        return True
