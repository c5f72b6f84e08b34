"""What is to be told to one spawner: the orders of one turn of the event loop can leave together.

A journal that is written for many attempts at once starts and forgets as many commands in one turn: to send each order
by itself, and to wake the spawner for it, takes longer than to make it. A stop waits for nothing: it is in the socket
when this process dies in the same turn.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

Order = Mapping[str, object]

_encode = json.JSONEncoder(separators=(",", ":")).encode
"""Made once: what `json.dumps` is given makes it build an encoder for each order."""


class Orders:
    """Gathers orders for a line. `write` is called with whole lines of JSON, in the order in which they were added."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._waiting: list[Order] = []
        self._loop = asyncio.get_running_loop()

    def add(self, order: Order) -> None:
        """Have an order sent before the event loop waits for anything."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(order)

    def send(self, order: Order) -> None:
        """Send an order now, behind those that were added."""
        self._waiting.append(order)
        self.flush()

    def flush(self) -> None:
        """Send now what was added."""
        if self._waiting:
            lines = "\n".join(map(_encode, self._waiting))
            self._waiting.clear()
            self._write(lines.encode() + b"\n")

    def drop(self) -> None:
        """Send nothing of what was added."""
        self._waiting.clear()
