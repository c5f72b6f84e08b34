"""What a new agent process makes of its journal: how each attempt stands that an earlier process wrote down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelink.taken import taken_by
from nodelink.task import AttemptRef, Declined, Execution, Gone, TaskResponse
from nodelink_agent.core.agent import AgentCore
from nodelink_agent.core.records import EndRecord, Remembered, StartRecord
from tests.simulation.doing import Doing
from tests.simulation.machines import Machine

if TYPE_CHECKING:
    from tests.simulation.agents import AgentHost
    from tests.simulation.execution import Execution as Running

NEVER_BEGAN = Declined(message="it had not begun", just_this=True)


def recover(host: AgentHost, core: AgentCore, running: Running) -> None:
    """Tell the core what is remembered, and take up what runs. The journal is synced when it is opened."""
    host.machine.synced(len(host.machine.disk.journal))
    for spawner in host.spawners.values():
        if not spawner.is_dead:
            spawner.take_line(running)
    known = host.machine.disk.attempts()
    for spawner in host.spawners.values():
        if not spawner.is_dead:
            spawner.disown(known)
    found = [_Found(host, start, end) for start, end in known.values()]
    running.perform(core.restore([one.remembered for one in found]))
    for one in found:
        one.take_up(running)
    _prune(host)


def _prune(host: AgentHost) -> None:
    """Remove what dead spawners left and no attempt needs any more. The rest is left to the next process."""
    disk = host.machine.disk
    needed = host.kept_homes = {start.place for start, end in disk.attempts().values() if end is None}
    for name in disk.spawners.keys() - needed:
        spawner = host.spawners.get(name)
        if spawner is None or spawner.is_dead:
            disk.spawners[name].exits.clear()


class _Found:
    """One attempt that the journal knows."""

    def __init__(self, host: AgentHost, start: StartRecord, end: EndRecord | None) -> None:
        self._machine: Machine = host.machine
        self._request = start.request
        self._spawner = host.spawners.get(start.place)
        self._runs: Doing | None = None
        self._orphan = False
        self._is_recorded = end is not None
        self._response = end.response if end is not None else self._ended(start.place)

    @property
    def ref(self) -> AttemptRef:
        """Its name."""
        return self._request.ref

    @property
    def remembered(self) -> Remembered:
        """What the core is told of it."""
        request = self._request
        one = Remembered(request.ref, request.execution, request.lease_ms, self._response, self._is_recorded)
        return one._replace(takes=taken_by(request.spec, has_plan=request.plan is not None))

    def take_up(self, running: Running) -> None:
        """Watch over it, if it runs on; tell of its output, if it does not."""
        spawner = self._spawner
        if self._response is None and self._orphan:
            running.await_orphan(self.ref, self._runs, exclusive=self._request.execution is Execution.EXCLUSIVE)
        elif self._response is None and self._runs is not None and spawner is not None:
            running.adopt(self._runs, spawner)
        elif spawner is not None and not spawner.is_dead:
            running.knows(self.ref, spawner)

    def _ended(self, place: str) -> TaskResponse | None:
        """How it ended; None: it runs, or is waited for."""
        if not place:
            return TaskResponse(self.ref, Gone(message="its agent died", agent_died=True))
        disk = self._machine.disk.spawners.get(place)
        if disk is None:
            return TaskResponse(self.ref, Gone(message="its spawner is not known"))
        if self.ref in disk.exits:
            return TaskResponse(self.ref, disk.exits[self.ref].finished)
        if self._spawner is not None and not self._spawner.is_dead:
            self._runs = self._spawner.held(self.ref)
            if self._runs is not None or self.ref in disk.ordered:
                return None  # it runs, or its end is about to be told
            return TaskResponse(self.ref, NEVER_BEGAN)
        return self._of_dead_spawner(boot=disk.boot, known=self.ref in disk.ordered, closed=disk.closed)

    def _of_dead_spawner(self, *, boot: int, known: bool, closed: bool) -> TaskResponse | None:
        if closed or (boot == self._machine.boot and not known):
            return TaskResponse(self.ref, NEVER_BEGAN)
        if boot != self._machine.boot:
            return TaskResponse(self.ref, Gone(message="the machine was restarted"))
        self._runs = self._machine.orphans.get(self.ref)
        self._orphan = True
        return None
