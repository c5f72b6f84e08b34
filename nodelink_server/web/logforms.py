"""The forms that output is written in: as bytes, as lines of JSON, as events."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from nodelink.task import LogStream
from nodelink_server.core.logbook import LogPage
from nodelink_server.core.ports import LogRow
from nodelink_server.web.bodies import json_bytes
from nodelink_server.web.events import event_frame


class Form(StrEnum):
    """How output is written, by media type."""

    TEXT = "text/plain"
    LINES = "application/x-ndjson"
    EVENTS = "text/event-stream"

    @property
    def content_type(self) -> str:
        """The header of an answer in this form."""
        return f"{self}; charset=utf-8" if self is Form.TEXT else self.value


Encoder = Callable[[LogPage], Iterator[bytes]]


def encoder(form: Form, stream: LogStream | None) -> Encoder:
    """How a page of output is written in a form."""
    match form:
        case Form.TEXT:
            return lambda page: (_text(row) for row in page.rows)
        case Form.LINES:
            return lambda page: (json_bytes(_row_json(row, stream)) + b"\n" for row in page.rows)
        case Form.EVENTS:
            return lambda page: (_row_event(row, stream) for row in page.rows)


def exact_bytes(page: LogPage) -> bytes:
    """A page in which every byte stands at its offset: missing ones are NUL."""
    return b"".join(row.data or bytes(row.gap) for row in page.rows)


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
