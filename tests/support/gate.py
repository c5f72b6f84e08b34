"""A gate across one deed of a store, shut and opened by a test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

WAIT_SECONDS = 60.0


class Gate:
    """Holds deeds of one kind up while it is closed. `pass_through` is what a `MemoryStore` takes as its pause."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._open = asyncio.Event()
        self._open.set()
        self._reached = asyncio.Event()

    async def pass_through(self, kind: str) -> None:
        """Wait for the gate to open, if the deed is of its kind."""
        if kind == self._kind and not self._open.is_set():
            self._reached.set()
            await self._open.wait()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Shut as long as this lasts."""
        self._reached.clear()
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Open as long as this lasts, within `closed`."""
        self._open.set()
        try:
            yield
        finally:
            self._open.clear()

    async def reached(self) -> None:
        """Wait until a deed stands before the closed gate."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._reached.wait()
