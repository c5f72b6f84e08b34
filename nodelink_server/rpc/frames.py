"""Runs of events and of output as the frames that carry them."""

from __future__ import annotations

from collections.abc import Sequence

from nodelink.v1 import task_pb2
from nodelink_server.core.logbook import LogPage
from nodelink_server.core.ports import EventName, TaskEvent
from nodelink_server.rpc.views import put_event, put_log_part

EVENTS_PER_FRAME = 500


def frames_of(events: Sequence[TaskEvent], bookmark: int, *, from_now: bool) -> list[task_pb2.WatchTasksResponse]:
    """A run of events as frames. `hello` and `reset` are not events here: they become a bookmark."""
    frames = []
    for first in range(0, len(events), EVENTS_PER_FRAME):
        frame = task_pb2.WatchTasksResponse()
        for event in events[first : first + EVENTS_PER_FRAME]:
            if event.name == EventName.RESET:
                frame.reset = True
                bookmark = _revision_told(event)
            elif event.name == EventName.HELLO:
                bookmark = _revision_told(event) if from_now else bookmark
            else:
                put_event(frame.events.add(), event)
                bookmark = max(bookmark, event.revision)
        frame.bookmark = bookmark
        frames.append(frame)
    return frames


def _revision_told(event: TaskEvent) -> int:
    revision = event.data.get("revision", 0) if event.data else 0
    return revision if isinstance(revision, int) else 0


def logs_of(page: LogPage, *, of_one_stream: bool, at_most: int | None) -> task_pb2.ReadTaskLogsResponse:
    """A page of output, cut at a number of bytes."""
    response = task_pb2.ReadTaskLogsResponse(next_offset=page.next_offset, complete=page.complete)
    left = at_most
    for row in page.rows:
        if left is not None and len(row.data) > left:
            if left:
                put_log_part(response.parts.add(), row._replace(data=row.data[:left]), of_one_stream=of_one_stream)
            begin = row.offset if of_one_stream else row.position
            response.next_offset = begin + left
            response.complete = False
            break
        put_log_part(response.parts.add(), row, of_one_stream=of_one_stream)
        left = None if left is None else left - len(row.data)
    return response
