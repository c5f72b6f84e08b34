"""What is there after a run: on the disk, and in memories that should be empty."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from nodelink_server.core.manager import TaskManager
from nodelink_server.core.session import AgentSession
from nodelink_server.store.disk import Disk, Row
from tests.simulation.agents import AgentHost
from tests.simulation.history import Kept


def kept_tasks(disk: Disk) -> list[Kept]:
    """Every task on the disk."""
    keys = {kept.task_id: key for (_, key), kept in disk.idempotency.items()}
    return [_kept(disk, row, keys.get(row.task.id)) for row in disk.rows.values()]


def _kept(disk: Disk, row: Row, key: str | None) -> Kept:
    task, attempt = row.task, row.task.attempt
    output = disk.output.get((task.key, attempt.number), {}) if attempt is not None else {}
    return Kept(
        id=task.id,
        token=json.loads(row.payload)["token"],
        key=key,
        execution=task.execution,
        status=task.status,
        ref=task.ref if attempt is not None else None,
        agent_id=attempt.agent_id if attempt is not None else None,
        may_have_run=task.may_have_run,
        log_totals=tuple(row.finished.log_totals.items()) if row.finished is not None else None,
        output=[output[position] for position in sorted(output)],
    )


def leftovers(manager: TaskManager | None, agents: Sequence[AgentHost]) -> list[str]:
    """What memory still holds although nothing is left to do, in words."""
    if manager is None:
        return ["no server runs"]
    found = [*_of_server(manager), *_of_sessions(manager, agents), *_of_agents(agents)]
    return [f"{what}: {held}" for what, held in found if held]


def _of_server(manager: TaskManager) -> Iterator[tuple[str, object]]:
    scheduler, grants = manager.scheduler, manager.rooms.grants
    yield "registry", [task.id for task in manager.registry]
    yield "progress", list(manager.registry._progress)
    yield "fronts", scheduler.waiting_front()
    yield "not whole", [shape for shape, front in scheduler._fronts.items() if not front.is_whole]
    yield "being granted", scheduler._granting
    yield "arriving", dict(scheduler._arriving)
    yield "granted in vain", list(grants._vain)
    yield "ledger", manager.ledger.queue_depth
    yield "channel", manager.channel.depth
    yield "waiters", list(manager.rooms.consequences._waiters)
    yield "with agents", {agent: tasks for agent, tasks in manager.agents._granted.items() if tasks}
    yield "log queue", len(manager.logs._queue)
    yield "followers", list(manager.logs._followers)
    yield "finished", list(manager.rooms.cleanup._finished)


def _of_sessions(manager: TaskManager, agents: Sequence[AgentHost]) -> Iterator[tuple[str, object]]:
    sessions = {session.agent_id: session for session in manager.agents.sessions()}
    for agent in agents:
        session = sessions.get(agent.name)
        if session is None:
            yield "agents without a session", agent.name
            continue
        yield from _of_session(session)


def _of_session(session: AgentSession) -> Iterator[tuple[str, object]]:
    name = session.agent_id
    yield f"slots taken at {name}", session.slots - session.room
    yield f"reserved at {name}", session._reserved
    yield f"unsent to {name}", list(session._tasks)
    yield f"stops of {name}", dict(session._stops)


def _of_agents(agents: Sequence[AgentHost]) -> Iterator[tuple[str, object]]:
    for agent in agents:
        if agent.life is None:
            yield "agents that are dead", agent.name
            continue
        core = agent.life.core
        yield f"active at {agent.name}", core.active
        yield f"attempts at {agent.name}", dict(core._attempts._held)
        yield f"outbox of {agent.name}", not core._outbox.is_empty
        yield f"log cursors of {agent.name}", dict(core._logs._cursors)
        yield f"output kept by {agent.name}", list(agent.life.execution._printed)
