"""A simulated machine: its clock, its disk, and what runs on it. What is on the disk outlives every process; what was
not synced may be lost with the power, and the whole of it with the disk.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nodelink.plan import APPLY, PLAN, is_applying, is_planning
from nodelink.task import AttemptRef, Finished, TaskRequest
from nodelink_agent.core.records import EndRecord, ForgetRecord, Record, StartRecord
from tests.checking.history import History, Life, Run
from tests.simulation.doing import Doing
from tests.simulation.plans import plan_of
from tests.support.clock import LoopClock

LONG_SECONDS = 15.0
"""Work that takes so long may outlive its lease."""


@dataclass(slots=True)
class Exit:
    """How a command ended, as its spawner wrote it down."""

    finished: Finished
    durable: bool = False


@dataclass(slots=True)
class SpawnerDisk:
    """The journal of one spawner. `boot`: of which life of the machine it is. `closed`: it ended in good order."""

    boot: int
    ordered: dict[AttemptRef, None] = field(default_factory=dict)
    exits: dict[AttemptRef, Exit] = field(default_factory=dict)
    closed: bool = False


@dataclass(slots=True)
class MachineDisk:
    """What a machine keeps. `synced`: how many records of the journal are durable.

    `remembers_since`: the session since which the journal is whole; 0: there is none yet.
    """

    session: int = 0
    journal: list[Record] = field(default_factory=list)
    synced: int = 0
    remembers_since: int = 0
    spawners: dict[str, SpawnerDisk] = field(default_factory=dict)
    printed: dict[AttemptRef, Doing] = field(default_factory=dict)
    full: bool = False

    def attempts(self) -> dict[AttemptRef, tuple[StartRecord, EndRecord | None]]:
        """What the journal knows of: how each began, and how it ended."""
        found: dict[AttemptRef, tuple[StartRecord, EndRecord | None]] = {}
        for record in self.journal:
            if isinstance(record, StartRecord):
                found[record.request.ref] = (record, None)
            elif isinstance(record, ForgetRecord):
                found.pop(record.ref, None)
            elif record.response.ref in found:
                found[record.response.ref] = (found[record.response.ref][0], record)
        return found


class Machine:
    """One machine: from boot to boot, with one disk."""

    def __init__(
        self,
        *,
        name: str,
        clock: LoopClock,
        is_granted: Callable[[TaskRequest], bool],
        history: History,
        chance: random.Random,
    ) -> None:
        self.name = name
        self.clock = clock
        self.chance = chance
        self.history = history
        self.disk = MachineDisk()
        self.boot = 0
        self.begun = asyncio.Event()
        """Set whenever work begins."""
        self.disk_since = 0.0
        """Since when it has the disk that it has."""
        self.suspended = 0.0
        """For how long it has been suspended in all, by its own clock."""
        self.orphans: dict[AttemptRef, Doing] = {}
        """Commands whose spawner is no more."""
        self._is_granted = is_granted
        self._loop = asyncio.get_running_loop()
        self._host_life = self.begin_life("host")

    # -- lives --------------------------------------------------------------------------------------------------------

    def begin_life(self, kind: str) -> Life:
        """Something begins to live here."""
        number = 1 + sum(life.machine == self.name and life.kind == kind for life in self.history.lives)
        life = Life(machine=self.name, kind=kind, number=number, began_at=self._loop.time())
        self.history.lives.append(life)
        return life

    def end_life(self, life: Life, *, left: bool = False) -> None:
        """It has ended."""
        life.ended_at, life.left = self._loop.time(), left

    def lose_power(self) -> None:
        """Everything dies; what was not durable may be lost. The processes are ended by whoever holds them."""
        for doing in self.orphans.values():
            doing.die()
        self.orphans.clear()
        self.end_life(self._host_life)
        self._cut_journals()
        self.boot += 1
        self._host_life = self.begin_life("host")

    def _cut_journals(self) -> None:
        disk = self.disk
        keep = self.chance.randrange(disk.synced, len(disk.journal) + 1)
        del disk.journal[keep:]
        disk.synced = keep
        for spawner in disk.spawners.values():
            for ref, exit in list(spawner.exits.items()):
                if not exit.durable and self.chance.random() < 0.5:
                    del spawner.exits[ref]
                exit.durable = True

    def lose_disk(self) -> None:
        """What was on the disk is gone; who the machine is was kept elsewhere. Only while it has no power."""
        session = self.disk.session
        self.disk = MachineDisk(session=session)
        self.disk_since = self._loop.time()
        for run in self.history.runs:
            if run.machine == self.name:
                run.kept = False

    # -- work ---------------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """CLOCK_BOOTTIME of this machine."""
        return self.clock.monotonic()

    def begin(self, request: TaskRequest) -> Doing:
        """Work begins: it is written down by who watches over us all."""
        run = Run(
            ref=request.ref,
            token=plan_of(request.payload).token,
            machine=self.name,
            began_at=self._loop.time(),
            granted=self._is_granted(request),
            kept=False,
            phase=_phase_of(request),
            plan=request.plan.sha256 if request.plan is not None else "",
        )
        self.history.runs.append(run)
        self.begun.set()
        return Doing(request, run, began_at=self.now())

    @property
    def works_at_length(self) -> bool:
        """Whether something runs here that takes long, if it is left alone."""
        doings = self.disk.printed.values()
        return any(doing.run.ended_at is None and doing.plan.seconds >= LONG_SECONDS for doing in doings)

    def runs(self, token: str) -> bool:
        """Whether the work of a request runs here."""
        doings = self.disk.printed.values()
        return any(doing.run.ended_at is None and doing.run.token == token for doing in doings)

    def synced(self, count: int) -> None:
        """So many records of the journal are durable now; so are the ends among them."""
        for record in self.disk.journal[self.disk.synced : count]:
            if isinstance(record, EndRecord) and isinstance(record.response.update, Finished):
                self.keep(record.response.ref)
        self.disk.synced = max(self.disk.synced, count)

    def keep(self, ref: AttemptRef) -> None:
        """How an attempt ended is durable here."""
        for run in self.runs_of(ref):
            if run.ended_at is None or run.ended_at >= self.disk_since:
                run.kept = True

    def runs_of(self, ref: AttemptRef) -> Sequence[Run]:
        """The runs of an attempt on this machine."""
        doing = self.disk.printed.get(ref)
        if doing is not None:
            return [doing.run]
        return [run for run in self.history.runs if run.ref == ref and run.machine == self.name]


def _phase_of(request: TaskRequest) -> str:
    has_plan = request.plan is not None
    if is_planning(request.spec.type, has_plan=has_plan):
        return PLAN
    return APPLY if is_applying(request.spec.type, has_plan=has_plan) else ""
