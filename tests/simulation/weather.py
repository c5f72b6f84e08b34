"""What goes wrong in a run, and when: drawn by chance before it begins."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from nodelink.errors import StoreUnavailable
from nodelink_server.core.session import SILENT_PERIODS
from nodelink_server.store.errors import CommitUnknown
from tests.simulation.agents import AgentHost
from tests.simulation.mishaps import Mishaps, one_of
from tests.simulation.servers import LONGEST_PACE, ServerHost
from tests.support.clock import LoopClock

LEAST_SILENT = 3
NOTICED_SECONDS = 2.5
"""So much later at the latest each silence is noticed that lasts so long."""

FAULTS = (
    "server_crash",
    "server_stop",
    "server_stall",
    "server_down",
    "commit_unknown",
    "store_away",
    "store_slow",
    "cut",
    "cut",
    "hole",
    "hole",
    "mass_silence",
    "clock_jump",
    "agent_kill",
    "agent_kill",
    "agent_leave",
    "agent_stall",
    "limp",
    "limp",
    "spawner_kill",
    "suspend",
    "reboot",
    "disk_lost",
    "disk_full",
    "clone",
)
"""The kinds of faults, the common ones more than once."""


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
        self.is_away = False
        """Whether the database does not answer."""
        self._slow = False
        self._lose_next = False
        self.keeps_down = 0
        """How many reasons there are not to start the server."""
        self.silences: list[tuple[float, object]] = []
        """When everybody fell silent, and under which life of the server."""
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
        if self.is_away or (not self.is_fair and self._chance.random() < 0.002):
            raise StoreUnavailable("the database is away")

    async def rage(
        self,
        server: ServerHost,
        agents: Sequence[AgentHost],
        mishaps: Mishaps,
        *,
        seconds: float,
        faults: Sequence[str],
    ) -> None:
        """Let these things go wrong at some moments within so many seconds, then mend everything."""
        deeds: dict[str, Callable[[], Awaitable[None]]] = {
            "server_crash": lambda: self._crash(server),
            "server_stop": lambda: self._stop(server),
            "server_stall": lambda: self._stall(server),
            "server_down": lambda: self._stay_down(server),
            "commit_unknown": self._lose_commit,
            "store_away": self._leave_store,
            "store_slow": self._slow_store,
            "cut": lambda: self._cut(agents),
            "hole": lambda: self._hole([one_of(agents, self._chance)]),
            "mass_silence": lambda: self._silence(server, agents),
            "clock_jump": self._jump,
            **mishaps.deeds,
        }
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._later(deeds[fault], self._chance.uniform(0, seconds)))
        self.is_fair = True
        self.is_away = self._slow = self._lose_next = False
        mishaps.mend()

    async def keep_up(self, server: ServerHost, *, look: Callable[[], None]) -> None:
        """Start the server again whenever it has died, and have somebody look every second."""
        while True:
            look()
            if not self.keeps_down:
                server.start()
            await asyncio.sleep(1.0)

    async def _later(self, deed: Callable[[], Awaitable[None]], seconds: float) -> None:
        await asyncio.sleep(seconds)
        await deed()

    def _some_time(self, most: float) -> Awaitable[None]:
        return asyncio.sleep(self._chance.uniform(0, most) * self._chance.random())

    def _long_time(self) -> Awaitable[None]:
        """Sometimes too short for anything to run out, sometimes long enough for everything."""
        return asyncio.sleep(self._chance.choice((self._chance.uniform(0, 12), self._chance.uniform(8, 70))))

    async def _crash(self, server: ServerHost) -> None:
        server.crash()

    async def _stop(self, server: ServerHost) -> None:
        await server.stop()

    async def _lose_commit(self) -> None:
        self._lose_next = True

    async def _leave_store(self) -> None:
        self.is_away = True
        await self._some_time(self._chance.choice((5.0, 20.0, 100.0)))
        self.is_away = False

    async def _stall(self, server: ServerHost) -> None:
        """Stop the server's process, and let it go on minutes later, as if nothing had been."""
        server.stall()
        await self._long_time()
        server.go_on()

    async def _stay_down(self, server: ServerHost) -> None:
        """Kill the server, and let nobody start it for long."""
        self.keeps_down += 1
        server.crash()
        await self._long_time()
        self.keeps_down -= 1

    async def _slow_store(self) -> None:
        self._slow = True
        await self._some_time(20)
        self._slow = False

    async def _cut(self, agents: Sequence[AgentHost]) -> None:
        agent = self._chance.choice(agents)
        if agent.wire is not None:
            agent.wire.cut()

    async def _hole(self, agents: Sequence[AgentHost]) -> None:
        """Swallow what agents and the server say to each other; it arrives late, on links that are long gone."""
        direction = self._chance.choice(("both", "both", "up", "down"))
        for agent in agents:
            agent.enter_hole(direction)
        await self._long_time()
        for agent in agents:
            agent.leave_hole()

    async def _silence(self, server: ServerHost, agents: Sequence[AgentHost]) -> None:
        """Everybody falls silent at once. If enough are seen to be, nothing may expire while the brake is on."""
        manager, since, life = server.manager, self._loop.time(), server.life
        connected = len(manager.agents.sessions()) if manager is not None else 0
        for agent in agents:
            agent.enter_hole()
        holes = [agent.holes for agent in agents]
        await self._long_time()
        is_whole = holes == [agent.holes for agent in agents]  # no other deed has let anybody speak
        gone = connected - len(manager.agents.sessions()) if manager is not None else 0
        for agent in agents:
            agent.leave_hole()
        if manager is None or not is_whole or gone < LEAST_SILENT or connected < len(agents):
            return
        if (
            self._loop.time() - since
            > (SILENT_PERIODS + 1) * LONGEST_PACE * manager.options.heartbeat + NOTICED_SECONDS
        ):
            self.silences.append((since, life))

    async def _jump(self) -> None:
        self._clock.skew_ms += self._chance.randrange(-20_000, 20_000)
