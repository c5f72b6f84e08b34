"""The frames of an upload, for threads: the announcement, and, when it is answered, the pieces from there on."""

from __future__ import annotations

import queue
from collections.abc import Iterator

from nodelink.blob_files import Source
from nodelink.client.asks_blobs import announcement, piece
from nodelink.client.blobs import Moved
from nodelink.v1 import data_pb2


class Feed:
    """One stream of frames, which a thread of gRPC takes. What went wrong with the file is kept."""

    def __init__(self, source: Source, workspace: str, moved: Moved) -> None:
        self._announcement = announcement(source, workspace)
        self._source = source
        self._moved = moved
        self._begin: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.begun_at = 0
        """How much the server had."""
        self.error: Exception | None = None

    def go_on(self, offset: int) -> None:
        """The server has so much: send what comes behind it."""
        self.begun_at = offset
        self._begin.put(offset)

    def stop(self) -> None:
        """Nothing more is wanted."""
        self._begin.put(None)

    def frames(self) -> Iterator[data_pb2.UploadArtifactRequest]:
        """The frames, each read from the file when it is its turn."""
        yield self._announcement
        offset = self._begin.get()
        while offset is not None and offset < self._source.size:
            try:
                data = self._source.read(offset)
            except Exception as error:  # noqa: BLE001 - gRPC would swallow it; whoever waits for the answer raises it
                self.error = error
                return
            yield piece(data)
            offset += len(data)
            self._moved(offset, self._source.size)
