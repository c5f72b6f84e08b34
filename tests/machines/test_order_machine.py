"""Who runs what next, for any mix of tasks, agents, limits and priorities.

What is with agents is never over a limit, nothing waits that could run, and what was started was the first that fits:
whatever goes before it could not have had its place. Except that who waits for a lock, a limit or a rate has to be
found when there is a place again, and meanwhile others go on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from nodelink.selectors import selects
from nodelink.task import Execution, HeldAttempt, HeldState, Rate, Submission, TaskStatus
from nodelink_server.core.assembly import Options
from nodelink_server.core.limits import keys_of
from nodelink_server.core.needs import needs_of, place_of
from nodelink_server.core.states import GRANTED
from nodelink_server.core.task import Task
from tests.machines.effort import effort
from tests.simulation.loop import VirtualLoop
from tests.support.core_parts import Core, Database, make_submission, running_core
from tests.support.fake_agent import FakeAgent


def agent_id(place: int) -> str:
    """The id of one of the agents."""
    return f"01900000-0000-7000-8000-00000000000{place}"


QUIET_SECONDS = 0.5
"""Longer than anything takes that is under way: the database answers at once, and time is virtual."""
HANDLERS = {"echo": Execution.REPLAYABLE, "shell": Execution.ONCE}
RATE = Rate(2, 5_000)
CPU, GPU = {"cpu": 1_500}, {"cpu": 500, "gpu": 1_000}
LIMITS = ("running", "pool:default", "type:shell", f"agent:{agent_id(2)}", "key:db")


@dataclass(frozen=True)
class Machine:
    """An agent that a run has."""

    slots: int
    labels: dict[str, str]
    resources: dict[str, int] = field(default_factory=dict)
    type_limits: dict[str, int] = field(default_factory=dict)


MACHINES = (
    Machine(slots=3, labels={"env": "prod"}, resources={"cpu": 2_000}),
    Machine(slots=1, labels={"env": "test", "disk": "hdd"}, type_limits={"shell": 1}),
    Machine(slots=4, labels={"env": "prod", "disk": "ssd"}, resources={"cpu": 2_000, "gpu": 1_000}),
    Machine(slots=2, labels={}, type_limits={"echo": 1}),
)

TASKS = st.builds(
    make_submission,
    st.sampled_from(("echo", "echo", "shell")),
    payload=st.just(b'{"command":"x"}'),
    priority=st.sampled_from((1, 50, 50, 75, 100)),
    lock=st.sampled_from(("", "", "", "the one", "the other")),
    limits=st.sampled_from(({}, {}, {"db": 2}, {"db": 1, "api": 3}, {"api": 2})),
    rates=st.sampled_from(({}, {}, {}, {"mail": RATE})),
    slots=st.sampled_from((1, 1, 1, 2, 3)),
    resources=st.sampled_from(({}, {}, CPU, GPU)),
    selector=st.sampled_from(("", "", "env=prod", "disk!=hdd", "!disk")),
    agent_id=st.sampled_from(("", "", "", "", agent_id(0), agent_id(3))),
    fairness_key=st.sampled_from(("", "", "red", "blue")),
    fairness_weight=st.just(1),
    workspace=st.sampled_from(("", "", "", "site")),
    delay_ms=st.sampled_from((None, None, None, None, 731, 2_613)),  # never when another step is taken
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.lists(TASKS, min_size=1, max_size=8)),
        st.tuples(st.just("finish"), st.integers(0, 100)),
        st.tuples(st.just("finish"), st.integers(0, 100)),
        st.tuples(st.just("cancel"), st.integers(0, 100)),
        st.tuples(st.just("limit"), st.tuples(st.sampled_from(LIMITS), st.sampled_from((None, 0, 1, 3)))),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("wait"), st.sampled_from((1_000, 6_000))),
    ),
    min_size=8,
    max_size=60,
)


class Yard:
    """A server over a database, with its agents, looked at when nothing moves any more."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.database = Database()
        self.agents: list[FakeAgent] = []
        self.core: Core | None = None
        self._before: set[str] = set()
        self._owed: int | None = None
        """The agent that has not said yet that a slot is free again."""

    async def run(self, steps: Sequence[tuple[str, object]]) -> None:
        """Take the steps one by one, and see after each that all is well."""
        pending = list(steps)
        while pending:
            async with running_core(self.database, options=Options(window=self.window)) as self.core:
                if not self.core.manager.workspaces.all():
                    await self.core.manager.workspaces.create("site", pool="default", mode="agent")
                await self._connect()
                await self._settle()
                while pending:
                    kind, what = pending.pop(0)
                    if kind == "restart":
                        break
                    self._before = set(self._with_agents())
                    await getattr(self, f"_{kind}")(what)
                    await self._settle()
                    self._check()
                for agent in self.agents:
                    await agent.hang_up()

    # -- steps --------------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        assert self.core is not None
        numbers = [agent.number for agent in self.agents] or [0] * len(MACHINES)
        held = self._with_agents()
        self.agents = []
        for place, (machine, number) in enumerate(zip(MACHINES, numbers, strict=True)):
            agent = FakeAgent(self.core, agent_id=agent_id(place), slots=machine.slots, handlers=HANDLERS)
            agent.number = number
            mine = [task for task in held.values() if task.attempt and task.attempt.agent_id == agent.agent_id]
            await agent.connect(
                credit=machine.slots - len(mine),
                held=[HeldAttempt(task.ref, HeldState.RUNNING) for task in mine],
                labels=machine.labels,
                resources=machine.resources,
                type_limits=machine.type_limits,
            )
            self.agents.append(agent)

    async def _submit(self, submissions: Sequence[Submission]) -> None:
        assert self.core is not None
        ids = await self.core.submit(*submissions)
        assert len(ids) == len(submissions)

    async def _finish(self, number: int) -> None:
        running = sorted(self._with_agents())
        if not running:
            return
        task = self._tasks()[running[number % len(running)]]
        assert task.attempt is not None
        place = int(task.attempt.agent_id[-1])
        agent = self.agents[place]
        self._owed = place
        await agent.finish(task.ref)
        await self._settle()  # its places and resources are free, and its slot is not yet
        self._check()
        self._owed = None
        agent.session.credit_given(agent.session._credit + 1)

    async def _cancel(self, number: int) -> None:
        assert self.core is not None
        waiting = sorted(task.id for task in self._tasks().values() if task.status is TaskStatus.PENDING)
        if waiting:
            await self.core.manager.cancel(waiting[number % len(waiting)])

    async def _limit(self, what: tuple[str, int | None]) -> None:
        assert self.core is not None
        name, most = what
        await self.core.manager._store.set_limit(name, most, 0)
        self.core.manager.rooms.limits.set(name, most)

    async def _wait(self, ms: int) -> None:
        await asyncio.sleep(ms / 1000)

    async def _settle(self) -> None:
        """Wait until nothing moves, being heard of."""
        for _ in range(4):
            await asyncio.sleep(QUIET_SECONDS / 4)
            for agent in self.agents:
                agent.beat(*[task.ref for task in self._with_agents().values() if self._is_at(task, agent.agent_id)])

    # -- what must hold -----------------------------------------------------------------------------------------------

    def _check(self) -> None:
        self._is_within_limits()
        started = [task for task in self._with_agents().values() if task.id not in self._before]
        self._before |= {task.id for task in started}
        waiting = [task for task in self._tasks().values() if task.status is TaskStatus.PENDING]
        for task in waiting:
            free = [agent for agent in range(len(MACHINES)) if self._could_start(task, agent, ())]
            assert not free, f"{task.id} waits though agent {free} could run it"
        for later in started:
            assert later.attempt is not None
            agent = int(later.attempt.agent_id[-1])
            for task in waiting:
                was_there = task.ready_at is not None and task.ready_at <= later.attempt.sent_at
                if was_there and place_of(task) < place_of(later) and not self._is_looked_up(task):
                    could = self._could_start(task, agent, (later.id,))
                    assert not could, f"{later.id} went before {task.id}, which could have had its place"

    def _is_looked_up(self, task: Task) -> bool:
        """Whether it may have left memory for want of a place: it takes a moment to find it again."""
        return bool(keys_of(task).keys() - {f"task:{task.id}"} or task.spec.rates)

    def _is_within_limits(self) -> None:
        running = self._with_agents().values()
        for place, machine in enumerate(MACHINES):
            mine = [task for task in running if self._is_at(task, agent_id(place))]
            assert sum(task.spec.slots for task in mine) <= machine.slots
            for name, amount in _resources(mine).items():
                assert amount <= machine.resources.get(name, 0)
            for type, most in machine.type_limits.items():
                assert sum(task.spec.type == type for task in mine) <= most
        locks = Counter(task.spec.lock for task in running if task.spec.lock)
        assert not locks or max(locks.values()) == 1
        for key in ("db", "api"):
            named = [task.spec.limits[key] for task in running if key in task.spec.limits]
            assert len(named) <= min(named, default=0)
        assert sum(bool(task.spec.workspace) for task in running) <= 1

    def _could_start(self, task: Task, place: int, without: Sequence[str]) -> bool:
        """Whether an agent could run a task if some of those that run were not there."""
        machine, spec = MACHINES[place], task.spec
        running = [one for one in self._with_agents().values() if one.id not in without]
        mine = [one for one in running if self._is_at(one, agent_id(place))]
        needs = needs_of(spec)
        used = _resources(mine)
        fits = (
            needs.agent_id in ("", agent_id(place))
            and selects(needs.selector, machine.labels)
            and sum(one.spec.slots for one in mine) + needs.slots <= machine.slots - (self._owed == place)
            and all(used[name] + amount <= machine.resources.get(name, 0) for name, amount in needs.resources)
        )
        limit = machine.type_limits.get(spec.type)
        fits = fits and (limit is None or sum(one.spec.type == spec.type for one in mine) < limit)
        return fits and self._has_places(task, running, place, without)

    def _has_places(self, task: Task, running: Sequence[Task], place: int, without: Sequence[str]) -> bool:
        spec, limits = task.spec, self.database.disk.limits
        gates = {
            "running": len(running),
            "pool:default": len(running),
            f"type:{spec.type}": sum(one.spec.type == spec.type for one in running),
            f"agent:{agent_id(place)}": sum(self._is_at(one, agent_id(place)) for one in running),
        }
        if any(name in limits and count >= limits[name] for name, count in gates.items()):
            return False
        if spec.lock and any(one.spec.lock == spec.lock for one in running):
            return False
        if spec.workspace and any(one.spec.workspace for one in running):
            return False
        for key, most in spec.limits.items():
            said = [one.spec.limits[key] for one in running if key in one.spec.limits]
            if len(said) >= min(most, limits.get(f"key:{key}", most), *said):
                return False
        return not spec.rates or self._rate_has_room(without)

    def _rate_has_room(self, without: Sequence[str]) -> bool:
        """Whether the places under the one rate were free a while ago: one just opened may be untaken."""
        assert self.core is not None
        now = self.core.manager.rooms.control.now()
        taken = [until for until in self.database.disk.rates.values() if until > now - 2 * QUIET_SECONDS * 1000]
        ours = any(self._tasks()[one].spec.rates for one in without)
        return len(taken) - ours < RATE.most

    # -- looking ------------------------------------------------------------------------------------------------------

    def _tasks(self) -> dict[str, Task]:
        return {row.task.id: row.task for row in self.database.disk.rows.values()}

    def _with_agents(self) -> dict[str, Task]:
        return {task.id: task for task in self._tasks().values() if task.status in GRANTED}

    def _is_at(self, task: Task, agent_id: str) -> bool:
        return task.attempt is not None and task.attempt.agent_id == agent_id


def _resources(tasks: Sequence[Task]) -> Counter[str]:
    used: Counter[str] = Counter()
    for task in tasks:
        used.update(task.spec.resources)
    return used


@effort(150, 1)
@given(steps=STEPS, window=st.sampled_from((2, 1_000)))
def test_what_starts_is_never_over_a_limit_and_always_the_first_that_fits(
    steps: list[tuple[str, object]], window: int
) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(Yard(window).run(steps))
    finally:
        loop.close()
