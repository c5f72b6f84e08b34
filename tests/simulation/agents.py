"""A simulated agent: an identity that lasts, one process after another on a machine, and spawners that outlive them.

The real core decides; this plays the parts of its process and its supervisor.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping

from nodelink.errors import ProtocolViolation
from nodelink.task import Execution as ExecutionClass
from nodelink_agent.core.agent import AgentCore
from tests.checking.history import History
from tests.simulation.execution import Execution
from tests.simulation.frames import Frame
from tests.simulation.journals import Journal
from tests.simulation.links import AgentLink, Introduction, LinkDown
from tests.simulation.loop import process_context, virtual_loop
from tests.simulation.machines import Machine
from tests.simulation.pipes import Wire
from tests.simulation.recovery import recover
from tests.simulation.spawners import Spawner

LOOK_SECONDS = 0.2
LONGEST_SLEEP = 2.0


class AgentHost:
    """The agent of one machine, whether a process of it lives or not."""

    def __init__(
        self,
        *,
        agent_id: str,
        machine: Machine,
        slots: int,
        handlers: Mapping[str, ExecutionClass],
        places: Mapping[str, str],
        declines: frozenset[str],
        labels: Mapping[str, str],
        resources: Mapping[str, int],
        features: Collection[str],
        dial: Callable[[AgentHost, int], Wire[Frame]],
        make_core: Callable[..., AgentCore],
        history: History,
        chance: random.Random,
    ) -> None:
        self.agent_id = agent_id
        self.name = machine.name
        self.machine = machine
        self.slots = slots
        self.handlers = handlers
        self.places = places
        """By type, where it is done: "" in the agent's process, "spawner" by a spawner."""
        self.declines = declines
        self.labels = labels
        self.resources = resources
        self.features = features
        self.plan_limit = random.Random(f"{machine.name}/{slots}/{len(features)}").choice((1, 1, 2, 3))
        """How many plans it makes at a time. A copy of it makes as many."""
        self.dial = dial
        self.make_core = make_core
        self.history = history
        self.chance = chance
        self.wire: Wire[Frame] | None = None
        self.life: AgentLife | None = None
        self.spawners: dict[str, Spawner] = {}
        self.kept_homes: set[str] = set()
        """Whose records the latest process still needed when it began."""
        self.is_scrapped = False
        """The machine is no more: nobody starts it again."""
        self.in_hole = ""
        """In which direction what is said on new links is swallowed as well; empty: in none."""
        self.held: list[Wire[Frame]] = []
        self.holes = 0
        """How many holes it has left."""
        self.process = f"{machine.name}/agent"
        self.on_life: Callable[[AgentLife], object] = _leave_alone
        self.on_spawner: Callable[[Spawner], object] = _leave_alone
        """Called with each new process, and with each new spawner: for who wants to spoil them."""

    def start(self) -> None:
        """Start a process, if none lives."""
        if self.life is None and not self.is_scrapped:
            self.spawners = {name: one for name, one in self.spawners.items() if not one.is_dead}
            self.life = AgentLife(self)

    def kill(self) -> None:
        """Kill the process. What it has not written down is lost; its spawners live on."""
        life = self.life
        if life is None:
            return
        virtual_loop().go_on(self.process)
        self.life = None
        life.end(left=False)
        if self.wire is not None and self.chance.random() < 0.5:
            self.wire.cut()  # else what it had sent arrives, and then its end

    def reboot(self, *, wipe: bool) -> None:
        """Cut the power: everything dies. `wipe`: and the disk is replaced."""
        self.kill()
        for spawner in self.spawners.values():
            if not spawner.is_dead:
                spawner.lose_power()
        self.spawners.clear()
        self.machine.lose_power()
        if wipe:
            self.machine.lose_disk()

    def scrap(self) -> None:
        """The machine is gone for good."""
        self.is_scrapped = True
        self.reboot(wipe=True)

    def kill_spawner(self) -> None:
        """Kill a spawner. What it runs runs on."""
        living = [one for one in self.spawners.values() if not one.is_dead]
        if living:
            spawner = self.chance.choice(living)
            spawner.kill()
            if self.life is not None:
                self.life.execution.spawner_died(spawner)

    def enter_hole(self, direction: str = "both") -> None:
        """Have what is said between here and the server swallowed: "up", "down" or "both" ways."""
        self.in_hole = direction
        if self.wire is not None:
            self.wire.hold(direction)
            self.held.append(self.wire)

    def leave_hole(self) -> None:
        """Let what was swallowed arrive, late, on links that may be long gone."""
        self.in_hole = ""
        self.holes += 1
        for wire in self.held:
            virtual_loop().call_later(self.chance.choice((0.0, self.chance.uniform(0, 15))), wire.release)
        self.held.clear()

    def halt(self) -> None:
        """The run is over: stop everything where it stands, and write nothing down."""
        if self.life is not None:
            self.life.halt()
        for spawner in self.spawners.values():
            spawner.halt()
        for doing in self.machine.orphans.values():
            doing.halt()

    async def leave(self, patience: float) -> None:
        """Have the process go in good order, as far as that is possible in so many seconds."""
        life = self.life
        if life is None:
            return
        left = await life.leave(patience)
        if self.life is life:
            self.life = None
            life.end(left=left)


def _leave_alone(part: object) -> None:
    """What is new stays as it is."""


class AgentLife:
    """One process."""

    def __init__(self, host: AgentHost) -> None:
        self._host = host
        self._machine = machine = host.machine
        self._loop = asyncio.get_running_loop()
        self._life = machine.begin_life("agent")
        self.instance_id = f"{machine.name}.{self._life.number}"
        self._context = process_context(host.process)
        self.wake = asyncio.Event()
        self.is_over = False
        self.draining = False
        self.interval = 0.0
        spawner = self._fresh_spawner()
        places = {type: spawner.id if place else "" for type, place in host.places.items()}
        self.core = host.make_core(slots=host.slots, wake=self.wake.set, places=places)
        self.execution = Execution(self, host=host, spawner=spawner)
        self.journal = Journal(self.core, machine, perform=self.execution.perform)
        self.process_since = machine.disk.session + 1
        if not machine.disk.remembers_since:
            machine.disk.remembers_since = machine.disk.session + 1
        host.on_life(self)
        self._goodbye = asyncio.Event()
        self._keeper = self._loop.create_task(self._live(), name=f"{host.name} keeper", context=self._context)

    @property
    def remembers_since(self) -> int:
        """Since which session what is not in the journal never began."""
        return self._machine.disk.remembers_since

    def _fresh_spawner(self) -> Spawner:
        spawner = Spawner(self._machine, f"spawner{self._life.number}")
        self._host.spawners[spawner.id] = spawner
        self._host.on_spawner(spawner)
        return spawner

    def end(self, *, left: bool) -> None:
        """Stop at once."""
        self.is_over = True
        self._machine.end_life(self._life, left=left)
        self._keeper.cancel()
        self.journal.close()
        self.execution.die(left=left)

    def halt(self) -> None:
        """Stop at once, and leave the records as they are."""
        self.is_over = True
        self._keeper.cancel()
        self.journal.close()
        self.execution.halt()

    async def leave(self, patience: float) -> bool:
        """Take no more work, let what runs in here end, say goodbye. Returns whether nothing was left to tell."""
        self.draining = True
        self.execution.perform(self.core.drain())
        for _ in range(int(patience / LOOK_SECONDS)):
            if self.core.is_told and not self.execution.is_busy_itself:
                break
            await asyncio.sleep(LOOK_SECONDS)
        told = self.core.is_told and not self.execution.is_busy_itself
        self._goodbye.set()
        self.wake.set()
        await asyncio.wait({self._keeper}, timeout=2.0)
        return told

    # -- what it does -------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Take up what an earlier process left, then keep linked."""
        await asyncio.sleep(self._host.chance.uniform(0, 0.5))
        recover(self._host, self.core, self.execution)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self.journal.run()), group.create_task(self._keep_leases())]
            await self._keep_linked()
            for task in beside:
                task.cancel()

    async def _keep_leases(self) -> None:
        machine = self._machine
        while True:
            lapse = self.core.next_lapse
            left = LONGEST_SLEEP if lapse is None else machine.clock.real(lapse - machine.now())
            await asyncio.sleep(min(max(left, 0.0) + 0.001, LONGEST_SLEEP))
            if not self.is_over:
                self.execution.perform(self.core.lapsed(now=machine.now()))

    async def _keep_linked(self) -> None:
        host, disk = self._host, self._machine.disk
        while True:
            disk.session += 1
            wire = host.wire = host.dial(host, self._life.number)
            if host.in_hole:
                wire.hold(host.in_hole)
                host.held.append(wire)
            try:
                await AgentLink(self, wire, self._introduction(), chance=host.chance).run(self._goodbye)
                return
            except LinkDown as down:
                if down.last_session is not None:
                    self._session_was_known(down.last_session)
            except ProtocolViolation as error:
                host.history.problems.append(f"{host.name} saw the server break the protocol: {error}")
                raise
            finally:
                wire.up.end()
            await asyncio.sleep(host.chance.uniform(0.02, 3.0))

    def _session_was_known(self, last: int) -> None:
        """The server has seen greater numbers than this agent: what it remembers begins behind those."""
        disk = self._machine.disk
        if last > disk.session:
            disk.session = last
            self.process_since = disk.remembers_since = last + 1

    def _introduction(self) -> Introduction:
        host = self._host
        return Introduction(
            agent_id=host.agent_id,
            host_id=f"host of {host.name}",
            session=self._machine.disk.session,
            slots=host.slots,
            handlers=host.handlers,
            labels=host.labels,
            resources=host.resources,
            features=host.features,
            plan_limit=host.plan_limit,
        )
