"""Uploads of an asynchronous client: a stream each, and another one behind where it broke."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from nodelink.blob_files import Source
from nodelink.client.aio_connection import Connection
from nodelink.client.asks_blobs import announcement, passing, piece
from nodelink.client.blobs import Moved
from nodelink.client.failures import error_of
from nodelink.errors import LinkLost, NodelinkError
from nodelink.feed import Feed


class Uploads:
    """Sends what the server has not."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._peer = connection.peer

    async def upload(self, source: Source, workspace: str, moved: Moved) -> None:
        """Send it to the end, over any number of broken streams, as long as it goes on."""
        patience, reached = self._peer.new_patience(), 0
        while True:
            feed = Feed(announcement(source, workspace), piece, source, moved)
            try:
                return await self._once(feed)
            except NodelinkError as error:
                self._peer.heard(error)
                if feed.begun_at > reached:
                    patience.heard()
                    reached = feed.begun_at
                await self._connection.pause(patience.delay_after(passing(error)))

    async def _once(self, feed: Feed) -> None:
        self._connection.check()
        send: Any = self._connection.stubs.artifacts.UploadArtifact
        call = send(feed.frames())
        try:
            async for answer in call:
                self._peer.heard()
                if answer.complete:
                    return
                feed.go_on(answer.offset)
        except asyncio.CancelledError:
            self._connection.check_cancelled()
            raise
        except grpc.RpcError as error:
            raise self._why(error) from error
        finally:
            feed.stop()
            call.cancel()
        raise feed.error or LinkLost(f"the server at {self._peer.address} ended the upload")

    def _why(self, error: grpc.RpcError) -> NodelinkError:
        """Why a stream broke. gRPC takes a write into one that has just ended for a failure of its own."""
        told = error_of(error, self._peer.address)
        if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.INTERNAL and not told.request_id:
            return LinkLost(f"the server at {self._peer.address} ended the upload")
        return told
