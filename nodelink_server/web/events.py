"""Events as a browser's EventSource takes them: `/events` for everything, `/tasks/{id}/events` for one task.

`id:` is the revision; events that are not kept (output, progress, hello, reset) have none, so that a listener that was
cut resumes behind the last one that is kept.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from starlette.requests import Request
from starlette.responses import Response

from nodelink.errors import Overloaded
from nodelink_server.core.events import EventBus, EventFilter
from nodelink_server.core.ports import TaskEvent
from nodelink_server.web.bodies import json_bytes
from nodelink_server.web.lasting import LastingResponse
from nodelink_server.web.times import moment
from nodelink_server.web.wiring import Closing, Manager

MEDIA_TYPE = "text/event-stream"
RETRY = b"retry: 2000\n\n"
BEAT = b": still here\n\n"
MAX_REVISION = (1 << 63) - 1
MOST_LISTENERS = 5_000

router = APIRouter(tags=["events"])

LastEventId = Annotated[
    int | None, Header(alias="Last-Event-ID", ge=0, le=MAX_REVISION, description="go on behind this; beats the query")
]


class EventFrames:
    """Events as bytes. One event goes to many listeners, so the newest ones are written once and kept a while."""

    MOST_KEPT = 2_048

    def __init__(self) -> None:
        self._written: OrderedDict[int, tuple[TaskEvent, bytes]] = OrderedDict()

    def frame(self, event: TaskEvent) -> bytes:
        """The bytes of one event."""
        kept = self._written.get(id(event))  # keeping the event keeps its id its own
        if kept is not None:
            return kept[1]
        frame = event_frame(event.name, json_bytes(event_json(event)), event_id=event.revision or None)
        self._written[id(event)] = (event, frame)
        if len(self._written) > self.MOST_KEPT:
            self._written.popitem(last=False)
        return frame


class EventFilters(BaseModel):
    """Which events to hear; every given filter must match."""

    model_config = ConfigDict(extra="forbid")

    task_id: StrictStr | None = None
    agent_id: StrictStr | None = Field(default=None, description="its runs, told as agent.started, agent.completed …")
    pool: StrictStr | None = None
    type: StrictStr | None = None
    after: int | None = Field(default=None, ge=0, le=MAX_REVISION, description="go on behind this revision")


class Resume(BaseModel):
    """Where to go on in the events of one task."""

    model_config = ConfigDict(extra="forbid")

    after: int | None = Field(
        default=None, ge=0, le=MAX_REVISION, description="go on behind this revision; else its history"
    )


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
    return _stream(manager.events, chosen, after, closing, frames)


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
    return _stream(manager.events, EventFilter(task_id=task_id), after, closing, frames)


def _stream(
    bus: EventBus, chosen: EventFilter, after: int | None, closing: asyncio.Event, frames: EventFrames
) -> LastingResponse:
    if bus.listeners >= MOST_LISTENERS:
        raise Overloaded(f"there are {MOST_LISTENERS} listeners already", retry_after=5.0)
    return LastingResponse(_chunks(bus, chosen, after, frames), closing=closing, media_type=MEDIA_TYPE, beat=BEAT)


async def _chunks(
    bus: EventBus, chosen: EventFilter, after: int | None, frames: EventFrames
) -> AsyncGenerator[bytes, None]:
    yield RETRY
    async with aclosing(bus.watch(chosen, after=after)) as batches:
        async for batch in batches:
            yield b"".join(map(frames.frame, batch))


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
