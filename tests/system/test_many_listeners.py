"""Hundreds of listeners at once, a tenth of which never read: the others miss nothing, and memory stays bounded."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.processes import Server, Services
from tests.support.rest import Rest
from tests.support.sockets import Socket, open_socket

STREAMS = 500
SOCKETS = 100
BATCHES = 6
TASKS = 250
EVENTS = 2 * BATCHES * TASKS
"""Each task that nobody runs is told of twice: created, pending."""

FILES = 4_096
MIB = 1 << 20
MOST_GROWN = 64 * MIB
"""What 60 stalled listeners may hold (two chunks of 64 KiB each, and events that all share: under 16 MiB), the newest
events as written (8 MiB, thrice), the tasks themselves (a few KiB each), and room for the allocator.
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

_ID = re.compile(rb"id: (\d+)\nevent: ")
_MESSAGE_ID = re.compile(r'"id":(\d+),"data":')


class EventStream(asyncio.Protocol):
    """A stream of events of which the revisions are kept."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._left = b""
        self.begun = asyncio.Event()
        self.complete = asyncio.Event()
        self.heard: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for events."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note what came."""
        text = self._left + data
        end = 0
        for found in _ID.finditer(text):
            self.heard.append(int(found[1]))
            end = found.end()
        self._left = text[max(end, len(text) - 64) :]
        if b"event: hello" in text:
            self.begun.set()
        if len(self.heard) >= EVENTS:
            self.complete.set()


async def test_hundreds_of_listeners_hear_everything_in_order_though_a_tenth_of_them_never_reads(
    services: Services,
) -> None:
    with _many_files():
        server = await services.server()
        async with Rest(server) as rest, AsyncExitStack() as opened:
            streams = [await opened.enter_async_context(_stream(server)) for _ in range(STREAMS * 9 // 10)]
            sockets = [await opened.enter_async_context(_listening(server)) for _ in range(SOCKETS * 9 // 10)]
            for _ in range(STREAMS // 10):
                opened.enter_context(_deaf_stream(server))
            for _ in range(SOCKETS // 10):
                await opened.enter_async_context(_deaf_socket(server))
            await _all_listen(rest)
            before = server.memory()
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                hearing = [group.create_task(_revisions(one)) for one in sockets]
                for one in streams:
                    group.create_task(one.complete.wait())
                for _ in range(BATCHES):
                    await rest.batch([{"type": "echo", "payload": None, "pool": "elsewhere"}] * TASKS)
            grown = server.memory() - before
            metrics = await rest.metrics()

    everything = list(range(1, EVENTS + 1))
    assert [one for one in streams if one.heard != everything] == []
    assert [one for one in hearing if one.result() != everything] == []
    assert metrics["nodelink_events_dropped_total"] == 0
    assert grown < MOST_GROWN, f"{grown / MIB:.0f} MiB"


async def _all_listen(rest: Rest) -> None:
    """Wait until the server has seen every listener."""
    async with asyncio.timeout(60):
        while (await rest.metrics())["nodelink_events_listeners"] < STREAMS + SOCKETS:
            await rest.get("/tasks", page_size=1)


@asynccontextmanager
async def _stream(server: Server) -> AsyncIterator[EventStream]:
    """An event stream, its `hello` heard."""
    host, port = _address(server)
    transport, stream = await asyncio.get_running_loop().create_connection(
        lambda: EventStream(_request(server)), host, port
    )
    try:
        async with asyncio.timeout(60):
            await stream.begun.wait()
        yield stream
    finally:
        transport.abort()


@asynccontextmanager
async def _listening(server: Server) -> AsyncIterator[Socket]:
    """A WebSocket with one subscription to everything."""
    async with open_socket(urlsplit(server.http).netloc, max_queue=None, compression=None) as listener:
        await listener.ask({"subscribe": {}})
        yield listener


async def _revisions(listener: Socket) -> list[int]:
    """The revisions of all that comes, until it is everything."""
    heard: list[int] = []
    while len(heard) < EVENTS:
        message = await listener.connection.recv(decode=True)
        heard += [int(found) for found in _MESSAGE_ID.findall(message)]
    return heard


@contextmanager
def _deaf_stream(server: Server) -> Iterator[None]:
    """A connection that asks for all events and reads none of them."""
    with _small_socket(server) as deaf:
        deaf.sendall(_request(server))
        yield


@asynccontextmanager
async def _deaf_socket(server: Server) -> AsyncIterator[None]:
    """A WebSocket that subscribes to everything, and reads nothing from then on."""
    address = urlsplit(server.http).netloc
    how = {"sock": _small_socket(server), "max_queue": 1, "close_timeout": 0.1, "ping_interval": None}
    async with open_socket(address, **how) as deaf:
        await deaf.ask({"subscribe": {}})
        yield


def _request(server: Server) -> bytes:
    return f"GET /api/v1/events HTTP/1.1\r\nHost: {urlsplit(server.http).netloc}\r\n\r\n".encode()


def _small_socket(server: Server) -> socket.socket:
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect(_address(server))
    return small


def _address(server: Server) -> tuple[str, int]:
    host, _, port = urlsplit(server.http).netloc.rpartition(":")
    return host, int(port)


@contextmanager
def _many_files() -> Iterator[None]:
    """Allow this process and those that it starts as many open files as all the connections take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES) if soft >= 0 else soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
