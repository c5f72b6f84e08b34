"""The proxy between agents and servers does to plain sockets what each fault is called after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.tcp_proxy import Fault, Strength, TcpProxy

LATE = 0.25
SOON = 5.0
SILENCE = 0.15


class Peer:
    """A server that keeps what it is told on each connection, and says it back."""

    def __init__(self, *, answers: bool = True) -> None:
        self.heard: list[bytearray] = []
        self.order: list[bytes] = []
        self.reads: list[int] = []
        self.ends: list[str] = []
        self.changed = asyncio.Event()
        self._answers = answers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = bytearray()
        self.heard.append(heard)
        try:
            while data := await reader.read(65536):
                heard += data
                self.order.append(data)
                self.reads.append(len(data))
                self.changed.set()
                if self._answers:
                    writer.write(data)
            self.ends.append("closed")
        except ConnectionError:
            self.ends.append("reset")
        self.changed.set()
        writer.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def _serving(peer: Peer) -> AsyncIterator[TcpProxy]:
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    strength = Strength(delay=LATE, bytes_a_second=2_000, late=LATE)
    async with server, TcpProxy(lambda: ("127.0.0.1", port), strength=strength) as proxy:
        yield proxy


class Client:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, words: bytes) -> None:
        self.writer.write(words)

    async def hears(self, words: bytes) -> float:
        """Wait for these words. Returns how long that took."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        async with asyncio.timeout(SOON):
            assert await self.reader.readexactly(len(words)) == words
        return loop.time() - begin

    async def hears_nothing(self) -> bool:
        try:
            async with asyncio.timeout(SILENCE):
                return await self.reader.read(1) == b"never"
        except TimeoutError:
            return True


@pytest.fixture
async def peer() -> Peer:
    return Peer()


@pytest.fixture
async def proxy(peer: Peer) -> AsyncIterator[TcpProxy]:
    async with _serving(peer) as proxy:
        yield proxy


@pytest.fixture
async def dial(proxy: TcpProxy) -> AsyncIterator[Callable[[], Awaitable[Client]]]:
    clients: list[Client] = []

    async def connect() -> Client:
        host, port = proxy.address.split(":")
        clients.append(Client(*await asyncio.open_connection(host, int(port))))
        return clients[-1]

    yield connect
    for client in clients:
        client.writer.close()


Dial = Callable[[], Awaitable[Client]]


async def test_without_a_fault_bytes_pass_both_ways(proxy: TcpProxy, dial: Dial) -> None:
    client = await dial()
    client.say(b"word" * 10_000)

    await client.hears(b"word" * 10_000)


async def test_drop_closes_what_is_open_and_nothing_else(proxy: TcpProxy, peer: Peer, dial: Dial) -> None:
    client = await dial()
    client.say(b"up")
    await client.hears(b"up")
    proxy.inflict(Fault.DROP)

    assert await client.reader.read() == b""
    await peer.until(lambda: peer.ends == ["closed"])
    later = await dial()
    later.say(b"up again")
    await later.hears(b"up again")


async def test_a_hole_on_the_way_up_holds_bytes_until_it_is_healed(proxy: TcpProxy, peer: Peer, dial: Dial) -> None:
    client = await dial()
    client.say(b"a")
    await client.hears(b"a")
    proxy.inflict(Fault.HOLE_UP)
    client.say(b"b")

    assert await client.hears_nothing()
    assert peer.order == [b"a"]
    proxy.heal()
    await client.hears(b"b")


async def test_a_hole_on_the_way_down_holds_only_the_answers(proxy: TcpProxy, peer: Peer, dial: Dial) -> None:
    client = await dial()
    client.say(b"a")
    await client.hears(b"a")
    proxy.inflict(Fault.HOLE_DOWN)
    client.say(b"b")

    await peer.until(lambda: b"b" in peer.order)
    assert await client.hears_nothing()
    proxy.heal()
    await client.hears(b"b")


async def test_delay_makes_each_way_longer(proxy: TcpProxy, dial: Dial) -> None:
    client = await dial()
    proxy.inflict(Fault.DELAY)
    client.say(b"a")

    assert await client.hears(b"a") >= 2 * LATE


async def test_jitter_makes_the_way_longer_by_different_times(proxy: TcpProxy, dial: Dial) -> None:
    client = await dial()
    proxy.inflict(Fault.JITTER)
    times = []
    for _ in range(4):
        client.say(b"a")
        times.append(round(await client.hears(b"a"), 2))

    assert max(times) > min(times)
    assert sum(times) > LATE


async def test_throttle_lets_few_bytes_a_second_through(proxy: TcpProxy, dial: Dial) -> None:
    client = await dial()
    proxy.inflict(Fault.THROTTLE)
    client.say(b"x" * 600)

    assert await client.hears(b"x" * 600) >= 600 / 2_000


async def test_slices_break_what_was_one_into_many_pieces(proxy: TcpProxy, peer: Peer, dial: Dial) -> None:
    client = await dial()
    client.say(b"whole" * 40)
    await client.hears(b"whole" * 40)
    pieces = len(peer.reads)
    proxy.inflict(Fault.SLICES)
    client.say(b"whole" * 40)
    await client.hears(b"whole" * 40)

    assert len(peer.reads) - pieces > pieces


async def test_reset_ends_both_sides_without_a_goodbye(proxy: TcpProxy, peer: Peer, dial: Dial) -> None:
    client = await dial()
    client.say(b"up")
    await client.hears(b"up")
    proxy.inflict(Fault.RESET)

    with pytest.raises(ConnectionResetError):
        await client.reader.read()
    await peer.until(lambda: peer.ends == ["reset"])


async def test_half_open_tells_the_server_and_leaves_the_client_talking(
    proxy: TcpProxy, peer: Peer, dial: Dial
) -> None:
    client = await dial()
    client.say(b"up")
    await client.hears(b"up")
    proxy.inflict(Fault.HALF_OPEN)
    await peer.until(lambda: peer.ends == ["reset"])
    client.say(b"anybody?")

    assert await client.hears_nothing()
    assert not client.reader.at_eof()
    assert peer.order == [b"up"]


async def test_duplicate_says_again_what_was_said_and_connects_others_late(
    proxy: TcpProxy, peer: Peer, dial: Dial
) -> None:
    client = await dial()
    client.say(b"hello")
    await client.hears(b"hello")
    proxy.inflict(Fault.DUPLICATE)
    await peer.until(lambda: peer.heard == [b"hello", b"hello"])
    late = await dial()
    late.say(b"late")

    assert await late.hears(b"late") >= LATE / 2


async def test_reorder_delivers_what_an_old_connection_carried_after_a_new_one_is_up(
    proxy: TcpProxy, peer: Peer, dial: Dial
) -> None:
    old = await dial()
    old.say(b"old")
    await old.hears(b"old")
    proxy.inflict(Fault.REORDER)
    old.say(b"under way")
    assert await old.reader.read() == b""
    new = await dial()
    new.say(b"new")
    await new.hears(b"new")
    await peer.until(lambda: b"under way" in peer.order)

    assert peer.order == [b"old", b"new", b"under way"]


async def test_slow_close_tells_the_end_late(proxy: TcpProxy, peer: Peer, dial: Dial) -> None:
    loop = asyncio.get_running_loop()
    client = await dial()
    client.say(b"up")
    await client.hears(b"up")
    proxy.inflict(Fault.SLOW_CLOSE)
    begin = loop.time()
    client.writer.close()
    await peer.until(lambda: peer.ends == ["closed"])

    assert loop.time() - begin >= LATE / 2


async def test_every_fault_has_a_test_of_its_own() -> None:
    named = "".join(name for name in globals() if name.startswith("test_"))
    words = {Fault.HOLE_UP: "hole_on_the_way_up", Fault.HOLE_DOWN: "hole_on_the_way_down"}

    assert not [fault for fault in Fault if words.get(fault, str(fault)) not in named]
