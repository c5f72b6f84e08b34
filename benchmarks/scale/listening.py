"""A process of many listeners to events over HTTP (SSE). Some of them stall: they read the beginning, and no more.

What it is asked for: `http`, and `listeners`, each as `[room, stalls]`; the room is a task's id, or empty for
everything. It says when all are there. Then it is told, as JSON, from when until when events count, and when an agent
was given each attempt, and says what came. There are two delays, both by the wall clock of one machine:

`own`: of every event, from the moment that it names itself, which the server takes before the commit, until its bytes
are read. `sent`: of `task.sent`, from when the agent had been given that attempt, which the server does just after the
commit; one who hears sooner than the agent has a delay below nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from urllib.parse import urlsplit

from benchmarks.helper import Master

EVENT = re.compile(
    rb'event: ([a-z_.]+)\ndata: {"revision":\d+,"time":"([^"]+)","task_id":"([^"]+)"(?:[^\n]*?"attempt":(\d+))?'
)
"""An event of a task, and of which attempt it is, if any."""
SENT = b"task.sent"
RESET = b"event: reset"
HELLO = b"event: hello"
LITTLE_BYTES = 4_096
"""What the kernel keeps for one who stalls, so that it is noticed soon."""
LINE = 50
"""So many connect at a time."""


class Listener(asyncio.Protocol):
    """One listener. What comes is kept as it is, and looked at when all is over: reading must not be what is slow."""

    def __init__(self, head: bytes, *, stalls: bool) -> None:
        self._head = head
        self._stalls = stalls
        self._transport: asyncio.Transport | None = None
        self.here = asyncio.Event()
        """Set when the server has said hello."""
        self.ended = False
        self.heard: list[tuple[float, bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        """Keep what came, or stop reading."""
        if not self.here.is_set() and HELLO in data:
            self.here.set()
            if self._stalls and self._transport is not None:
                self._transport.pause_reading()
        self.heard.append((time.time(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has ended it."""
        self.ended = True
        self.here.set()


async def listen(master: Master) -> None:
    """Connect everybody, listen, and say what came."""
    place, asked = urlsplit(master.asked["http"]), master.asked["listeners"]
    line = asyncio.Semaphore(LINE)

    async def connect(room: str, *, stalls: bool) -> Listener:
        path = f"/tasks/{room}/events" if room else "/events"
        head = f"GET /api/v1{path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
        one = socket.socket()
        if stalls:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE_BYTES)
        one.setblocking(False)
        loop = asyncio.get_running_loop()
        async with line:
            await loop.sock_connect(one, (place.hostname or "", place.port or 0))
            _, listener = await loop.create_connection(lambda: Listener(head, stalls=stalls), sock=one)
            await listener.here.wait()
        return listener

    listeners = await asyncio.gather(*(connect(room, stalls=stalls) for room, stalls in asked))
    assert not any(listener.ended for listener in listeners), "the server refuses listeners"
    master.say("listening")
    told = json.loads(await master.told())
    master.say([found(listener, told["since"], told["until"], told["given"]) for listener in listeners])
    await master.told()  # it is ended from outside, without tidying up thousands of connections


def found(listener: Listener, since: float, until: float, given: Mapping[str, float]) -> dict[str, object]:
    """What one has heard: how many events of tasks, their delays in tenths of a millisecond with how often each
    came, and whether it was told to begin again. Only of events from `since` until `until`, by their own time.
    """
    own: Counter[int] = Counter()
    sent: Counter[int] = Counter()
    count, rest = 0, b""
    for at, data in listener.heard:
        text = rest + data
        whole = text.rfind(b"\n\n") + 1
        text, rest = text[:whole], text[whole:]  # an event may come in two pieces
        for name, moment, task, attempt in EVENT.findall(text):
            when = seconds_of(moment)
            if not since <= when < until:
                continue
            count += 1
            own[tenths(at - when)] += 1
            if name == SENT:
                sent[tenths(at - given[f"{task.decode()}:{attempt.decode()}"])] += 1
    was_reset = listener.ended or any(RESET in data for _, data in listener.heard)
    return {"count": count, "own": list(own.items()), "sent": list(sent.items()), "reset": was_reset}


def tenths(seconds: float) -> int:
    """Tenths of a millisecond."""
    return round(seconds * 10_000)


@lru_cache(maxsize=4_096)
def seconds_of(moment: bytes) -> float:
    """A moment of an event, in seconds since the epoch."""
    return datetime.fromisoformat(moment.decode()).timestamp()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(listen(Master()))
