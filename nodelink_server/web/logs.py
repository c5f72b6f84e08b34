"""`/tasks/{id}/logs`: what a task printed: as bytes, as lines of JSON, or as events.

An offset counts the bytes of the chosen stream; without one, of both streams together in order of arrival. Reading on
from the offset that an answer names misses nothing and reads nothing twice. Missing bytes are shown as a gap, never
left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from nodelink.errors import FieldError, InvalidTask
from nodelink.task import LogStream
from nodelink_server.core.logbook import LogBook, LogPage
from nodelink_server.web.accept import preferred
from nodelink_server.web.bodies import json_bytes
from nodelink_server.web.events import BEAT, RETRY, LastEventId, event_frame
from nodelink_server.web.lasting import LastingResponse
from nodelink_server.web.logforms import Encoder, Form, encoder, exact_bytes
from nodelink_server.web.ranges import ByteRange, parse_range
from nodelink_server.web.values import MAX_WHOLE, PLAIN_DIGITS, Flag, Whole
from nodelink_server.web.wiring import Closing, Manager

MOST_BYTES = 1 << 20
_RANGE_ABOUT = "one range of bytes of text/plain, as bytes=0-99, bytes=100- or bytes=-100; others are passed over"

router = APIRouter(tags=["tasks"])


class LogRange(BaseModel):
    """Which part of the output to read."""

    model_config = ConfigDict(extra="forbid")

    stream: LogStream | None = Field(default=None, description="only this stream; else both, in order of arrival")
    attempt: Whole = Field(default=0, ge=0, le=1 << 31, description="0: the current one")
    offset: Whole = Field(default=0, ge=0, le=MAX_WHOLE, description="the byte to begin with")
    limit: Whole = Field(
        default=MOST_BYTES, ge=1, le=MOST_BYTES, description="at most about so many bytes; not with follow"
    )
    tail: Annotated[int, Field(ge=1, le=MOST_BYTES), PLAIN_DIGITS] | None = Field(
        default=None, description="only the last so many bytes; not with offset"
    )
    follow: Flag = Field(default=False, description="go on until the output is complete")

    def check(self) -> None:
        """Raise `InvalidTask` for what cannot be asked together."""
        if self.tail is not None and "offset" in self.model_fields_set:
            raise InvalidTask(FieldError("tail", "cannot be given together with offset"))
        if self.follow and "limit" in self.model_fields_set:
            raise InvalidTask(FieldError("limit", "cannot be given together with follow"))

    def check_beside_range(self) -> None:
        """Raise `InvalidTask` for what a Range header says already."""
        said = [name for name in ("tail", "offset", "limit") if name in self.model_fields_set]
        if said:
            raise InvalidTask(*(FieldError(name, "cannot be given together with a Range") for name in said))


@router.get("/tasks/{task_id}/logs", response_class=Response)
async def read_logs(
    task_id: str,
    asked: Annotated[LogRange, Query()],
    request: Request,
    manager: Manager,
    closing: Closing,
    byte_range: Annotated[str, Header(alias="Range", description=_RANGE_ABOUT)] = "",
    last_event_id: LastEventId = None,
) -> Response:
    """Read what a task printed, as the `Accept` header wants it. With `follow`, until nothing more comes.

    While it follows, the headers hold what was known at the beginning.
    """
    asked.check()
    form = _form(request)
    wanted = parse_range(byte_range) if form is Form.TEXT and not asked.follow else None
    if wanted is not None:
        return await _partial(manager.logs, task_id, asked, wanted)
    if form is Form.EVENTS and last_event_id is not None:
        asked = asked.model_copy(update={"offset": last_event_id, "tail": None})
    page = await _first_page(manager.logs, task_id, asked)
    if asked.follow or form is Form.EVENTS:
        return _lasting(manager.logs, task_id, asked, page, form, closing)
    body = b"".join(encoder(form, asked.stream)(page))
    return Response(body, media_type=form.content_type, headers=_headers(page, form))


def _form(request: Request) -> Form:
    """The form that the caller would rather have. 406: none of ours."""
    chosen = preferred(", ".join(request.headers.getlist("accept")), list(Form))
    if chosen is None:
        raise HTTPException(406, f"output can be read as {', '.join(Form)}; name one of them in Accept")
    return Form(chosen)


async def _first_page(logs: LogBook, task_id: str, asked: LogRange) -> LogPage:
    if asked.tail is not None:
        return await logs.read_tail(task_id, stream=asked.stream, attempt=asked.attempt, tail=asked.tail)
    return await logs.read(task_id, stream=asked.stream, attempt=asked.attempt, offset=asked.offset, limit=asked.limit)


def _headers(page: LogPage, form: Form) -> dict[str, str]:
    headers = {"x-next-offset": str(page.next_offset), "x-log-complete": str(page.complete).lower()}
    return {**headers, "accept-ranges": "bytes"} if form is Form.TEXT else headers


async def _partial(logs: LogBook, task_id: str, asked: LogRange, wanted: ByteRange) -> Response:
    """206 with the bytes of a range, or the first of them if they are many. Raises 416 if there are none."""
    asked.check_beside_range()
    extent = await logs.extent(task_id, stream=asked.stream, attempt=asked.attempt)
    bounds = wanted.within(extent.total)
    if bounds is None:
        known = {"Content-Range": f"bytes */{extent.total}", "Accept-Ranges": "bytes"}
        raise HTTPException(416, f"there are {extent.total} bytes of output", headers=known)
    first, end = bounds
    limit = min(end - first, MOST_BYTES)
    page = await logs.read(task_id, stream=asked.stream, attempt=extent.attempt, offset=first, limit=limit)
    body = exact_bytes(page)[:limit]
    total = str(extent.total) if extent.complete else "*"  # more may come
    place = {"content-range": f"bytes {first}-{first + len(body) - 1}/{total}"}
    return Response(body, 206, media_type=Form.TEXT.content_type, headers={**_headers(page, Form.TEXT), **place})


def _lasting(
    logs: LogBook, task_id: str, asked: LogRange, page: LogPage, form: Form, closing: asyncio.Event
) -> LastingResponse:
    chunks = _chunks(logs, task_id, asked, page, encoder(form, asked.stream), ends_with_event=form is Form.EVENTS)
    beat = BEAT if form is Form.EVENTS else b""
    headers = {name: value for name, value in _headers(page, form).items() if name != "accept-ranges"}
    return LastingResponse(chunks, closing=closing, media_type=form.content_type, headers=headers, beat=beat)


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
            if page.complete:  # another attempt may follow: its offsets begin anew
                return
