"""The way of ordinary tasks through the server, in one thread: what its own code costs, without disk and network.

`core`: frames of submissions in, frames for an agent out, its frames in, events out; over a store in memory. `store`:
the statements of the same commits, in a SQLite database in memory. `reference`: a piece of Python that never changes,
beside which the others are counted.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, cast

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from benchmarks.raw import PAYLOAD
from benchmarks.store import NOW, accepting, settling
from nodelink.task import Execution
from nodelink.v1 import agent_pb2, task_pb2
from nodelink.wire import WorkWriter
from nodelink_server.clock import SystemClock
from nodelink_server.core.assembly import Options
from nodelink_server.core.handshake import Hello
from nodelink_server.core.leases import Patience
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import Batch, Change
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import stamp
from nodelink_server.rpc.agents import Connection as AgentConnection
from nodelink_server.rpc.frames import watch_events
from nodelink_server.rpc.submit_stream import SubmitStream
from nodelink_server.store.commit import Commit
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from nodelink_server.store.numbering import Counters
from nodelink_server.store.tables import tasks_metadata

PER_FRAME = 256
SLOTS = 1_024
HOUR_SECONDS = 3_600.0
UNHURRIED = Options(heartbeat=HOUR_SECONDS, patience=Patience(start_lease=round(HOUR_SECONDS * 1000)))
"""Beside other work valgrind may take longer from frame to frame than an agent may be silent; this one says no more."""
ENDED = ("task.completed", "task.failed", "task.timeout", "task.cancelled", "task.lost")
Work = Callable[[], Awaitable[None]]
Around = Callable[[Work], Awaitable[None]]
"""What is done around the measured part of a run."""


async def core(frames: int, around: Around) -> None:
    """So many frames of tasks, each to its end. One frame before is not counted."""
    numbers = count(1)
    clock = SystemClock()
    manager = TaskManager(
        store=MemoryStore(Disk()), clock=clock, new_id=lambda: f"task-{next(numbers):032d}", options=UNHURRIED
    )
    await manager.restore()
    async with manager.running(), _agent(manager, clock):
        await _tasks(manager, 1)
        await around(lambda: _tasks(manager, frames))


@asynccontextmanager
async def _agent(manager: TaskManager, clock: SystemClock) -> AsyncIterator[None]:
    """An agent that has done what it is given when it has read it."""
    session, _ = await manager.connect(_hello())
    connection = AgentConnection(manager, clock, session, cast("Any", None), WorkWriter())
    session.credit_given(SLOTS)
    running = [
        asyncio.ensure_future(manager.feed(session)),
        asyncio.ensure_future(_work(session, connection)),
    ]
    try:
        yield
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        manager.disconnect(session, left=True)


def _hello() -> Hello:
    return Hello(
        protocol=2,
        instance_id="one",
        agent_id="0190a000-0000-7000-8000-00000000000a",
        secret=bytes(32),
        session=1,
        remembers_since=1,
        process_since=1,
        host_id="host",
        name="agent",
        pool="default",
        slots=SLOTS,
        handlers={"echo": Execution.REPLAYABLE},
        labels={},
        software_version="1",
        held=[],
        features=frozenset(),
        resources={},
        type_limits={},
    )


async def _work(session: AgentSession, connection: AgentConnection) -> None:
    credit = SLOTS
    while True:
        sent = agent_pb2.ConnectResponse.FromString((await connection.next_frame()).SerializeToString())
        if sent.tasks:
            credit += len(sent.tasks)
            answer = agent_pb2.ConnectRequest(task_credit=credit)
            for task in sent.tasks:
                response = answer.responses.add(ref=task.ref)
                response.finished.outcome = agent_pb2.OUTCOME_COMPLETED
                response.finished.output = PAYLOAD
                response.finished.tree_gone = True
            connection.take(agent_pb2.ConnectRequest.FromString(answer.SerializeToString()))


async def _tasks(manager: TaskManager, frames: int) -> None:
    request = task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type="echo", payload=PAYLOAD))
    message = task_pb2.StreamSubmitTasksRequest(requests=[request] * PER_FRAME).SerializeToString()
    room = asyncio.Semaphore(SLOTS // PER_FRAME)

    async def submissions() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        for _ in range(frames):
            await room.acquire()
            yield task_pb2.StreamSubmitTasksRequest.FromString(message)

    watching = asyncio.ensure_future(_watch(manager, frames * PER_FRAME, room))
    await asyncio.sleep(0)  # it listens from now on
    async for answer in SubmitStream(manager.submit, stopping=manager.stopping).answers(submissions()):
        answer.SerializeToString()
    await watching


async def _watch(manager: TaskManager, tasks: int, room: asyncio.Semaphore) -> None:
    ended = 0
    async for frame in watch_events(manager.events, task_pb2.WatchTasksRequest(type="echo", names=ENDED)):
        frame.SerializeToString()
        before, ended = ended, ended + len(frame.events)
        for _ in range(ended // PER_FRAME - before // PER_FRAME):
            room.release()
        if ended >= tasks:
            return


async def store(frames: int, around: Around) -> None:
    """The commits of so many frames of tasks: that they are accepted, and that they have ended."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.connect() as connection:
        tasks_metadata.create_all(connection)
        connection.exec_driver_sql(
            "INSERT INTO meta (one, cluster_id, start_number, control_ms, revision, last_key, commits, committed_at)"
            " VALUES (1, 'benchmark', 1, 0, 0, 0, 0, 0)"
        )
        counters = Counters(revision=0, last_key=0, commits=0, audits=0, audit_hash=b"")

        async def commits(first: int, count: int) -> None:
            nonlocal counters
            for frame in range(first, first + count):
                accepted = accepting(frame * PER_FRAME, PER_FRAME)
                counters = _commit(connection, accepted, counters)
                counters = _commit(connection, settling(accepted), counters)

        await commits(0, 1)
        await around(lambda: commits(1, frames))
    engine.dispose()


def _commit(connection: Connection, changes: Sequence[Change], before: Counters) -> Counters:
    receipt, after = Commit(connection, Batch(now=NOW, control_ms=0, changes=changes), before).run()
    connection.commit()
    for change, revision, key in zip(changes, receipt.revisions, receipt.keys, strict=True):
        stamp(change.task, key=key, revision=revision)
    return after


async def reference(frames: int, around: Around) -> None:
    """What a Python of this make takes for a piece of work that is always the same, as often as there are tasks."""

    async def work() -> None:
        for number in range(frames * PER_FRAME):
            _piece(number)

    await around(work)


def _piece(number: int) -> tuple[str, int]:
    found: dict[str, int] = {}
    for part in ("one", "two", "three", "four", "five", "six", "seven", "eight"):
        found[f"{part}-{number}"] = len(part) + number
    return max(found.items(), key=lambda item: item[1])


PARTS: Mapping[str, Callable[[int, Around], Awaitable[None]]] = {"core": core, "store": store, "reference": reference}


def run(part: str, frames: int, around: Around) -> None:
    """Run one part, with no garbage collection in between."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        asyncio.run(cast("Any", PARTS[part](frames, around)))
    finally:
        if was_enabled:
            gc.enable()
