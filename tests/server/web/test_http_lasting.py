"""Answers that last, by themselves: the beats between, and the three ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message, Scope

from nodelink.errors import TaskNotFound
from nodelink_server.web.lasting import LastingResponse, unless_over
from tests.support.http_door import http_door
from tests.support.processes import until
from tests.support.raw_http import raw_connection

SECONDS = 30
SCOPE: Scope = {"type": "http", "method": "GET"}


class Wire:
    """A connection: what was sent over it, and whether the caller is still there."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def receive(self) -> Message:
        """What the caller says: in the end, that it leaves."""
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a message."""
        self.sent.put_nowait(message)

    async def next_body(self) -> bytes:
        """The next piece of the body."""
        while True:
            message = await self.sent.get()
            if message["type"] == "http.response.body":
                return bytes(message["body"])


class Source:
    """Gives one chunk, then nothing, until it is closed."""

    def __init__(self) -> None:
        self.closed = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The chunks."""
        try:
            yield b"chunk"
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_silence_is_filled_with_beats() -> None:
    source, wire = Source(), Wire()
    answer = LastingResponse(
        source.chunks(), closing=asyncio.Event(), media_type="text/event-stream", beat=b": b\n\n", beat_seconds=0.001
    )
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        group.create_task(answer(SCOPE, wire.receive, wire.send))
        assert [await wire.next_body() for _ in range(4)] == [b"chunk", b": b\n\n", b": b\n\n", b": b\n\n"]
        wire.gone.set()
    assert source.closed


async def test_an_answer_without_a_beat_is_silent_and_ends_when_it_is_complete() -> None:
    async def two() -> AsyncGenerator[bytes, None]:
        yield b"one"
        yield b"two"

    wire = Wire()
    async with asyncio.timeout(SECONDS):
        await LastingResponse(two(), closing=asyncio.Event(), media_type="text/plain")(SCOPE, wire.receive, wire.send)
    assert [await wire.next_body() for _ in range(3)] == [b"one", b"two", b""]


@pytest.mark.parametrize("end", ["the caller leaves", "the server closes"])
async def test_the_source_is_closed_at_every_end(end: str) -> None:
    source, wire, closing = Source(), Wire(), asyncio.Event()
    answer = LastingResponse(source.chunks(), closing=closing, media_type="text/plain")
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        group.create_task(answer(SCOPE, wire.receive, wire.send))
        assert await wire.next_body() == b"chunk"
        (wire.gone if end == "the caller leaves" else closing).set()
    assert source.closed


async def test_a_source_that_fails_fails_the_answer() -> None:
    async def failing() -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise TaskNotFound

    wire = Wire()
    with pytest.RaisesGroup(TaskNotFound):
        await LastingResponse(failing(), closing=asyncio.Event(), media_type="text/plain")(
            SCOPE, wire.receive, wire.send
        )


async def test_what_is_waited_for_comes_back_as_it_is() -> None:
    async def value() -> int:
        return 7

    async def refused() -> int:
        raise TaskNotFound

    assert await unless_over(value(), asyncio.Event(), Wire().receive) == 7
    with pytest.raises(TaskNotFound):
        await unless_over(refused(), asyncio.Event(), Wire().receive)


@pytest.mark.parametrize("end", ["closing", "departure"])
async def test_nothing_is_waited_for_when_the_server_closes_or_the_caller_leaves(end: str) -> None:
    closing, wire = asyncio.Event(), Wire()
    (closing if end == "closing" else wire.gone).set()
    async with asyncio.timeout(SECONDS):
        assert await unless_over(asyncio.Event().wait(), closing, wire.receive) is None


async def test_a_long_poll_ends_with_its_connection() -> None:
    async with http_door() as door, asyncio.timeout(SECONDS):
        task_id = (await door.submit())["id"]
        async with raw_connection(door.address) as raw:
            await raw.request(f"GET /api/v1/tasks/{task_id}/result?wait=5m")
            await until(lambda: polls() or None, "a long poll")
        await until(lambda: None if polls() else True, "the end of the long poll")


def polls() -> list[str]:
    """The long polls that are open."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("long poll")]
