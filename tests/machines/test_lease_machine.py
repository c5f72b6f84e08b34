"""An agent and a server count the same leases by clocks that go wrong by 2 %, over a link that delays and loses.

Whatever happens, the agent's own lease is over, and what ran under it is gone, before the server takes it for over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nodelink.task import AttemptRef, Execution, TaskStatus
from nodelink.values import evolve
from nodelink_agent.core.agent import LAPSE_GRACE_MS
from nodelink_agent.core.leases import Leases as AgentLeases
from nodelink_server.core.attempt import Attempt
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.leases import Leases, Patience
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.task import Task
from tests.machines.effort import effort
from tests.machines.steps import START_MS, new_task

AGENT = "a1"
LEASES = (15_000, 30_000, 30_000, 120_000, 600_000)
TICK_SECONDS = 1.0
RATES = st.floats(0.98, 1.02)
LONG = 300


@dataclass(slots=True)
class Clock:
    """A clock of a wrong rate, which somebody else moves on."""

    rate: float
    at: float = 0.0

    def monotonic(self) -> float:
        """What it shows."""
        return self.at

    def now(self) -> int:
        """Nobody asks for the time of day here."""
        return START_MS

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Nobody waits by it."""
        return nullcontext()

    async def sleep(self, seconds: float) -> None:
        """Nobody sleeps here."""


@dataclass(slots=True)
class Link:
    """One session: what is under way each way, in order."""

    up: deque[Callable[[], None]] = field(default_factory=deque)
    down: deque[Callable[[], None]] = field(default_factory=deque)
    is_greeted: bool = False


class LeaseMachine(RuleBasedStateMachine):
    """Moves the time on, and lets messages arrive."""

    @initialize(server=RATES, agent=RATES, behind=st.floats(0, 1e6), lease_ms=st.sampled_from(LEASES))
    def begin(self, server: float, agent: float, behind: float, lease_ms: int) -> None:
        """Two clocks that have nothing to do with one another."""
        self._lease_ms = lease_ms
        self._server_clock = Clock(server)
        self._agent_clock = Clock(agent, behind)
        self._control = ControlTime(self._server_clock)
        self._registry = TaskRegistry()
        self._server = Leases(
            registry=self._registry, control=self._control, patience=Patience(grace=0, lease=lease_ms)
        )
        self._agent = AgentLeases()
        self._running: set[AttemptRef] = set()
        self._over: dict[AttemptRef, float] = {}
        self._granted: set[AttemptRef] = set()
        self._taken: set[AttemptRef] = set()
        self._last_beat = 0
        self._made = 0
        self._link = Link()
        self.connect()
        self.deliver_all()

    # -- time ---------------------------------------------------------------------------------------------------------

    @rule(seconds=st.integers(1, 60))
    def pass_time(self, seconds: int) -> None:
        """Time passes, and the server commits each second."""
        self._pass(seconds, commits=True)

    @rule(seconds=st.integers(1, LONG))
    def fail_for_a_while(self, seconds: int) -> None:
        """Time passes, and the database is away."""
        self._pass(seconds, commits=False)
        self._control.committed()

    def _pass(self, seconds: int, *, commits: bool) -> None:
        for _ in range(seconds):
            self._server_clock.at += TICK_SECONDS * self._server_clock.rate
            self._agent_clock.at += TICK_SECONDS * self._agent_clock.rate
            if commits:
                self._control.committed()
            for ref in self._agent.take_over(self._agent_clock.at):
                self._over[ref] = self._agent_clock.at
            self._check()

    # -- messages -----------------------------------------------------------------------------------------------------

    @rule()
    def connect(self) -> None:
        """A new session. What was under way in the old one is lost, whichever way it went."""
        link = self._link = Link()
        self._agent.new_session(self._agent_clock.at)
        listed = self._listed()

        def welcomed() -> None:
            self._agent.acknowledged(0)

        def greeted() -> None:
            self._last_beat, link.is_greeted = 0, True
            self._hear(listed)
            link.down.append(welcomed)

        link.up.append(greeted)

    @rule()
    def beat(self) -> None:
        """The agent sends a heartbeat."""
        link = self._link
        number, listed = self._agent.sent(self._agent_clock.at), self._listed()

        def heard() -> None:
            self._last_beat = number
            self._hear(listed)
            link.down.append(lambda: self._extend(number))

        link.up.append(heard)

    @precondition(lambda self: self._link.is_greeted)
    @rule()
    def grant(self) -> None:
        """The server grants a task, counted from the last heartbeat that it has heard."""
        link = self._link
        self._made += 1
        ref = AttemptRef(f"t{self._made}", 1, self._made)
        self._registry.swap(put=[_running(ref, self._lease_ms)])
        self._server.granted(AGENT, ref.task_id)
        self._granted.add(ref)
        basis = self._last_beat
        link.down.append(lambda: self._receive(ref, basis))

    @precondition(lambda self: self._link.up)
    @rule()
    def deliver_to_server(self) -> None:
        """The oldest message arrives."""
        self._link.up.popleft()()

    @precondition(lambda self: self._link.down)
    @rule()
    def deliver_to_agent(self) -> None:
        """The oldest message arrives."""
        self._link.down.popleft()()

    @rule()
    def deliver_all(self) -> None:
        """The link is as good as they are."""
        while self._link.up:
            self._link.up.popleft()()
        while self._link.down:
            self._link.down.popleft()()

    @rule(seconds=st.integers(0, 20))
    def work(self, seconds: int) -> None:
        """All goes well: a task is granted, starts, and a heartbeat comes through."""
        self.deliver_all()
        self.grant()
        self.deliver_all()
        self._pass(seconds, commits=True)
        self.beat()
        self.deliver_all()

    @precondition(lambda self: self._running - self._over.keys())
    @rule(before=st.integers(0, 25), after=st.integers(0, 25))
    def beat_twice(self, before: int, after: int) -> None:
        """One heartbeat comes late, or its answer does, while the next is under way."""
        self.beat()
        self._pass(before, commits=True)
        if self._link.up:
            self._link.up.popleft()()
        self._pass(after, commits=True)
        self.beat()
        if self._link.down:
            self._link.down.popleft()()

    @precondition(lambda self: self._link.is_greeted)
    @rule(before=st.integers(0, 25), after=st.integers(0, 25))
    def grant_late(self, before: int, after: int) -> None:
        """A grant is long under way, and a heartbeat crosses it."""
        self.grant()
        self._pass(before, commits=True)
        self.beat()
        self._pass(after, commits=True)
        while self._link.down:
            self._link.down.popleft()()

    @rule()
    def wait_for_the_end(self) -> None:
        """Nothing is heard until every lease is over."""
        self._pass(self._lease_ms // 1_000 + 30, commits=True)

    # -- how ----------------------------------------------------------------------------------------------------------

    def _listed(self) -> list[str]:
        return [ref.task_id for ref in self._running if ref not in self._over]

    def _hear(self, listed: list[str]) -> None:
        live = {ref.task_id for ref in self._granted - self._taken}
        self._server.renew(AGENT, [task_id for task_id in listed if task_id in live])

    def _extend(self, number: int) -> None:
        self._agent.acknowledged(number)

    def _receive(self, ref: AttemptRef, basis: int) -> None:
        until = self._agent.end_of(self._lease_ms, basis)
        if self._agent_clock.at <= until:
            self._agent.hold(ref, self._lease_ms, until, extends=True)
            self._running.add(ref)

    @invariant()
    def the_agent_gives_up_first(self) -> None:
        """Looked at after each second as well."""
        if hasattr(self, "_server"):
            self._check()

    def _check(self) -> None:
        for task in self._server.run_out(1_000):
            ref = task.ref
            self._taken.add(ref)
            self._server.gone(AGENT, task.id)
            if ref not in self._running:
                continue
            assert ref in self._over, f"{ref} still runs at its agent"
            since = (self._agent_clock.at - self._over[ref]) / self._agent_clock.rate
            assert since * 1000 >= LAPSE_GRACE_MS, f"{ref} was told to stop {since} s before"


def _running(ref: AttemptRef, lease_ms: int) -> Task:
    task = new_task(ref.task_id, now=START_MS, execution=Execution.REPLAYABLE)
    attempt = Attempt(number=1, fence=ref.fence, agent_id=AGENT, session=1, sent_at=START_MS, lease_ms=lease_ms)
    return evolve(task, status=TaskStatus.IN_PROGRESS, attempt=attempt, grants=1, revision=1)


TestLeases = LeaseMachine.TestCase
TestLeases.settings = effort(150, 50)
