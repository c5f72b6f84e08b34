"""Listeners: cut off, resumed, too slow, and sent home at the end; no durable event is missed or heard twice."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.processes import Server, Services
from tests.support.rest import Events, Rest, SentEvent

TASKS = 500
MIB = 1 << 20
STOP_SECONDS = 5.0

pytestmark = pytest.mark.slow


async def test_a_listener_that_is_cut_again_and_again_hears_every_durable_event_once(services: Services) -> None:
    server = await services.server()
    agent = await services.agent(server)
    heard: list[SentEvent] = []
    async with Rest(server) as rest:
        await rest.online()
        async with rest.events(after=0) as events:
            task_ids = await rest.echo(TASKS)
            heard += await _take(events, 100)
        for count in (1, 333, 200):  # cut in the midst of what is kept, and of what comes
            heard += await _listen(rest, heard, count)
        await rest.all_ended()
        await agent.kill()
        await server.kill()
    server = await services.server(again=server)
    async with Rest(server) as rest:
        heard += await _listen(rest, heard, 100)
        last = await rest.submit("echo", pool="elsewhere")
        await rest.cancel(last, 200)
        heard += await _listen_until(rest, heard, last)

    server.terminate()
    await server.ended()
    durable = [event.id for event in heard if event.id]
    assert durable == list(range(1, durable[-1] + 1))  # revisions have no holes, so neither has what was heard
    assert durable[-1] == _newest_revision(server.data_dir)
    ends = Counter(event.data["task_id"] for event in heard if event.name == "task.completed")
    assert ends == Counter(task_ids)
    for task_id in task_ids:
        assert _life_of(heard, task_id)[0] == "task.created"
        assert _life_of(heard, task_id)[-1] == "task.completed"


async def test_a_listener_that_never_reads_is_let_go_and_holds_up_nobody(services: Services) -> None:
    server = await services.server()
    await services.agent(server, slots=100)
    async with Rest(server) as rest:
        await rest.online()
        with _deaf_listener(server):
            async with rest.events(type="echo") as events:
                before = server.memory()
                hearing = asyncio.create_task(_ends_of(events, 10_000))
                for _ in range(10):
                    await rest.echo(1_000)
                assert await hearing == 10_000
            await rest.all_ended()
            metrics = await rest.metrics()
            after = server.memory()

    assert metrics["nodelink_events_dropped_total"] > 0
    assert after - before < 64 * MIB


async def test_listeners_are_sent_home_cleanly_when_the_server_stops(services: Services) -> None:
    server = await services.server()
    async with Rest(server) as rest:
        task_id = await rest.submit("echo", pool="elsewhere")
        async with rest.events() as everything, rest.events(f"/tasks/{task_id}/events") as room:
            server.terminate()
            async with asyncio.timeout(STOP_SECONDS):
                rest_of_it = [event async for event in everything]
                rest_of_room = [event async for event in room]
        code = await server.ended(STOP_SECONDS)

    assert (code, [event.name for event in rest_of_it]) == (0, [])
    assert [event.name for event in rest_of_room] == ["task.created", "task.pending"]


async def test_a_listener_from_the_future_is_told_to_begin_again(services: Services) -> None:
    async with Rest(await services.server()) as rest, rest.events(after=1 << 40) as events:
        event = await anext(events)

    assert (event.name, event.id) == ("reset", 0)


async def _take(events: Events, count: int) -> list[SentEvent]:
    """The next events of a stream."""
    async with asyncio.timeout(60):
        return [await anext(events) for _ in range(count)]


async def _listen(rest: Rest, heard: Sequence[SentEvent], count: int) -> list[SentEvent]:
    """Go on listening behind the last durable event that was heard, for so many events."""
    async with rest.events(after=_last(heard)) as events:
        return await _take(events, count)


async def _listen_until(rest: Rest, heard: Sequence[SentEvent], task_id: str) -> list[SentEvent]:
    """As `_listen`, until a task is cancelled."""
    more = []
    async with asyncio.timeout(60), rest.events(after=_last(heard)) as events:
        async for event in events:
            more.append(event)
            if event.name == "task.cancelled" and event.data["task_id"] == task_id:
                break
    return more


def _last(heard: Sequence[SentEvent]) -> int:
    return max(event.id for event in heard)


def _life_of(heard: Sequence[SentEvent], task_id: str) -> list[str]:
    return [event.name for event in heard if event.data.get("task_id") == task_id]


async def _ends_of(events: Events, count: int) -> int:
    """Hear so many ends of tasks."""
    seen = 0
    async with asyncio.timeout(40):
        while seen < count:
            event = await anext(events)
            assert event.name != "reset"
            seen += event.name == "task.completed"
    return seen


def _deaf_listener(server: Server) -> socket.socket:
    """A connection that asks for all events and reads none of them."""
    address = urlsplit(server.http)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.connect((address.hostname, address.port))
    listener.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    return listener


def _newest_revision(data_dir: Path) -> int:
    database = sqlite3.connect(data_dir / "nodelink.db")
    try:
        return int(database.execute("SELECT revision FROM meta").fetchone()[0])
    finally:
        database.close()
