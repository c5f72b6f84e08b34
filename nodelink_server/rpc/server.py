"""The gRPC server: agents, tasks and administration on one port, with its health and its own description."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from nodelink.address import Address
from nodelink.errors import CannotListen
from nodelink.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    agent_pb2,
    agent_pb2_grpc,
    data_pb2,
    data_pb2_grpc,
    task_pb2,
    task_pb2_grpc,
)
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import Clock
from nodelink_server.rpc.admin import AgentAdminService
from nodelink_server.rpc.agent_data import DataService
from nodelink_server.rpc.agents import HELLO_SECONDS, AgentService
from nodelink_server.rpc.artifacts import ArtifactService, WorkspaceStateService
from nodelink_server.rpc.figures import StatsService
from nodelink_server.rpc.health import HealthService
from nodelink_server.rpc.interceptors import EveryCall
from nodelink_server.rpc.limits import LimitService
from nodelink_server.rpc.messages import MAX_MESSAGE_BYTES, READABLE_BYTES
from nodelink_server.rpc.scheduler import CheckpointService, SchedulerService
from nodelink_server.rpc.tasks import TaskService
from nodelink_server.rpc.workspaces import WorkspaceService

STOP_SECONDS = 5.0
MAX_METADATA_BYTES = 16 * 1024
"""Of one call, names and values together, with 32 bytes more for each."""
HANDSHAKE_MS = 10_000
"""How long a connection may take until it speaks HTTP/2."""

SERVICES: Sequence[str] = tuple(
    service.full_name
    for file in (agent_pb2, task_pb2, admin_pb2, data_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)
"""Every service of ours."""

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.so_reuseport", 0),  # or a second server would share the port in silence
    ("grpc.max_receive_message_length", READABLE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # keepalive_timeout_ms alone does nothing below 60 s
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 3),
    ("grpc.max_concurrent_streams", 1_000),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),  # between the two, calls would be refused by chance
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
)

log = structlog.get_logger(__name__)


@asynccontextmanager
async def grpc_server(
    manager: TaskManager,
    address: Address,
    *,
    clock: Clock,
    server_id: str,
    version: str,
    options: Sequence[tuple[str, int]] = OPTIONS,
    hello_seconds: float = HELLO_SECONDS,
) -> AsyncIterator[Address]:
    """Serve gRPC while open; gives the address it listens on (port 0: any free one). Raises `CannotListen`."""
    server = grpc.aio.server(interceptors=[EveryCall()], options=options)
    services = cast("grpc.aio.Server", _Services(server))
    agents = AgentService(manager, clock=clock, server_id=server_id, version=version, hello_seconds=hello_seconds)
    agent_pb2_grpc.add_AgentServiceServicer_to_server(agents, services)
    _add_services(manager, services)
    health_pb2_grpc.add_HealthServicer_to_server(HealthService(manager.vitals, SERVICES), services)
    described = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflecting = reflection.aio.ReflectionServicer(described)  # type: ignore[attr-defined]
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, services)
    try:
        port = server.add_insecure_port(str(address))
    except RuntimeError as error:
        raise CannotListen(f"gRPC cannot listen on {address}: is another server running there?") from error
    bound = Address(address.host, port)
    await server.start()
    log.info("grpc_listening", address=str(bound))
    try:
        yield bound
    finally:
        await server.stop(STOP_SECONDS)


class _Services:
    """Takes services for a server, and has their methods looked up when they are called.

    Generated code would also register each of them. For every registered method gRPC's loop keeps a call open that it
    waits for, and each new call has it look at all of those: with a hundred methods, a tenth of what a call costs.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler[Any, Any]]) -> None:
        """Look methods up in these."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, object]) -> None:
        """Nothing: the same methods are among the others."""


def _add_services(manager: TaskManager, server: grpc.aio.Server) -> None:
    """What callers and operators ask for."""
    task_pb2_grpc.add_TaskServiceServicer_to_server(TaskService(manager), server)
    admin_pb2_grpc.add_AgentAdminServiceServicer_to_server(AgentAdminService(manager), server)
    admin_pb2_grpc.add_SchedulerServiceServicer_to_server(SchedulerService(manager), server)
    admin_pb2_grpc.add_CheckpointServiceServicer_to_server(CheckpointService(manager), server)
    admin_pb2_grpc.add_StatsServiceServicer_to_server(StatsService(manager), server)
    admin_pb2_grpc.add_WorkspaceServiceServicer_to_server(WorkspaceService(manager), server)
    admin_pb2_grpc.add_LimitServiceServicer_to_server(LimitService(manager), server)
    data_pb2_grpc.add_DataServiceServicer_to_server(DataService(manager), server)
    data_pb2_grpc.add_ArtifactServiceServicer_to_server(ArtifactService(manager), server)
    data_pb2_grpc.add_WorkspaceStateServiceServicer_to_server(WorkspaceStateService(manager), server)
