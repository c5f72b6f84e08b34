"""The HTTP door over a real manager: a server on a free port, a client, and an agent that does what a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from nodelink.address import Address
from nodelink.task import (
    EXTEND,
    Accepted,
    AttemptRef,
    CancelCommand,
    Execution,
    ExtendCommand,
    Finished,
    LogChunk,
    LogStream,
    Outcome,
    Started,
    TaskRequest,
    TaskResponse,
    Update,
)
from nodelink_server.clock import SystemClock
from nodelink_server.core.assembly import Options
from nodelink_server.core.handshake import Hello
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.session import AgentSession
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from nodelink_server.web.app import create_app
from nodelink_server.web.protocol import ConnectionLimits
from nodelink_server.web.server import http_server
from tests.support.core_parts import Database

WAIT_SECONDS = 60.0
VERSION = "1.2.3"
ZONE: Mapping[str, str] = {"zone": "z1"}
EMPTY: Mapping[str, int] = {}
HANDLERS: Mapping[str, Execution] = {"echo": Execution.REPLAYABLE, "shell": Execution.ONCE}


def no_fault(kind: str) -> None:
    """All is well with the database."""


class ManualAgent:
    """One agent at the manager's own door. It accepts what it is given, and says what a test has it say."""

    def __init__(self, manager: TaskManager, session: AgentSession) -> None:
        self._manager = manager
        self._requests: asyncio.Queue[TaskRequest] = asyncio.Queue()
        self._accepted: dict[AttemptRef, TaskRequest] = {}
        self._cancels: asyncio.Queue[CancelCommand] = asyncio.Queue()
        self._extends: asyncio.Queue[ExtendCommand] = asyncio.Queue()
        self._done = 0
        self._offsets: dict[tuple[AttemptRef, LogStream], int] = {}
        self.session = session

    async def read_frames(self) -> None:
        """Sort what the server says, until cancelled."""
        while True:
            frame = await self.session.outgoing()
            for request in frame.tasks:
                self._take_in(request)
            for command in frame.starts:
                self._requests.put_nowait(self._accepted.pop(command.ref))
            for extension in frame.extends:
                self._extends.put_nowait(extension)
            for stop in frame.cancels:
                self._cancels.put_nowait(stop)

    def _take_in(self, request: TaskRequest) -> None:
        """Take what is granted, and accept what is offered."""
        if request.granted:
            self._requests.put_nowait(request)
        else:
            self._accepted[request.ref] = request
            self.say(request.ref, Accepted())

    async def next_task(self) -> TaskRequest:
        """The next task, however long it takes to come."""
        return await self._requests.get()

    async def take(self) -> TaskRequest:
        """The next task, which must come soon."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.next_task()

    async def told_to_stop(self) -> CancelCommand:
        """The next stop."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._cancels.get()

    async def extended(self) -> ExtendCommand:
        """The next extension."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._extends.get()

    def say(self, ref: AttemptRef, update: Update) -> None:
        """Send one response."""
        self._manager.channel.put(self.session, [TaskResponse(ref, update)], 100)

    def start(self, ref: AttemptRef) -> None:
        """The work has begun."""
        self.say(ref, Started(containment="process_group"))

    def finish(self, ref: AttemptRef, **how: Any) -> None:
        """The work has ended: well, unless something else is said."""
        totals = {stream: end for (of, stream), end in self._offsets.items() if of == ref}
        self.say(ref, Finished(**{"outcome": Outcome.COMPLETED, "log_totals": totals, **how}))
        self._done += 1
        self.session.credit_given(self.session.slots + self._done)

    def write(self, ref: AttemptRef, stream: LogStream, data: bytes, *, gap: int = 0) -> None:
        """The work has printed something, or something of it was lost."""
        offset = self._offsets.get((ref, stream), 0)
        self._offsets[ref, stream] = offset + (len(data) or gap)
        self._manager.logs.receive(self.session, [LogChunk(ref, stream, offset, data, gap)])


@dataclass(frozen=True, slots=True)
class Door:
    """A running server, and a client of it."""

    manager: TaskManager
    disk: Disk
    address: Address
    http: httpx.AsyncClient

    async def submit(self, **fields: Any) -> dict[str, Any]:
        """The task that was accepted."""
        answer = await self.http.post("/api/v1/tasks", json={"type": "echo", "payload": None, **fields})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def get(self, task_id: str) -> dict[str, Any]:
        """A task as it is shown."""
        answer = await self.http.get(f"/api/v1/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    @asynccontextmanager
    async def agent(
        self,
        *,
        agent_id: str = "a1",
        session: int = 1,
        pool: str = "default",
        slots: int = 4,
        labels: Mapping[str, str] = ZONE,
        handlers: Mapping[str, Execution] = HANDLERS,
        features: Collection[str] = (EXTEND,),
        resources: Mapping[str, int] = EMPTY,
        type_limits: Mapping[str, int] = EMPTY,
    ) -> AsyncIterator[ManualAgent]:
        """An agent that is connected while open."""
        hello = Hello(
            agent_id=agent_id,
            secret=b"s" * 32,
            session=session,
            remembers_since=1,
            host_id="h1",
            name=f"agent {agent_id}",
            pool=pool,
            slots=slots,
            handlers=handlers,
            labels=labels,
            features=features,
            resources=resources,
            type_limits=type_limits,
            software_version="0.1.0",
        )
        opened, _ = await self.manager.connect(hello)
        agent = ManualAgent(self.manager, opened)
        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(agent.read_frames()), group.create_task(self.manager.feed(opened))]
            opened.credit_given(slots)
            try:
                yield agent
            finally:
                for part in parts:
                    part.cancel()
        self.manager.disconnect(opened, left=True)


@asynccontextmanager
async def http_door(
    *,
    limits: ConnectionLimits | None = None,
    fault: Callable[[str], None] = no_fault,
    options: Options | None = None,
    database: Database | None = None,
    **settings: Any,
) -> AsyncIterator[Door]:
    """A server on a free port of loopback, over a store in memory. `fault` may raise what a database would; a whole
    `database` can be held up too.
    """
    async with (
        running_manager(fault, options, database) as (manager, disk),
        http_server(manager, Address("127.0.0.1", 0), version=VERSION, limits=limits, **settings) as address,
        httpx.AsyncClient(base_url=f"http://{address}", timeout=WAIT_SECONDS, trust_env=False) as http,
    ):
        yield Door(manager, disk, address, http)


@asynccontextmanager
async def app_door(*, fault: Callable[[str], None] = no_fault, **settings: Any) -> AsyncIterator[Door]:
    """The same application without a connection: quicker, for whatever is answered in one piece."""
    address = Address("127.0.0.1", 8080)
    async with running_manager(fault) as (manager, disk):
        app = create_app(manager, version=VERSION, **settings)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{address}") as http:
            yield Door(manager, disk, address, http)


@asynccontextmanager
async def running_manager(
    fault: Callable[[str], None], options: Options | None = None, database: Database | None = None
) -> AsyncIterator[tuple[TaskManager, Disk]]:
    """The whole core over a store in memory."""
    numbers = count(1)
    disk = database.disk if database is not None else Disk()
    manager = TaskManager(
        store=database.store() if database is not None else MemoryStore(disk, fault=fault),
        clock=SystemClock(),
        new_id=lambda: f"01900000-0000-7000-8000-{next(numbers):012x}",
        options=options or Options(),
    )
    await manager.restore()
    async with manager.running():
        yield manager, disk


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event as a listener receives it. `id` None: it had none."""

    name: str
    data: Mapping[str, Any]
    id: int | None


@asynccontextmanager
async def listening(
    http: httpx.AsyncClient, path: str, *, headers: Mapping[str, str] | None = None
) -> AsyncIterator[AsyncIterator[ServerEvent]]:
    """The events of a stream, as they come."""
    sent = {"Accept": "text/event-stream", **(headers or {})}
    async with http.stream("GET", path, headers=sent) as answer:
        if answer.status_code != 200:
            await answer.aread()
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        async with aclosing(_events(answer)) as events:
            yield events


async def _events(answer: httpx.Response) -> Any:
    async with aclosing(answer.aiter_lines()) as lines:  # type: ignore[type-var]
        fields: dict[str, str] = {}
        async for line in lines:
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "event" in fields:
                event_id = int(fields["id"]) if "id" in fields else None
                yield ServerEvent(fields["event"], json.loads(fields["data"]), event_id)
                fields = {}
            else:
                fields = {}


async def until(events: AsyncIterator[ServerEvent], *names: str) -> list[ServerEvent]:
    """The events up to and with the first that has one of these names."""
    heard = []
    async with asyncio.timeout(WAIT_SECONDS):
        async for event in events:
            heard.append(event)
            if event.name in names:
                return heard
    raise AssertionError(f"the stream ended before {names}: {heard}")


async def raw_request(address: Address, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request that was sent by hand, on a connection of its own: the answer is up to the test."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    await writer.drain()
    return reader, writer
