"""Output over HTTP: which form a caller gets, and which bytes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nodelink.task import LogStream
from nodelink_server.web.logs import MOST_BYTES
from tests.support.http_door import Door, http_door

OUT, ERR = LogStream.STDOUT, LogStream.STDERR
SECONDS = 30


@asynccontextmanager
async def printed(
    *runs: bytes, stream: LogStream = OUT, gap: int = 0, done: bool = True
) -> AsyncIterator[tuple[Door, str]]:
    """A task that has printed this, then lost a gap, and the path of its output."""
    async with http_door() as door, door.agent() as agent:
        await door.submit()
        ref = (await agent.take()).ref
        agent.start(ref)
        for run in runs:
            agent.write(ref, stream, run)
        if gap:
            agent.write(ref, stream, b"", gap=gap)
            agent.write(ref, stream, b"end")
        if done:
            agent.finish(ref)
        path = f"/api/v1/tasks/{ref.task_id}/logs"
        await stored(door, path, sum(map(len, runs)))
        yield door, path


async def stored(door: Door, path: str, size: int) -> None:
    """Wait until so many bytes are stored, by following them."""
    async with asyncio.timeout(SECONDS), door.http.stream("GET", f"{path}?follow=true") as answer:
        got = 0
        async for chunk in answer.aiter_raw():
            got += len(chunk)
            if got >= size:
                return


@pytest.mark.parametrize(
    "accept, content_type",
    [
        ("application/x-ndjson;q=0.4, text/plain;q=0.9", "text/plain; charset=utf-8"),
        ("text/plain;q=0.1, application/x-ndjson", "application/x-ndjson"),
        ("text/event-stream, */*;q=0.1", "text/event-stream; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
    ],
)
async def test_the_form_is_the_one_that_is_liked_best(accept: str, content_type: str) -> None:
    async with printed(b"here") as (door, path):
        answer = await door.http.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)


@pytest.mark.parametrize("accept", ["text/html", "text/plain;q=0", "application/json", "nonsense"])
async def test_a_form_that_there_is_not_is_refused_with_those_that_there_are(accept: str) -> None:
    async with printed(b"here") as (door, path):
        answer = await door.http.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.json()["code"]) == (406, "NOT_ACCEPTABLE")
        for form in ("text/plain", "application/x-ndjson", "text/event-stream"):
            assert form in answer.json()["detail"]


@pytest.mark.parametrize(
    "given, body, place",
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
    ],
)
async def test_a_range_of_bytes_is_given_as_such(given: str, body: bytes, place: str) -> None:
    async with printed(b"01234", b"56789") as (door, path):
        answer = await door.http.get(path, headers={"Range": given})
        assert (answer.status_code, answer.content) == (206, body)
        assert answer.headers["content-range"] == place
        assert answer.headers["content-length"] == str(len(body))
        assert answer.headers["accept-ranges"] == "bytes"


async def test_a_range_counts_the_bytes_of_the_chosen_stream() -> None:
    async with printed(b"error", stream=ERR) as (door, path):
        answer = await door.http.get(f"{path}?stream=stderr", headers={"Range": "bytes=1-2"})
        assert (answer.content, answer.headers["content-range"]) == (b"rr", "bytes 1-2/5")
        assert (await door.http.get(f"{path}?stream=stdout", headers={"Range": "bytes=0-"})).status_code == 416


async def test_of_output_that_may_grow_the_length_is_not_said() -> None:
    async with printed(b"0123", done=False) as (door, path):
        answer = await door.http.get(path, headers={"Range": "bytes=1-2"})
        assert answer.headers["content-range"] == "bytes 1-2/*"
        assert (answer.headers["x-next-offset"], answer.headers["x-log-complete"]) == ("3", "false")


@pytest.mark.parametrize("given", ["bytes=10-", "bytes=10-12", "bytes=-0"])
async def test_a_range_behind_the_end_cannot_be_given(given: str) -> None:
    async with printed(b"0123456789") as (door, path):
        answer = await door.http.get(path, headers={"Range": given})
        assert (answer.status_code, answer.json()["code"]) == (416, "RANGE_NOT_SATISFIABLE")
        assert answer.headers["content-range"] == "bytes */10"


@pytest.mark.parametrize("given", ["bytes=0-1,4-5", "items=0-1", "bytes=5-2", "nonsense"])
async def test_what_is_no_single_range_gets_everything(given: str) -> None:
    async with printed(b"0123456789") as (door, path):
        answer = await door.http.get(path, headers={"Range": given})
        assert (answer.status_code, answer.content) == (200, b"0123456789")
        assert "content-range" not in answer.headers


async def test_missing_bytes_keep_their_place_in_a_range() -> None:
    async with printed(b"0123", gap=3) as (door, path):
        await stored(door, path, 10)
        answer = await door.http.get(path, headers={"Range": "bytes=2-7"})
        assert (answer.content, answer.headers["content-range"]) == (b"23\0\0\0e", "bytes 2-7/10")
        assert b"3 bytes are missing" in (await door.http.get(path)).content


async def test_a_large_range_comes_in_pieces() -> None:
    run = b"x" * 65_536
    async with printed(*[run] * 17) as (door, path):
        answer = await door.http.get(path, headers={"Range": "bytes=0-"})
        assert (answer.status_code, len(answer.content)) == (206, MOST_BYTES)
        assert answer.headers["content-range"] == f"bytes 0-{MOST_BYTES - 1}/{17 * 65_536}"


@pytest.mark.parametrize("beside, field", [("tail=2", "tail"), ("offset=2", "offset"), ("limit=2", "limit")])
async def test_what_a_range_says_already_is_refused_beside_it(beside: str, field: str) -> None:
    async with printed(b"0123456789") as (door, path):
        answer = await door.http.get(f"{path}?{beside}", headers={"Range": "bytes=0-1"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
async def test_other_forms_have_no_ranges(accept: str) -> None:
    async with printed(b"0123456789") as (door, path):
        answer = await door.http.get(path, headers={"Range": "bytes=0-1", "Accept": accept})
        assert answer.status_code == 200
        assert "0123456789" in answer.text
        assert "accept-ranges" not in answer.headers


async def test_what_is_followed_has_no_ranges() -> None:
    async with printed(b"0123456789") as (door, path):
        answer = await door.http.get(f"{path}?follow=true", headers={"Range": "bytes=0-1"})
        assert (answer.status_code, answer.content) == (200, b"0123456789")


async def test_head_tells_how_much_there_is() -> None:
    async with printed(b"0123456789") as (door, path):
        answer = await door.http.head(path, headers={"Range": "bytes=0-1"})
        assert (answer.status_code, answer.content) == (200, b"")
        assert (answer.headers["x-next-offset"], answer.headers["accept-ranges"]) == ("10", "bytes")


async def test_the_tail_goes_on_with_what_comes() -> None:
    async with http_door() as door, door.agent() as agent, asyncio.timeout(SECONDS):
        await door.submit()
        ref = (await agent.take()).ref
        agent.write(ref, OUT, b"0123456789")
        path = f"/api/v1/tasks/{ref.task_id}/logs"
        await stored(door, path, 10)
        async with door.http.stream("GET", f"{path}?tail=4&follow=true") as answer:
            chunks = answer.aiter_raw()
            got = await anext(chunks)
            agent.write(ref, OUT, b"abc")
            agent.finish(ref)
            async for chunk in chunks:
                got += chunk
        assert got == b"6789abc"


@pytest.mark.parametrize("limit", [1, MOST_BYTES])
async def test_tail_and_limit_reach_to_their_bounds(limit: int) -> None:
    async with printed(b"0123456789") as (door, path):
        tail = (await door.http.get(f"{path}?tail={limit}")).content
        head = (await door.http.get(f"{path}?limit={limit}")).content
        assert (tail, head) == (b"0123456789"[-limit:], b"0123456789"[:limit])


async def test_each_line_of_ndjson_names_its_place() -> None:
    async with printed(b"one\n", b"\xff") as (door, path):
        answer = await door.http.get(path, headers={"Accept": "application/x-ndjson"})
        rows = [json.loads(line) for line in answer.text.splitlines()]
        assert sum(len(row.get("data", "")) for row in rows) >= 4
        assert [row["stream"] for row in rows] == ["stdout"] * len(rows)
        assert rows[0]["offset"] == 0
