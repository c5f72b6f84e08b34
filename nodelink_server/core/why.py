"""Why a task stands where it stands, and why an agent has no work: each condition, and whether it holds.

The conditions are asked of what the scheduler itself goes by, so that an answer is never a guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from itertools import chain
from typing import NamedTuple

from nodelink.durations import format_duration_ms
from nodelink.errors import TaskNotFound
from nodelink.selectors import parse_selector
from nodelink.task import Execution, Reason, TaskStatus
from nodelink.values import evolve, value
from nodelink_server.core.agents import AgentRegistry
from nodelink_server.core.clock import ControlTime, moment_text
from nodelink_server.core.grants import FIRST_LEASED_PROTOCOL
from nodelink_server.core.limits import Limits, name_of
from nodelink_server.core.needs import needs_of, place_of, shape_of
from nodelink_server.core.pauses import Pauses, parts_of
from nodelink_server.core.ports import AgentRecord, Clock, Store
from nodelink_server.core.scheduler import Scheduler
from nodelink_server.core.sends import Sends
from nodelink_server.core.session import AgentSession
from nodelink_server.core.states import QUEUED
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task

MOST_AGENTS = 100
"""The verdicts on so many agents are shown; of the others it is counted what ruled them out."""
MOST_AHEAD = 10_000
"""Up to so many tasks are counted that go before."""


_DRAINED = "is drained"

_REASONS = {
    "scheduler": Reason.PAUSED,
    "send": Reason.AGENT,
    "lock": Reason.LOCK,
    "limit": Reason.LIMIT,
    "rate": Reason.RATE,
}


_REMEDY_OF_KEYS = {
    "limit": "the end of a task that has a place, or a higher limit",
    "rate": "time: its places free themselves",
    "send": "an agent that connects, a task that ends, or the next try",
}


class Verdict(NamedTuple):
    """A condition, whether it holds, and what there is to say about it."""

    condition: str
    holds: bool
    message: str = ""


@value
class AgentVerdicts:
    """What the conditions of a task say of one agent, up to the first that does not hold."""

    agent_id: str
    name: str
    verdicts: tuple[Verdict, ...]

    @property
    def fits(self) -> bool:
        """Whether it would be given the task now."""
        return all(verdict.holds for verdict in self.verdicts)


@value
class TaskWhy:
    """Why a task stands where it stands.

    `agents`: those that come closest, at most `MOST_AGENTS` of `agents_total`. `ruled_out`: of all agents, how many
    each condition rules out. `ahead`: how many waiting tasks of its pool and type go before it, at most `MOST_AHEAD`;
    None: it is in no queue. `starts_in`: about how many seconds it has still to wait for a slot, as far as that can be
    told. `remedies`: what would let it run.
    """

    task: Task
    summary: str
    verdicts: tuple[Verdict, ...] = ()
    agents: tuple[AgentVerdicts, ...] = ()
    agents_total: int = 0
    ruled_out: Mapping[str, int] = field(default_factory=dict)
    ahead: int | None = None
    starts_in: float | None = None
    remedies: tuple[str, ...] = ()


@value
class AgentWhy:
    """Why an agent has the work that it has. `waiting`: how many tasks in memory wait that it could run."""

    agent_id: str
    summary: str
    verdicts: tuple[Verdict, ...]
    waiting: int


class Explanations:
    """Answers for people who ask why nothing happens. Reads, and changes nothing."""

    def __init__(
        self,
        *,
        store: Store,
        agents: AgentRegistry,
        scheduler: Scheduler,
        limits: Limits,
        pauses: Pauses,
        tally: Tally,
        clock: Clock,
        sends: Sends,
        control: ControlTime,
    ) -> None:
        self._sends = sends
        self._store = store
        self._control = control
        self._agents = agents
        self._scheduler = scheduler
        self._limits = limits
        self._pauses = pauses
        self._tally = tally
        self._clock = clock

    # -- a task -------------------------------------------------------------------------------------------------------

    async def of_task(self, task_id: str) -> TaskWhy:
        """Why a task stands where it stands. Raises `TaskNotFound`."""
        found = await self._store.find([task_id])
        if not found:
            raise TaskNotFound(f"there is no task {task_id[:64]}")
        task = found[0]
        if task.status in QUEUED:
            return await self._of_waiting(task)
        verdict = self._time(task) or self._approval(task)
        if verdict is not None:
            return TaskWhy(
                task=task, summary=verdict.message, verdicts=(verdict,), remedies=tuple(_ways_out_of_waiting(task))
            )
        return TaskWhy(task=task, summary=self._standing(task), remedies=tuple(_ways_out(task)))

    async def _of_waiting(self, task: Task) -> TaskWhy:
        own = tuple(self._conditions(task))
        agents = sorted(
            (self._judge(task, record, session) for record, session in self._agents.all()),
            key=lambda one: (-sum(verdict.holds for verdict in one.verdicts), one.name, one.agent_id),
        )
        ruled_out = Counter(v.condition for one in agents for v in one.verdicts if not v.holds)
        ahead = await self._store.count_before(shape_of(task), place_of(task), MOST_AHEAD)
        blocking = next((verdict.condition for verdict in own if not verdict.holds), None)
        return TaskWhy(
            task=evolve(task, reason=_REASONS[blocking]) if blocking is not None else task,
            summary=_summary(task, own, agents, ruled_out, ahead),
            verdicts=own,
            agents=tuple(agents[:MOST_AGENTS]),
            agents_total=len(agents),
            ruled_out=ruled_out,
            ahead=ahead,
            starts_in=0.0 if blocking is None and any(one.fits for one in agents) else self._estimate(task, own, ahead),
            remedies=(*self._resumptions(task), *_remedies(task, own, agents, ruled_out)),
        )

    def _conditions(self, task: Task) -> Iterator[Verdict]:
        """What must hold wherever it is to run."""
        yield self._is_going(task.spec.pool, (task.spec.type,))
        failed = self._sends.rest_of(task.id)
        if failed is not None:
            times = "once" if failed.times == 1 else f"{failed.times} times in a row"
            when = f"the next try is in {self._sends.left_ms(failed) / 1000:.0f} s"
            yield Verdict("send", False, f"could not be sent to agent {failed.agent_id}, {times}; {when}")
        lacking = self._limits.explain(task)
        for condition, names in _named(task).items():
            is_free = lacking is None or lacking[0] != condition
            if names or not is_free:
                yield Verdict(condition.value, is_free, "" if is_free or lacking is None else lacking[1])

    def _is_going(self, pool: str, types: Sequence[str]) -> Verdict:
        """Whether the scheduler gives away what is of a pool and of any of these types."""
        if self._scheduler.paused:
            return Verdict("scheduler", False, "the server is stopping")
        pauses = [self._pauses.over(pool, type) for type in types]
        if not pauses or None in pauses:
            return Verdict("scheduler", True)
        words = dict.fromkeys(pause.words for pause in pauses if pause is not None)
        return Verdict("scheduler", False, "; ".join(words))

    def _resumptions(self, task: Task) -> Iterator[str]:
        """What ends the pauses that keep a task from starting."""
        if self._scheduler.paused:
            yield "the next start of the server"
        for pause in self._pauses.all_over(task.spec.pool, task.spec.type):
            yield f"nodelink scheduler resume{''.join(f' --{k} {v}' for k, v in parts_of(pause.scope).items())}"

    def _judge(self, task: Task, record: AgentRecord, session: AgentSession | None) -> AgentVerdicts:
        verdicts: list[Verdict] = []
        conditions = (_of_agent(task, record, session, self._drain_of(record)), self._gate(task, record))
        for verdict in chain(*conditions, self._kept(task, session)):
            verdicts.append(verdict)
            if not verdict.holds:
                break
        return AgentVerdicts(agent_id=record.id, name=record.name, verdicts=tuple(verdicts))

    def _gate(self, task: Task, record: AgentRecord) -> Iterator[Verdict]:
        """Whether the limit of an agent has room, if one is set."""
        gate = self._limits.closed_gate(shape_of(task), record.id)
        if gate is not None and name_of(gate) == f"agent:{record.id}":
            yield Verdict("gate", False, f"its limit of {self._limits.limit(gate)} task(s) is reached")

    def _kept(self, task: Task, session: AgentSession | None) -> Iterator[Verdict]:
        """Whether an agent is not kept for an apply that goes before it."""
        reserving = self._scheduler.reserving
        if session is not None and not reserving.may_have(session, shape_of(task)):
            yield Verdict("reserved", False, "is kept for an apply that waits until it is empty")

    def _estimate(self, task: Task, own: Sequence[Verdict], ahead: int) -> float | None:
        """Seconds until a slot is free for it, if all that go before take as long as such tasks have taken."""
        slots = sum(session.slots for session in self._agents.sessions() if _could_run(task, session))
        runs = self._tally.run_seconds.get((task.spec.type, task.spec.pool))
        count = sum(runs.counts) if runs is not None else 0
        if runs is None or not count or not slots or not all(verdict.holds for verdict in own):
            return None
        return runs.sum / count * (ahead + 1) / slots

    def _time(self, task: Task) -> Verdict | None:
        if task.status is not TaskStatus.SCHEDULED:
            return None
        if task.reason is Reason.RETRY:
            return Verdict("time", False, f"waits for its next try: {task.message}")
        seconds = max(0, (task.due_at or 0) - self._clock.now()) / 1000
        return Verdict("time", False, f"is due in {seconds:.0f} seconds")

    def _approval(self, task: Task) -> Verdict | None:
        if task.status is not TaskStatus.PLAN_COMPLETED or task.plan is None:
            return None
        left_ms = max(0, (task.queue_deadline or 0) - self._control.now())
        until = f", for {format_duration_ms(-(-left_ms // 1000) * 1000)} more" if task.queue_deadline else ""
        by = f" by somebody else than {task.caller!r}" if task.spec.approval_by_other else ""
        return Verdict("approval", False, f"waits for an approval{by} of plan {task.plan.plan.sha256}{until}")

    def _standing(self, task: Task) -> str:
        """How a task stands that waits for nothing."""
        if task.is_terminal:
            why = f" ({task.reason})" if task.reason else ""
            return f"has ended: {task.status}{why}{f': {task.message}' if task.message else ''}"
        attempt = task.attempt
        assert attempt is not None
        where = f"agent {attempt.agent_id}, attempt {attempt.number}"
        if task.status is TaskStatus.UNKNOWN:
            return f"is in doubt on {where}: {task.message or 'contact was lost'}"
        is_there = self._agents.session(attempt.agent_id) is not None
        drain = self._drain_of(self._agents.record(attempt.agent_id))
        heard = f"which {'is connected' if is_there else 'is out of contact'}{f' and {drain}' if drain else ''}"
        if task.status is TaskStatus.CANCELLING:
            return f"is being stopped on {where}, {heard}"
        return f"{'runs' if task.status is TaskStatus.IN_PROGRESS else 'was sent to be run'} on {where}, {heard}"

    # -- an agent -----------------------------------------------------------------------------------------------------

    def _drain_of(self, record: AgentRecord) -> str:
        """That a person wants an agent to be empty, in words; empty: nobody does."""
        if record.drained_at is None:
            return ""
        note = f" ({record.drain_note})" if record.drain_note else ""
        since = f"{_DRAINED} since {moment_text(record.drained_at)}{note}"
        left_ms = self._agents.drain_request(record).deadline_ms
        if left_ms is None:
            return since
        when = f"stopped in {format_duration_ms(-(-left_ms // 1000) * 1000)}" if left_ms else "being stopped"
        return f"{since}; what still runs there is {when}"

    def of_agent(self, agent_id: str) -> AgentWhy:
        """Why an agent has the work that it has. Raises `AgentNotFound`."""
        view = self._agents.view(agent_id)
        session = self._agents.session(agent_id)
        record = self._agents.record(agent_id)
        types = record.handlers if session is None else session.types
        verdicts = [
            self._is_going(view.pool, sorted(types)),
            *_is_open(record, session, self._drain_of(record)),
        ]
        waiting = self._scheduler.waiting_for(session) if session is not None else 0
        blocking = [verdict for verdict in verdicts if not verdict.holds]
        if blocking:
            summary = f"is given nothing: {blocking[0].message}"
        elif waiting:
            summary = "is being given work: tasks wait that it can run, as far as there are places for them"
        else:
            summary = f"nothing waits that it could run (pool {view.pool!r}, types {', '.join(sorted(types))})"
        return AgentWhy(agent_id=agent_id, summary=summary, verdicts=tuple(verdicts), waiting=waiting)


def _ways_out_of_waiting(task: Task) -> Iterator[str]:
    if task.plan is not None and task.status is TaskStatus.PLAN_COMPLETED:
        yield f"nodelink tasks approve {task.id} --plan {task.plan.plan.sha256}"
        yield f"nodelink tasks reject {task.id}"


def _named(task: Task) -> Mapping[Reason, bool]:
    """Of which kinds a task names keys."""
    spec = task.spec
    return {
        Reason.LOCK: bool(task.lock or spec.workspace),
        Reason.LIMIT: bool(spec.limits),
        Reason.RATE: bool(spec.rates),
    }


def _of_agent(task: Task, record: AgentRecord, session: AgentSession | None, drain: str) -> Iterator[Verdict]:
    """What must hold of an agent, the lasting conditions first."""
    spec = task.spec
    same = record.pool == spec.pool
    yield Verdict("pool", same, "" if same else f"is of pool {record.pool!r}")
    handles = spec.type in record.handlers
    yield Verdict("type", handles, "" if handles else f"handles no {spec.type!r}")
    yield from _has_what_it_needs(task, record)
    yield from _is_open(record, session, drain, task)


def _has_what_it_needs(task: Task, record: AgentRecord) -> Iterator[Verdict]:
    """Whether an agent with nothing else to do could run a task."""
    needs = needs_of(task.spec)
    if needs.agent_id:
        is_it = record.id == needs.agent_id
        yield Verdict("agent", is_it, "" if is_it else "is not the agent that was asked for")
    if needs.selector:
        missing = [str(one) for one in parse_selector(needs.selector) if not one.holds(record.labels)]
        yield Verdict("labels", not missing, f"its labels do not match {', '.join(missing)}" if missing else "")
    if needs.slots > 1:
        enough = needs.slots <= record.slots
        yield Verdict("size", enough, "" if enough else f"has {record.slots} slot(s), and {needs.slots} are needed")
    short = [name for name, amount in needs.resources if amount > record.resources.get(name, 0)]
    if needs.resources:
        yield Verdict("resources", not short, f"has not so much {', '.join(short)}" if short else "")


def _has_room(task: Task, session: AgentSession) -> Iterator[Verdict]:
    """Whether an agent has room beside what it runs."""
    needs, use, shape = needs_of(task.spec), session.use, shape_of(task)
    if shape.applies:
        busy = session.busy
        yield Verdict("alone", session.is_empty, f"an apply needs it alone; {busy} slot(s) are taken" if busy else "")
    elif shape.plans or use.applies:
        yield Verdict("alone", not use.applies, "applies a change, and does nothing beside it" if use.applies else "")
    if shape.plans:
        full = use.is_full_of_plans
        yield Verdict("plan_limit", not full, f"makes as many plans as it may ({use.plan_limit})" if full else "")
    enough = session.room >= needs.slots
    taken = f"its {session.slots} slot(s) are taken"
    yield Verdict("slots", enough, "" if enough else taken if session.room <= 0 else f"{taken} but {session.room}")
    if use.is_limited:
        full = use.is_full(task.spec.type)
        yield Verdict("type_limit", not full, f"runs as many {task.spec.type!r} as it may" if full else "")
    if needs.resources:
        lacking = use.lacking(needs)
        yield Verdict("resources_free", not lacking, f"has not so much {lacking} left" if lacking else "")


def _is_open(
    record: AgentRecord, session: AgentSession | None, drain: str, task: Task | None = None
) -> Iterator[Verdict]:
    """Whether an agent can be given work (this task) now. `drain`: that a person wants it to be empty, in words."""
    yield Verdict("connected", session is not None, "" if session is not None else "is not connected")
    if session is None:
        if drain:
            yield Verdict("drain", False, drain)
        return
    if task is not None:
        old = task.phase_execution is Execution.EXCLUSIVE and session.protocol < FIRST_LEASED_PROTOCOL
        yield Verdict("protocol", not old, "is too old for exclusive tasks" if old else "")
        declined = task.spec.type not in session.types
        yield Verdict("declined", not declined, f"has declined {task.spec.type!r}" if declined else "")
    yield Verdict("cordon", not record.cordon, f"is cordoned: {record.cordon}" if record.cordon else "")
    drain = drain or ("is draining" if session.draining else "")
    yield Verdict("drain", not drain, drain)
    if task is not None:
        yield from _has_room(task, session)
        return
    free = session.room > 0
    yield Verdict("slots", free, "" if free else f"its {session.slots} slot(s) are taken")


def _is_drained(verdict: Verdict) -> bool:
    """Whether a condition does not hold because a person wants an agent to be empty."""
    return verdict.message.startswith(_DRAINED)


def _could_run(task: Task, session: AgentSession) -> bool:
    return session.fits(shape_of(task)) and not session.cordoned and not session.draining


def _summary(
    task: Task, own: Sequence[Verdict], agents: Sequence[AgentVerdicts], ruled_out: Mapping[str, int], ahead: int
) -> str:
    blocking = next((verdict for verdict in own if not verdict.holds), None)
    if blocking is not None:
        return f"waits: {blocking.message}"
    if any(one.fits for one in agents):
        return "is about to be granted"
    in_pool = len(agents) - ruled_out.get("pool", 0)
    if not in_pool:
        return f"no agent of pool {task.spec.pool!r} was ever connected"
    closest = agents[0].verdicts[-1]
    behind = f", behind {ahead} other(s)" if ahead else ""
    words = {
        "type": f"no agent of pool {task.spec.pool!r} handles {task.spec.type!r}",
        "connected": "no agent that could run it is connected",
        "declined": "every agent that could run it has declined its type",
        "protocol": "every agent that could run it is too old for exclusive tasks",
        "cordon": "every agent that could run it is cordoned",
        "drain": f"every agent that could run it is {'drained' if _is_drained(closest) else 'draining'}",
        "slots": f"waits for a free slot{behind}",
        "agent": f"agent {task.spec.agent_id} was never connected, or is of another pool",
        "labels": f"no agent has labels that match {task.spec.selector!r}",
        "size": f"no agent has {task.spec.slots} slots",
        "resources": "no agent has the resources that it needs",
        "type_limit": f"every agent that could run it runs as many {task.spec.type!r} as it may{behind}",
        "resources_free": f"waits for free resources{behind}",
        "gate": "the limit of every agent that could run it is reached",
    }
    return words[closest.condition]


def _remedies(
    task: Task, own: Sequence[Verdict], agents: Sequence[AgentVerdicts], ruled_out: Mapping[str, int]
) -> Iterator[str]:
    for verdict in own:
        if not verdict.holds and verdict.condition != "scheduler":
            yield _REMEDY_OF_KEYS.get(verdict.condition) or _remedy_of_lock(task, verdict)
    if any(one.fits for one in agents):
        return
    if not agents or ruled_out.get("pool", 0) + ruled_out.get("type", 0) == len(agents):
        yield f"an agent of pool {task.spec.pool!r} that handles {task.spec.type!r}"
        return
    ways = {
        "connected": "the return of an agent that could run it",
        "declined": "a new connection of the agent, when it can run the type again",
        "protocol": "a newer agent",
        "cordon": f"nodelink agents undrain {agents[0].agent_id}",
        "drain": f"nodelink agents undrain {agents[0].agent_id}"
        if _is_drained(agents[0].verdicts[-1])
        else "another agent of its pool, or the return of one that leaves",
        "slots": "a slot that becomes free, more slots, or another agent of its pool",
        "agent": f"agent {task.spec.agent_id} in pool {task.spec.pool!r}",
        "labels": f"an agent of pool {task.spec.pool!r} with labels that match {task.spec.selector!r}",
        "size": f"an agent of pool {task.spec.pool!r} with {task.spec.slots} slots",
        "resources": f"an agent of pool {task.spec.pool!r} with these resources",
        "type_limit": "the end of a task of its type, or a higher limit on the agent",
        "resources_free": "the end of a task that has these resources, or another agent of its pool",
        "gate": "the end of a task on that agent, or a higher limit",
    }
    yield ways[agents[0].verdicts[-1].condition]


def _remedy_of_lock(task: Task, verdict: Verdict) -> str:
    lock = f"lock {task.lock!r}"
    held = lock if verdict.message.startswith(lock) else f"workspace {task.spec.workspace!r}"
    return f"the end of the task that holds {held}"


def _ways_out(task: Task) -> Iterator[str]:
    if task.status is TaskStatus.UNKNOWN:
        yield f"the return of its agent, or: nodelink tasks resolve {task.id} --as completed|failed|rerun --reason WHY"
