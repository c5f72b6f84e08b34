"""The connection of an asynchronous client: its channel, and whether it is closed."""

from __future__ import annotations

import asyncio
import random
import time

import grpc

from nodelink.client.asks import Stubs
from nodelink.client.patience import Peer
from nodelink.errors import LinkLost


class Connection:
    """One channel to one server, in one event loop."""

    def __init__(self, server: str, channel: grpc.aio.Channel, *, patience: float) -> None:
        self.peer = Peer(server, patience=patience, monotonic=time.monotonic, random=random.random)
        self.stubs = Stubs(channel)
        self._channel = channel
        self._closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def is_closed(self) -> bool:
        """Whether there will be no more calls."""
        return self._closed.is_set()

    async def close(self) -> None:
        """End the connection, and whatever is under way on it."""
        self._closed.set()
        await self._channel.close(None)

    def check(self) -> None:
        """Raise `LinkLost` if the client is closed, and RuntimeError in another loop than its own."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this client was made in another event loop; make one in each")
        if self.is_closed:
            raise LinkLost("this client is closed")

    def check_cancelled(self) -> None:
        """A call was cancelled: raise `LinkLost` if it is because the client was closed, and not its caller's wish."""
        task = asyncio.current_task()
        if self.is_closed and (task is None or not task.cancelling()):
            raise LinkLost("this client is closed")

    async def pause(self, seconds: float) -> None:
        """Wait a while. Raises `LinkLost` as soon as the client is closed."""
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return
        raise LinkLost("this client is closed")
