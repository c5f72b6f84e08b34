"""What goes wrong with machines: processes killed and stopped, power cut, disks lost and full, identities copied."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from tests.simulation.agents import AgentHost
from tests.simulation.loop import virtual_loop

SHORT_STALL_SECONDS = 4.0
"""Work that another machine may take over must not stand still for longer than the margin of its lease."""


def one_of(agents: Sequence[AgentHost], chance: random.Random) -> AgentHost:
    """An agent, by lot: mostly one whose work takes long, since that may outlive its lease."""
    long = [agent for agent in agents if agent.machine.works_at_length]
    return chance.choice(long if long and chance.random() < 0.8 else agents)


class Mishaps:
    """Breaks machines. `copy` makes a second machine with the identity of a first one."""

    def __init__(
        self, agents: Sequence[AgentHost], *, copy: Callable[[AgentHost], AgentHost], chance: random.Random
    ) -> None:
        self._agents = agents
        self._copy = copy
        self._chance = chance
        self._loop = virtual_loop()

    @property
    def deeds(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """By name, what can go wrong."""
        return {
            "agent_kill": self._kill,
            "agent_leave": self._leave,
            "agent_stall": self._stall,
            "spawner_kill": self._kill_spawner,
            "suspend": lambda: self.suspend(self._any()),
            "limp": self._limp,
            "reboot": lambda: self._reboot(wipe=False),
            "disk_lost": lambda: self._reboot(wipe=True),
            "disk_full": self._fill_disk,
            "clone": self._clone,
        }

    def mend(self) -> None:
        """Let every agent live."""
        for agent in self._agents:
            agent.machine.disk.full = False
            agent.start()

    async def suspend(self, agent: AgentHost) -> None:
        """Stop a whole machine. Its clock goes on, and its processes do not see that."""
        processes = [agent.process, f"{agent.name}/commands", *(one.process for one in agent.spawners.values())]
        processes = [process for process in processes if not self._loop.is_stalled(process)]
        for process in processes:
            self._loop.stall(process)
        began = agent.machine.clock.monotonic()
        await asyncio.sleep(self._chance.uniform(0, SHORT_STALL_SECONDS))
        agent.machine.suspended += agent.machine.clock.monotonic() - began
        for process in processes:
            self._loop.go_on(process)

    def _any(self) -> AgentHost:
        return self._chance.choice(self._agents)

    def _some_time(self, most: float) -> Awaitable[None]:
        return asyncio.sleep(self._chance.uniform(0, most) * self._chance.random())

    def _away(self) -> Awaitable[None]:
        """Mostly as long as a restart takes, sometimes long enough for every lease to run out."""
        longest = self._chance.choice((5.0, 15.0, 120.0))
        return asyncio.sleep(self._chance.uniform(0, longest))

    async def _bad_moment(self, agent: AgentHost) -> None:
        """Often things go wrong just after work has begun, when not everybody knows that it has."""
        if self._chance.random() < 0.5:
            return
        agent.machine.begun.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                await agent.machine.begun.wait()
        await asyncio.sleep(self._chance.uniform(0, self._chance.choice((0.005, 0.05, 1.0))))

    async def _kill(self) -> None:
        agent = self._any()
        await self._bad_moment(agent)
        agent.kill()
        await self._away()
        agent.start()

    async def _leave(self) -> None:
        agent = self._any()
        await agent.leave(self._chance.uniform(0, 10))
        await self._away()
        agent.start()

    async def _reboot(self, *, wipe: bool) -> None:
        agent = self._any()
        await self._bad_moment(agent)
        agent.reboot(wipe=wipe)
        await self._away()
        agent.start()

    async def _kill_spawner(self) -> None:
        """An agent whose spawner died ends in good order, and its supervisor starts it again."""
        agent = self._any()
        await self._bad_moment(agent)
        agent.kill_spawner()
        await self._some_time(5)
        await agent.leave(self._chance.uniform(0, 5))
        agent.start()

    async def _stall(self) -> None:
        """Stop a process, and let it go on."""
        agent = self._any()
        await self._stop_for(agent, self._chance.uniform(0, 30))

    async def _stop_for(self, agent: AgentHost, seconds: float) -> None:
        life, process = agent.life, agent.process
        if life is None or self._loop.is_stalled(process):
            return
        if life.execution.runs_replayable_itself:
            seconds = min(seconds, SHORT_STALL_SECONDS)
        self._loop.stall(process)
        await asyncio.sleep(seconds)
        self._loop.go_on(process)

    async def _limp(self) -> None:
        """A machine stands still again and again, and what is said to it and by it is swallowed meanwhile."""
        agent = one_of(self._agents, self._chance)
        stopped = self._loop.create_task(self._stop_for(agent, self._chance.uniform(2, 30)))
        await asyncio.sleep(self._chance.uniform(0, 5))
        agent.enter_hole()
        await stopped
        for _ in range(self._chance.choice((0, 15))):
            await self.suspend(agent)
            await asyncio.sleep(self._chance.uniform(0, 2))
        await asyncio.sleep(self._chance.uniform(0, 30))
        if self._chance.random() < 0.4:
            agent.kill()
        agent.leave_hole()
        agent.start()

    async def _fill_disk(self) -> None:
        disk = self._any().machine.disk
        disk.full = True
        await self._some_time(30)
        disk.full = False

    async def _clone(self) -> None:
        """A copy of a machine's identity lives elsewhere, until people find out, and start the first one again."""
        agent = self._any()
        copy = self._copy(agent)
        copy.start()
        await self._some_time(60)
        copy.scrap()
        await agent.leave(self._chance.uniform(0, 5))
        agent.start()
