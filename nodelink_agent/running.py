"""One attempt under way in the pool, and what is told to those who hold work for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from nodelink.task import AttemptRef
from nodelink_agent.context import AttemptContext, Trace
from nodelink_agent.core.work import Extension, NewLimits


class Elsewhere(NamedTuple):
    """What is told to those who hold work for this process: how leases go on, other limits, what can be forgotten."""

    extend: Callable[[Sequence[Extension]], None] = lambda _: None
    forget: Callable[[AttemptRef], None] = lambda _: None
    limit: Callable[[NewLimits], None] = lambda _: None


class Running:
    """One attempt under way, with the timers that may end it."""

    __slots__ = ("aborted", "context", "place", "task", "timers", "trace")

    def __init__(self, context: AttemptContext, place: str, trace: Trace | None = None) -> None:
        self.context = context
        self.place = place
        self.trace = trace
        self.task: asyncio.Task[None] | None = None
        self.timers: list[asyncio.TimerHandle] = []
        self.aborted = False

    def abort(self) -> None:
        """Break the handler off, unless it has come to what must not be stopped any more."""
        if not self.context.can_be_stopped:
            return
        self.aborted = True
        if self.task is not None:
            self.task.cancel()
