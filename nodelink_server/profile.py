"""Where the server's time goes: the stacks of all its threads, sampled a hundred times a second and counted.

Waiting counts like working: a thread that is idle shows where it waits. Threads that run no Python are not seen.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from types import CodeType, FrameType

from nodelink.errors import Overloaded

PERIOD_SECONDS = 0.01
MOST_FRAMES = 200
"""Of a deeper stack the innermost are kept."""


class Profiler:
    """Takes one profile at a time."""

    def __init__(self) -> None:
        self._until = 0.0

    async def record(self, seconds: float) -> str:
        """A profile of the next seconds as folded stacks: `thread;outermost;…;innermost count` a line, most first.

        Raises `Overloaded` while another one is being taken. Cancelled: it stops.
        """
        left = self._until - time.monotonic()
        if self._until:
            raise Overloaded("another profile is being taken", retry_after=max(1.0, left))
        self._until = time.monotonic() + seconds
        sampler = _Sampler(self._until)
        try:
            return await asyncio.to_thread(sampler.run)
        finally:
            sampler.stopped.set()
            self._until = 0.0


class _Sampler:
    """One profile, taken in a thread that it does not show."""

    def __init__(self, until: float) -> None:
        self.stopped = threading.Event()
        self._until = until
        self._stacks: Counter[str] = Counter()
        self._names: dict[CodeType, str] = {}

    def run(self) -> str:
        """Sample until the time is up. Returns the folded stacks."""
        due = time.monotonic()
        while due < self._until and not self.stopped.wait(max(0.0, due - time.monotonic())):
            self._sample()
            due = max(due + PERIOD_SECONDS, time.monotonic())  # what was missed is not made up for
        return "".join(f"{stack} {count}\n" for stack, count in self._stacks.most_common())

    def _sample(self) -> None:
        threads = {thread.ident: thread.name for thread in threading.enumerate()}
        mine = threading.get_ident()
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - public in all but its name
            if ident != mine:
                name = threads.get(ident, "a thread of a library")
                self._stacks[";".join([name, *self._folded(frame)])] += 1

    def _folded(self, innermost: FrameType) -> list[str]:
        """A stack from the outside in."""
        names: list[str] = []
        frame: FrameType | None = innermost
        while frame is not None and len(names) < MOST_FRAMES:
            names.append(self._names.get(frame.f_code) or self._name(frame))
            frame = frame.f_back
        return names[::-1]

    def _name(self, frame: FrameType) -> str:
        code = frame.f_code
        module = frame.f_globals.get("__name__", "?")
        name = self._names[code] = f"{module}.{code.co_qualname}".replace(";", ",")
        return name
