"""A TCP proxy that does to connections what networks do. Use as an async context; it listens on loopback.

`inflict` begins a fault, `heal` ends it. What a fault has broken stays broken: after `heal` only new connections, and
those that were merely slow or held up, are as they should be. Bytes are never lost inside a connection that goes on,
as TCP would not lose them either: a black hole holds them up until it is healed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Self

CHUNK_BYTES = 16 * 1024
LOOK_SECONDS = 0.05
REMEMBERED_BYTES = 64 * 1024
"""So much of what a client sent first is kept, to be sent a second time."""


class Fault(StrEnum):
    """What can be done to connections."""

    DROP = "drop"
    """All connections are closed in good order, now."""
    HOLE_UP = "hole_up"
    """Nothing gets through to the server."""
    HOLE_DOWN = "hole_down"
    """Nothing gets through to the client."""
    DELAY = "delay"
    """Everything comes later."""
    JITTER = "jitter"
    """Everything comes later, by chance more or less so."""
    THROTTLE = "throttle"
    """Few bytes a second get through."""
    SLICES = "slices"
    """Bytes come one by one."""
    RESET = "reset"
    """All connections are reset, now."""
    HALF_OPEN = "half_open"
    """The server's end of all connections is gone, and the client is not told."""
    DUPLICATE = "duplicate"
    """What a client said first is said once more on a connection of its own, and new connections come late."""
    REORDER = "reorder"
    """The client's connections are cut, and what they still carried gets to the server after that of newer ones."""
    SLOW_CLOSE = "slow_close"
    """The ends of connections are told late."""


class Strength(NamedTuple):
    """How bad it gets."""

    delay: float = 0.3
    bytes_a_second: float = 4_000.0
    late: float = 1.0


class _Way:
    """One direction of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.discards = False  # what comes is read, and goes nowhere
        self.goes_on = asyncio.Event()
        self.goes_on.set()


class _Connection:
    """A client's connection and ours to the server."""

    def __init__(self, up: _Way, down: _Way) -> None:
        self.up = up
        self.down = down
        self.first = bytearray()  # what the client said first
        self.is_detached = False  # its client was cut off, and its way up lives on
        self.answered = asyncio.Event()


class TcpProxy:
    """Forwards connections to a server. `target` is asked for each connection, so that a server may move.

    `patience`: for so many seconds a client is kept waiting for a server that is not there, and only then refused.
    """

    def __init__(
        self,
        target: Callable[[], tuple[str, int]],
        *,
        chance: random.Random | None = None,
        strength: Strength | None = None,
        patience: float = 0.0,
    ) -> None:
        self._target = target
        self._patience = patience
        self._chance = chance or random.Random()
        self._strength = strength or Strength()
        self._fault: Fault | None = None
        self._connections: set[_Connection] = set()
        self._remembered = b""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.passed = 0
        """How many bytes went up so far."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._connections):
            _abort(connection.up.writer)
            _abort(connection.down.writer)

    @property
    def address(self) -> str:
        """Where it listens, as host:port."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    @property
    def open_connections(self) -> int:
        """How many connections of clients are open."""
        return sum(not connection.is_detached for connection in self._connections)

    def inflict(self, fault: Fault) -> None:
        """Begin a fault; an earlier one is healed."""
        self.heal()
        self._fault = fault
        for connection in list(self._connections):
            self._strike(connection, fault)
        if fault is Fault.DUPLICATE and self._remembered:
            self._begin(self._say_again(self._remembered))

    def heal(self) -> None:
        """End the fault."""
        self._fault = None
        for connection in self._connections:
            connection.down.goes_on.set()
            if not connection.is_detached:
                connection.up.goes_on.set()

    def _strike(self, connection: _Connection, fault: Fault) -> None:
        """What a fault does at once to a connection that is open."""
        match fault:
            case Fault.DROP:
                connection.up.writer.close()
                connection.down.writer.close()
            case Fault.RESET:
                _reset(connection.up.writer)
                _reset(connection.down.writer)
            case Fault.HALF_OPEN:
                connection.up.discards = True
                _reset(connection.up.writer)
            case Fault.HOLE_UP:
                connection.up.goes_on.clear()
            case Fault.HOLE_DOWN:
                connection.down.goes_on.clear()
            case Fault.REORDER:
                self._detach(connection)
            case _:
                pass  # the pumps look at these

    def _detach(self, connection: _Connection) -> None:
        """Cut the client off; what is under way stays, until a younger connection has been answered."""
        connection.is_detached = True
        connection.up.goes_on.clear()
        connection.down.discards = True
        self._begin(self._let_go_later(connection))

    async def _let_go_later(self, old: _Connection) -> None:
        before = set(self._connections)
        await asyncio.sleep(LOOK_SECONDS)  # let what is under way arrive here
        _close(old.down.writer)
        while not any(new.answered.is_set() for new in self._connections - before):  # noqa: ASYNC110 - any of many
            await asyncio.sleep(LOOK_SECONDS)
        old.up.goes_on.set()

    # --- connections

    def _begin(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._fault is Fault.DUPLICATE:
            await asyncio.sleep(self._strength.late)
        try:
            server_reader, server_writer = await self._reach(reader)
        except OSError:
            _reset(writer)
            return
        connection = _Connection(_Way(reader, server_writer), _Way(server_reader, writer))
        self._connections.add(connection)
        if self._fault in {Fault.HOLE_UP, Fault.HOLE_DOWN}:
            self._strike(connection, self._fault)
        try:
            await self._carry(connection)
        finally:
            self._connections.discard(connection)

    async def _reach(self, client: asyncio.StreamReader) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server. OSError: it is not there, and was not for as long as there is patience."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        while True:
            try:
                return await asyncio.open_connection(*self._target())
            except OSError:
                if loop.time() >= until or client.at_eof():
                    raise
            await asyncio.sleep(LOOK_SECONDS)

    async def _carry(self, connection: _Connection) -> None:
        """Pump until one side ends, then close the other."""
        up = asyncio.create_task(self._pump(connection, connection.up, upward=True))
        down = asyncio.create_task(self._pump(connection, connection.down, upward=False))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            if connection.up.discards or connection.is_detached:
                await asyncio.wait({up})
            if self._fault is Fault.SLOW_CLOSE:
                await asyncio.sleep(self._strength.late)
        finally:
            for pump in (up, down):
                pump.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            _close(connection.up.writer)
            _close(connection.down.writer)

    async def _pump(self, connection: _Connection, way: _Way, *, upward: bool) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            while data := await way.reader.read(CHUNK_BYTES):
                if upward:
                    self._remember(connection, data)
                else:
                    connection.answered.set()
                await way.goes_on.wait()
                if not way.discards:
                    await self._pass(way, data)
                    self.passed += len(data) if upward else 0

    def _remember(self, connection: _Connection, data: bytes) -> None:
        if len(connection.first) < REMEMBERED_BYTES:
            connection.first += data
            self._remembered = bytes(connection.first)

    async def _pass(self, way: _Way, data: bytes) -> None:
        """Write, as slowly as the fault of the moment has it."""
        match self._fault:
            case Fault.DELAY:
                await asyncio.sleep(self._strength.delay)
            case Fault.JITTER:
                await asyncio.sleep(self._chance.uniform(0, 2 * self._strength.delay))
            case Fault.THROTTLE:
                await asyncio.sleep(len(data) / self._strength.bytes_a_second)
            case Fault.SLICES:
                for byte in data[:-1]:
                    way.writer.write(bytes([byte]))
                    await way.writer.drain()
                    await asyncio.sleep(0)
                data = data[-1:]
            case _:
                pass
        way.writer.write(data)
        await way.writer.drain()

    async def _say_again(self, words: bytes) -> None:
        """A connection that nobody made: it says what another one said."""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(*self._target())
            try:
                writer.write(words)
                await writer.drain()
                async with asyncio.timeout(self._strength.late):
                    while await reader.read(CHUNK_BYTES):
                        pass
            except TimeoutError:
                pass
            finally:
                _close(writer)


def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close without a goodbye: the peer gets an RST."""
    plain = writer.get_extra_info("socket")
    if plain is not None and plain.fileno() >= 0:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
