"""What a handler is given beside its payload: the context of one running attempt."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

from nodelink.task import AttemptRef, Finished, LogStream, Progress, Reason, TaskRequest, TaskSpec
from nodelink_agent.output import Output


class Teller(Protocol):
    """Where a context passes on what its handler says."""

    def started(self, ref: AttemptRef, *, at: float, containment: str = "") -> None:
        """The work has begun."""

    def progress(self, ref: AttemptRef, progress: Progress) -> None:
        """The work advances."""


class Trace(NamedTuple):
    """The span of one attempt: what names it to others, and what is called with how the attempt ended."""

    traceparent: str
    end: Callable[[Finished], None]


BeginTrace = Callable[[TaskRequest], Trace]


class AttemptContext:
    """One attempt as its handler sees it. `clock` is the event loop's; the output is made when first used."""

    def __init__(
        self,
        request: TaskRequest,
        *,
        deadline: float | None,
        teller: Teller,
        open_output: Callable[[AttemptRef], Output],
        clock: Callable[[], float],
    ) -> None:
        self.ref: AttemptRef = request.ref
        self.spec: TaskSpec = request.spec
        self.traceparent = request.traceparent
        self.deadline = deadline
        self.grace_seconds = 0.0
        self.stop_reason: Reason | None = None
        self.begun_at = clock()
        self.listens = False
        """Whether the handler waits for stops, and so ends by itself after one."""
        self._teller = teller
        self._open_output = open_output
        self._output: Output | None = None
        self._clock = clock
        self._stop = asyncio.Event()

    @property
    def cancelled(self) -> bool:
        """Whether a stop has been asked for."""
        return self._stop.is_set()

    @property
    def output(self) -> Output:
        """What the attempt prints."""
        if self._output is None:
            self._output = self._open_output(self.ref)
        return self._output

    async def stop_asked(self) -> None:
        """Return when a stop is asked for: a cancel, the deadline, or the end of the agent."""
        self.listens = True
        await self._stop.wait()

    def progress(self, fraction: float, message: str = "") -> None:
        """Report an advance from 0 to 1. Only the latest is sure to be sent."""
        fraction = 0.0 if math.isnan(fraction) else min(max(fraction, 0.0), 1.0)
        self._teller.progress(self.ref, Progress(fraction=fraction, message=message))

    def log(self, data: bytes, stream: LogStream = LogStream.STDOUT) -> None:
        """Append to the attempt's output."""
        self.output.append(stream, data)

    def started(self, containment: str = "") -> None:
        """Say that the work has really begun, with how its processes are held together. Called once."""
        self._teller.started(self.ref, at=self._clock(), containment=containment)

    def ask_stop(self, reason: Reason, grace_seconds: float) -> bool:
        """Ask the handler to stop. False: it has been asked before, and the first reason stands."""
        if self.stop_reason is not None:
            return False
        self.stop_reason = reason
        self.grace_seconds = grace_seconds
        self._stop.set()
        return True
