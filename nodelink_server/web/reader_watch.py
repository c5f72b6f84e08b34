"""Cuts off a reader that takes nothing of what waits for it; one that is merely slow goes on."""

from __future__ import annotations

import asyncio


class ReaderWatch:
    """Watches one connection, from when something waits until nothing does."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """Something waits to be read."""
        self.end()
        self._timer = self._loop.call_later(self._seconds, self._check, transport, transport.get_write_buffer_size())

    def end(self) -> None:
        """Nothing waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, transport: asyncio.Transport, before: int) -> None:
        waiting = transport.get_write_buffer_size()
        if waiting >= before:
            transport.abort()
        elif waiting:
            self.begin(transport)
