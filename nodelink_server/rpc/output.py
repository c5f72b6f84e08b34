"""What a task printed, as the frames of one call of ReadTaskLogs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from nodelink.errors import FieldError, InvalidTask
from nodelink.task import LogStream
from nodelink.v1 import task_pb2
from nodelink_server.core.logbook import LogBook, LogPage
from nodelink_server.rpc.requests import id_of, offset_of, stream_of
from nodelink_server.rpc.views import put_log_part

LOG_PAGE_BYTES = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """Which output, and from which byte on."""

    task_id: str
    stream: LogStream | None
    attempt: int
    offset: int


async def read_output(
    logs: LogBook, request: task_pb2.ReadTaskLogsRequest
) -> AsyncGenerator[task_pb2.ReadTaskLogsResponse, None]:
    """The output that a request selects, up to its limit. Raises `TaskNotFound`, `InvalidTask`."""
    selection = await _selection(logs, request)
    left = request.limit or None
    pages = _followed(logs, selection) if request.follow else _stored(logs, selection)
    async with aclosing(pages):
        async for page in pages:
            response = logs_of(page, of_one_stream=selection.stream is not None, at_most=left)
            yield response
            if left is not None:
                left -= sum(len(part.data) for part in response.parts)
                if left <= 0:
                    return


async def _selection(logs: LogBook, request: task_pb2.ReadTaskLogsRequest) -> _Selection:
    task_id, stream = id_of(request.task_id, "task_id"), stream_of(request.stream)
    offset, attempt = offset_of(request.offset, "offset"), request.attempt
    if request.tail:
        if offset:
            raise InvalidTask(FieldError("tail", "excludes offset: give one of the two"))
        extent = await logs.extent(task_id, stream=stream, attempt=attempt)
        offset, attempt = max(0, extent.total - request.tail), extent.attempt
    return _Selection(task_id=task_id, stream=stream, attempt=attempt, offset=offset)


async def _followed(logs: LogBook, selection: _Selection) -> AsyncGenerator[LogPage, None]:
    """What is stored and what comes, to the end of the output: a page is complete only if it is the last of all."""
    following = logs.follow(
        selection.task_id, stream=selection.stream, attempt=selection.attempt, offset=selection.offset
    )
    last = None
    async with aclosing(following) as pages:
        async for last in pages:
            if last.rows:
                yield replace(last, complete=False)
    if last is not None and (last.complete or not last.rows):  # until now another attempt might have followed
        yield replace(last, rows=())


async def _stored(logs: LogBook, selection: _Selection) -> AsyncGenerator[LogPage, None]:
    """What is stored, a page at a time; one that is empty if there is nothing."""
    attempt, offset = selection.attempt, selection.offset
    while True:
        page = await logs.read(
            selection.task_id, stream=selection.stream, attempt=attempt, offset=offset, limit=LOG_PAGE_BYTES
        )
        yield page
        if page.complete or not page.rows:
            return
        attempt, offset = page.attempt, page.next_offset


def logs_of(page: LogPage, *, of_one_stream: bool, at_most: int | None) -> task_pb2.ReadTaskLogsResponse:
    """A page of output, cut at a number of bytes."""
    response = task_pb2.ReadTaskLogsResponse(next_offset=page.next_offset, complete=page.complete, attempt=page.attempt)
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
