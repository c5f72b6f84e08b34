"""Single parts of requests, read. Each raises `InvalidTask`, naming the field that is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from nodelink.errors import FieldError, InvalidTask
from nodelink.task import LogStream
from nodelink.traceparent import traceparent_or_empty
from nodelink.v1 import task_pb2
from nodelink.wire import STREAM_FROM_PB, ms_of
from nodelink_server.core.decisions import Resolution
from nodelink_server.core.extensions import NewLimits
from nodelink_server.rpc.interceptors import Context, metadata_of

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 1_000
ANSWER_MARGIN_MS = 200
"""How long before its caller gives up a wait is answered."""
LARGEST_MS = 315_576_000_000_000
"""Ten thousand years: the longest duration, and the farthest moment, that protobuf's own types can mean."""
LARGEST_OFFSET = 1 << 60
LARGEST_REVISION = (1 << 63) - 1

_RESOLUTIONS: Mapping[int, Resolution] = {
    task_pb2.RESOLUTION_COMPLETED: Resolution.COMPLETED,
    task_pb2.RESOLUTION_FAILED: Resolution.FAILED,
    task_pb2.RESOLUTION_RERUN: Resolution.RERUN,
}
_TOKEN = re.compile(r"[0-9a-f]{1,16}", re.ASCII)


def id_of(text: str, field: str) -> str:
    """An id, which must be given."""
    if not text:
        raise InvalidTask(FieldError(field, "must be given"))
    return text


def given(request: Message, field: str) -> Any:
    """A part of a request; None: it was left out."""
    return getattr(request, field) if request.HasField(field) else None


def required(request: Message, field: str) -> Any:
    """A part of a request that must be given."""
    if not request.HasField(field):
        raise InvalidTask(FieldError(field, "must be given"))
    return getattr(request, field)


def duration_ms(duration: Duration, field: str) -> int:
    """A duration that is not negative."""
    ms = ms_of(duration)
    if not 0 <= ms <= LARGEST_MS:
        raise InvalidTask(FieldError(field, "must not be negative" if ms < 0 else "is too long"))
    return ms


def moment_ms(moment: Timestamp, field: str) -> int:
    """A moment, in milliseconds since the epoch."""
    ms = ms_of(moment)
    if not -LARGEST_MS <= ms <= LARGEST_MS:
        raise InvalidTask(FieldError(field, "is no moment of the calendar"))
    return ms


def new_limits_of(request: task_pb2.ExtendTaskRequest) -> NewLimits:
    """Other limits for a task."""
    return NewLimits(
        *(
            duration_ms(getattr(request, field), field) if request.HasField(field) else None
            for field in ("timeout", "total_timeout", "heartbeat_timeout")
        )
    )


def page_size_of(asked: int) -> int:
    """How many to show on a page."""
    if asked > LARGEST_PAGE_SIZE:
        raise InvalidTask(FieldError("page_size", f"{asked} is too large; ask for at most {LARGEST_PAGE_SIZE:,}"))
    return asked or DEFAULT_PAGE_SIZE


def token_of(place: int) -> str:
    """The page token that stands for a place."""
    return f"{place:x}"


def place_of(page_token: str) -> int:
    """The place that a page token stands for; 0: the first page."""
    if not page_token:
        return 0
    if not _TOKEN.fullmatch(page_token) or int(page_token, 16) > LARGEST_REVISION:
        raise InvalidTask(FieldError("page_token", "is not one that this server gave"))
    return int(page_token, 16)


def offset_of(offset: int, field: str) -> int:
    """A number of bytes that some output could have."""
    if offset > LARGEST_OFFSET:
        raise InvalidTask(FieldError(field, "is beyond any output"))
    return offset


def revision_of(revision: int) -> int:
    """A revision to resume after."""
    if revision > LARGEST_REVISION:
        raise InvalidTask(FieldError("after_revision", "is beyond any revision"))
    return revision


def stream_of(number: int) -> LogStream | None:
    """One of the two streams of output; None: both."""
    stream = STREAM_FROM_PB.get(number)
    if number and stream is None:
        raise InvalidTask(FieldError("stream", f"{number} is not known"))
    return stream


def resolution_of(number: int) -> Resolution:
    """What a person says became of a task. It must be said."""
    resolution = _RESOLUTIONS.get(number)
    if resolution is None:
        wrong = f"{number} is not known" if number else "must be given"
        raise InvalidTask(FieldError("resolution", f"{wrong}; use one of {', '.join(Resolution)}"))
    return resolution


def wait_ms(asked: Duration | None, field: str, context: Context) -> int | None:
    """How long to wait: as asked, but not past the caller's own deadline. None: for as long as the caller does."""
    asked_ms = None if asked is None else duration_ms(asked, field)
    remaining: float | None = context.time_remaining()
    if remaining is None:
        return asked_ms
    left = max(0, int(remaining * 1000) - ANSWER_MARGIN_MS)
    return left if asked_ms is None else min(asked_ms, left)


def traceparent_of(context: Context) -> str:
    """The trace context in a call's metadata; empty: none that is valid."""
    return traceparent_or_empty(metadata_of(context, "traceparent"))
