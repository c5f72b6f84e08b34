"""Tasks as the core would hand them to a store, and the steps of their lives as changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nodelink.plan import Plan
from nodelink.task import DEFAULT_PRIORITY, Execution, Finished, LogStream, Outcome, Reason, TaskSpec
from nodelink_server.core import plans
from nodelink_server.core import task as moves
from nodelink_server.core.attempt import PLANNED, Extension, Failure, Hold, Planned, Stop, Superseded
from nodelink_server.core.ports import (
    AgentRecord,
    AgentSessionRecord,
    Batch,
    Change,
    EventName,
    Evidence,
    IdempotencyKey,
    RateUse,
    Receipt,
    Store,
)
from nodelink_server.core.task import Task, stamp
from nodelink_server.core.task_record import Remark, RemarkKind

E = EventName
NOW = 1_700_000_000_000
AGENT = "agent-a"
PLAN = Plan("ab" * 32, 123, "cd" * 32, "site", "one to add")
COMPLETED = Finished(outcome=Outcome.COMPLETED, output=b'"done"')
EXIT_7 = Finished(
    outcome=Outcome.FAILED,
    reason=Reason.EXIT_CODE,
    exit_code=7,
    run_seconds=1.5,
    cpu_seconds=0.5,
    max_rss_bytes=4096,
    log_totals={LogStream.STDOUT: 4, LogStream.STDERR: 0},
)


def new(task_id: str, *, now: int = NOW, payload: bytes = b'{"a": 1}', **spec: object) -> Task:
    """A task that was just asked for."""
    asked = TaskSpec(**{"type": "echo", "priority": DEFAULT_PRIORITY, **spec})  # type: ignore[arg-type]
    return Task(id=task_id, spec=asked, execution=Execution.REPLAYABLE, created_at=now, payload=payload)


def waiting(
    task_id: str, *, rank: int = 0, queue_deadline: int | None = None, fair_tag: int | None = None, **how: object
) -> Task:
    """A new task that is ready to run."""
    task = new(task_id, **how)  # type: ignore[arg-type]
    return moves.ready(task, rank=rank, now=task.created_at, queue_deadline=queue_deadline, fair_tag=fair_tag)


def asking(task_id: str, *asked: Mapping[str, object], rank: int = 0) -> Task:
    """A new task that is ready to run, and asks for all of this."""
    spec = {name: value for some in asked for name, value in some.items()}
    return waiting(task_id, rank=rank, **spec)  # type: ignore[arg-type]  # names of fields


def exclusive(task_id: str, *, lock: str = "") -> Task:
    """A new task that needs a lock while it is with an agent: the one that it names, or one of its own."""
    return replace(waiting(task_id, lock=lock), execution=Execution.EXCLUSIVE)


def accept(task: Task, *, idempotency: IdempotencyKey | None = None) -> Change:
    """A new task comes in, wherever it stands already."""
    events = [E.TASK_CREATED]
    if task.due_at is not None:
        events.append(E.TASK_SCHEDULED)
    if task.ready_at is not None:
        events.append(E.TASK_PENDING)
    if task.attempt is not None:
        events.append(E.TASK_SENT)
    return Change(task=task, expected=0, events=tuple(events), idempotency=idempotency)


def after(task: Task, to: Task, *events: EventName, **more: object) -> Change:
    """A stored task's next value."""
    return Change(task=to, expected=task.revision, events=events, **more)  # type: ignore[arg-type]


def grant(
    task: Task,
    *,
    agent_id: str = AGENT,
    session: int = 1,
    fence: int = 100,
    now: int = NOW + 1,
    takes: Sequence[Hold] = (),
    uses: Sequence[RateUse] = (),
) -> Change:
    """It is handed to an agent, with these places."""
    holds = tuple(takes)
    to = moves.granted(task, agent_id=agent_id, session=session, fence=fence, now=now, holds=holds)
    return after(task, to, E.TASK_SENT, takes=holds, uses=tuple(uses))


def freeing(change: Change) -> Change:
    """The same, with which all places of its task's attempt are free."""
    attempt = change.task.attempt or (change.superseded.attempt if change.superseded is not None else None)
    assert attempt is not None
    return replace(change, frees=attempt.holds)


def start(task: Task, *, at: int = NOW + 2) -> Change:
    """The agent says that it has begun."""
    return after(task, moves.started(task, at=at, containment="cgroup"), E.TASK_STARTED)


def give_back(task: Task, *, now: int = NOW + 2) -> Change:
    """It never began, and waits again."""
    assert task.attempt is not None
    superseded = Superseded(attempt=task.attempt, state="void", ended_at=now, plan=task.plan)
    event = E.TASK_APPLY_PENDING if task.has_plan else E.TASK_PENDING
    return after(task, moves.given_back(task), event, superseded=superseded)


def plan(task: Task, *, now: int = NOW + 4, deadline: int = 500, begun: bool = True) -> Change:
    """Its plan is made, and waits for an approval. It keeps its first place."""
    assert task.attempt is not None
    if not begun:
        task = replace(moves.started(task, at=now - 1), revision=task.revision)
    assert task.attempt is not None
    record = Planned(PLAN, task.attempt.number, now, task.attempt.holds[:1])
    end = Failure("", "", now, 0, None, "", 4, 0)
    superseded = Superseded(
        attempt=task.attempt, state=PLANNED, ended_at=now, failure=end, plan=record._replace(holds=())
    )
    events = [E.TASK_PLAN_COMPLETED] if begun else [E.TASK_STARTED, E.TASK_PLAN_COMPLETED]
    to = plans.planned(task, record, deadline=deadline)
    return after(task, to, *events, finished=COMPLETED, superseded=superseded)


def approve(task: Task, *, now: int = NOW + 5, queue_deadline: int | None = None) -> Change:
    """A person lets it apply its plan."""
    to = plans.approved(task, by="anna", now=now, queue_deadline=queue_deadline)
    told = Remark(RemarkKind.APPROVED, now, f"plan {PLAN.sha256}", "anna")
    return after(task, to, E.TASK_APPLY_PENDING, remark=told)


def lose(task: Task, *, now: int = NOW + 3) -> Change:
    """Its agent has lost it, and it waits again."""
    assert task.attempt is not None
    superseded = Superseded(attempt=task.attempt, state="lost", ended_at=now)
    return after(task, moves.replayed(task, queue_deadline=None), E.TASK_PENDING, superseded=superseded)


def drain(task: Task, *, now: int = NOW + 3) -> Change:
    """Its agent has stopped it because it is drained, and it waits again."""
    assert task.attempt is not None
    end = Failure("drained", "", now, None, 15, "", 4, 0)
    superseded = Superseded(attempt=task.attempt, state="drained", ended_at=now, failure=end)
    return after(task, moves.drained(task, queue_deadline=None), E.TASK_PENDING, superseded=superseded)


def prioritize(task: Task, priority: int, *, rank: int | None = None, at: int = NOW + 1) -> Change:
    """A person gives it another priority while it waits."""
    to = moves.prioritized(task, priority=priority, rank=task.rank if rank is None else rank)
    text = f"from {task.spec.priority} to {priority}"
    return after(task, to, remark=Remark(RemarkKind.REPRIORITIZED, at, text, "anna", priority=task.spec.priority))


def stop(task: Task, *, now: int = NOW + 3, message: str = "enough") -> Change:
    """Somebody wants it to stop."""
    asked = Stop(reason=Reason.CANCELLED_BY_CALLER, message=message, grace_ms=500, asked_at=now)
    return after(task, moves.stopping(task, stop=asked), E.TASK_CANCELLING)


def settle(task: Task, finished: Finished = COMPLETED, *, now: int = NOW + 4, begun: bool = True) -> Change:
    """Its agent's last word. `begun` False: it tells of the start as well."""
    events = [E(f"task.{moves.settled(task, finished, now=now).status}")]
    if not begun:
        task = replace(moves.started(task, at=now - 1), revision=task.revision)
        events.insert(0, E.TASK_STARTED)
    return after(task, moves.settled(task, finished, now=now), *events, finished=finished)


def fail(task: Task, finished: Finished = EXIT_7, *, now: int = NOW + 4, wait: int = 50, begun: bool = True) -> Change:
    """Its attempt fails, and it waits for its next try. `begun` False: that tells of the start as well."""
    events = [E.TASK_RETRYING] if begun else [E.TASK_STARTED, E.TASK_RETRYING]
    settled = moves.settled(task, finished, now=now)
    assert settled.attempt is not None
    failure = Failure("exit_code", "it failed", now + wait, finished.exit_code, None, "exit_code", 4, 0)
    superseded = Superseded(attempt=settled.attempt, state="failed", ended_at=now, failure=failure, plan=task.plan)
    to = moves.retried(task, retry_at=now - NOW + wait, message="try 1 of 9 failed")
    return after(task, to, *events, finished=finished, superseded=superseded)


def ready_again(task: Task, *, now: int = NOW + 60) -> Change:
    """Its wait is over."""
    return after(task, moves.ready(task, rank=7, now=now, queue_deadline=None), E.TASK_PENDING)


def remark(
    kind: RemarkKind, task: Task, *, at: int = NOW + 3, text: str = "the agent is silent", by: str = ""
) -> Remark:
    """What happens to a task beside its attempts."""
    assert task.attempt is not None
    return Remark(kind, at, text, by, task.attempt.number, task.attempt.agent_id)


def doubt(task: Task, *, at: int = NOW + 3) -> Change:
    """An exclusive task's agent is not heard of."""
    to = moves.doubted(task, message="the agent is silent")
    return after(task, to, E.TASK_UNKNOWN, remark=remark(RemarkKind.UNKNOWN, task, at=at))


def recover(task: Task, *, at: int = NOW + 4) -> Change:
    """Its agent has it after all."""
    to = moves.recovered(task)
    events = [E.TASK_RECOVERED, *([E.TASK_CANCELLING] if to.stop is not None else [])]
    return after(task, to, *events, remark=remark(RemarkKind.RECOVERED, task, at=at, text=""))


def run_again(task: Task, *, now: int = NOW + 5) -> Change:
    """A person wants a task in doubt to run again."""
    assert task.attempt is not None
    superseded = Superseded(attempt=task.attempt, state="lost", ended_at=now, plan=task.plan)
    to = moves.rerun(task, queue_deadline=None)
    told = remark(RemarkKind.RERUN, task, at=now, text="nothing was changed", by="anna")
    return after(task, to, E.TASK_PENDING, superseded=superseded, remark=told)


def resolve(task: Task, *, completed: bool = True, now: int = NOW + 5) -> Change:
    """A person knows how a task in doubt ended."""
    to = moves.resolved(task, completed=completed, message="I looked", now=now)
    told = remark(RemarkKind.RESOLVED, task, at=now, text="I looked", by="anna")
    return after(task, to, E.TASK_COMPLETED if completed else E.TASK_FAILED, remark=told)


def extend(task: Task, *, at: int = NOW + 3, run_until: int = 9_000, **limits: int) -> Change:
    """Its attempt is given other limits."""
    assert task.attempt is not None
    before = task.attempt.extension or Extension(0)
    extension = before._replace(number=before.number + 1, run_until=run_until, **limits)
    to = moves.extended(task, extension=extension, total_deadline=task.total_deadline)
    return after(task, to, remark=remark(RemarkKind.EXTENDED, task, at=at, text="timeout 9s", by="anna"))


def cancel(task: Task, *, now: int = NOW + 1) -> Change:
    """Nobody wants it any more, before it was granted."""
    return after(task, moves.cancelled(task, message="not needed", now=now), E.TASK_CANCELLED)


def skip(task: Task, *, now: int = NOW + 60) -> Change:
    """It is ready, a place that it does not wait for is taken, and that was it."""
    return after(task, moves.skipped(task, now=now), E.TASK_SKIPPED)


def limited(task_id: str, *, deadline: int) -> Task:
    """A new task that may take only so long in all."""
    return replace(waiting(task_id, total_timeout_ms=5_000, start_timeout_ms=700), total_deadline=deadline)


def agent(agent_id: str = AGENT, *, session: int = 1, **how: object) -> AgentRecord:
    """An agent that said hello."""
    record = AgentRecord(
        id=agent_id,
        secret_hash=b"\x01\x02",
        session=session,
        host_id="host",
        name="an agent",
        pool="default",
        slots=5,
        handlers={"echo": Execution.REPLAYABLE, "shell": Execution.ONCE},
        labels={"zone": "a"},
        software_version="0.1.0",
        first_seen_at=NOW,
        last_seen_at=NOW,
    )
    return replace(record, **how)  # type: ignore[arg-type]


async def put(
    store: Store,
    *changes: Change,
    now: int = NOW,
    agents: Sequence[AgentRecord] = (),
    sessions: Sequence[AgentSessionRecord] = (),
    evidence: Sequence[Evidence] = (),
) -> Receipt:
    """Commit changes, and stamp what was accepted."""
    batch = Batch(now=now, control_ms=now - NOW, changes=changes, agents=agents, sessions=sessions, evidence=evidence)
    receipt = await store.apply(batch)
    for change, revision, key in zip(changes, receipt.revisions, receipt.keys, strict=True):
        if revision:
            stamp(change.task, key=key, revision=revision)
    return receipt


async def live(store: Store, task: Task) -> Task:
    """Commit a new task."""
    await put(store, accept(task))
    return task


async def step(store: Store, change: Change) -> Task:
    """Commit a change of a task, and give its new value."""
    receipt = await put(store, change)
    assert receipt.revisions[0] > 0
    return change.task
