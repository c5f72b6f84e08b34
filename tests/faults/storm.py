"""What happens to the processes of a run: one loop for the server and one for each agent, all by chance of one seed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from tests.faults.clocks import JUMPS, SEEN_SECONDS
from tests.faults.notes import Notes
from tests.faults.stage import EX_SOFTWARE, SERVER, Stage, Station
from tests.support.processes import POLL_SECONDS, is_alive
from tests.support.tcp_proxy import Fault

SHARES: Mapping[str, int] = {"server": 50, "agent": 50, "spawner": 20}
"""Of so many kills, whom they hit."""
UNEVEN = 0.1
AT_ONCE = 0.15
"""So many servers die however little was done. On a slow machine nothing would be if all of them did."""
WORK_TASKS, WORK_SECONDS = 10, 15.0
"""The others live until so many tasks more are over, or for so long."""
GOING_SECONDS = 4.0
"""How long an agent whose spawner was killed has, to go or to stay."""
GOING_BY_ITSELF = (EX_SOFTWARE, -signal.SIGTERM)
"""How an agent ends that was told to leave while it went because its spawner had died: at the very end of a Python
process nobody handles signals any more."""
NEARLY_FULL = (0, 0, 4 * 1024, 64 * 1024)
"""So many bytes are left on a disk that is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How hard it gets. Seconds: at least, at most."""

    kills: int = 120
    seconds: float | None = None
    between: tuple[float, float] = (0.2, 1.6)
    away: tuple[float, float] = (0.0, 0.6)
    frozen: tuple[float, float] = (0.5, 3.0)
    weather: tuple[float, float] = (0.5, 3.0)
    spells: tuple[float, float] = (0.5, 3.0)
    """From the end of a full disk, or of a false clock, to the next."""
    full: tuple[float, float] = (1.0, 9.0)
    false: tuple[float, float] = (SEEN_SECONDS, 5.0)


@dataclass(slots=True)
class Tally:
    """What was done so far, by kind."""

    done: Counter[str] = field(default_factory=Counter)

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(count for name, count in self.done.items() if name.startswith("kill "))


class Storm:
    """Kills, freezes and cuts off, until enough were killed. `over` tells how many tasks were seen to their end."""

    def __init__(
        self, stage: Stage, notes: Notes, rules: Rules, chance: random.Random, over: Callable[[], int]
    ) -> None:
        self._stage = stage
        self._over = over
        self._notes = notes
        self._rules = rules
        self._chance = chance
        self._until: float | None = None
        total = sum(SHARES.values())
        self._quota = {name: round(rules.kills * share / total) for name, share in SHARES.items()}
        self._left = Counter(self._quota)
        self.tally = Tally()

    async def run(self) -> None:
        """All of it. Then everything runs and is whole again."""
        loop = asyncio.get_running_loop()
        if self._rules.seconds is not None:
            self._until = loop.time() + self._rules.seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(self._strike_server())
            for station in self._stage.stations:
                group.create_task(self._strike_station(station))
            if self._stage.disks:
                group.create_task(self._fill_disks())
            if self._stage.clocks:
                group.create_task(self._set_clocks())
        self._stage.heal()
        for station in self._stage.stations:
            await self._mend(station)

    def _goes_on(self, *victims: str) -> bool:
        if self._until is not None:
            return asyncio.get_running_loop().time() < self._until
        return any(self._left[name] > 0 for name in victims)

    async def _strike_server(self) -> None:
        while self._goes_on("server"):
            over = self._over()
            await self._pause(self._rules.between)
            await self._work_goes_on(over)
            server = self._stage.server
            if server.has_ended:
                self._died_by_itself(SERVER, server.pid, await server.ended())
                await self._stage.start_server()
            elif self._chance.random() < 0.15:
                await self._freeze(SERVER, server.pid)
            else:
                self._count("kill server", SERVER)
                self._left["server"] -= 1
                await self._stage.kill_server()
                await self._pause(self._rules.away)
                await self._stage.start_server()

    async def _work_goes_on(self, over: int) -> None:
        """Wait until a few tasks were seen to their ends, mostly."""
        if self._chance.random() < AT_ONCE:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(WORK_SECONDS):
                while self._over() < over + WORK_TASKS and not self._stage.server.has_ended:  # noqa: ASYNC110 - of many callers
                    await asyncio.sleep(POLL_SECONDS)

    async def _strike_station(self, station: Station) -> None:
        while self._goes_on("agent", "spawner"):
            await self._pause(self._rules.between)
            await self._mend(station)
            await self._one_of(station)

    def _may_kill(self, victim: str) -> bool:
        """Whether it is this kind's turn: all kinds are to be killed evenly over the run."""
        if self._until is not None:
            return True
        done = {name: 1 - self._left[name] / max(1, quota) for name, quota in self._quota.items()}
        return self._left[victim] > 0 and done[victim] <= min(done.values()) + UNEVEN

    async def _one_of(self, station: Station) -> None:
        deeds: list[tuple[float, Callable[[Station], object]]] = [
            (4 * self._may_kill("agent"), self._kill_agent),
            (3 * self._may_kill("spawner"), self._kill_spawner),
            (2 * (self._may_kill("spawner") and self._may_kill("agent")), self._kill_both),
            (0.7, self._leave),
            (0.7, self._freeze_agent),
            (0.4, self._freeze_spawner),
            (2, self._bad_weather),
        ]
        [(_, deed)] = self._chance.choices(deeds, [weight for weight, _ in deeds])
        await deed(station)  # type: ignore[misc]  # each is a coroutine function

    # --- deeds

    async def _kill_agent(self, station: Station) -> None:
        self._count("kill agent", station.name)
        self._left["agent"] -= 1
        await self._stage.kill_agent(station)
        await self._pause(self._rules.away)
        await self._stage.start_agent(station)

    async def _kill_spawner(self, station: Station) -> None:
        spawners = self._stage.spawners(station)
        if not spawners:
            return
        pid = self._chance.choice(spawners)
        self._count("kill spawner", station.name)
        self._left["spawner"] -= 1
        self._stage.kill_spawner(station, pid)
        assert station.agent is not None
        for _ in range(20):
            await asyncio.sleep(GOING_SECONDS / 20)
            if station.agent.has_ended:
                break

    async def _kill_both(self, station: Station) -> None:
        spawners = self._stage.spawners(station)
        self._count("kill agent", station.name)
        self._left["agent"] -= 1
        await self._stage.kill_agent(station)
        for pid in spawners:
            self._count("kill spawner", station.name)
            self._left["spawner"] -= 1
            if is_alive(pid):
                self._stage.kill_spawner(station, pid)
        await self._pause(self._rules.away)
        await self._stage.start_agent(station)

    async def _leave(self, station: Station) -> None:
        self._count("leave", station.name)
        code = await self._stage.leave_agent(station)
        if code != 0 and not (code in GOING_BY_ITSELF and self._has_no_spawner(station)):
            self._died_by_itself(station.name, station.agent.pid if station.agent else 0, code)
        await self._pause(self._rules.away)
        await self._stage.start_agent(station)

    async def _freeze_agent(self, station: Station) -> None:
        assert station.agent is not None
        await self._freeze(f"agent {station.name}", station.agent.pid)

    async def _freeze_spawner(self, station: Station) -> None:
        spawners = self._stage.spawners(station)
        if spawners:
            await self._freeze(f"spawner of {station.name}", self._chance.choice(spawners))

    async def _freeze(self, who: str, pid: int) -> None:
        seconds = self._chance.uniform(*self._rules.frozen)
        self._count(f"freeze {who.split(maxsplit=1)[0]}", who, seconds)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            if is_alive(pid):
                os.kill(pid, signal.SIGCONT)

    async def _bad_weather(self, station: Station) -> None:
        fault, seconds = self._chance.choice(list(Fault)), self._chance.uniform(*self._rules.weather)
        self._count(f"network {fault}", station.name, seconds)
        station.proxy.inflict(fault)
        await asyncio.sleep(seconds)
        station.proxy.heal()

    async def _fill_disks(self) -> None:
        """One disk after the other is full for a while."""
        while self._goes_on(*SHARES):
            await self._pause(self._rules.spells)
            name, disk = self._chance.choice(list(self._stage.disks.items()))
            seconds = self._chance.uniform(*self._rules.full)
            self._count(f"fill disk of {_kind(name)}", name, seconds)
            await asyncio.to_thread(disk.fill, but=self._chance.choice(NEARLY_FULL))
            try:
                await asyncio.sleep(seconds)
            finally:
                disk.free()

    async def _set_clocks(self) -> None:
        """One wall clock after the other is wrong for a while, and then right again."""
        while self._goes_on(*SHARES):
            await self._pause(self._rules.spells)
            name, clock = self._chance.choice(list(self._stage.clocks.items()))
            jump, seconds = self._chance.choice(list(JUMPS)), self._chance.uniform(*self._rules.false)
            self._count(f"set clock of {_kind(name)} {jump}", name, seconds)
            clock.set(JUMPS[jump])
            try:
                await asyncio.sleep(seconds)
            finally:
                clock.set(0)

    # --- around them

    async def _mend(self, station: Station) -> None:
        """See that the agent runs. One that has ended by itself must have had a reason: its spawner was killed."""
        agent = station.agent
        if agent is not None and agent.has_ended:
            code = await agent.ended()
            if code != EX_SOFTWARE or not self._has_no_spawner(station):
                self._died_by_itself(station.name, agent.pid, code)
            self._stage.agent_died(station)
        await self._stage.mend_agent(station)

    def _has_no_spawner(self, station: Station) -> bool:
        """Whether an agent has a reason to go: its spawner is dead, or could not begin."""
        assert station.agent is not None
        return not is_alive(station.agent.spawner) or self._stage.could_not_begin(station)

    def _died_by_itself(self, who: str, pid: int, code: int) -> None:
        self._notes.write("death", who=who, pid=pid, code=code)

    def _count(self, kind: str, who: str, seconds: float = 0.0) -> None:
        self.tally.done[kind] += 1
        self._notes.write("injury", kind=kind, who=who, seconds=round(seconds, 3))

    async def _pause(self, bounds: tuple[float, float]) -> None:
        await asyncio.sleep(self._chance.uniform(*bounds))


def _kind(name: str) -> str:
    return name if name == SERVER else "agent"
