"""In some worlds an agent with long work is cut off for longer than its lease, so that another agent does it once more.

Ordinary holes seldom meet such work, and hardly ever at the wrong moment; without it nobody sees whether work ends in
time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from nodelink.plan import PLAN
from tests.simulation.agents import AgentHost
from tests.simulation.callers import Caller
from tests.simulation.servers import ServerHost

SHARE = 0.07
"""Of so many worlds."""
LOOKS = 60
LONGEST_SLIP = 3.0
"""So much longer than its lease work may seem to be with an agent: clocks go wrong, and looks come each second."""


class Exile:
    """Has long work done, and cuts off whoever does it; sometimes the server stands still before the lease is over.

    `lease`: of what may be done again, in seconds.
    """

    def __init__(
        self,
        agents: Sequence[AgentHost],
        *,
        server: ServerHost,
        caller: Caller,
        lease: float,
        chance: random.Random,
    ) -> None:
        self._agents = agents
        self._server = server
        self._caller = caller
        self._lease = lease
        self._chance = chance
        self.comes = chance.random() < SHARE and len(agents) > 1
        """Whether this happens at all: somebody else must be there."""

    async def befall(self, *, seconds: float) -> None:
        """Let it happen some times, for the first time within so many seconds."""
        await asyncio.sleep(self._chance.uniform(0, seconds / 2))
        for _ in range(self._chance.choice((1, 2, 3))):
            await self._befall_once()

    async def _befall_once(self) -> None:
        chance = self._chance
        type = chance.choice((PLAN, "render")) if len(self._agents) > 2 else PLAN  # which every other one renders
        token = await self._caller.ask_for(type, seconds=self._lease + chance.uniform(15, 45))
        agent = await self._who_does(token)
        if agent is None:
            return
        await asyncio.sleep(chance.uniform(0, 8))
        agent.enter_hole(chance.choice(("both", "both", "up")))
        if chance.random() < 0.3:
            await self._stop_server()
        else:
            await asyncio.sleep(self._lease + LONGEST_SLIP)
        await asyncio.sleep(chance.uniform(0, 25))
        agent.leave_hole()

    async def _stop_server(self) -> None:
        """Shortly before the lease is over, the server stands still, and then goes on as if nothing had been."""
        await asyncio.sleep(self._lease - self._chance.uniform(5, 10))
        self._server.stall()
        await asyncio.sleep(self._chance.uniform(6, 20))
        self._server.go_on()

    async def _who_does(self, token: str) -> AgentHost | None:
        """Where a task runs, as soon as it does."""
        for _ in range(LOOKS):
            for agent in self._agents:
                if agent.machine.runs(token):
                    return agent
            await asyncio.sleep(self._chance.uniform(0.2, 1.0))
        return None
