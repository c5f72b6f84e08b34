"""The spawner's end of a line to an agent: orders come in, news go out, and nobody waits. Standard library only."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
from collections import deque
from collections.abc import Mapping
from typing import Any

READ_BYTES = 64 * 1024
LAST_READS = 64
"""What may still be read of a line that another one replaces: more than a socket holds."""

FAREWELL_SECONDS = 2.0

_encode = json.JSONEncoder(separators=(",", ":")).encode
"""Made once: what `json.dumps` is given makes it build an encoder for each line."""


class AgentLine:
    """Lines of JSON to and from one agent. `is_cut` once it has gone; what had arrived by then can still be read."""

    def __init__(self, line: socket.socket, selector: selectors.BaseSelector) -> None:
        self.is_cut = False
        self._socket = line
        self._selector = selector
        self._orders: deque[bytes] = deque()  # whole lines that were not taken yet
        self._rest = b""  # what has arrived of the next one
        self._lines: deque[bytes] = deque()  # a few for each command at most: growth is told only when all is sent
        self._sending = b""
        line.setblocking(False)
        selector.register(line, selectors.EVENT_READ, self._hear)

    @property
    def is_clear(self) -> bool:
        """Whether everything that was said has been sent."""
        return not self._sending and not self._lines

    @property
    def has_order(self) -> bool:
        """Whether a whole order waits to be taken."""
        return bool(self._orders)

    def order(self) -> Mapping[str, Any] | None:
        """The next whole order. None if there is none. ValueError if it is no JSON."""
        if not self._orders:
            return None
        order: Mapping[str, Any] = json.loads(self._orders.popleft())
        return order

    def say(self, said: str, **words: object) -> None:
        """Tell something, as soon as the agent takes it."""
        self._lines.append(_encode({"said": said, **words}).encode() + b"\n")

    def send(self) -> None:
        """Send as much as the agent takes now."""
        while not self.is_cut and not self.is_clear:
            if not self._sending:
                self._sending = b"".join(self._lines)
                self._lines.clear()
            try:
                self._sending = self._sending[self._socket.send(self._sending) :]
            except BlockingIOError:
                self._listen_for(selectors.EVENT_READ | selectors.EVENT_WRITE)
                return
            except OSError:
                self._hear_the_rest()
        self._listen_for(selectors.EVENT_READ)

    def replace(self) -> None:
        """Hear what has arrived, and nothing that comes later: another agent has called."""
        self.say("replaced")
        self.send()
        self._hear_the_rest()

    def farewell(self) -> None:
        """Wait a moment until what is left has been taken."""
        with contextlib.suppress(OSError):  # it has gone, or it does not listen
            self._socket.settimeout(FAREWELL_SECONDS)
            self._socket.sendall(self._sending + b"".join(self._lines))

    def close(self) -> None:
        """Hang up."""
        self._selector.unregister(self._socket)
        self._socket.close()

    def _hear(self) -> bool:
        """Take in some of what has arrived. Whether there was anything."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._orders += whole
        self.is_cut = self.is_cut or not data
        return bool(data)

    def _hear_the_rest(self) -> None:
        for _ in range(LAST_READS):
            if not self._hear():
                break
        self.is_cut = True

    def _listen_for(self, events: int) -> None:
        if self._selector.get_key(self._socket).events != events:
            self._selector.modify(self._socket, events, self._hear)
