"""The agents' door over a real manager: a gRPC server on a free port, and a clock that can be put forward."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from nodelink.address import Address
from nodelink.task import Submission, TaskSpec
from nodelink_server.clock import SystemClock
from nodelink_server.core.assembly import Options
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import EventName, Store, TaskEvent
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task_record import TaskRecord
from nodelink_server.rpc.server import grpc_server
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.support.wire_agent import WAIT_SECONDS, WireAgent, connected, dialled


class ForwardClock(SystemClock):
    """The machine's clocks, of which the monotonic one can be put forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return super().monotonic() + self._ahead

    def skip(self, seconds: float) -> None:
        """Let so many seconds have passed."""
        self._ahead += seconds


class Hearing:
    """The events of a manager, each to be waited for once."""

    def __init__(self, manager: TaskManager) -> None:
        self._events: list[TaskEvent] = []
        self._grown = asyncio.Event()
        manager.events.subscribe(EventName, self._hear)

    async def next(self, name: EventName, **fields: object) -> TaskEvent:
        """The next event of this name whose fields are these. It is not told again."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (found := self._find(name, fields)) is None:
                self._grown.clear()
                await self._grown.wait()
        self._events.remove(found)
        return found

    def has(self, name: EventName, **fields: object) -> bool:
        """Whether there is such an event that was not waited for."""
        return self._find(name, fields) is not None

    def _hear(self, event: TaskEvent) -> None:
        self._events.append(event)
        self._grown.set()

    def _find(self, name: EventName, fields: Mapping[str, object]) -> TaskEvent | None:
        for event in self._events:
            if event.name == name and all(getattr(event, key) == value for key, value in fields.items()):
                return event
        return None


@dataclass(frozen=True, slots=True)
class AgentDoor:
    """A running server."""

    manager: TaskManager
    store: Store
    address: Address
    events: Hearing
    clock: ForwardClock = field(default_factory=ForwardClock)

    def agent(self, *, credit: int | None = None, **fields: Any) -> AbstractAsyncContextManager[WireAgent]:
        """An agent that has been welcomed; `fields` of its hello."""
        return connected(self.address, credit=credit, **fields)

    def dial(self) -> AbstractAsyncContextManager[WireAgent]:
        """A stream on which nothing has been said yet."""
        return dialled(self.address)

    async def submit(self, type: str = "echo", *, payload: bytes = b"1", **spec: Any) -> str:
        """Have a task accepted. Returns its id."""
        (task_id,) = await self.submit_many(1, type, payload=payload, **spec)
        return task_id

    async def submit_many(self, number: int, type: str = "echo", *, payload: bytes = b"1", **spec: Any) -> list[str]:
        """Have several tasks of one kind accepted. Returns their ids."""
        if type == "shell":
            payload = b'{"command": "true"}'
        submission = Submission(spec=TaskSpec(type=type, **spec), payload=payload)
        outcomes = await self.manager.submit([submission] * number)
        return [outcome.task.id for outcome in outcomes if isinstance(outcome, Accepted)]

    async def stored(self, task_id: str) -> TaskRecord:
        """A task as the database has it."""
        record = await self.store.read(task_id)
        assert record is not None
        return record

    async def status(self, task_id: str) -> str:
        """The status of a task as the database has it."""
        return (await self.stored(task_id)).task.status

    def agent_status(self, agent_id: str = "a1") -> str:
        """How an agent stands."""
        return self.manager.agents.view(agent_id).status


@asynccontextmanager
async def agent_door(
    *, store: Store | None = None, core: Options | None = None, **settings: Any
) -> AsyncIterator[AgentDoor]:
    """A server on a free port of loopback, over a store in memory unless another is given.

    `core`: what is set about the core; `settings`: about the gRPC server.
    """
    numbers, clock = count(1), ForwardClock()
    store = store if store is not None else MemoryStore(Disk())
    manager = TaskManager(
        store=store,
        clock=clock,
        new_id=lambda: f"01900000-0000-7000-8000-{next(numbers):012x}",
        options=core,
    )
    await manager.restore()
    loopback = Address("127.0.0.1", 0)
    async with (
        manager.running(),
        grpc_server(manager, loopback, clock=clock, server_id="server", version="1.2.3", **settings) as address,
    ):
        yield AgentDoor(manager, store, address, Hearing(manager), clock)
