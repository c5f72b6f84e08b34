"""Answers that last: they end when they are complete, when the caller leaves, or when the server closes its doors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nodelink.errors import NodelinkError

BEAT_SECONDS = 15.0

_Outcome = TypeVar("_Outcome")


class LastingResponse(Response):
    """Sends what a generator gives, as it comes, and a `beat` now and then, so that silence means a broken line.

    A reader that takes nothing holds up this generator alone; the connection's own limits end it (`web/protocol.py`).
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        closing: asyncio.Event,
        media_type: str,
        headers: Mapping[str, str] | None = None,
        beat: bytes = b"",
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers({"x-accel-buffering": "no", **(headers or {})})
        self._chunks = chunks
        self._closing = closing
        self._beat = beat
        self._beat_seconds = beat_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until one of the three ends comes."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with asyncio.TaskGroup() as parts:
            ends = [
                parts.create_task(self._pump(send), name="stream: pump"),
                parts.create_task(_departure(receive), name="stream: departure"),
                parts.create_task(self._closed(), name="stream: closing"),
            ]
            beats = parts.create_task(self._send_beats(send), name="stream: beats")
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for part in (*ends, beats):
                part.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _closed(self) -> None:
        await self._closing.wait()

    async def _send_beats(self, send: Send) -> None:
        while self._beat:
            await asyncio.sleep(self._beat_seconds)
            await send({"type": "http.response.body", "body": self._beat, "more_body": True})


async def unless_over(
    waiting: Coroutine[Any, Any, _Outcome], closing: asyncio.Event, receive: Receive
) -> _Outcome | None:
    """What is waited for, or None as soon as the caller leaves or the server closes its doors."""
    async with asyncio.TaskGroup() as race:
        outcome = race.create_task(_caught(waiting), name="long poll")
        closed = race.create_task(closing.wait(), name="long poll: closing")
        left = race.create_task(_departure(receive), name="long poll: departure")
        await asyncio.wait((outcome, closed, left), return_when=asyncio.FIRST_COMPLETED)
        done = outcome.done()
        for part in (outcome, closed, left):
            part.cancel()
    if not done:
        return None
    result = outcome.result()
    if isinstance(result, NodelinkError):
        raise result
    return result


async def _caught(waiting: Coroutine[Any, Any, _Outcome]) -> _Outcome | NodelinkError:
    """A refusal as a value: raised inside a group, it would come out wrapped."""
    try:
        return await waiting
    except NodelinkError as error:
        return error


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
