"""The fake work of one attempt: it prints, reports and ends as its plan says, in virtual time, wherever it is done."""

from __future__ import annotations

import asyncio
import hashlib
import math
from typing import Protocol

from nodelink.plan import PLAN, Plan
from nodelink.task import AttemptRef, Finished, LogChunk, LogStream, Outcome, Progress, Reason, TaskRequest
from nodelink_agent.core.logs import LogRead
from nodelink_agent.core.work import Stop
from tests.checking.history import Run
from tests.checking.printed import output_of
from tests.simulation.loop import process_context
from tests.simulation.plans import plan_of

STOP_SECONDS = 0.05
LATE_SECONDS = 40.0
"""How much longer than its timeout a task runs if its agent does not keep timeouts."""


class Watcher(Protocol):
    """Whoever sees what becomes of work."""

    def started(self, doing: Doing) -> None:
        """It has begun."""

    def grew(self, doing: Doing, stream: LogStream) -> None:
        """It has printed."""

    def advanced(self, doing: Doing, progress: Progress) -> None:
        """It says how far it is."""

    def wished(self, doing: Doing, seconds: float) -> None:
        """It has given itself so many seconds from now."""

    def ended(self, doing: Doing, finished: Finished) -> None:
        """It is over."""


class Doing:
    """One attempt under way, in some process."""

    def __init__(self, request: TaskRequest, run: Run, *, began_at: float) -> None:
        self.request = request
        self.run = run
        self.plan = plan_of(request.payload)
        self.began_at = began_at
        """When it began, by the clock of its machine."""
        self.printed = dict.fromkeys(LogStream, 0)
        self.watcher: Watcher | None = None
        self.stop_asked: Stop | None = None
        self.is_over = False
        self._seconds = self.plan.seconds
        """How long it runs if it is left alone: to its end, or to that of its time."""
        self._silence = _seconds(request.spec.heartbeat_timeout_ms)
        self._is_limited_anew = False
        self._loop = asyncio.get_running_loop()
        self._begun = self._signed = self._loop.time()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        if request.spec.timeout_ms is not None:
            self._end_at(self._begun + request.spec.timeout_ms / 1000)

    @property
    def ref(self) -> AttemptRef:
        """The name of the attempt."""
        return self.request.ref

    def go(self, watcher: Watcher, *, process: str) -> None:
        """Let it run, as a part of a process."""
        self.watcher = watcher
        self._task = self._loop.create_task(self._work(), context=process_context(process))

    def at_once(self) -> Finished:
        """Do it without letting time pass."""
        self.is_over = True
        return self._finished(self.plan.outcome_of(self.ref.attempt))

    def stop(self, stop: Stop) -> None:
        """Have it end. The first word counts."""
        if self.stop_asked is None and not self.is_over:
            self.stop_asked = stop
            self._wake.set()

    def limit(self, number: int, *, left: float | None, silence: float | None) -> None:
        """Give it other limits, in seconds from now. None: as before."""
        if self.is_over:
            return
        now = self._loop.time()
        self.run.limits.append((now, number))
        if left is not None:
            self._end_at(now + left)
        if silence is not None:
            self._silence, self._signed = silence, now
        self._is_limited_anew = True
        self._wake.set()

    def go_on_for(self, seconds: float) -> None:
        """It gives itself so much time, whatever it had before."""
        self._end_at(self._loop.time() + seconds)

    def die(self) -> None:
        """It is no more, and nobody sees how it ended."""
        if not self.is_over:
            self.is_over = True
            self.run.ended_at = self._loop.time()
            self.halt()

    def halt(self) -> None:
        """Stop it where it stands, and write nothing down."""
        if self._task is not None:
            self._task.cancel()

    def read(self, read: LogRead) -> LogChunk:
        """What was printed there, or a gap."""
        end = read.offset + read.limit
        if self.plan.gap is not None and read.stream is LogStream.STDOUT:
            begin, behind = self.plan.gap
            if begin <= read.offset < behind:
                return LogChunk(read.ref, read.stream, read.offset, b"", min(behind, end) - read.offset)
            if read.offset < begin:
                end = min(end, begin)
        data = output_of(read.ref, read.stream, read.offset, end - read.offset)
        return LogChunk(read.ref, read.stream, read.offset, data)

    # -- its course ---------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        finished = await self._course()
        self.is_over = True
        if self.watcher is not None:
            self.watcher.ended(self, finished)

    async def _course(self) -> Finished:
        plan = self.plan
        if self.watcher is not None:
            self.watcher.started(self)
        for step in range(1, plan.steps + 1):
            is_silent = await self._reach(step)
            if self.stop_asked is not None:
                return await self._obey(self.stop_asked)
            if is_silent:
                return self._finished(Outcome.TIMEOUT, Reason.HEARTBEAT_TIMEOUT)
            self._advance(step)
        if self._seconds < plan.seconds:
            return self._finished(Outcome.TIMEOUT)
        return self._finished(plan.outcome_of(self.ref.attempt))

    def _end_at(self, moment: float) -> None:
        """Its time is over then. Some go on all the same, if nobody stops them."""
        limit = moment - self._begun if self.plan.obeys else moment - self._begun + LATE_SECONDS
        self._seconds = min(self.plan.seconds, limit)

    async def _reach(self, step: int) -> bool:
        """Let it go on to the end of a step, or to a stop. Returns whether it was silent for too long before that."""
        while True:
            due = self._begun + self._seconds * step / self.plan.steps
            silent = self._signed + self._silence if self._silence is not None and self.plan.obeys else math.inf
            await self._pause(max(min(due, silent) - self._loop.time(), 0.0))
            if self.stop_asked is not None or not self._is_limited_anew:
                return silent < due
            self._is_limited_anew = False

    def _advance(self, step: int) -> None:
        """Print and report as far as the plan goes by now."""
        plan = self.plan
        self._signed = self._loop.time()
        for stream in LogStream:
            length = plan.length(stream) * step // plan.steps
            if length > self.printed[stream]:
                self.printed[stream] = length
                if self.watcher is not None:
                    self.watcher.grew(self, stream)
        if step < plan.steps and self.watcher is not None:
            self.watcher.advanced(self, Progress(fraction=step / plan.steps))
            if step == 1 and plan.more:
                self.watcher.wished(self, plan.more)

    async def _obey(self, stop: Stop) -> Finished:
        """End because of a stop: soon, or when it is killed."""
        await asyncio.sleep(STOP_SECONDS if self.plan.obeys else max(STOP_SECONDS, stop.grace_ms / 1000))
        by_timer = stop.reason not in {Reason.CANCELLED_BY_CALLER, Reason.SUPERSEDED}
        return self._finished(Outcome.TIMEOUT if by_timer else Outcome.CANCELLED, stop.reason)

    async def _pause(self, seconds: float) -> None:
        """Let time pass, but not beyond a stop."""
        timer = self._loop.call_later(seconds, self._wake.set)
        await self._wake.wait()
        timer.cancel()
        if self.stop_asked is None:
            self._wake.clear()

    def _finished(self, outcome: Outcome, reason: Reason = Reason.NONE) -> Finished:
        """Write the end down, and say it as an agent does."""
        stopped = outcome in {Outcome.TIMEOUT, Outcome.CANCELLED}
        run = self.run
        run.ended_at = self._loop.time()
        reason = reason or (Reason.RUN_TIMEOUT if outcome is Outcome.TIMEOUT else Reason.NONE)
        run.reason = reason
        run.lapsed = reason is Reason.LEASE_EXPIRED
        if not run.lapsed and reason is not Reason.SUPERSEDED:  # else it counts no more
            run.outcome = outcome
        run.tree_gone = self.plan.tree_gone or not stopped
        run.asks = self.plan.asks if outcome is Outcome.FAILED else 0.0
        if run.phase == PLAN and outcome is Outcome.COMPLETED:
            run.plan = digest_of(self.ref)
        return Finished(
            plan=Plan(run.plan, len(run.plan), digest_of("inputs"), "site") if run.phase == PLAN and run.plan else None,
            outcome=outcome,
            reason=reason,
            run_seconds=run.ended_at - run.began_at,
            log_totals={stream: size for stream, size in self.printed.items() if size},
            tree_gone=run.tree_gone,
            retry_after_ms=round(run.asks * 1000) if run.asks else None,
        )


def digest_of(made: object) -> str:
    """A digest for a thing, another one for another."""
    return hashlib.sha256(repr(made).encode()).hexdigest()


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
