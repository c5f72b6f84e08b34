"""What a handler is given beside its payload: the context of one running attempt."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple, Protocol

from nodelink.task import AttemptRef, Execution, Finished, LogStream, Progress, Reason, TaskRequest, TaskSpec
from nodelink_agent.blobs import Blobs, OpenBlobs, State
from nodelink_agent.core.wishes import Wish
from nodelink_agent.core.work import NewLimits
from nodelink_agent.deadlines import Deadlines
from nodelink_agent.output import Output

LEAST_EXTENSION = {"timeout": 0.001, "total_timeout": 0.001, "heartbeat_timeout": 1.0}
MOST_EXTENSION = {"timeout": 7 * 86_400.0, "total_timeout": 366 * 86_400.0, "heartbeat_timeout": 7 * 86_400.0}
"""Seconds that an attempt may give itself. The server keeps to the same bounds."""


class Teller(Protocol):
    """Where a context passes on what its handler says."""

    def started(self, ref: AttemptRef, *, at: float, containment: str = "") -> None:
        """The work has begun."""

    def progress(self, ref: AttemptRef, progress: Progress) -> None:
        """The work advances."""

    def lease_until(self, ref: AttemptRef) -> float | None:
        """Until when the work may go on."""


class Trace(NamedTuple):
    """The span of one attempt: what names it to others, and what is called with how the attempt ended."""

    traceparent: str
    end: Callable[[Finished], None]


BeginTrace = Callable[[TaskRequest], Trace]


class AttemptContext:
    """One attempt as its handler sees it. The output is made when first used; `moved` is called when `stays` changes.

    `begun_at` and `clock` are by CLOCK_BOOTTIME, the deadline is by the event loop's clock. `wished` is called with the
    limits that the work gives itself.
    """

    def __init__(
        self,
        request: TaskRequest,
        *,
        deadlines: Deadlines,
        teller: Teller,
        open_output: Callable[[AttemptRef], Output],
        clock: Callable[[], float],
        begun_at: float | None = None,
        moved: Callable[[], None] = lambda: None,
        wished: Callable[[Wish], None] = lambda _: None,
        open_blobs: OpenBlobs | None = None,
    ) -> None:
        self.ref: AttemptRef = request.ref
        self.spec: TaskSpec = request.spec
        self.execution: Execution = request.execution
        self.plan = request.plan
        self.traceparent = request.traceparent
        self.deadlines = deadlines
        self.limits: NewLimits | None = None
        """Other limits than were asked for, if it was given any."""
        self.grace_seconds = 0.0
        self.stop_reason: Reason | None = None
        self.begun_at = clock() if begun_at is None else begun_at
        self.listens = False
        """Whether the handler waits for stops, and so ends by itself after one."""
        self.stays = False
        """Whether the work goes on without this process."""
        self.can_be_stopped = True
        self._moved = moved
        self._wished = wished
        self._teller = teller
        self._open_output = open_output
        self._output: Output | None = None
        self._open_blobs = open_blobs
        self._clock = clock
        self._stop = asyncio.Event()
        self._tell_stop: list[Callable[[float, Reason], None]] = []

    @property
    def cancelled(self) -> bool:
        """Whether a stop has been asked for."""
        return self._stop.is_set()

    @property
    def deadline(self) -> float | None:
        """When the run is to end, on the event loop's clock; None: never."""
        return self.deadlines.run_until

    @property
    def lease_until(self) -> float | None:
        """Until when the work may go on as far as is known now, by CLOCK_BOOTTIME; None: without end."""
        return self._teller.lease_until(self.ref)

    @property
    def output(self) -> Output:
        """What the attempt prints."""
        if self._output is None:
            self._output = self._open_output(self.ref)
        return self._output

    @cached_property
    def blobs(self) -> Blobs:
        """The server's blobs."""
        if self._open_blobs is None:
            raise RuntimeError("this agent carries no blobs")
        return self._open_blobs(self.ref, self.deadlines.sign)

    @cached_property
    def state(self) -> State:
        """The state of the workspace."""
        return State(self.blobs)

    def listen(self) -> None:
        """From now on the handler ends by itself after a stop, or nobody knows what is left of it."""
        self.listens = True

    async def stop_asked(self) -> None:
        """Return when a stop is asked for: a cancel, the deadline, or the end of the agent."""
        self.listen()
        await self._stop.wait()

    def on_stop(self, tell: Callable[[float, Reason], None]) -> None:
        """Have this called when a stop is asked for, with the grace in seconds and the reason; at once if one has been.

        It says `listen` too.
        """
        self.listen()
        if self.stop_reason is None:
            self._tell_stop.append(tell)
        else:
            tell(self.grace_seconds, self.stop_reason)

    def progress(self, fraction: float, message: str = "") -> None:
        """Report an advance from 0 to 1. Only the latest is sure to be sent."""
        self.deadlines.sign()
        fraction = 0.0 if math.isnan(fraction) else min(max(fraction, 0.0), 1.0)
        self._teller.progress(self.ref, Progress(fraction=fraction, message=message))

    def log(self, data: bytes, stream: LogStream = LogStream.STDOUT) -> None:
        """Append to the attempt's output."""
        self.output.append(stream, data)

    def extend(
        self,
        *,
        timeout: float | None = None,
        total_timeout: float | None = None,
        heartbeat_timeout: float | None = None,
    ) -> None:
        """Give the work other limits, longer or shorter, in seconds from now. The server is told when it is there.

        ValueError: none is given, or one is not within its bounds.
        """
        given = {"timeout": timeout, "total_timeout": total_timeout, "heartbeat_timeout": heartbeat_timeout}
        _check_extension(given)
        now = self._clock()
        run_until = None if timeout is None else now + timeout
        self._wished(Wish(run_until, None if total_timeout is None else now + total_timeout, heartbeat_timeout))

    def limited(self, limits: NewLimits) -> None:
        """Note that the work has other limits from now on."""
        self.limits = limits.over(self.limits)

    def started(self, containment: str = "") -> None:
        """Say that the work has really begun, with how its processes are held together. Called once."""
        self._teller.started(self.ref, at=self._clock(), containment=containment)

    def outlives(self, outlives: bool) -> None:
        """Say whether the work goes on without this process, to be taken up by the next."""
        self.stays = outlives
        self._moved()

    def cannot_be_stopped(self) -> None:
        """Say that the work must not be stopped any more, only waited for, whatever is asked."""
        self.can_be_stopped = False

    def ask_stop(self, reason: Reason, grace_seconds: float) -> bool:
        """Ask the handler to stop. False: it has been asked before, and the first reason stands."""
        if self.stop_reason is not None:
            return False
        self.stop_reason = reason
        self.grace_seconds = grace_seconds
        self._stop.set()
        for tell in self._tell_stop:
            tell(grace_seconds, reason)
        return True


def _check_extension(given: Mapping[str, float | None]) -> None:
    if all(seconds is None for seconds in given.values()):
        raise ValueError(f"at least one of {', '.join(given)} must be given")
    for name, seconds in given.items():
        least, most = LEAST_EXTENSION[name], MOST_EXTENSION[name]
        if seconds is not None and not least <= seconds <= most:  # no number (NaN) is within no bounds
            raise ValueError(f"{name}: {seconds} is not from {least:g} to {most:g} seconds")
