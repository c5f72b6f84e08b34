"""Uploads of a synchronous client: a stream each, and another one behind where it broke."""

from __future__ import annotations

from typing import Any

import grpc

from nodelink.blob_files import Source
from nodelink.client.asks_blobs import passing
from nodelink.client.blobs import Moved
from nodelink.client.failures import error_of
from nodelink.client.sync_connection import Connection
from nodelink.client.sync_feed import Feed
from nodelink.errors import LinkLost, NodelinkError


class Uploads:
    """Sends what the server has not."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._peer = connection.peer

    def upload(self, source: Source, workspace: str, moved: Moved) -> None:
        """Send it to the end, over any number of broken streams, as long as it goes on."""
        patience, reached = self._peer.new_patience(), 0
        while True:
            feed = Feed(source, workspace, moved)
            try:
                return self._once(feed)
            except NodelinkError as error:
                self._peer.heard(error)
                if feed.begun_at > reached:
                    patience.heard()
                    reached = feed.begun_at
                self._connection.pause(patience.delay_after(passing(error)))

    def _once(self, feed: Feed) -> None:
        self._connection.check()
        send: Any = self._connection.stubs.artifacts.UploadArtifact
        call = send(feed.frames())
        try:
            for answer in call:
                self._peer.heard()
                if answer.complete:
                    return
                feed.go_on(answer.offset)
        except grpc.RpcError as error:
            raise error_of(error, self._peer.address) from error
        finally:
            feed.stop()
            call.cancel()
        raise feed.error or LinkLost(f"the server at {self._peer.address} ended the upload")
