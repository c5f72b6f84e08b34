"""One connection in the hands of somebody who does not play fair: it is bounded in time, in memory and in number."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nodelink_server.web.protocol import MOST_AHEAD, ConnectionLimits
from tests.support.http_door import http_door
from tests.support.raw_http import deaf_caller, raw_connection

SECONDS = 30
HEALTH = "GET /healthz"
JSON = "Content-Type: application/json"
TASK = b'{"type":"echo"}'
HURRIED = ConnectionLimits(headers_seconds=0.2, stall_seconds=0.2)
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")


async def test_trailers_are_no_headers() -> None:
    async with http_door() as door, raw_connection(door.address) as raw:
        await raw.request("POST /api/v1/tasks", JSON, "Transfer-Encoding: chunked")
        await raw.write(b"%x\r\n%s\r\n0\r\n" % (len(TASK), TASK), b"Host: evil.example\r\nX-Request-Id: mine\r\n\r\n")
        answer = await raw.answer()
        assert (answer.status_code, answer.headers["x-request-id"] == "mine") == (201, False)


async def test_another_upgrade_than_a_websocket_is_passed_over_and_the_body_is_read() -> None:
    async with http_door() as door, raw_connection(door.address) as raw:
        for _ in range(2):
            length = f"Content-Length: {len(TASK)}"
            await raw.request("POST /api/v1/tasks", JSON, *H2C, length, body=TASK)
            assert (await raw.answer()).status_code == 201
        await raw.request("POST /api/v1/tasks", JSON, *H2C, "Transfer-Encoding: chunked")
        await raw.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(TASK), TASK))
        assert (await raw.answer()).status_code == 201
        await raw.request(HEALTH)
        assert (await raw.answer()).status_code == 200


async def test_requests_behind_one_that_wishes_an_upgrade_are_answered() -> None:
    async with http_door() as door, raw_connection(door.address) as raw:
        wish = "\r\n".join([f"{HEALTH} HTTP/1.1", "Host: localhost", *H2C, "", ""]).encode()
        await raw.write(wish * 3)
        assert [(await raw.answer()).status_code for _ in range(3)] == [200] * 3


async def test_nobody_is_connected_through_to_elsewhere() -> None:
    for target in ("localhost:80", "/healthz"):
        async with http_door() as door, raw_connection(door.address) as raw:
            await raw.request(f"CONNECT {target}")
            assert (await raw.rest()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("between", [b"\r\n", b"\r\n\r\n"])
async def test_empty_lines_between_requests_keep_no_connection_open(between: bytes) -> None:
    async with http_door(limits=HURRIED) as door, raw_connection(door.address) as raw:
        await raw.request(HEALTH)
        await raw.answer()
        await raw.write(between)
        assert await raw.rest() == b""


async def test_a_body_that_comes_after_its_refusal_keeps_no_connection_open() -> None:
    async with http_door(limits=HURRIED) as door, raw_connection(door.address) as raw:
        await raw.write(b"POST /api/v1/tasks HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 4\r\n\r\n")
        assert (await raw.answer()).status_code == 403
        await raw.write(b"body")
        assert await raw.rest() == b""


async def test_requests_that_wait_for_the_one_before_have_a_bound() -> None:
    async with http_door() as door, raw_connection(door.address) as raw:
        task_id = (await door.submit())["id"]
        await raw.request(f"GET /api/v1/tasks/{task_id}/result?wait=5m")
        await raw.write(f"{HEALTH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * (MOST_AHEAD + 1))
        assert await raw.rest() == b""


async def test_some_requests_may_wait_for_the_one_before() -> None:
    async with http_door() as door, raw_connection(door.address) as raw:
        await raw.write(f"{HEALTH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * MOST_AHEAD)
        assert [(await raw.answer()).status_code for _ in range(MOST_AHEAD)] == [200] * MOST_AHEAD


@pytest.mark.parametrize("more", [b"", b"GET", b"GET / HTTP/1.1\r\n\r\n\r\n", b"\x16\x03\x01"])
async def test_a_caller_that_leaves_a_little_unread_is_cut_off_whatever_it_does_next(more: bytes) -> None:
    async with deaf_caller(answer, HURRIED) as (caller, server), asyncio.timeout(SECONDS):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(caller, b"GET / HTTP/1.1\r\n\r\n")
        await server.answered.wait()
        assert 0 < server.transport.get_write_buffer_size() < LITTLE
        await loop.sock_sendall(caller, more)
        await server.lost.wait()


async def test_a_caller_that_stops_reading_near_the_end_is_cut_off() -> None:
    async with deaf_caller(answer, HURRIED) as (caller, server), asyncio.timeout(SECONDS):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(caller, b"GET /much HTTP/1.1\r\nConnection: close\r\n\r\n")
        while not server.answered.is_set() or server.transport.get_write_buffer_size() > LITTLE // 8:
            await loop.sock_recv(caller, 1_024)
        await server.lost.wait()


LITTLE = 64 << 10
"""Less than makes a response wait."""


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Somewhat less than makes a response wait, or much more."""
    body = bytes(LITTLE * 4 if scope["path"] == "/much" else LITTLE // 2)
    await Response(body)(scope, receive, send)
