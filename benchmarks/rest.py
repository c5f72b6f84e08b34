"""REST without a library: HTTP/1.1 over a connection that stays, so that little but the server is measured."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from benchmarks.end_to_end import ends_of
from benchmarks.system import System

PER_BATCH = 1_000
CONNECTIONS = 8
TASK = {
    "type": "echo",
    "payload": {"text": "sixty-four bytes of payload, as the goals are given."},
    "execution": "replayable",
}


class Connection:
    """One connection. Requests go one after the other."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host, self._reader, self._writer = host, reader, writer

    async def ask(self, method: str, path: str, body: bytes = b"") -> Any:
        """The body of the answer, which must be a good one."""
        head = f"{method} /api/v1{path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await self._writer.drain()
        status, *headers = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        [length] = [int(line.partition(":")[2]) for line in headers if line.lower().startswith("content-length:")]
        answer = await self._reader.readexactly(length)
        assert status.split()[1].startswith("2"), f"{method} {path}: {status} {answer[:200]!r}"
        return json.loads(answer)


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Connection]:
    """A connection to the server whose HTTP address this is."""
    place = urlsplit(address)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield Connection(place.netloc, reader, writer)
    finally:
        writer.close()


async def batched_rate(running: System, tasks: int) -> float:
    """Tasks per second from the first request to the last end: batches of 1,000, one after the other."""
    body = json.dumps({"tasks": [TASK] * min(PER_BATCH, tasks)}).encode()
    batches = max(tasks // PER_BATCH, 1)
    async with connected(running.http) as connection, ends_of(running.channel, "echo") as ends:
        began, accepted = time.perf_counter(), 0
        for _ in range(batches):
            answer = await connection.ask("POST", "/tasks/batch", body)
            accepted += sum(1 for outcome in answer["outcomes"] if outcome["task_id"])
        await ends.reach(accepted)
        seconds = time.perf_counter() - began
    assert accepted == batches * min(PER_BATCH, tasks), f"{accepted} accepted"
    return accepted / seconds


async def single_rate(running: System, tasks: int) -> float:
    """The same, one task a request, on 8 connections."""
    body, left = json.dumps(TASK).encode(), iter(range(tasks))

    async def submit() -> None:
        async with connected(running.http) as connection:
            for _ in left:
                await connection.ask("POST", "/tasks", body)

    async with ends_of(running.channel, "echo") as ends:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(submit())
        await ends.reach(tasks)
        return tasks / (time.perf_counter() - began)


async def read_times(connection: Connection, task_id: str, count: int) -> list[float]:
    """Seconds of reading one task, one request at a time."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await connection.ask("GET", f"/tasks/{task_id}")
        times.append(time.perf_counter() - began)
    return times
