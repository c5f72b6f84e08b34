"""Simulated connections. Frames travel as values, in order, with random delays; a cut loses what is under way.

A *hole* swallows everything without a word to either side; when it closes, what was swallowed arrives late.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from tests.simulation.loop import process_context

F = TypeVar("F")
SLOW_SHARE = 0.02


class PipeEnded(Exception):
    """Nothing more will come this way."""


class Pipe(Generic[F]):
    """One direction."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random) -> None:
        self._loop = loop
        self._chance = chance
        self._under_way: deque[F | None] = deque()
        self._arrived: deque[F] = deque()
        self._last = 0.0
        self._wake = asyncio.Event()
        self._held = False
        self._cut = False
        self._broken = False
        self._network = process_context("")
        self.on_end: Callable[[], None] | None = None
        """Called at the far end when it learns that nothing more will come."""

    def send(self, frame: F) -> None:
        """Put a frame on its way. After a cut it goes nowhere."""
        self._dispatch(frame)

    def end(self) -> None:
        """Nothing more will be sent: told in order."""
        self._dispatch(None)

    async def read(self) -> F:
        """The next frame. Raises `PipeEnded`."""
        while not self._arrived:
            if self._broken:
                raise PipeEnded
            self._wake.clear()
            await self._wake.wait()
        return self._arrived.popleft()

    def hold(self) -> None:
        """Swallow what comes."""
        self._held = True

    def release(self) -> None:
        """Let what was swallowed arrive."""
        if self._held:
            self._held = False
            for _ in range(len(self._under_way)):
                self._schedule()

    def cut(self, *, told_after: float) -> None:
        """Lose what is under way. The far end learns of it after so many seconds."""
        self._under_way.clear()
        self._held = False
        self._cut = True
        self._loop.call_later(told_after, self._break, context=self._network)

    def _dispatch(self, frame: F | None) -> None:
        if self._cut or self._broken:
            return
        self._under_way.append(frame)
        if not self._held:
            self._schedule()

    def _schedule(self) -> None:
        delay = self._chance.uniform(0.0, 2.0) if self._chance.random() < SLOW_SHARE else self._chance.uniform(0, 0.02)
        self._last = max(self._last, self._loop.time() + delay)
        self._loop.call_at(self._last, self._arrive, context=self._network)

    def _arrive(self) -> None:
        if self._held or self._broken or not self._under_way:
            return
        frame = self._under_way.popleft()
        if frame is None:
            self._break()
        else:
            self._arrived.append(frame)
            self._wake.set()

    def _break(self) -> None:
        if not self._broken:
            self._broken = True
            self._wake.set()
            if self.on_end is not None:
                self.on_end()


class Wire(Generic[F]):
    """Both directions of one connection: `up` from the agent to the server, `down` back.

    `machine`, `life`: who dialled, and with which of its processes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random, *, machine: str, life: int) -> None:
        self._chance = chance
        self.machine = machine
        self.life = life
        self.up: Pipe[F] = Pipe(loop, chance)
        self.down: Pipe[F] = Pipe(loop, chance)

    def cut(self) -> None:
        """Break the connection. Each side learns of it at a time of its own."""
        self.up.cut(told_after=self._chance.uniform(0, 3))
        self.down.cut(told_after=self._chance.uniform(0, 3))

    def hold(self, direction: str = "both") -> None:
        """Open a hole, for what goes "up", "down" or "both" ways."""
        if direction != "down":
            self.up.hold()
        if direction != "up":
            self.down.hold()

    def release(self) -> None:
        """Close the hole."""
        self.up.release()
        self.down.release()
