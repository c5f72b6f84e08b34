"""The frames of an upload, for asyncio: the announcement, and, when it is answered, the pieces from there on.

The client and the agent send the same story in messages of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from nodelink.blob_files import Source


class Feed:
    """One stream of frames. It ends by itself, or when it is told to stop; what went wrong with the file is kept."""

    def __init__(
        self, announcement: Any, piece: Callable[[bytes], Any], source: Source, moved: Callable[[int, int], None]
    ) -> None:
        self._announcement = announcement
        self._piece = piece
        self._source = source
        self._moved = moved
        self._begin: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.begun_at = 0
        """How much the server had."""
        self.error: Exception | None = None

    def go_on(self, offset: int) -> None:
        """The server has so much: send what comes behind it."""
        self.begun_at = offset
        if not self._begin.done():
            self._begin.set_result(offset)

    def stop(self) -> None:
        """Nothing more is wanted."""
        if not self._begin.done():
            self._begin.set_result(None)

    async def frames(self) -> AsyncIterator[Any]:
        """The frames, each read from the file when it is its turn."""
        yield self._announcement
        offset = await self._begin
        while offset is not None and offset < self._source.size:
            try:
                data = await asyncio.to_thread(self._source.read, offset)
            except Exception as error:  # noqa: BLE001 - gRPC would swallow it; whoever waits for the answer raises it
                self.error = error
                return
            yield self._piece(data)
            offset += len(data)
            self._moved(offset, self._source.size)
