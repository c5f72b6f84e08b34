"""One run: a server, its agents, its callers and listeners, and the weather. A seed decides everything."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from nodelink.task import TaskRequest
from nodelink_agent.core.agent import AgentCore
from nodelink_server.core.assembly import Options
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.states import GRANTED
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.simulation.agents import AgentHost
from tests.simulation.callers import HANDLERS, Caller
from tests.simulation.census import kept_tasks, leftovers
from tests.simulation.frames import Frame
from tests.simulation.history import Commit, History, Listening
from tests.simulation.listeners import Listener
from tests.simulation.loop import run_virtually
from tests.simulation.pipes import Wire
from tests.simulation.servers import ServerHost
from tests.simulation.weather import Weather, draw_faults
from tests.support.clock import LoopClock

MOST_CALM_SECONDS = 600
"""How long after the last fault everything must have come to rest."""

MakeManager = Callable[..., TaskManager]
MakeCore = Callable[..., AgentCore]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large a run is. Seconds are virtual."""

    agents: int
    callers: int
    rounds: int
    batches: tuple[int, ...]
    lag: float
    faults: tuple[str, ...]
    seconds: float
    options: Options


def draw_scale(chance: random.Random) -> Scale:
    """A small world, mostly with narrow limits, since they are where things go wrong."""
    is_flood = chance.random() < 0.2
    return Scale(
        agents=chance.choice((1, 2, 3, 4)),
        callers=3 if is_flood else chance.choice((1, 2)),
        rounds=8 if is_flood else chance.randrange(2, 9),
        batches=(1, 1, 4, 8) if is_flood else (1, 1, 1, 2, 5),
        lag=0.2 if is_flood else 0.005,
        faults=draw_faults(chance),
        seconds=chance.choice((5.0, 15.0) if is_flood else (15.0, 40.0)),
        options=Options(
            channel_size=chance.choice((1, 2, 100)),
            window=chance.choice((1, 2, 5, 1_000)),
            heartbeat=chance.choice((2.0, 5.0)),
        ),
    )


class World:
    """Everything of one run."""

    def __init__(self, seed: int, *, make_manager: MakeManager, make_core: MakeCore) -> None:
        self._seed = seed
        self._make_core = make_core
        self._loop = asyncio.get_running_loop()
        self._make_manager = make_manager
        self.scale = draw_scale(self._chance("scale"))
        self.history = History()
        self.disk = Disk()
        self._clock = LoopClock()
        self._weather = Weather(lag=self.scale.lag, clock=self._clock, chance=self._chance("weather"))
        self._ids = count(1)
        self._blocks_seen = 0
        self.server = ServerHost(
            disk=self.disk,
            make_manager=self._manager,
            pause=self._pause,
            fault=self._weather.fault,
            clock=self._clock,
            history=self.history,
            chance=self._chance("server"),
        )
        self.agents = [self._agent(number) for number in range(self.scale.agents)]

    async def run(self) -> History:
        """Live through it, from the first request to quiescence."""
        async with asyncio.TaskGroup() as beside:
            around = [beside.create_task(self._weather.keep_up(self.server)), beside.create_task(self._listen())]
            for agent in self.agents:
                agent.start()
            await self._busy_time()
            await self._come_to_rest()
            self.history.kept = kept_tasks(self.disk)
            self.history.leftovers = leftovers(self.server.manager, self.agents)
            for task in around:
                task.cancel()
        self.server.crash()
        for agent in self.agents:
            agent.halt()
        return self.history

    async def _busy_time(self) -> None:
        scale = self.scale
        async with asyncio.TaskGroup() as group:
            for number in range(scale.callers):
                name = f"caller{number}"
                caller = Caller(
                    name,
                    batches=scale.batches,
                    server=self.server,
                    history=self.history,
                    chance=self._chance(name),
                )
                group.create_task(caller.run(seconds=scale.seconds, rounds=scale.rounds))
            group.create_task(self._weather.rage(self.server, self.agents, seconds=scale.seconds, faults=scale.faults))

    async def _come_to_rest(self) -> None:
        """Wait until nothing is left to do, and then until what is over is forgotten."""
        end = self._loop.time() + MOST_CALM_SECONDS
        while not self._is_calm():
            if self._loop.time() > end:
                return
            await asyncio.sleep(1.0)
        await asyncio.sleep(12.0)

    def _is_calm(self) -> bool:
        """Whether nothing is left to do, and every agent is connected."""
        manager = self.server.manager
        return (
            not self.disk.live
            and manager is not None
            and len(manager.agents.sessions()) == len(self.agents)
            and all(agent.life is not None and agent.life.core.is_idle for agent in self.agents)
        )

    # -- its parts ----------------------------------------------------------------------------------------------------

    def _chance(self, part: str) -> random.Random:
        return random.Random(f"{self._seed}/{part}")

    def _manager(self, store: MemoryStore) -> TaskManager:
        return self._make_manager(
            store=store, clock=self._clock, new_id=lambda: f"task-{next(self._ids)}", options=self.scale.options
        )

    def _agent(self, number: int) -> AgentHost:
        chance = self._chance(f"agent{number}")
        return AgentHost(
            name=f"agent{number}",
            slots=chance.choice((1, 2, 4)),
            handlers=HANDLERS if number == 0 else {type: HANDLERS[type] for type in ("echo", "fussy")},
            declines=frozenset() if number == 0 else frozenset({"fussy"}),
            dial=self._dial,
            is_granted=self._is_granted,
            make_core=self._make_core,
            history=self.history,
            chance=chance,
        )

    def _dial(self, agent: AgentHost) -> Wire[Frame]:
        wire: Wire[Frame] = Wire(self._loop, agent.chance)
        self.server.accept(wire)
        return wire

    def _is_granted(self, request: TaskRequest) -> bool:
        """Whether the disk knows of this grant, and of none after it."""
        row = self.disk.rows[self.disk.keys[request.ref.task_id]]
        return row.task.attempt is not None and row.task.ref == request.ref and row.task.status in GRANTED

    async def _pause(self, kind: str) -> None:
        if kind == "applied":
            self._note_commits()
        await self._weather.pause(kind)

    def _note_commits(self) -> None:
        """Write down what has just become durable."""
        for _, _, events in self.disk.blocks[self._blocks_seen :]:
            self.history.commits.extend(Commit(self._loop.time(), event) for event in events)
        self._blocks_seen = len(self.disk.blocks)

    async def _listen(self) -> None:
        """Listen to everything, and to some tasks as they appear."""
        chance = self._chance("listeners")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener("").run())
            for key in range(1, 5):
                while key not in self.disk.rows:  # noqa: ASYNC110 - it is a caller who makes the row
                    await asyncio.sleep(chance.uniform(0.5, 5))
                group.create_task(self._listener(self.disk.rows[key].task.id).run())

    def _listener(self, task_id: str) -> Listener:
        listening = Listening(task_id=task_id)
        self.history.listenings.append(listening)
        return Listener(listening, server=self.server, chance=self._chance(f"listener {task_id}"))


def simulate(seed: int, *, make_manager: MakeManager = TaskManager, make_core: MakeCore = AgentCore) -> History:
    """The history of one run."""

    async def main() -> History:
        return await World(seed, make_manager=make_manager, make_core=make_core).run()

    return run_virtually(main(), seed=seed)
