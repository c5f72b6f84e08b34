"""The gRPC door over a real manager: a server on a free port, its calls, and an agent that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status

from nodelink.address import Address
from nodelink.errors import StoreError
from nodelink.task import EXTEND, AttemptRef, Execution, HeldAttempt, HeldState
from nodelink.v1 import admin_pb2_grpc, task_pb2, task_pb2_grpc
from nodelink_server.clock import SystemClock
from nodelink_server.core.assembly import Options
from nodelink_server.core.handshake import Hello
from nodelink_server.core.manager import TaskManager
from nodelink_server.rpc.server import grpc_server
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.support.http_door import ManualAgent

WAIT_SECONDS = 60.0
ANY_PORT = Address("127.0.0.1", 0)


class Switch:
    """Lets a test hold up the store, and make it fail."""

    def __init__(self) -> None:
        self.deeds: list[str] = []
        self.error: Exception | None = None
        self._open = asyncio.Event()
        self._open.set()
        self.held = asyncio.Event()

    def hold(self) -> None:
        """From now on, commits wait."""
        self._open.clear()

    def release(self) -> None:
        """Let them go on."""
        self._open.set()

    async def pause(self, kind: str) -> None:
        """What the store awaits before each deed."""
        self.deeds.append(kind)
        if kind == "apply" and not self._open.is_set():
            self.held.set()
            await self._open.wait()

    def fault(self, kind: str) -> None:
        """What the store asks before each deed. What no store says only readers hear: loops would end."""
        if self.error is not None and (kind == "read" or isinstance(self.error, StoreError)):
            raise self.error


@dataclass(frozen=True, slots=True)
class GrpcDoor:
    """A running server and its calls."""

    manager: TaskManager
    address: Address
    tasks: Any
    agents: Any
    scheduler: Any
    stats: Any
    health: Any
    channel: grpc.aio.Channel
    switch: Switch = field(default_factory=Switch)

    @property
    def workspaces(self) -> Any:
        """The calls of the WorkspaceService."""
        return admin_pb2_grpc.WorkspaceServiceStub(self.channel)

    @property
    def limits(self) -> Any:
        """The calls of the LimitService."""
        return admin_pb2_grpc.LimitServiceStub(self.channel)

    async def submit(self, type: str = "echo", payload: bytes = b"null", **spec: Any) -> str:
        """The id of a task that was accepted."""
        request = task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type=type, payload=payload, **spec))
        response = await self.tasks.SubmitTask(request, timeout=WAIT_SECONDS)
        return str(response.task.id)

    @asynccontextmanager
    async def agent(
        self,
        *,
        agent_id: str = "a1",
        pool: str = "default",
        slots: int = 4,
        session: int = 1,
        running: Sequence[AttemptRef] = (),
        labels: Mapping[str, str] | None = None,
        features: Collection[str] = (EXTEND,),
        resources: Mapping[str, int] | None = None,
        type_limits: Mapping[str, int] | None = None,
        handlers: Mapping[str, Execution] | None = None,
    ) -> AsyncIterator[ManualAgent]:
        """An agent that is connected while open. `running`: what it has from an earlier session."""
        hello = Hello(
            agent_id=agent_id,
            secret=b"s" * 32,
            session=session,
            remembers_since=1,
            host_id="h1",
            name=f"agent {agent_id}",
            pool=pool,
            slots=slots,
            handlers=handlers or {"echo": Execution.REPLAYABLE, "shell": Execution.ONCE},
            labels=labels or {},
            features=features,
            resources=resources or {},
            type_limits=type_limits or {},
            held=[HeldAttempt(ref, HeldState.RUNNING) for ref in running],
        )
        opened, _ = await self.manager.connect(hello)
        agent = ManualAgent(self.manager, opened)
        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(agent.read_frames()), group.create_task(self.manager.feed(opened))]
            opened.credit_given(slots - len(running))
            try:
                yield agent
            finally:
                for part in parts:
                    part.cancel()
        self.manager.disconnect(opened, left=True)


@asynccontextmanager
async def grpc_door(*, disk: Disk | None = None, address: Address = ANY_PORT) -> AsyncIterator[GrpcDoor]:
    """A server on loopback, over a store in memory. The same disk given again: the next start of the same server."""
    switch = Switch()
    clock = SystemClock()
    start = id(switch) & 0xFFFF_FFFF
    numbers = count(1)
    manager = TaskManager(
        store=MemoryStore(disk or Disk(), pause=switch.pause, fault=switch.fault),
        clock=clock,
        new_id=lambda: f"01900000-0000-7000-8000-{start:08x}{next(numbers):04x}",
        options=Options(),
    )
    await manager.restore()
    async with (
        manager.running(),
        grpc_server(manager, address, clock=clock, server_id="s1", version="1.2.3") as bound,
        grpc.aio.insecure_channel(str(bound), options=[("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        tasks = task_pb2_grpc.TaskServiceStub(channel)
        agents = admin_pb2_grpc.AgentAdminServiceStub(channel)
        scheduler = admin_pb2_grpc.SchedulerServiceStub(channel)
        stats = admin_pb2_grpc.StatsServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        yield GrpcDoor(manager, bound, tasks, agents, scheduler, stats, health, channel, switch)
        await manager.drain()


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """With what a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async with asyncio.timeout(WAIT_SECONDS):
            await call
    error: Any = refused.value
    status = rpc_status.from_call(error)
    assert status is not None, error
    return error.code(), status


def reason_of(status: status_pb2.Status) -> str:
    """Our code in a refusal."""
    told = detail(status, error_details_pb2.ErrorInfo)
    assert told.domain == "nodelink"
    return str(told.reason)


def detail(status: status_pb2.Status, kind: Callable[[], Any]) -> Any:
    """The detail of one kind in a refusal."""
    for packed in status.details:
        found = kind()
        assert isinstance(found, Message)
        if packed.Unpack(found):
            return found
    raise AssertionError(f"no such detail in {status}")
