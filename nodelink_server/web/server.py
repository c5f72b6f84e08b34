"""The HTTP server: uvicorn in the caller's loop, started and stopped by whoever opens it."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import structlog
from fastapi import FastAPI
from uvicorn import Config, Server

from nodelink.address import Address
from nodelink.errors import CannotListen
from nodelink_server.core.manager import TaskManager
from nodelink_server.web.app import create_app
from nodelink_server.web.protocol import BoundedProtocol, ConnectionLimits
from nodelink_server.web.socket_protocol import BoundedSocket

BACKLOG = 1_024
MOST_CONNECTIONS = ConnectionLimits().connections
KEEP_ALIVE_SECONDS = 30
MAX_MESSAGE_BYTES = 64 << 10
STOP_SECONDS = 5
"""The backstop: whatever still lasts when the server stops is cancelled after this."""
UNSPECIFIED_HOSTS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound

log = structlog.get_logger(__name__)


@asynccontextmanager
async def http_server(
    manager: TaskManager,
    address: Address,
    *,
    version: str,
    allowed_hosts: Iterable[str] = (),
    insecure: bool = False,
    limits: ConnectionLimits | None = None,
) -> AsyncIterator[Address]:
    """Serve HTTP while open; gives the address it listens on (port 0: any free one). Raises `CannotListen`.

    At its end streams and long polls are told first, requests under way are finished, and 5 s later all is over.
    """
    closing = asyncio.Event()
    app = create_app(
        manager,
        version=version,
        allowed_hosts=(*allowed_hosts, *_own_names(address)),
        any_address=address.host in UNSPECIFIED_HOSTS,
        insecure=insecure,
        closing=closing,
    )
    listener = await _listen(address)
    server = _LoopServer(_config(app, _within_files(limits or ConnectionLimits())))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]), name="http server")
        try:
            await server.ready.wait()
            bound = Address(address.host, listener.getsockname()[1])
            log.info("http_listening", address=str(bound))
            yield bound
        finally:
            closing.set()
            server.should_exit = True
            await asyncio.wait({serving})
            listener.close()


class _LoopServer(Server):
    """uvicorn's server as a part of ours: signals are the caller's, and it says when it is ready."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.ready.set()


def _within_files(limits: ConnectionLimits) -> ConnectionLimits:
    """The limits on this machine: half of the files that may be open are for others, agents and the database."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        limits if files == resource.RLIM_INFINITY else replace(limits, connections=min(limits.connections, files // 2))
    )


def _config(app: FastAPI, limits: ConnectionLimits) -> Config:
    return Config(
        app,
        http=type("_Protocol", (BoundedProtocol,), {"limits": limits}),
        ws=type("_Socket", (BoundedSocket,), {"limits": limits}),
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_ping_interval=limits.ping_seconds,
        ws_ping_timeout=limits.ping_seconds,
        ws_per_message_deflate=False,  # its buffers cost more memory than the listener itself
        lifespan="off",
        loop="none",
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def _own_names(address: Address) -> tuple[str, ...]:
    """What requests call this address, as they write it: IPv6 in brackets."""
    return () if address.host in UNSPECIFIED_HOSTS else (str(address).rpartition(":")[0],)


async def _listen(address: Address) -> socket.socket:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, target = found[0]
        listening = socket.create_server(target[:2], family=family, backlog=BACKLOG)
        # Connections inherit it. asyncio does this only for sockets that name their protocol, and without it a body
        # waits for the acknowledgement of its headers, 40 ms and more.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotListen(f"cannot listen on {address} for HTTP: {reason}") from error
