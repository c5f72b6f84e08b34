"""The fake work of one agent process. Plays the pool's part in virtual time, and writes down each start and end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nodelink.task import (
    AttemptRef,
    Declined,
    Finished,
    LogChunk,
    LogStream,
    Outcome,
    Progress,
    Reason,
    TaskRequest,
    TaskResponse,
)
from nodelink_agent.core.agent import AgentCore, Stop, Work
from nodelink_agent.core.logs import LogRead
from tests.simulation.history import Run
from tests.simulation.plans import Plan, output_of, plan_of

STOP_SECONDS = 0.05
LATE_SECONDS = 40.0
"""How much longer than its timeout a task runs if its agent does not keep timeouts."""


class Doing:
    """One attempt under way."""

    __slots__ = ("plan", "printed", "request", "run", "stop", "task", "wake")

    def __init__(self, request: TaskRequest, plan: Plan, run: Run) -> None:
        self.request = request
        self.plan = plan
        self.run = run
        self.printed = dict.fromkeys(LogStream, 0)
        self.stop: Stop | None = None
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Execution:
    """Everything that one agent process runs, and what it has printed.

    `note` writes a start down and returns its record. `declines` names the types that it will not run.
    """

    def __init__(self, core: AgentCore, *, note: Callable[[TaskRequest], Run], declines: frozenset[str]) -> None:
        self._core = core
        self._note = note
        self._declines = declines
        self._loop = asyncio.get_running_loop()
        self._doing: dict[AttemptRef, Doing] = {}
        self._printed: dict[AttemptRef, Doing] = {}

    def perform(self, work: Work) -> None:
        """Do what the core wants done, as the pool does."""
        for stop in work.stop:
            self._stop(stop)
        over = [response for request in work.start if (response := self._start(request)) is not None]
        for ref in work.forget:
            self._printed.pop(ref, None)
        if over:
            self.perform(self._core.ended(over))

    def read(self, read: LogRead) -> LogChunk:
        """What was printed there, or a gap."""
        doing = self._printed.get(read.ref)
        if doing is None:
            return LogChunk(read.ref, read.stream, read.offset, b"", read.limit)
        end = read.offset + read.limit
        if doing.plan.gap is not None and read.stream is LogStream.STDOUT:
            begin, behind = doing.plan.gap
            if begin <= read.offset < behind:
                return LogChunk(read.ref, read.stream, read.offset, b"", min(behind, end) - read.offset)
            if read.offset < begin:
                end = min(end, begin)
        data = output_of(read.ref, read.stream, read.offset, end - read.offset)
        return LogChunk(read.ref, read.stream, read.offset, data)

    def die(self) -> None:
        """The process is no more, and nothing that it ran."""
        for doing in self._doing.values():
            doing.run.ended_at = self._loop.time()
        self.halt()

    def halt(self) -> None:
        """Stop everything, and leave the records as they are."""
        for doing in self._doing.values():
            if doing.task is not None:
                doing.task.cancel()
        self._doing.clear()

    def _start(self, request: TaskRequest) -> TaskResponse | None:
        if request.spec.type in self._declines:
            return TaskResponse(request.ref, Declined(message="not here"))
        doing = Doing(request, plan_of(request.payload), self._note(request))
        if not doing.plan.seconds:
            return TaskResponse(request.ref, self._finished(doing, Outcome(doing.plan.outcome)))
        self._doing[request.ref] = self._printed[request.ref] = doing
        doing.task = self._loop.create_task(self._work(doing))
        return None

    def _stop(self, stop: Stop) -> None:
        doing = self._doing.get(stop.ref)
        if doing is not None and doing.stop is None:
            doing.stop = stop
            doing.wake.set()

    async def _work(self, doing: Doing) -> None:
        """The course of one attempt, to its end or to the end of its process."""
        finished = await self._course(doing)
        del self._doing[doing.request.ref]
        self.perform(self._core.ended([TaskResponse(doing.request.ref, finished)]))

    async def _course(self, doing: Doing) -> Finished:
        plan, ref = doing.plan, doing.request.ref
        self._core.started(ref, at=self._loop.time(), containment="process_group")
        timeout_ms = doing.request.spec.timeout_ms
        seconds = plan.seconds
        if timeout_ms is not None and seconds * 1000 > timeout_ms:
            seconds = timeout_ms / 1000 if plan.obeys else min(seconds, timeout_ms / 1000 + LATE_SECONDS)
        for step in range(1, plan.steps + 1):
            await self._pause(doing, seconds / plan.steps)
            if doing.stop is not None:
                return await self._obey(doing, doing.stop)
            self._advance(doing, step)
        if seconds < plan.seconds:
            return self._finished(doing, Outcome.TIMEOUT)
        return self._finished(doing, Outcome(plan.outcome))

    def _advance(self, doing: Doing, step: int) -> None:
        """Print and report as far as the plan goes by now."""
        plan, ref = doing.plan, doing.request.ref
        for stream in LogStream:
            printed = plan.length(stream) * step // plan.steps
            if printed > doing.printed[stream]:
                doing.printed[stream] = printed
                self._core.output_grew(ref, stream, printed)
        if step < plan.steps:
            self._core.progress(ref, Progress(fraction=step / plan.steps))

    async def _obey(self, doing: Doing, stop: Stop) -> Finished:
        """End because of a stop: soon, or when it is killed."""
        await asyncio.sleep(STOP_SECONDS if doing.plan.obeys else max(STOP_SECONDS, stop.grace_ms / 1000))
        by_timer = stop.reason not in {Reason.CANCELLED_BY_CALLER, Reason.SUPERSEDED}
        return self._finished(doing, Outcome.TIMEOUT if by_timer else Outcome.CANCELLED, stop.reason)

    async def _pause(self, doing: Doing, seconds: float) -> None:
        """Let time pass, but not beyond a stop."""
        timer = self._loop.call_later(seconds, doing.wake.set)
        await doing.wake.wait()
        timer.cancel()
        if doing.stop is None:
            doing.wake.clear()

    def _finished(self, doing: Doing, outcome: Outcome, reason: Reason = Reason.NONE) -> Finished:
        """Write the end down, and say it as an agent does."""
        stopped = outcome in {Outcome.TIMEOUT, Outcome.CANCELLED}
        run = doing.run
        run.ended_at, run.outcome = self._loop.time(), outcome
        run.tree_gone = doing.plan.tree_gone or not stopped
        return Finished(
            outcome=outcome,
            reason=reason or (Reason.RUN_TIMEOUT if outcome is Outcome.TIMEOUT else Reason.NONE),
            run_seconds=run.ended_at - run.began_at,
            log_totals={stream: size for stream, size in doing.printed.items() if size},
            tree_gone=run.tree_gone,
        )
