"""One run: a server, its agents, its callers and listeners, and the weather. A seed decides everything."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import count

from nodelink.task import Execution, TaskRequest, TaskStatus
from nodelink_agent.core.agent import AgentCore
from nodelink_server.core.assembly import Options
from nodelink_server.core.handshake import FEATURES
from nodelink_server.core.leases import Patience as ServerPatience
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.states import GRANTED
from nodelink_server.core.task import Task
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.checking.history import Commit, History, Listening, Patience
from tests.simulation.agents import AgentHost
from tests.simulation.approvers import Approver, workspace
from tests.simulation.callers import HANDLERS, PLACES, Caller
from tests.simulation.census import kept_tasks, leftovers
from tests.simulation.disaster import Disaster
from tests.simulation.drainer import Drainer
from tests.simulation.exile import Exile
from tests.simulation.frames import Frame
from tests.simulation.listeners import Listener
from tests.simulation.loop import run_virtually
from tests.simulation.machines import Machine
from tests.simulation.mishaps import Mishaps
from tests.simulation.outages import Outages
from tests.simulation.pausing import Pauser
from tests.simulation.people import Person
from tests.simulation.pipes import Wire
from tests.simulation.placing import SIDES, WORKSPACES, draw_crowd
from tests.simulation.plans import LONGEST_WORK
from tests.simulation.servers import ServerHost
from tests.simulation.shelf import MemoryShelf
from tests.simulation.weather import Weather, draw_faults
from tests.support.clock import LoopClock

MOST_CALM_SECONDS = 600
"""How long after the last fault everything must have come to rest."""

LOOKS_AT_LEFTOVERS = 3

MakeManager = Callable[..., TaskManager]
MakeCore = Callable[..., AgentCore]
SpoilHost = Callable[[AgentHost], None] | None


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
    longest_work: float


def draw_scale(chance: random.Random) -> Scale:
    """A small world, mostly with narrow limits, since they are where things go wrong."""
    is_flood = chance.random() < 0.08
    is_slow = random.Random(f"{chance.random()}/lag").random() < 0.25
    return Scale(
        agents=chance.choice((1, 2, 3, 4)),
        callers=3 if is_flood else chance.choice((1, 2)),
        rounds=8 if is_flood else chance.randrange(2, 9),
        batches=(1, 1, 4, 8) if is_flood else (1, 1, 1, 2, 5),
        lag=0.2 if is_flood or is_slow else 0.005,
        faults=draw_faults(chance),
        seconds=chance.choice((5.0, 10.0) if is_flood else (10.0, 25.0, 60.0)),
        options=Options(
            channel_size=chance.choice((1, 2, 100)),
            window=chance.choice((1, 2, 5, 1_000)),
            heartbeat=chance.choice((2.0, 5.0, 5.0)),
            patience=draw_patience(chance),
            approval_timeout=random.Random(f"{chance.random()}/approval").choice((6.0, 15.0, 30.0)),
        ),
        longest_work=chance.choice((*[LONGEST_WORK] * 3, 2 * LONGEST_WORK)),
    )


def draw_patience(chance: random.Random) -> ServerPatience:
    """Short leases, so that they run out."""
    return ServerPatience(
        lease=chance.choice((20_000, 24_000, 30_000)),
        start_lease=chance.choice((10_000, 16_000)),
        lost_after=chance.choice((20_000, 40_000)),
        unknown_after=chance.choice((18_000, 32_000)),
        grace=chance.choice((8_000, 20_000)),
        brake=chance.choice((25_000, 50_000)),
    )


def draw_rate(chance: random.Random) -> float:
    """How fast a clock goes: right, or wrong by as much as a clock may be."""
    return chance.choice((1.0, 0.98, 1.02, chance.uniform(0.98, 1.02)))


class World:
    """Everything of one run."""

    def __init__(self, seed: int, *, make_manager: MakeManager, make_core: MakeCore, spoil: SpoilHost) -> None:
        self._seed = seed
        self._spoil = spoil
        self._make_core = make_core
        self._loop = asyncio.get_running_loop()
        self._make_manager = make_manager
        self.scale = draw_scale(self._chance("scale"))
        patience = self.scale.options.patience
        self.history = History(
            patience=Patience(
                lease=patience.lease / 1000,
                lost_after=patience.lost_after / 1000,
                unknown_after=patience.unknown_after / 1000,
            )
        )
        self.disk = Disk(workspaces={name: workspace(name) for name in WORKSPACES})
        self._clock = LoopClock(start=1_000.0, rate=draw_rate(self._chance("clock")))
        self._weather = Weather(lag=self.scale.lag, clock=self._clock, chance=self._chance("weather"))
        self._ids = count(1)
        self._blocks, self._blocks_seen = self.disk.blocks, 0
        self._handed_at = self._durable_at = self._decided_at = 0.0
        self._is_handed = False
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
        self.history.slots = {agent.name: agent.slots for agent in self.agents}
        self.history.plan_limits = {agent.name: agent.plan_limit for agent in self.agents}
        self._approver = Approver(
            disk=self.disk, server=self.server, history=self.history, chance=self._chance("approver")
        )
        self._copies: list[AgentHost] = []
        self._mishaps = Mishaps(self.agents, copy=self._copy, chance=self._chance("mishaps"))
        self._outages = Outages(self.server, self._weather, history=self.history, options=self.scale.options)
        self._drainer = Drainer(server=self.server, history=self.history, chance=self._chance("drainer"))
        self._person = Person(disk=self.disk, server=self.server, history=self.history, chance=self._chance("person"))
        self._pauser = Pauser(disk=self.disk, server=self.server, chance=self._chance("pauser"))
        self._exile = Exile(
            self.agents,
            server=self.server,
            caller=self._caller("exile", crowd=0.0),
            suspend=self._mishaps.suspend,
            lease=self.scale.options.patience.lease / 1000,
            chance=self._chance("exile"),
        )
        self._shelf = MemoryShelf(self.disk, pause=self._weather.pause, fault=self._weather.fault, now=self._loop.time)
        self._disaster = Disaster(
            shelf=self._shelf,
            server=self.server,
            weather=self._weather,
            history=self.history,
            chance=self._chance("disaster"),
        )

    async def run(self) -> History:
        """Live through it, from the first request to quiescence."""
        async with asyncio.TaskGroup() as beside:
            around = [
                beside.create_task(self._weather.keep_up(self.server, look=self._outages.look)),
                beside.create_task(self._listen()),
            ]
            for agent in self.agents:
                agent.start()
            await self._busy_time()
            await self._come_to_rest()
            self._outages.end()
            self.history.leftovers = await self._leftovers()
            self.history.kept = kept_tasks(self.disk)
            for task in around:
                task.cancel()
        self.server.crash()
        for agent in self.agents + self._copies:
            agent.halt()
        return self.history

    async def _busy_time(self) -> None:
        scale = self.scale
        crowd = draw_crowd(self._chance("crowd"))
        async with asyncio.TaskGroup() as group:
            for number in range(scale.callers):
                caller = self._caller(f"caller{number}", crowd=crowd)
                group.create_task(caller.run(seconds=scale.seconds, rounds=scale.rounds))
            group.create_task(self._person.meddle(seconds=scale.seconds))
            group.create_task(self._drainer.drain([one.name for one in self.agents], seconds=scale.seconds))
            group.create_task(self._pauser.meddle(seconds=scale.seconds))
            group.create_task(self._approver.look(seconds=scale.seconds))
            group.create_task(
                self._weather.rage(self.server, self.agents, self._mishaps, seconds=scale.seconds, faults=scale.faults)
            )
            if self._disaster.comes:  # else the others would have their turns in another order
                group.create_task(self._disaster.strike(seconds=scale.seconds))
            if self._exile.comes:
                group.create_task(self._exile.befall(seconds=scale.seconds))

    async def _come_to_rest(self) -> None:
        """Wait until nothing is left to do, and then until what is over is forgotten."""
        fair_since = self._loop.time()
        while self._loop.time() <= fair_since + MOST_CALM_SECONDS:
            if self._is_calm():
                await asyncio.sleep(12.0)
                if self._is_calm():  # what was on its way before has come meanwhile
                    return
            await asyncio.sleep(1.0)
            await self._person.settle(fair_since=fair_since)
            await self._pauser.settle()
            await self._approver.settle()
            await self._lift_cordons()

    async def _leftovers(self) -> list[str]:
        """What is still held. Servers write something down now and then: what is on its way is no leftover."""
        found: list[str] = []
        for _ in range(LOOKS_AT_LEFTOVERS):
            found = leftovers(self.server.manager, self.agents)
            if not found:
                break
            await asyncio.sleep(0.7)
        return found

    def _is_calm(self) -> bool:
        """Whether nothing is left to do, and every agent is connected, heard of and let to work."""
        manager = self.server.manager
        return (
            manager is not None
            and all(session.last_beat and not session.cordoned for session in manager.agents.sessions())
            and all(self._stays_in_doubt(row.task) for row in self.disk.live.values())
            and len(manager.agents.sessions()) == len(self.agents)
            and all(agent.life is not None and agent.life.core.is_idle for agent in self.agents)
        )

    def _stays_in_doubt(self, task: Task) -> bool:
        return task.status is TaskStatus.UNKNOWN and self._person.lets_it_be(task)

    async def _lift_cordons(self) -> None:
        manager = self.server.manager
        for session in manager.agents.sessions() if manager is not None else ():
            if session.cordoned:
                await self._person.undrain(session.agent_id)

    # -- its parts ----------------------------------------------------------------------------------------------------

    def _chance(self, part: str) -> random.Random:
        return random.Random(f"{self._seed}/{part}")

    def _manager(self, store: MemoryStore) -> TaskManager:
        return self._make_manager(
            store=store,
            clock=self._clock,
            new_id=lambda: f"task-{next(self._ids)}",
            options=self.scale.options,
            shelf=self._shelf if self._disaster.comes else None,
        )

    def _caller(self, name: str, *, crowd: float) -> Caller:
        return Caller(
            name,
            batches=self.scale.batches,
            server=self.server,
            history=self.history,
            chance=self._chance(name),
            machines=self.agents,
            crowd=crowd,
            longest_work=self.scale.longest_work,
        )

    def _agent(self, number: int) -> AgentHost:
        return self._agent_on(
            f"agent{number}",
            f"agent{number}",
            handlers=HANDLERS if number % 2 == 0 else {type: HANDLERS[type] for type in HANDLERS if type != "render"},
            declines=frozenset() if number == 0 else frozenset({"fussy"}),
            labels={"side": SIDES[number % 2], "machine": f"agent{number}"},
            features=frozenset() if self._chance(f"features {number}").random() < 0.1 else FEATURES,
        )

    def _agent_on(
        self,
        name: str,
        agent_id: str,
        *,
        handlers: dict[str, Execution],
        declines: frozenset[str],
        labels: Mapping[str, str],
        features: Collection[str],
    ) -> AgentHost:
        chance = self._chance(name)
        machine = Machine(
            name=name,
            clock=LoopClock(start=chance.uniform(0, 1e6), rate=draw_rate(chance)),
            is_granted=self._is_granted,
            history=self.history,
            chance=chance,
        )
        host = AgentHost(
            agent_id=agent_id,
            machine=machine,
            slots=chance.choice((1, 2, 4)),
            handlers=handlers,
            places=PLACES,
            declines=declines,
            labels=labels,
            resources={"key": 1_000},
            features=features,
            dial=self._dial,
            make_core=self._make_core,
            history=self.history,
            chance=chance,
        )
        if self._spoil is not None:
            self._spoil(host)
        return host

    def _copy(self, agent: AgentHost) -> AgentHost:
        """A machine that was made from the image of another one, with its identity and without its journal."""
        name = f"{agent.name} copy {len(self._copies) + 1}"
        copy = self._agent_on(
            name,
            agent.agent_id,
            handlers=dict(agent.handlers),
            declines=agent.declines,
            labels=agent.labels,
            features=agent.features,
        )
        copy.machine.disk.session = agent.machine.disk.session
        self._copies.append(copy)
        return copy

    def _dial(self, agent: AgentHost, life: int) -> Wire[Frame]:
        wire: Wire[Frame] = Wire(self._loop, agent.chance, machine=agent.name, life=life)
        self.server.accept(wire)
        return wire

    def _is_granted(self, request: TaskRequest) -> bool:
        """Whether the disk knows of this grant, and of none after it. Whom a person overruled cannot know it yet."""
        disk = self._disaster.disk
        if request.ref.task_id not in disk.keys:
            return False
        row = disk.rows[disk.keys[request.ref.task_id]]
        task = row.task
        is_current = task.attempt is not None and task.ref == request.ref and task.status in GRANTED
        return is_current or any(note.remark.by for note in row.notes)

    def _pause(self, kind: str) -> Awaitable[None]:
        if kind == "applied":
            return self._pause_after_commit()
        if kind == "apply":
            self._hand()
        return self._weather.pause(kind)

    async def _pause_after_commit(self) -> None:
        self._note_commits()
        self._is_handed = False
        await self._weather.pause("applied")
        self._durable_at = self._loop.time()

    def _hand(self) -> None:
        """A batch is handed to the store. It gathered while the one before was on its way, or says once more what that
        could not make durable. Beside it somebody may set a limit, or keep an answer: then the earlier moment counts.
        """
        now = self._loop.time()
        decided = self._handed_at if now == self._durable_at else now
        self._decided_at = min(decided, self._decided_at) if self._is_handed else decided
        self._handed_at, self._is_handed = now, True

    def _note_commits(self) -> None:
        """Write down what has just become durable."""
        if self._disaster.is_under_way:  # what is loaded takes the place of these, too
            return
        now, decided = self._loop.time(), self.history.decided
        decided[now] = min(self._decided_at, decided.get(now, now))  # two commits may take no time
        if self.disk.blocks is not self._blocks:  # those of another database
            self._blocks, self._blocks_seen = self.disk.blocks, 0
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


def simulate(
    seed: int, *, make_manager: MakeManager = TaskManager, make_core: MakeCore = AgentCore, spoil: SpoilHost = None
) -> History:
    """The history of one run. `spoil` is called with every agent's host."""

    async def main() -> History:
        return await World(seed, make_manager=make_manager, make_core=make_core, spoil=spoil).run()

    return run_virtually(main(), seed=seed)
