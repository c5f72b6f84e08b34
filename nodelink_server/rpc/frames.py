"""Runs of events as the frames of one call of WatchTasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing

from nodelink.errors import FieldError, InvalidTask
from nodelink.v1 import task_pb2
from nodelink_server.core.events import EVENT_NAMES, EventBus, EventFilter, Heard
from nodelink_server.core.ports import EventName, TaskEvent
from nodelink_server.rpc.requests import revision_of
from nodelink_server.rpc.views import put_event

EVENTS_PER_FRAME = 500
PLAIN_EVENT_BYTES = 512
"""More than an event takes that has nothing particular to tell."""
BYTES_PER_FRAME = 1 << 20
"""About how large a frame may get: one more event, which may hold a run of output, still fits into a message."""


async def watch_events(
    events: EventBus, request: task_pb2.WatchTasksRequest
) -> AsyncGenerator[task_pb2.WatchTasksResponse, None]:
    """Events that match, as they happen, each frame with the bookmark to resume from. The first comes at once.

    Raises `InvalidTask` for names of events that there are not.
    """
    wanted = EventFilter(
        task_id=request.task_id or None,
        agent_id=request.agent_id or None,
        pool=request.pool or None,
        type=request.type or None,
        names=_known(request.names),
    )
    bookmark = revision_of(request.after_revision)
    async with aclosing(events.watch(wanted, after=request.after_revision or None)) as watched:
        async for heard in watched:
            for frame in frames_of(heard, bookmark):
                bookmark = frame.bookmark
                yield frame


def _known(names: Iterable[str]) -> frozenset[str]:
    asked = frozenset(names)
    unknown = sorted(asked - EVENT_NAMES)
    if unknown:
        known = ", ".join(sorted(EVENT_NAMES))
        raise InvalidTask(FieldError("names", f"{unknown[0][:64]!r} is not known; the names are {known}"))
    return asked


def frames_of(heard: Heard, bookmark: int) -> Iterator[task_pb2.WatchTasksResponse]:
    """What a listener is told at once, as at least one frame. `hello` and `reset` are not events here."""
    frame, size = task_pb2.WatchTasksResponse(bookmark=bookmark), 0
    for event in heard:
        if event.name == EventName.HELLO:
            continue
        if len(frame.events) == EVENTS_PER_FRAME or size > BYTES_PER_FRAME:
            yield frame
            frame, size = task_pb2.WatchTasksResponse(bookmark=frame.bookmark), 0
        if event.name == EventName.RESET:
            frame.reset = True
            frame.bookmark = heard.upto or _revision_told(event)
            continue
        pb = frame.events.add()
        put_event(pb, event)
        size += PLAIN_EVENT_BYTES if event.data is None else pb.ByteSize()
        frame.bookmark = max(frame.bookmark, event.revision)
    frame.bookmark = max(frame.bookmark, heard.upto)
    yield frame


def _revision_told(event: TaskEvent) -> int:
    revision = event.data.get("revision", 0) if event.data else 0
    return revision if isinstance(revision, int) else 0
