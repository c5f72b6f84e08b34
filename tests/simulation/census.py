"""What is there after a run: on the disk, and in memories that should be empty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nodelink.task import AttemptRef, TaskStatus
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import LogRow
from nodelink_server.core.session import AgentSession
from nodelink_server.store.disk import Disk, Row
from tests.checking.history import FailedAttempt, Kept
from tests.simulation.agents import AgentHost
from tests.simulation.plans import plan_of


def kept_tasks(disk: Disk) -> list[Kept]:
    """Every task on the disk."""
    keys = {kept.task_id: key for (_, key), kept in disk.idempotency.items()}
    return [_kept(disk, row, keys.get(row.task.id)) for row in disk.rows.values()]


def _kept(disk: Disk, row: Row, key: str | None) -> Kept:
    task, attempt = row.task, row.task.attempt
    past = [(one.superseded.attempt, one.superseded) for one in row.past]
    return Kept(
        id=task.id,
        token=plan_of(row.payload).token,
        key=key,
        execution=task.execution,
        status=task.status,
        ref=task.ref if attempt is not None else None,
        reason=task.reason,
        lock=task.lock,
        priority=task.spec.priority,
        may_have_run=task.may_have_run,
        remarks=tuple(note.remark for note in row.notes),
        late_results=tuple(row.late.values()),
        log_totals=tuple(row.finished.log_totals.items()) if row.finished is not None else None,
        output=_output(disk, task.key, attempt.number) if attempt is not None else [],
        failed=[
            FailedAttempt(
                AttemptRef(task.id, failed.number, failed.fence),
                superseded.state,
                tuple(superseded.failure.log_totals.items()),
                _output(disk, task.key, failed.number),
            )
            for failed, superseded in past
            if superseded.failure is not None
        ],
    )


def _output(disk: Disk, key: int, attempt: int) -> list[LogRow]:
    rows = disk.output.get((key, attempt), {})
    return [rows[position] for position in sorted(rows)]


def leftovers(manager: TaskManager | None, agents: Sequence[AgentHost]) -> list[str]:
    """What memory still holds although nothing is left to do, in words."""
    if manager is None:
        return ["no server runs"]
    found = [*_of_server(manager), *_of_sessions(manager, agents), *_of_agents(agents)]
    return [f"{what}: {held}" for what, held in found if held]


def _of_server(manager: TaskManager) -> Iterator[tuple[str, object]]:
    scheduler, rooms = manager.scheduler, manager.rooms
    doubted = _doubted(manager)
    yield "registry", [task.id for task in manager.registry if task.id not in doubted]
    yield "progress", [task_id for task_id in manager.registry._progress if task_id not in doubted]
    yield "fronts", scheduler.waiting_front()
    yield "not whole", [shape for shape, front in scheduler._fronts.items() if not front.is_whole]
    yield "being granted", scheduler._granting
    yield "arriving", dict(scheduler._arriving)
    yield "granted in vain", list(manager.rooms.takebacks._vain)
    yield "ledger", manager.ledger.queue_depth
    yield "channel", manager.channel.depth
    yield "waiters", list(manager.rooms.consequences._waiters)
    yield "with agents", [(agent, ids) for agent, ids in rooms.leases.by_agent() if not doubted.issuperset(ids)]
    yield "places", {key: held for key, held in rooms.limits.held() if not doubted.issuperset(held.values())}
    yield "closed keys", [*rooms.limits._closed, *rooms.limits._passed_over, *rooms.limits._to_read]
    yield "reserved", rooms.limits._reserved.keys() - doubted
    yield "offers", dict(rooms.grants.offers._open)
    yield "starting", dict(rooms.grants._starting)
    yield "log queue", len(manager.logs._queue)
    yield "followers", list(manager.logs._followers)
    yield "finished", list(manager.rooms.cleanup._finished)


def _doubted(manager: TaskManager) -> set[str]:
    """The tasks in doubt: what belongs to them is still needed."""
    return {task.id for task in manager.registry if task.status is TaskStatus.UNKNOWN}


def _of_sessions(manager: TaskManager, agents: Sequence[AgentHost]) -> Iterator[tuple[str, object]]:
    doubted = _doubted(manager)
    sessions = {session.agent_id: session for session in manager.agents.sessions()}
    for agent in agents:
        session = sessions.get(agent.name)
        if session is None:
            yield "agents without a session", agent.name
            continue
        yield from _of_session(session, doubted)


def _of_session(session: AgentSession, doubted: set[str]) -> Iterator[tuple[str, object]]:
    name = session.agent_id
    yield f"slots taken at {name}", session.slots - session.room
    yield f"reserved at {name}", session._reserved
    yield f"unsent to {name}", list(session._handover.refs())
    yield f"stops of {name}", [ref for ref in session._stops if ref.task_id not in doubted]


def _of_agents(agents: Sequence[AgentHost]) -> Iterator[tuple[str, object]]:
    for agent in agents:
        if agent.life is None:
            yield "agents that are dead", agent.name
            continue
        core, disk = agent.life.core, agent.machine.disk
        yield f"active at {agent.name}", core.active
        yield f"attempts at {agent.name}", dict(core._attempts._held)
        yield f"outbox of {agent.name}", not core._outbox.is_empty
        yield f"log cursors of {agent.name}", dict(core._logs._cursors)
        yield f"leases at {agent.name}", dict(core._leases.held)
        yield f"output kept by {agent.name}", list(disk.printed)
        yield f"journal of {agent.name}", list(disk.attempts())
        yield f"orphans of {agent.name}", list(agent.machine.orphans)
        yield f"commands held at {agent.name}", [one.id for one in agent.spawners.values() if one._holds]
        yield (
            f"exit records at {agent.name}",
            [name for name, one in disk.spawners.items() if one.exits and _is_swept(agent, name)],
        )


def _is_swept(agent: AgentHost, name: str) -> bool:
    """Whether a spawner's records go with its last attempt. The next process removes what a dead one leaves."""
    spawner = agent.spawners.get(name)
    if spawner is not None:
        return not spawner.is_dead
    return name not in agent.kept_homes
