"""The connection of a synchronous client: its channel, and whether it is closed."""

from __future__ import annotations

import os
import random
import threading
import time

import grpc

from nodelink.client.asks import Stubs
from nodelink.client.patience import Peer
from nodelink.errors import LinkLost


class Connection:
    """One channel to one server."""

    def __init__(self, server: str, channel: grpc.Channel, *, patience: float) -> None:
        self.peer = Peer(server, patience=patience, monotonic=time.monotonic, random=random.random)
        self.stubs = Stubs(channel)
        self._channel = channel
        self._closed = threading.Event()
        self._process = os.getpid()

    @property
    def is_closed(self) -> bool:
        """Whether there will be no more calls."""
        return self._closed.is_set()

    def close(self) -> None:
        """End the connection, and whatever is under way on it."""
        self._closed.set()
        self._channel.close()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a child of the process that has made the client: neither threads nor gRPC came along."""
        return os.getpid() != self._process

    def check(self) -> None:
        """Raise `LinkLost` if the client is closed, and RuntimeError in a process that has inherited it."""
        self.check_process()
        if self._closed.is_set():
            raise LinkLost("this client is closed")

    def check_process(self) -> None:
        """Raise RuntimeError in a process that has inherited the client."""
        if self.is_inherited:
            raise RuntimeError("this client was made by another process; make a new one after the fork")

    def pause(self, seconds: float) -> None:
        """Wait a while. Raises `LinkLost` as soon as the client is closed."""
        if self._closed.wait(seconds):
            raise LinkLost("this client is closed")
