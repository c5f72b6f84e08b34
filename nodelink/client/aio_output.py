"""What tasks print, for the asynchronous client: as parts, pages or lines."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Unpack

from nodelink.client import asks
from nodelink.client.aio_calls import Calls
from nodelink.client.asking import FollowOptions, LogOptions
from nodelink.client.lines import Lines
from nodelink.client.nouns import LogPage, LogPart
from nodelink.client.requests import logs_request
from nodelink.task import LogStream


async def printed(calls: Calls, task_id: str, **which: Unpack[LogOptions]) -> AsyncGenerator[LogPart, None]:
    """What a task has printed so far."""
    async with aclosing(calls.stream(asks.output(logs_request(task_id, **which)))) as pages:
        async for page in pages:
            for part in page.parts:
                yield part


def pages(calls: Calls, task_id: str, **which: Unpack[FollowOptions]) -> AsyncGenerator[LogPage, None]:
    """What a task prints, as it comes, to the end, in pages."""
    return calls.resumed(asks.output(logs_request(task_id, **which, follow=True)))


async def parts(calls: Calls, task_id: str, **which: Unpack[FollowOptions]) -> AsyncGenerator[LogPart, None]:
    """The same in parts."""
    async with aclosing(pages(calls, task_id, **which)) as printed:
        async for page in printed:
            for part in page.parts:
                yield part


async def lines(calls: Calls, task_id: str, *, stream: LogStream | str | None) -> AsyncGenerator[str, None]:
    """The same as lines of text."""
    gathered = Lines()
    async with aclosing(parts(calls, task_id, stream=stream)) as printed:
        async for part in printed:
            for line in gathered.take([part]):
                yield line
    for line in gathered.end():
        yield line
