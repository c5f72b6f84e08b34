"""The gRPC server: agents, tasks and administration on one port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import structlog

from nodelink.address import Address
from nodelink.errors import CannotListen
from nodelink.v1 import admin_pb2_grpc, agent_pb2_grpc, task_pb2_grpc
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import Clock
from nodelink_server.rpc.admin import AgentAdminService
from nodelink_server.rpc.agents import HELLO_SECONDS, AgentService
from nodelink_server.rpc.interceptors import ErrorsToStatus
from nodelink_server.rpc.tasks import TaskService

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
STOP_SECONDS = 5.0

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.so_reuseport", 0),  # or a second server would share the port in silence
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # keepalive_timeout_ms alone does nothing below 60 s
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 3),
    ("grpc.max_concurrent_streams", 1_000),
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
    server = grpc.aio.server(interceptors=[ErrorsToStatus()], options=options)
    agents = AgentService(manager, clock=clock, server_id=server_id, version=version, hello_seconds=hello_seconds)
    agent_pb2_grpc.add_AgentServiceServicer_to_server(agents, server)
    task_pb2_grpc.add_TaskServiceServicer_to_server(TaskService(manager), server)
    admin_pb2_grpc.add_AgentAdminServiceServicer_to_server(AgentAdminService(manager.agents), server)
    try:
        port = server.add_insecure_port(str(address))
    except RuntimeError as error:
        raise CannotListen(f"gRPC cannot listen on {address}: is another server running there?") from error
    await server.start()
    bound = Address(address.host, port)
    log.info("grpc_listening", address=str(bound))
    try:
        yield bound
    finally:
        await server.stop(STOP_SECONDS)
