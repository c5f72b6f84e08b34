"""What tasks print, for the synchronous client: as parts, pages or lines."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Unpack

from nodelink.client import asks
from nodelink.client.asking import FollowOptions, LogOptions
from nodelink.client.lines import Lines
from nodelink.client.nouns import LogPage, LogPart
from nodelink.client.requests import logs_request
from nodelink.client.sync_calls import Calls
from nodelink.task import LogStream


def printed(calls: Calls, task_id: str, **which: Unpack[LogOptions]) -> Generator[LogPart, None, None]:
    """What a task has printed so far."""
    for page in calls.stream(asks.output(logs_request(task_id, **which))):
        yield from page.parts


def pages(calls: Calls, task_id: str, **which: Unpack[FollowOptions]) -> Generator[LogPage, None, None]:
    """What a task prints, as it comes, to the end, in pages."""
    return calls.resumed(asks.output(logs_request(task_id, **which, follow=True)))


def parts(calls: Calls, task_id: str, **which: Unpack[FollowOptions]) -> Generator[LogPart, None, None]:
    """The same in parts."""
    for page in pages(calls, task_id, **which):
        yield from page.parts


def lines(calls: Calls, task_id: str, *, stream: LogStream | str | None) -> Generator[str, None, None]:
    """The same as lines of text."""
    gathered = Lines()
    with closing(parts(calls, task_id, stream=stream)) as printed:
        for part in printed:
            yield from gathered.take([part])
    yield from gathered.end()
