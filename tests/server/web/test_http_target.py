"""What a request asks for: methods, paths and queries, before any route sees them."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from nodelink_server.web.protocol import ConnectionLimits
from nodelink_server.web.target import MAX_PARAMETERS, MAX_TARGET_BYTES
from tests.support.http_door import Door, app_door, http_door

TASKS = "/api/v1/tasks"
SECONDS = 30


@pytest.mark.parametrize("path", [TASKS, "/api/v1/agents", "/healthz", "/metrics", "/openapi.json", "/docs"])
async def test_head_is_get_without_the_body(path: str) -> None:
    async with app_door() as door:
        whole, head = await door.http.get(path), await door.http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-type", "content-security-policy"):
            assert head.headers[name] == whole.headers[name]


async def test_head_of_what_does_not_exist_says_so() -> None:
    async with app_door() as door:
        answer = await door.http.head(f"{TASKS}/nonsense")
        assert (answer.status_code, answer.content) == (404, b"")


async def test_head_of_a_stream_ends_with_its_headers() -> None:
    async with http_door() as door, asyncio.timeout(SECONDS):
        task_id = (await door.submit())["id"]
        for path in ("/api/v1/events", f"{TASKS}/{task_id}/events", f"{TASKS}/{task_id}/logs?follow=true"):
            answer = await door.http.head(path)
            assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("DELETE", TASKS, {"GET", "HEAD", "OPTIONS", "POST"}),
        ("GET", f"{TASKS}/shell", {"OPTIONS", "POST"}),
        ("HEAD", f"{TASKS}/batch", {"OPTIONS", "POST"}),
        ("GET", f"{TASKS}/cleanup", {"OPTIONS", "POST"}),
        ("POST", f"{TASKS}/1", {"GET", "HEAD", "OPTIONS"}),
        ("GET", f"{TASKS}/1/retry", {"OPTIONS", "POST"}),
        ("PUT", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/debug/profile", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/docs", {"GET", "HEAD", "OPTIONS"}),
        ("BREW", "/api/v1/stats", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_another_method_is_refused_with_those_that_there_are(method: str, path: str, allowed: set[str]) -> None:
    async with app_door() as door:
        answer = await door.http.request(method, path)
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path, allowed",
    [
        (TASKS, "GET, HEAD, OPTIONS, POST"),
        (f"{TASKS}/1/cancel", "OPTIONS, POST"),
        ("/debug/profile", "GET, HEAD, OPTIONS"),
    ],
)
async def test_options_names_the_methods(path: str, allowed: str) -> None:
    async with app_door() as door:
        answer = await door.http.options(path)
        assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b"")


async def test_options_opens_no_door_to_other_sites() -> None:
    async with app_door() as door:
        answer = await door.http.options(TASKS, headers={"Origin": "http://evil.example"})
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("path", ["/nonsense", "/api/v1/nonsense", f"{TASKS}/1/nonsense"])
async def test_there_are_no_options_where_there_is_nothing(path: str) -> None:
    async with app_door() as door:
        assert (await door.http.options(path)).status_code == 404


@pytest.mark.parametrize(
    "target, field",
    [
        (f"{TASKS}?pool=%ff", "pool"),
        (f"{TASKS}?%ff=1", "?"),
        (f"{TASKS}?pool=%ed%a0%80", "pool"),
        (f"{TASKS}?pool=a%00b", "pool"),
        (f"{TASKS}?page_size=1&page_size=1", "page_size"),
        (f"{TASKS}?q=a&q=b", "q"),
        (f"{TASKS}?label=a", "label"),
        (f"{TASKS}?label==a", "label"),
        (f"{TASKS}?" + "&".join(f"label=l{number}=v" for number in range(11)), "label"),
        (f"{TASKS}?q=" + "x" * 201, "q"),
        (f"{TASKS}?q=%2F", "q"),
        (f"{TASKS}?pool=" + "x" * 201, "pool"),
        (f"{TASKS}?page_size={'9' * 100}", "page_size"),
        (f"{TASKS}?page_size=1_0", "page_size"),
        (f"{TASKS}?page_size=%D9%A3", "page_size"),
        (f"{TASKS}?created_after=1969-12-31T23:59:59Z", "created_after"),
        (f"{TASKS}/%ff", "path"),
        (f"{TASKS}/%00", "path"),
        (f"{TASKS}/1/logs?follow=1", "follow"),
        (f"{TASKS}/1/logs?offset=1e3", "offset"),
        (f"{TASKS}/1/logs?limit=1048577", "limit"),
        (f"{TASKS}/1/logs?tail=1048577", "tail"),
        (f"{TASKS}?" + "&".join(f"status=failed{number}" for number in range(MAX_PARAMETERS + 1)), "query"),
        ("/api/v1/agents?status=asleep", "status"),
        ("/api/v1/agents?label=zone", "label"),
        ("/api/v1/agents/a1/tasks?agent_id=a1", "agent_id"),
        ("/api/v1/agents/a1/sessions?page_size=1001", "page_size"),
        ("/api/v1/agents/a1/sessions?page_token=x", "page_token"),
        ("/api/v1/stats?by=status", "by"),
        ("/api/v1/stats?from=yesterday", "from"),
        ("/api/v1/stats?step=soon", "step"),
        ("/api/v1/scheduler/status?x=1", "x"),
    ],
)
async def test_a_target_that_is_not_honest_is_refused_by_name(target: str, field: str) -> None:
    async with app_door() as door, door.agent():
        answer = await door.http.get(target)
        assert (answer.status_code, answer.json()["code"]) == (422, "INVALID"), answer.text
        assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_labels_and_statuses_may_be_given_again() -> None:
    async with app_door() as door:
        for target in (
            f"{TASKS}?status=failed&status=lost&label=a=1&label=b=2",
            "/api/v1/agents?status=online&status=offline",
        ):
            assert (await door.http.get(target)).status_code == 200


async def test_a_query_that_is_not_ascii_is_refused() -> None:
    async with http_door() as door:
        status, _ = await sent(door, b"GET /api/v1/tasks?pool=\xc3\xa9 HTTP/1.1")
        assert status in {400, 422}


async def test_a_target_has_a_limit() -> None:
    async with app_door() as door:
        room = MAX_TARGET_BYTES - len(f"{TASKS}/")
        assert (await door.http.get(f"{TASKS}/{'x' * room}")).status_code == 404
        answer = await door.http.get(f"{TASKS}/{'x' * (room + 1)}")
        assert (answer.status_code, answer.json()["code"]) == (414, "TOO_LARGE")


@pytest.mark.parametrize("line, status", [(b"GET /" + b"x" * 70_000 + b" HTTP/1.1", 400), (b"nonsense", 400)])
async def test_what_is_no_request_is_answered_as_a_problem_too(line: bytes, status: int) -> None:
    async with http_door() as door:
        answered, answer = await sent(door, line)
        assert (answered, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_a_connection_too_many_is_told_when_to_come_again() -> None:
    async with http_door(limits=ConnectionLimits(connections=1)) as door:
        assert (await door.http.get("/healthz")).status_code == 200  # and stays connected
        status, answer = await sent(door, b"GET /healthz HTTP/1.1")
        assert (status, answer.json()["code"]) == (503, "UNAVAILABLE")
        assert (answer.headers["retry-after"], answer.json()["retry_after"]) == ("5", 5)
        assert (await door.http.get("/healthz")).status_code == 200


async def sent(door: Door, line: bytes) -> tuple[int, httpx.Response]:
    """The answer to a request line as it stands, on a connection of its own."""
    reader, writer = await asyncio.open_connection(*door.address)
    try:
        async with asyncio.timeout(SECONDS):
            writer.write(line + f"\r\nHost: {door.address}\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    first, *lines = head.decode().split("\r\n")
    headers = [tuple(one.split(": ", 1)) for one in lines]
    status = int(first.split()[1])
    return status, httpx.Response(status, headers=headers, content=body)  # type: ignore[arg-type]
