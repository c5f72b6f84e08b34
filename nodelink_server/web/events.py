"""Events as a browser's EventSource takes them: `/events` for everything, `/tasks/{id}/events` for one task.

`id:` is the revision; events that are not kept (output, progress, hello, reset) have none, so that a listener that was
cut resumes behind the last one that is kept. An `id:` that stands alone is a bookmark: nothing happens, but whoever was
cut resumes behind it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Annotated, Any, cast

import structlog
from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from starlette.requests import Request
from starlette.responses import Response

from nodelink.errors import StoreError
from nodelink_server.core.events import EventBus, EventFilter, Heard
from nodelink_server.core.ports import TaskEvent
from nodelink_server.web.bodies import json_bytes
from nodelink_server.web.lasting import LastingResponse
from nodelink_server.web.times import moment
from nodelink_server.web.values import Revision
from nodelink_server.web.wiring import Closing, Manager

MEDIA_TYPE = "text/event-stream"
RETRY = b"retry: 2000\n\n"
BEAT = b": still here\n\n"
CHUNK_BYTES = 64 << 10
"""About how much is written at once: so much waits for a reader that does not read, beside its queue."""

log = structlog.get_logger(__name__)

router = APIRouter(tags=["events"])

LastEventId = Annotated[
    Revision | None, Header(alias="Last-Event-ID", description="go on behind this; beats the query")
]


class _Written:
    """One event as JSON text, and in the frames in which it is sent."""

    __slots__ = ("event", "json", "message", "sse")

    def __init__(self, event: TaskEvent) -> None:
        self.event = event
        self.json = json_bytes(event_json(event))
        self.sse = b""
        self.message = ""


class EventFrames:
    """Events as they are sent. One event goes to many listeners, so the newest ones are written once and kept a while.

    The frame of an EventSource and the message of a WebSocket are made of the same JSON text.
    """

    MOST_KEPT = 2_048
    MOST_BYTES = 8 << 20

    def __init__(self) -> None:
        self._kept: OrderedDict[int, _Written] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        """How many events are kept."""
        return len(self._kept)

    def frame(self, event: TaskEvent) -> bytes:
        """One event for an EventSource."""
        written = self._written(event)
        if not written.sse:
            written.sse = event_frame(event.name, written.json, event_id=event.revision or None)
        return written.sse

    def message(self, event: TaskEvent) -> str:
        """The members of a WebSocket's message that are the same for everybody: event, id, data."""
        written = self._written(event)
        if not written.message:
            mark = f'"id":{event.revision},' if event.revision else ""
            written.message = f'"event":"{event.name}",{mark}"data":{written.json.decode()}'
        return written.message

    def chunks(self, heard: Heard) -> Iterator[bytes]:
        """What an EventSource is told at once, in pieces of a bounded size; how far it may resume comes last."""
        frames: list[bytes] = []
        size = 0
        for event in heard:
            frames.append(self.frame(event))
            size += len(frames[-1])
            if size >= CHUNK_BYTES:
                yield b"".join(frames)
                frames, size = [], 0
        if heard.upto:
            frames.append(b"id: %d\n\n" % heard.upto)
        if frames:
            yield b"".join(frames)

    def _written(self, event: TaskEvent) -> _Written:
        kept = self._kept.get(id(event))  # keeping the event keeps its id its own
        if kept is not None:
            return kept
        written = self._kept[id(event)] = _Written(event)
        self._bytes += len(written.json)
        while len(self._kept) > self.MOST_KEPT or (self._bytes > self.MOST_BYTES and len(self._kept) > 1):
            self._bytes -= len(self._kept.popitem(last=False)[1].json)
        return written


class EventFilters(BaseModel):
    """Which events to hear; every given filter must match."""

    model_config = ConfigDict(extra="forbid")

    task_id: StrictStr | None = None
    agent_id: StrictStr | None = Field(default=None, description="its runs, told as agent.started, agent.completed …")
    pool: StrictStr | None = None
    type: StrictStr | None = None
    after: Revision | None = Field(default=None, description="go on behind this revision")


class Resume(BaseModel):
    """Where to go on in the events of one task."""

    model_config = ConfigDict(extra="forbid")

    after: Revision | None = Field(default=None, description="go on behind this revision; else its history")


async def _frames(request: Request) -> EventFrames:
    return cast("EventFrames", request.app.state.frames)


Frames = Annotated[EventFrames, Depends(_frames)]
_STREAM: dict[int | str, dict[str, Any]] = {200: {"description": "Events as they come", "content": {MEDIA_TYPE: {}}}}


@router.get("/events", response_class=Response, responses=_STREAM)
async def watch_events(
    asked: Annotated[EventFilters, Query()],
    manager: Manager,
    closing: Closing,
    frames: Frames,
    last_event_id: LastEventId = None,
) -> LastingResponse:
    """Everything that happens, or what matches. With `task_id`: that task's history first."""
    chosen = EventFilter(task_id=asked.task_id, agent_id=asked.agent_id, pool=asked.pool, type=asked.type)
    after = asked.after if last_event_id is None else last_event_id
    return await _stream(manager.events, chosen, after, closing, frames)


@router.get("/tasks/{task_id}/events", response_class=Response, responses=_STREAM)
async def watch_task(
    task_id: str,
    asked: Annotated[Resume, Query()],
    manager: Manager,
    closing: Closing,
    frames: Frames,
    last_event_id: LastEventId = None,
) -> LastingResponse:
    """The room of one task: everything from its first event, its output and its progress too."""
    await manager.get(task_id)
    after = asked.after if last_event_id is None else last_event_id
    return await _stream(manager.events, EventFilter(task_id=task_id), after, closing, frames)


async def _stream(
    bus: EventBus, chosen: EventFilter, after: int | None, closing: asyncio.Event, frames: EventFrames
) -> LastingResponse:
    batches = bus.watch(chosen, after=after)
    hello = await anext(batches)  # a refusal comes here, while it still can be answered
    return LastingResponse(_chunks(hello, batches, frames), closing=closing, media_type=MEDIA_TYPE, beat=BEAT)


async def _chunks(
    hello: Heard, batches: AsyncGenerator[Heard, None], frames: EventFrames
) -> AsyncGenerator[bytes, None]:
    """The bytes of a stream. A database that cannot be read ends it: the listener comes again by itself."""
    async with aclosing(batches):
        yield RETRY + b"".join(frames.chunks(hello))
        try:
            async for heard in batches:
                for chunk in frames.chunks(heard):
                    yield chunk
        except StoreError as error:
            log.warning("events_unreadable", error=error.message)


def event_frame(name: str, data: bytes, *, event_id: int | None = None) -> bytes:
    """One event on the wire. `data` is JSON text, which has no line breaks of its own."""
    mark = b"" if event_id is None else b"id: %d\n" % event_id
    return b"%sevent: %s\ndata: %s\n\n" % (mark, name.encode(), data)


def event_json(event: TaskEvent) -> dict[str, Any]:
    """An event as listeners see it: what is empty is left out, what is its own is merged in."""
    shown: dict[str, Any] = {"revision": event.revision, "time": moment(event.time)}
    for name in ("task_id", "agent_id", "status", "reason", "priority", "type", "pool", "attempt"):
        value = getattr(event, name)
        if value:
            shown[name] = value
    return {**shown, **(event.data or {})}
