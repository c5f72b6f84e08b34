"""HTTP by hand: what no client would send, and what comes back, up to the end of the connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.server import ServerState

from nodelink.address import Address
from nodelink_server.web.protocol import BoundedProtocol, ConnectionLimits
from nodelink_server.web.socket_protocol import BoundedSocket

WAIT_SECONDS = 60.0


class RawConnection:
    """One connection on which a test writes bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def write(self, *parts: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(b"".join(parts))
        await self.writer.drain()

    async def request(self, line: str, *headers: str, body: bytes = b"") -> None:
        """Send a request that names us."""
        head = "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *headers, "", ""])
        await self.write(head.encode("latin-1"), body)

    async def answer(self) -> httpx.Response:
        """The next answer, which has a length."""
        async with asyncio.timeout(WAIT_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, *fields = head.decode("latin-1").strip().split("\r\n")
            headers = [(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)]
            answer = httpx.Response(int(status.split()[1]), headers=headers)
            body = await self.reader.readexactly(int(answer.headers.get("content-length", 0)))
            return httpx.Response(answer.status_code, headers=headers, content=body)

    async def rest(self) -> bytes:
        """Everything that still comes."""
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def raw_connection(address: Address) -> AsyncIterator[RawConnection]:
    """A connection of its own."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()


class ServerSide(BoundedProtocol):
    """The server's side of one connection, which says what becomes of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.answered = asyncio.Event()
        self.lost = asyncio.Event()

    def on_response_complete(self) -> None:
        """As it is, and said."""
        super().on_response_complete()
        self.answered.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """As it is, and said."""
        super().connection_lost(exc)
        self.lost.set()


@asynccontextmanager
async def deaf_caller(app: ASGIApp, limits: ConnectionLimits) -> AsyncIterator[tuple[socket.socket, ServerSide]]:
    """A caller that reads only what a test has it read, and the server's side of its connection.

    Hardly anything fits on the way between them, so that what is not read waits at the server.
    """
    state = ServerState()
    socket_kind = type("_Socket", (BoundedSocket,), {"limits": limits})
    config = Config(app, ws=socket_kind, lifespan="off", log_config=None, timeout_keep_alive=1)
    kind = type("_ServerSide", (ServerSide,), {"limits": limits})
    ours, caller = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    caller.setblocking(False)
    with caller:
        transport, server = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: kind(config=config, server_state=state, app_state={}), sock=ours
        )
        try:
            yield caller, server
        finally:
            transport.abort()
