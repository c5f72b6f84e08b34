"""Values of the server's core for tests, and a whole core over a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

from nodelink.errors import CallerError, StoreUnavailable
from nodelink.task import (
    DEFAULT_PRIORITY,
    AttemptRef,
    Execution,
    Finished,
    Outcome,
    Reason,
    Submission,
    TaskSpec,
    TaskStatus,
)
from nodelink_server.core.assembly import Options
from nodelink_server.core.attempt import Attempt, Stop
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.observer import Observer
from nodelink_server.core.pace import Pace
from nodelink_server.core.ports import AgentRecord
from nodelink_server.core.session import AgentSession, Origin
from nodelink_server.core.states import GRANTED
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task import Task
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.support.clock import EPOCH_MS, LoopClock
from tests.support.lagging_store import LaggingStore

COMPLETED = Finished(outcome=Outcome.COMPLETED)
STOP = Stop(reason=Reason.CANCELLED_BY_CALLER, message="", grace_ms=1_000, asked_at=EPOCH_MS)

_keys = count(1)


def make_spec(type: str = "echo", *, priority: int = DEFAULT_PRIORITY, **fields: object) -> TaskSpec:
    """What is asked for, with the rest as by default."""
    return TaskSpec(type=type, priority=priority, **fields)  # type: ignore[arg-type]  # names of fields


def make_submission(
    type: str = "echo", *, key: str | None = None, payload: bytes = b"{}", **fields: object
) -> Submission:
    """One task that is handed in."""
    return Submission(spec=make_spec(type, **fields), payload=payload, idempotency_key=key)  # type: ignore[arg-type]


def make_attempt(*, number: int = 1, agent_id: str = "a1", session: int = 1, started: bool = False) -> Attempt:
    """An attempt, begun or not."""
    started_at = EPOCH_MS + 10 if started else None
    return Attempt(
        number=number, fence=number, agent_id=agent_id, session=session, sent_at=EPOCH_MS, started_at=started_at
    )


def make_task(
    task_id: str = "t1",
    *,
    status: TaskStatus = TaskStatus.PENDING,
    rank: int = 0,
    type: str = "echo",
    execution: Execution = Execution.REPLAYABLE,
    revision: int = 1,
    **fields: object,
) -> Task:
    """A committed task. In a granted status it has an attempt, and in `cancelling` it has been asked to stop."""
    if status in GRANTED:
        begun = status is not TaskStatus.SENT
        fields = {"attempt": make_attempt(started=begun), "grants": 1} | fields
    if status is TaskStatus.CANCELLING:
        fields = {"stop": STOP} | fields
    return Task(
        id=task_id,
        spec=make_spec(type),
        execution=execution,
        created_at=EPOCH_MS,
        status=status,
        rank=rank,
        payload=b"{}",
        key=next(_keys),
        revision=revision,
        **fields,  # type: ignore[arg-type]  # names of fields
    )


def make_agent(
    agent_id: str = "a1", *, slots: int = 1, types: Sequence[str] = ("echo",), session: int = 1
) -> AgentRecord:
    """An agent as it has just come."""
    return AgentRecord(
        id=agent_id,
        secret_hash=b"",
        session=session,
        host_id="host",
        name=agent_id,
        pool="default",
        slots=slots,
        handlers=dict.fromkeys(types, Execution.REPLAYABLE),
        labels={},
        software_version="test",
        first_seen_at=0,
        last_seen_at=0,
    )


def make_session(
    agent_id: str = "a1",
    *,
    slots: int = 1,
    types: Sequence[str] = ("echo",),
    number: int = 1,
    on_room: Callable[[AgentSession], None] = lambda session: None,
    credit: int | None = None,
    pace: Pace | None = None,
    on_owed: Callable[[AgentSession], None] | None = None,
) -> AgentSession:
    """An open session. It has room in all its slots, unless a credit is given."""
    agent = make_agent(agent_id, slots=slots, types=types, session=number)
    session = AgentSession(agent, origin=Origin(host_id="host"), now=0.0, on_room=on_room, pace=pace, on_owed=on_owed)
    session.credit_given(slots if credit is None else credit)
    return session


def make_ref(task_id: str = "t1", attempt: int = 1, fence: int = 1) -> AttemptRef:
    """The name of an execution."""
    return AttemptRef(task_id, attempt, fence)


class Database:
    """A disk, and what goes wrong between it and the server. `hold` stops deeds of a kind until `let_go`."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.failing: set[str] = set()
        self.deeds: list[str] = []
        self._held: dict[str, asyncio.Event] = {}
        self._waiting: dict[str, asyncio.Event] = {}

    def store(self) -> MemoryStore:
        """A server's connection to it."""
        return LaggingStore(self.disk, pause=self._pause, fault=self._fault)

    def hold(self, kind: str) -> None:
        """Stop deeds of this kind: boot, apply, applied, append, appended, sweep, read, or answer (to a read)."""
        self._held[kind] = asyncio.Event()
        self._waiting[kind] = asyncio.Event()

    def let_go(self, kind: str) -> None:
        """Let them go on."""
        self._held.pop(kind).set()

    async def until_held(self, kind: str) -> None:
        """Return when a deed of this kind waits."""
        await self._waiting[kind].wait()

    async def _pause(self, kind: str) -> None:
        self.deeds.append(kind)
        held = self._held.get(kind)
        if held is not None:
            self._waiting[kind].set()
            await held.wait()

    def _fault(self, kind: str) -> None:
        if kind in self.failing:
            raise StoreUnavailable("the database is away")


@dataclass(frozen=True, slots=True)
class Core:
    """A server's core that runs."""

    manager: TaskManager
    database: Database
    clock: LoopClock

    async def submit(self, *submissions: Submission) -> list[str]:
        """Have tasks accepted. Returns their ids."""
        outcomes = await self.manager.submit(submissions or [make_submission()])
        return [outcome.task.id for outcome in outcomes if isinstance(outcome, Accepted)]

    async def refused(self, submission: Submission) -> CallerError:
        """Have a submission refused. Returns why."""
        [outcome] = await self.manager.submit([submission])
        assert isinstance(outcome, CallerError)
        return outcome

    async def status(self, task_id: str) -> TaskStatus:
        """How a task stands."""
        return (await self.manager.get(task_id)).task.status


@asynccontextmanager
async def running_core(
    database: Database | None = None,
    *,
    options: Options | None = None,
    new_id: Callable[[], str] | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[Core]:
    """A core that has started, and stops at the end."""
    database, clock, ids = database or Database(), LoopClock(), count(1)
    start = database.disk.start_number
    manager = TaskManager(
        store=database.store(),
        clock=clock,
        new_id=new_id or (lambda: f"task-{start}-{next(ids)}"),
        options=options,
        observer=observer,
    )
    await manager.restore()
    async with manager.running():
        yield Core(manager, database, clock)


async def eventually(holds: Callable[[], Awaitable[bool] | bool], *, within: float = 30.0) -> None:
    """Return when a condition holds, looking at it again and again in virtual time."""
    async with asyncio.timeout(within):
        while True:
            held = holds()
            if held is True or (not isinstance(held, bool) and await held):
                return
            await asyncio.sleep(0.01)
