"""The bytes of a blob on their way out: all of them or a range, a piece at a time, as fast as they are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nodelink_server.core.blob_ports import MAX_CHUNK_BYTES
from nodelink_server.core.blobs import Reading
from nodelink_server.web.ranges import parse_range

OCTETS = "application/octet-stream"
RANGE_ABOUT = "one range of bytes, as bytes=0-99, bytes=100- or bytes=-100; others are passed over"


class BlobResponse(Response):
    """Sends what is read, and closes the reading.

    If the server closes its doors the answer ends too early, as its length tells: the caller goes on with a range.
    """

    def __init__(
        self, reading: Reading, byte_range: str, *, closing: asyncio.Event, headers: Mapping[str, str]
    ) -> None:
        """Raises 416, and closes the reading, if there are no bytes in the range."""
        wanted = parse_range(byte_range)
        bounds = (0, reading.size) if wanted is None else wanted.within(reading.size)
        if bounds is None:
            reading.close()
            known = {"Content-Range": f"bytes */{reading.size}", "Accept-Ranges": "bytes"}
            raise HTTPException(416, f"there are {reading.size} bytes", headers=known)
        self._first, self._end = bounds
        self._reading = reading
        self._closing = closing
        self.status_code = 200 if wanted is None else 206
        self.media_type = OCTETS
        self.background = None
        place = {"content-range": f"bytes {self._first}-{self._end - 1}/{reading.size}"} if wanted is not None else {}
        self.init_headers({**_SAFE, **headers, **place, "content-length": str(self._end - self._first)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it, unless the caller leaves or the server closes its doors."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with asyncio.TaskGroup() as parts:
                closed = parts.create_task(self._closing.wait(), name="blob: closing")
                left = parts.create_task(_departure(receive), name="blob: departure")
                ends = [closed, left, parts.create_task(self._pump(send, left), name="blob: pump")]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                is_cut = closed.done()
                for part in ends:
                    part.cancel()
            if not is_cut:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._reading.close()

    async def _pump(self, send: Send, left: asyncio.Task[None]) -> None:
        offset = self._first
        while offset < self._end and not left.done():  # whoever asked for the head alone has left already
            data = await self._reading.read(offset, min(MAX_CHUNK_BYTES, self._end - offset))
            offset += len(data)
            await send({"type": "http.response.body", "body": data, "more_body": True})


_SAFE = {
    "accept-ranges": "bytes",
    "content-disposition": "attachment",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
}
"""What makes a browser save bytes that anybody may have made, and never show or run them."""


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
