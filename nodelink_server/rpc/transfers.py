"""Blobs on streams of their own: bytes in, behind those that are there, and bytes out, from an offset on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from nodelink.errors import FieldError, InvalidTask, Malformed, StoreUnavailable
from nodelink_server.core.blob_ports import MAX_CHUNK_BYTES
from nodelink_server.core.blobs import Blobs, Reading, Upload
from nodelink_server.core.deeds import LOCAL
from nodelink_server.core.vitals import STOPPING

STOPPED_SECONDS = 1.0
"""When a caller whose stream has ended because the server stops may go on."""


async def announcement_of(frames: AsyncIterator[Any], stopping: asyncio.Event) -> Any:
    """The first frame's announcement. Raises `Malformed` if it has none, `StoreUnavailable` if the server stops."""
    frame = await _next(frames, stopping)
    if frame is None or frame.WhichOneof("part") != "announcement":
        raise Malformed("the first frame has to announce the bytes")
    return frame.announcement


async def take_in(
    frames: AsyncIterator[Any], blobs: Blobs, upload: Upload, stopping: asyncio.Event, *, by: str = LOCAL
) -> Upload:
    """Take in the frames behind the announcement, to the last byte or to their end: what has come stays.

    Raises as `Blobs.append`, `Malformed` for a second announcement, `StoreUnavailable` if the server stops.
    """
    while not upload.is_complete:
        frame = await _next(frames, stopping)
        if frame is None:
            return upload
        if frame.WhichOneof("part") != "data":
            raise Malformed("every frame but the first holds bytes")
        upload = await blobs.append(upload.name, upload.offset, frame.data, by=by)
    return upload


async def pieces(reading: Reading, offset: int, stopping: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """The bytes from an offset on, and at least one piece, if empty. Closes the reading.

    Raises `InvalidTask` for an offset behind the end, `StoreUnavailable` if the server stops or the disk fails.
    """
    try:
        if offset > reading.size:
            raise InvalidTask(FieldError("offset", f"is behind the {reading.size:,} bytes that there are"))
        while True:
            data = await reading.read(offset, MAX_CHUNK_BYTES)
            yield data
            offset += len(data)
            if offset >= reading.size:
                return
            if stopping.is_set():
                raise _stopped()
    finally:
        reading.close()


async def _next(frames: AsyncIterator[Any], stopping: asyncio.Event) -> Any:
    """The next frame; None: there is none. A caller that keeps its stream open does not hold up a stop."""
    coming = asyncio.ensure_future(anext(frames, None))
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({coming, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            return coming.result()
        raise _stopped()
    finally:
        coming.cancel()
        stopped.cancel()


def _stopped() -> StoreUnavailable:
    return StoreUnavailable(STOPPING, retry_after=STOPPED_SECONDS)
