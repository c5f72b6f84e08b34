"""Lists of tasks: what is asked for, and where a page ends."""

from __future__ import annotations

from collections.abc import Sequence

from nodelink.errors import FieldError, InvalidTask, Malformed
from nodelink.task import TaskStatus
from nodelink.v1 import task_pb2
from nodelink.wire import STATUS_FROM_PB, ms_of
from nodelink_server.core.ports import TaskQuery
from nodelink_server.core.task import TaskRecord

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 1_000
PAGE_BYTES = 2 << 20
"""About how large a page of tasks may get before it ends early: a message has a limit."""


def query_of(request: task_pb2.ListTasksRequest) -> TaskQuery:
    """What a request asks for. Raises `InvalidTask` or `Malformed`."""
    return TaskQuery(
        page_size=_page_size_of(request.page_size),
        before_key=_key_of(request.page_token),
        statuses=frozenset(map(_status_of, request.statuses)),
        type=request.type or None,
        pool=request.pool or None,
        agent_id=request.agent_id or None,
        created_after=ms_of(request.created_after) if request.HasField("created_after") else None,
        created_before=ms_of(request.created_before) if request.HasField("created_before") else None,
    )


def _page_size_of(asked: int) -> int:
    if asked > LARGEST_PAGE_SIZE:
        raise InvalidTask(FieldError("page_size", f"{asked} is too large; ask for at most {LARGEST_PAGE_SIZE:,}"))
    return asked or DEFAULT_PAGE_SIZE


def _key_of(page_token: str) -> int:
    try:
        return int(page_token, 16) if page_token else 0
    except ValueError as error:
        raise Malformed("page_token is not one that a page has given") from error


def _status_of(number: int) -> TaskStatus:
    status = STATUS_FROM_PB.get(number)
    if status is None:
        raise InvalidTask(FieldError("statuses", f"{number} is not known"))
    return status


def cut_page(records: Sequence[TaskRecord], query: TaskQuery) -> tuple[Sequence[TaskRecord], str]:
    """The tasks of one page, and the token of the next one; empty if there is none."""
    size = 0
    for position, record in enumerate(records, start=1):
        size += len(record.payload)
        if position == query.page_size or (size > PAGE_BYTES and position < len(records)):
            return records[:position], f"{record.task.key:x}"
    return records, ""
