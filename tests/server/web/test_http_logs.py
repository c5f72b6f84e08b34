"""Output over HTTP: as bytes, as lines, as events; from an offset, from the end, and as it comes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from nodelink.errors import StoreUnavailable
from nodelink.task import AttemptRef, LogStream
from tests.support.http_door import Door, ManualAgent, http_door, listening, raw_request, until

OUT, ERR = LogStream.STDOUT, LogStream.STDERR
SECONDS = 30


@asynccontextmanager
async def running_task() -> AsyncIterator[tuple[Door, ManualAgent, AttemptRef, str]]:
    """A task that runs, and the path of its output."""
    async with http_door() as door, door.agent() as agent:
        await door.submit()
        ref = (await agent.take()).ref
        agent.start(ref)
        yield door, agent, ref, f"/api/v1/tasks/{ref.task_id}/logs"


async def stored(door: Door, path: str, size: int) -> None:
    """Wait until so many bytes of output are stored, by following them."""
    async with asyncio.timeout(SECONDS), door.http.stream("GET", f"{path}?follow=true") as answer:
        got = 0
        async for chunk in answer.aiter_raw():
            got += len(chunk)
            if got >= size:
                return


async def test_both_streams_are_read_in_order_of_arrival() -> None:
    async with running_task() as (door, agent, ref, path):
        agent.write(ref, OUT, b"one\n")
        agent.write(ref, ERR, b"two\n")
        agent.write(ref, OUT, b"three\n")
        agent.finish(ref)
        await stored(door, path, 14)
        answer = await door.http.get(path)
        assert answer.text == "one\ntwo\nthree\n"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert (answer.headers["x-next-offset"], answer.headers["x-log-complete"]) == ("14", "true")
        assert (await door.http.get(f"{path}?stream=stdout")).text == "one\nthree\n"
        assert (await door.http.get(f"{path}?stream=stderr")).text == "two\n"


async def test_reading_on_from_the_next_offset_reads_each_byte_once() -> None:
    async with running_task() as (door, agent, ref, path):
        for number in range(20):
            agent.write(ref, OUT if number % 3 else ERR, b"%d\n" % number)
        agent.finish(ref)
        await stored(door, path, 50)
        for query in ("", "&stream=stdout"):
            whole = (await door.http.get(f"{path}?{query}")).content
            read, offset, complete = b"", "0", "false"
            while complete == "false":
                answer = await door.http.get(f"{path}?offset={offset}&limit=7{query}")
                assert answer.content
                read += answer.content
                offset, complete = answer.headers["x-next-offset"], answer.headers["x-log-complete"]
            assert read == whole


async def test_the_tail_is_the_last_bytes() -> None:
    async with running_task() as (door, agent, ref, path):
        agent.write(ref, OUT, b"0123456789")
        await stored(door, path, 10)
        answer = await door.http.get(f"{path}?tail=4")
        assert (answer.text, answer.headers["x-next-offset"]) == ("6789", "10")
        assert (await door.http.get(f"{path}?tail=400")).text == "0123456789"


async def test_lines_of_json_keep_every_byte_and_every_gap() -> None:
    async with running_task() as (door, agent, ref, path):
        agent.write(ref, OUT, "é\n".encode())
        agent.write(ref, ERR, b"\xff\x00")
        agent.write(ref, OUT, b"", gap=1000)
        agent.write(ref, OUT, b"end")
        agent.finish(ref)
        await stored(door, path, 8)
        answer = await door.http.get(path, headers={"Accept": "application/x-ndjson"})
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert lines == [
            {"stream": "stdout", "attempt": 1, "offset": 0, "data": "é\n"},
            {"stream": "stderr", "attempt": 1, "offset": 3, "base64": base64.b64encode(b"\xff\x00").decode()},
            {"stream": "stdout", "attempt": 1, "offset": 5, "gap": 1000},
            {"stream": "stdout", "attempt": 1, "offset": 1005, "data": "end"},
        ]
        assert "1000 bytes are missing" in (await door.http.get(path)).text


async def test_following_gives_output_as_it_comes_and_ends_with_it() -> None:
    async with running_task() as (door, agent, ref, path), asyncio.timeout(SECONDS):
        agent.write(ref, OUT, b"first ")
        async with door.http.stream("GET", f"{path}?follow=true") as answer:
            chunks = answer.aiter_raw()
            assert answer.headers["x-log-complete"] == "false"
            assert await anext(chunks) == b"first "
            agent.write(ref, OUT, b"second")
            assert await anext(chunks) == b"second"
            agent.finish(ref)
            assert [chunk async for chunk in chunks] == []


async def test_following_a_task_that_waits_begins_with_its_first_byte() -> None:
    async with http_door() as door, asyncio.timeout(SECONDS):
        task_id = (await door.submit())["id"]
        path = f"/api/v1/tasks/{task_id}/logs?follow=true"
        async with door.http.stream("GET", path) as answer, door.agent() as agent:
            ref = (await agent.take()).ref
            agent.write(ref, OUT, b"here")
            assert await anext(answer.aiter_raw()) == b"here"


async def test_a_follower_ends_with_a_task_that_never_started() -> None:
    async with http_door() as door, asyncio.timeout(SECONDS):
        task_id = (await door.submit())["id"]
        async with door.http.stream("GET", f"/api/v1/tasks/{task_id}/logs?follow=true") as answer:
            await door.http.post(f"/api/v1/tasks/{task_id}/cancel")
            assert await answer.aread() == b""


async def test_as_events_output_is_resumed_by_the_last_id_and_its_end_is_said() -> None:
    async with running_task() as (door, agent, ref, path):
        agent.write(ref, OUT, b"one")
        agent.write(ref, OUT, b"two")
        async with listening(door.http, f"{path}?follow=true") as events:
            [first] = await until(events, "task.output")
        agent.finish(ref)
        async with listening(door.http, f"{path}?follow=true", headers={"Last-Event-ID": str(first.id)}) as events:
            *rest, end = await until(events, "end")
        assert "".join(event.data["data"] for event in (first, *rest)) == "onetwo"
        assert end.data == {"next_offset": 6, "complete": True}
        assert end.id is None


@pytest.mark.parametrize("accept", ["application/json", "image/png, application/pdf"])
async def test_a_form_that_logs_do_not_have_is_refused(accept: str) -> None:
    async with running_task() as (door, _, _, path):
        answer = await door.http.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.json()["code"]) == (406, "NOT_ACCEPTABLE")


async def test_an_attempt_that_was_never_made_has_no_output() -> None:
    async with running_task() as (door, _, _, path):
        answer: httpx.Response = await door.http.get(f"{path}?attempt=2")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "attempt")


async def test_a_follower_is_not_told_that_all_is_well_when_the_database_fails() -> None:
    away = False

    def fault(kind: str) -> None:
        if away and kind == "read":
            raise StoreUnavailable

    async with http_door(fault=fault) as door, door.agent() as agent, asyncio.timeout(SECONDS):
        await door.submit()
        ref = (await agent.take()).ref
        agent.write(ref, OUT, b"first")
        async with door.http.stream("GET", f"/api/v1/tasks/{ref.task_id}/logs?follow=true") as answer:
            chunks = answer.aiter_raw()
            assert await anext(chunks) == b"first"
            away = True
            agent.write(ref, OUT, b"second")
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                await anext(chunks)
            away = False


async def test_a_follower_ends_with_the_server() -> None:
    async with asyncio.timeout(SECONDS):
        async with running_task() as (door, agent, ref, path):
            agent.write(ref, OUT, b"here")
            reader, writer = await raw_request(door.address, f"{path}?follow=true")
            await reader.readuntil(b"here")
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()
