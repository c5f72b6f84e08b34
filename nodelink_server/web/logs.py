"""`/tasks/{id}/logs`: what a task printed: as bytes, as lines of JSON, or as events.

An offset counts the bytes of the chosen stream; without one, of both streams together in order of arrival. Reading on
from the offset that an answer names misses nothing and reads nothing twice. Missing bytes are shown as a gap, never
left out.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from nodelink.errors import FieldError, InvalidTask
from nodelink.task import LogStream
from nodelink_server.core.logbook import LogBook, LogPage
from nodelink_server.core.ports import LogRow
from nodelink_server.web.bodies import json_bytes
from nodelink_server.web.events import BEAT, RETRY, LastEventId, event_frame
from nodelink_server.web.lasting import LastingResponse
from nodelink_server.web.wiring import Closing, Manager

MOST_BYTES = 1 << 20
MAX_OFFSET = (1 << 63) - 1

router = APIRouter(tags=["tasks"])


class Form(StrEnum):
    """How output is written, by media type."""

    TEXT = "text/plain"
    LINES = "application/x-ndjson"
    EVENTS = "text/event-stream"


class LogRange(BaseModel):
    """Which part of the output to read."""

    model_config = ConfigDict(extra="forbid")

    stream: LogStream | None = Field(default=None, description="only this stream; else both, in order of arrival")
    attempt: int = Field(default=0, ge=0, le=1 << 31, description="0: the current one")
    offset: int = Field(default=0, ge=0, le=MAX_OFFSET, description="the byte to begin with")
    limit: int = Field(
        default=MOST_BYTES, ge=1, le=MOST_BYTES, description="at most about so many bytes; not with follow"
    )
    tail: int | None = Field(
        default=None, ge=1, le=MOST_BYTES, description="only the last so many bytes; not with offset"
    )
    follow: bool = Field(default=False, description="go on until the output is complete")

    def check(self) -> None:
        """Raise `InvalidTask` for what cannot be asked together."""
        if self.tail is not None and "offset" in self.model_fields_set:
            raise InvalidTask(FieldError("tail", "cannot be given together with offset"))
        if self.follow and "limit" in self.model_fields_set:
            raise InvalidTask(FieldError("limit", "cannot be given together with follow"))


Encoder = Callable[[LogPage], Iterator[bytes]]


@router.get(
    "/tasks/{task_id}/logs",
    response_class=Response,
    responses={
        200: {
            "description": "What the task printed",
            "content": {form.value: {} for form in Form},
            "headers": {
                "X-Next-Offset": {"schema": {"type": "integer"}, "description": "the offset to go on from"},
                "X-Log-Complete": {"schema": {"type": "boolean"}, "description": "nothing more will come"},
            },
        }
    },
)
async def read_logs(
    task_id: str,
    asked: Annotated[LogRange, Query()],
    manager: Manager,
    closing: Closing,
    accept: Annotated[str, Header()] = "*/*",
    last_event_id: LastEventId = None,
) -> Response:
    """What a task printed. While it follows, the headers hold what was known at the beginning."""
    asked.check()
    form = _form(accept)
    if form is Form.EVENTS and last_event_id is not None:
        asked = asked.model_copy(update={"offset": last_event_id, "tail": None})
    page = await _first_page(manager.logs, task_id, asked)
    headers = {"x-next-offset": str(page.next_offset), "x-log-complete": str(page.complete).lower()}
    encode = _encoder(form, asked.stream)
    media_type = f"{form}; charset=utf-8" if form is Form.TEXT else form.value
    if not asked.follow and form is not Form.EVENTS:
        return Response(b"".join(encode(page)), media_type=media_type, headers=headers)
    chunks = _chunks(manager.logs, task_id, asked, page, encode, ends_with_event=form is Form.EVENTS)
    beat = BEAT if form is Form.EVENTS else b""
    return LastingResponse(chunks, closing=closing, media_type=media_type, headers=headers, beat=beat)


async def _first_page(logs: LogBook, task_id: str, asked: LogRange) -> LogPage:
    if asked.tail is not None:
        return await logs.read_tail(task_id, stream=asked.stream, attempt=asked.attempt, tail=asked.tail)
    return await logs.read(task_id, stream=asked.stream, attempt=asked.attempt, offset=asked.offset, limit=asked.limit)


async def _chunks(
    logs: LogBook, task_id: str, asked: LogRange, page: LogPage, encode: Encoder, *, ends_with_event: bool
) -> AsyncGenerator[bytes, None]:
    """The first page, then what follows it. As events, the end is said: a browser would come again otherwise."""
    if ends_with_event:
        yield RETRY
    async with aclosing(_pages(logs, task_id, asked, page)) as pages:
        async for last in pages:
            for chunk in encode(last):
                yield chunk
    if ends_with_event:
        yield event_frame("end", json_bytes({"next_offset": last.next_offset, "complete": last.complete}))


async def _pages(logs: LogBook, task_id: str, asked: LogRange, first: LogPage) -> AsyncGenerator[LogPage, None]:
    """The first page and, if that is asked for, every one behind it, of the same attempt."""
    yield first
    if not asked.follow or first.complete:
        return
    attempt = first.attempt or asked.attempt
    following = logs.follow(task_id, stream=asked.stream, attempt=attempt, offset=first.next_offset)
    async with aclosing(following) as pages:
        async for page in pages:
            yield page


def _form(accept: str) -> Form:
    """The form that the caller would rather have. 406: none of ours."""
    wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    for media_type in wanted:
        if media_type in {"*/*", "text/*", ""}:
            return Form.TEXT
        if media_type in set(Form):
            return Form(media_type)
    raise HTTPException(406, f"logs are written as {', '.join(Form)}")


def _encoder(form: Form, stream: LogStream | None) -> Encoder:
    match form:
        case Form.TEXT:
            return lambda page: (_text(row) for row in page.rows)
        case Form.LINES:
            return lambda page: (json_bytes(_row_json(row, stream)) + b"\n" for row in page.rows)
        case Form.EVENTS:
            return lambda page: (_row_event(row, stream) for row in page.rows)


def _text(row: LogRow) -> bytes:
    return row.data or b"\n[%d bytes are missing here]\n" % row.gap


def _row_event(row: LogRow, stream: LogStream | None) -> bytes:
    behind = _offset(row, stream) + row.length
    return event_frame("task.output", json_bytes(_row_json(row, stream)), event_id=behind)


def _row_json(row: LogRow, stream: LogStream | None) -> dict[str, Any]:
    """A run of output: `data` if it is UTF-8, else `base64`; or a `gap` of so many bytes."""
    shown: dict[str, Any] = {"stream": row.stream, "attempt": row.attempt, "offset": _offset(row, stream)}
    if not row.data:
        return {**shown, "gap": row.gap}
    try:
        return {**shown, "data": row.data.decode()}
    except UnicodeDecodeError:
        return {**shown, "base64": base64.b64encode(row.data).decode()}


def _offset(row: LogRow, stream: LogStream | None) -> int:
    """Where a row begins, counted in what was chosen."""
    return row.position if stream is None else row.offset
