"""What goes wrong in a run, and when: drawn by chance before it begins."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from nodelink.errors import StoreUnavailable
from nodelink_server.store.errors import CommitUnknown
from tests.simulation.agents import AgentHost
from tests.simulation.servers import ServerHost
from tests.support.clock import LoopClock

FAULTS = (
    "server_crash",
    "server_stop",
    "commit_unknown",
    "store_away",
    "store_slow",
    "cut",
    "cut",
    "hole",
    "agent_kill",
    "agent_leave",
    "clock_jump",
)


def draw_faults(chance: random.Random) -> tuple[str, ...]:
    """What goes wrong in one run: a few kinds of fault, many times. That meets rarer combinations than all at once."""
    kinds = chance.sample(FAULTS, k=chance.choice((1, 2, 3, len(FAULTS))))
    return tuple(chance.choices(kinds, k=chance.choice((0, 2, 4, 8, 12, 16))))


class Weather:
    """Breaks things, and mends them in the end. `pause` and `fault` are the store's.

    `lag`: seconds that a deed of the store takes at most in good times.
    """

    def __init__(self, *, lag: float, clock: LoopClock, chance: random.Random) -> None:
        self._lag = lag
        self._clock = clock
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._away = False
        self._slow = False
        self._lose_next = False
        self.is_fair = False
        """Nothing goes wrong any more."""

    async def pause(self, kind: str) -> None:
        """How long the store takes for a deed."""
        luck = self._chance.random()
        if self._slow and luck < 0.5:
            await asyncio.sleep(self._chance.uniform(0, 4))
        elif luck < 0.03 and not self.is_fair:
            await asyncio.sleep(self._chance.uniform(0, 0.5))
        elif luck < 0.6:
            await asyncio.sleep(self._chance.uniform(0, self._lag))
        if kind == "applied" and self._lose_next:
            self._lose_next = False
            raise CommitUnknown("the disk does not say")

    def fault(self, kind: str) -> None:
        """Raise what the store raises now."""
        if self._away or (not self.is_fair and self._chance.random() < 0.002):
            raise StoreUnavailable("the database is away")

    async def rage(
        self, server: ServerHost, agents: Sequence[AgentHost], *, seconds: float, faults: Sequence[str]
    ) -> None:
        """Let these things go wrong at some moments within so many seconds, then mend everything."""
        deeds: dict[str, Callable[[], Awaitable[None]]] = {
            "server_crash": lambda: self._crash(server),
            "server_stop": lambda: self._stop(server),
            "commit_unknown": self._lose_commit,
            "store_away": self._leave_store,
            "store_slow": self._slow_store,
            "cut": lambda: self._cut(agents),
            "hole": lambda: self._hole(agents),
            "agent_kill": lambda: self._kill(agents),
            "agent_leave": lambda: self._leave(agents),
            "clock_jump": self._jump,
        }
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._later(deeds[fault], self._chance.uniform(0, seconds)))
        self.is_fair = True
        self._away = self._slow = self._lose_next = False
        for agent in agents:
            agent.start()

    async def keep_up(self, server: ServerHost) -> None:
        """Start the server again whenever it has died."""
        while True:
            server.start()
            await asyncio.sleep(1.0)

    async def _later(self, deed: Callable[[], Awaitable[None]], seconds: float) -> None:
        await asyncio.sleep(seconds)
        await deed()

    def _some_time(self, most: float) -> Awaitable[None]:
        return asyncio.sleep(self._chance.uniform(0, most) * self._chance.random())

    async def _crash(self, server: ServerHost) -> None:
        server.crash()

    async def _stop(self, server: ServerHost) -> None:
        await server.stop()

    async def _lose_commit(self) -> None:
        self._lose_next = True

    async def _leave_store(self) -> None:
        self._away = True
        await self._some_time(20)
        self._away = False

    async def _slow_store(self) -> None:
        self._slow = True
        await self._some_time(20)
        self._slow = False

    async def _cut(self, agents: Sequence[AgentHost]) -> None:
        agent = self._chance.choice(agents)
        if agent.wire is not None:
            agent.wire.cut()

    async def _hole(self, agents: Sequence[AgentHost]) -> None:
        """Swallow what one agent and the server say to each other; it arrives late, on links that are long gone."""
        agent = self._chance.choice(agents)
        agent.in_hole = True
        swallowed = [agent.wire] if agent.wire is not None else []
        for wire in swallowed:
            wire.hold()
        await self._some_time(50)
        agent.in_hole = False
        for wire in agent.held + swallowed:
            self._loop.call_later(self._chance.choice((0.0, self._chance.uniform(0, 15))), wire.release)
        agent.held.clear()

    async def _kill(self, agents: Sequence[AgentHost]) -> None:
        agent = self._chance.choice(agents)
        agent.kill()
        await self._some_time(15)
        agent.start()

    async def _leave(self, agents: Sequence[AgentHost]) -> None:
        agent = self._chance.choice(agents)
        await agent.leave(self._chance.uniform(0, 10))
        await self._some_time(10)
        agent.start()

    async def _jump(self) -> None:
        self._clock.skew_ms += self._chance.randrange(-20_000, 20_000)
