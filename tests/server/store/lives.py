"""Tasks as the core would hand them to a store, and the steps of their lives as changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nodelink.task import Execution, Finished, LogStream, Outcome, Reason, TaskSpec
from nodelink_server.core import task as moves
from nodelink_server.core.ports import (
    AgentRecord,
    AgentSessionRecord,
    Batch,
    Change,
    EventName,
    IdempotencyKey,
    Receipt,
    Store,
)
from nodelink_server.core.task import Stop, Superseded, Task, stamp

E = EventName
NOW = 1_700_000_000_000
AGENT = "agent-a"
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
    asked = TaskSpec(**{"type": "echo", **spec})  # type: ignore[arg-type]
    return Task(id=task_id, spec=asked, execution=Execution.REPLAYABLE, created_at=now, payload=payload)


def waiting(task_id: str, *, rank: int = 0, queue_deadline: int | None = None, **how: object) -> Task:
    """A new task that is ready to run."""
    task = new(task_id, **how)  # type: ignore[arg-type]
    return moves.ready(task, rank=rank, now=task.created_at, queue_deadline=queue_deadline)


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


def grant(task: Task, *, agent_id: str = AGENT, session: int = 1, fence: int = 100, now: int = NOW + 1) -> Change:
    """It is handed to an agent."""
    to = moves.granted(task, agent_id=agent_id, session=session, fence=fence, now=now)
    return after(task, to, E.TASK_SENT)


def start(task: Task, *, at: int = NOW + 2) -> Change:
    """The agent says that it has begun."""
    return after(task, moves.started(task, at=at, containment="cgroup"), E.TASK_STARTED)


def give_back(task: Task, *, now: int = NOW + 2) -> Change:
    """It never began, and waits again."""
    assert task.attempt is not None
    superseded = Superseded(attempt=task.attempt, state="void", ended_at=now)
    return after(task, moves.given_back(task), E.TASK_PENDING, superseded=superseded)


def lose(task: Task, *, now: int = NOW + 3) -> Change:
    """Its agent has lost it, and it waits again."""
    assert task.attempt is not None
    superseded = Superseded(attempt=task.attempt, state="lost", ended_at=now)
    return after(task, moves.replayed(task, queue_deadline=None), E.TASK_PENDING, superseded=superseded)


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


def cancel(task: Task, *, now: int = NOW + 1) -> Change:
    """Nobody wants it any more, before it was granted."""
    return after(task, moves.cancelled(task, message="not needed", now=now), E.TASK_CANCELLED)


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
) -> Receipt:
    """Commit changes, and stamp what was accepted."""
    batch = Batch(now=now, control_ms=now - NOW, changes=changes, agents=agents, sessions=sessions)
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
