"""The HTTP server itself: where it listens, how long callers may take, how it stops."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket

import pytest

from nodelink.address import Address
from nodelink.errors import CannotListen
from nodelink_server.web.protocol import MOST_TURNED_AWAY, ConnectionLimits
from nodelink_server.web.server import _listen, _within_files, http_server
from tests.support.http_door import VERSION, Door, http_door

SECONDS = 30
MANY = ConnectionLimits().header_bytes + 1
HURRIED = ConnectionLimits(headers_seconds=0.1)


async def test_port_0_is_any_free_one_and_is_told() -> None:
    async with http_door() as door:
        assert door.address.port > 0
        assert (await door.http.get("/healthz")).status_code == 200


async def test_a_port_in_use_is_a_clear_error() -> None:
    async with http_door() as door:
        with pytest.raises(CannotListen, match=f"cannot listen on {door.address} for HTTP: .*in use"):
            async with http_server(door.manager, door.address, version=VERSION):
                pass


async def test_an_address_that_is_not_ours_is_a_clear_error() -> None:
    async with http_door() as door:
        for host in ("192.0.2.1", "no.such.host.invalid"):
            with pytest.raises(CannotListen, match=f"cannot listen on {host}:0 for HTTP: .+"):
                async with http_server(door.manager, Address(host, 0), version=VERSION):
                    pass


async def test_two_servers_can_follow_each_other_on_one_port() -> None:
    async with http_door() as door:
        async with http_server(door.manager, Address("127.0.0.1", 0), version=VERSION) as address:
            pass
        async with http_server(door.manager, address, version=VERSION) as again:
            assert again == address


async def test_an_answer_never_waits_for_the_acknowledgement_of_its_beginning() -> None:
    listening = await _listen(Address("127.0.0.1", 0))
    with listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_signals_are_left_to_the_caller() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with http_door():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_an_error_of_the_caller_stops_the_server_too() -> None:
    async with http_door() as door:
        address = door.address
        with pytest.RaisesGroup(KeyError):
            async with http_server(door.manager, Address("127.0.0.1", 0), version=VERSION) as address:
                await fail()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)


async def fail() -> None:
    """Raise what has nothing to do with the server, as it is."""
    raise KeyError("x")


async def test_headers_that_do_not_come_are_not_waited_for() -> None:
    async with http_door(limits=HURRIED) as door:
        assert (await answer_to(door, b"GET / HTTP/1.1\r\nHost: loc")).startswith(b"HTTP/1.1 408")


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with http_door(limits=HURRIED) as door:
        assert await answer_to(door, b"") == b""


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with http_door(limits=ConnectionLimits(headers_seconds=3600, body_seconds=0.1)) as door:
        head = b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for length in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
            await answer_to(door, head + length + b"\r\n\r\n")
        assert (await door.http.get("/api/v1/tasks")).json()["tasks"] == []


async def test_headers_that_do_not_end_are_refused() -> None:
    async with http_door() as door:
        assert (await answer_to(door, (b"GET / HTTP/1.1\r\nX-Filler: ").ljust(MANY, b"x"))).startswith(b"HTTP/1.1 431")


async def test_what_is_no_http_is_refused() -> None:
    async with http_door() as door:
        assert (await answer_to(door, b"\x16\x03\x01 not http\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_half_a_request_does_not_hold_up_the_end() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SECONDS):
        async with http_door() as door:
            writers = []
            for part in (b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"):
                _, writer = await asyncio.open_connection(*door.address)
                writer.write(part)
                await writer.drain()
                writers.append(writer)
            await door.http.get("/healthz")
            began = loop.time()
        assert loop.time() - began < 4
        for writer in writers:
            writer.close()


async def answer_to(door: Door, request: bytes) -> bytes:
    """Everything that comes back, up to the end of the connection."""
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(*door.address)
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


async def test_connections_far_too_many_are_cut_off_although_they_ask_for_nothing() -> None:
    async with http_door(limits=ConnectionLimits(connections=1, headers_seconds=3600)) as door:
        silent = [await asyncio.open_connection(*door.address) for _ in range(MOST_TURNED_AWAY + 2)]
        async with asyncio.timeout(SECONDS):
            assert await silent[-1][0].read() == b""
        for _, writer in silent:
            writer.close()


def test_half_of_the_files_that_may_be_open_are_for_others() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, before[1]))
    try:
        assert _within_files(ConnectionLimits()).connections == 512
        assert _within_files(ConnectionLimits(connections=3)).connections == 3
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
