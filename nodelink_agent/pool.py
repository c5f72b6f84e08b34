"""The agent's slots: runs attempts, stops them, and keeps what they printed. Outlives every link.

Decisions are the core's; this is the part that carries them out. Inline handlers run at once, others as tasks of a
group that belongs to the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

import structlog

from nodelink.task import (
    DEFAULT_GRACE_MS,
    AttemptRef,
    Declined,
    Finished,
    LogChunk,
    LogStream,
    Reason,
    TaskRequest,
    TaskResponse,
)
from nodelink.values import evolve
from nodelink_agent import endings
from nodelink_agent.context import AttemptContext, BeginTrace, Trace
from nodelink_agent.core.agent import MAX_CHUNK_BYTES, MAX_FRAME_BYTES, AgentCore, Stop, Work
from nodelink_agent.core.logs import LogRead
from nodelink_agent.handlers.registry import Handler, HandlerRegistry, InlineHandler
from nodelink_agent.output import Output
from nodelink_agent.spool import Gap

LEAST_PATIENCE = 1.0
"""Seconds that a handler is given to end after a stop, however short the grace."""
STOP_MARGIN = 10.0
"""Seconds beyond the grace after which a handler that ends by itself is broken off all the same."""

_log = structlog.get_logger(__name__)

OpenOutput = Callable[[AttemptRef, Callable[[], None]], Output]
"""Makes an attempt's output, given what to call when it grows."""


class Speech(NamedTuple):
    """What the next frame says. Task credit 0: unchanged."""

    responses: list[TaskResponse]
    chunks: list[LogChunk]
    task_credit: int


class Running:
    """One attempt under way, with the timers that may end it."""

    __slots__ = ("aborted", "context", "task", "timers", "trace")

    def __init__(self, context: AttemptContext, trace: Trace | None) -> None:
        self.context = context
        self.trace = trace
        self.task: asyncio.Task[None] | None = None
        self.timers: list[asyncio.TimerHandle] = []
        self.aborted = False

    def abort(self) -> None:
        """Break the handler off."""
        self.aborted = True
        if self.task is not None:
            self.task.cancel()


class Pool:
    """Runs what the core says. `wake` is set when there may be something to send."""

    def __init__(
        self,
        *,
        slots: int,
        handlers: HandlerRegistry,
        open_output: OpenOutput,
        least_patience: float = LEAST_PATIENCE,
        stop_margin: float = STOP_MARGIN,
        begin_trace: BeginTrace | None = None,
    ) -> None:
        self.wake = asyncio.Event()
        self.core = AgentCore(slots=slots, wake=self.wake.set)
        self._handlers = handlers
        self._open_output = open_output
        self._least_patience = least_patience
        self._stop_margin = stop_margin
        self._begin_trace = begin_trace
        self._running: dict[AttemptRef, Running] = {}
        self._outputs: dict[AttemptRef, Output] = {}
        self._moved = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run attempts for as long as this lasts. What still runs at the end is broken off, and told to nobody."""
        async with asyncio.TaskGroup() as self._tasks:
            try:
                yield
            finally:
                for running in list(self._running.values()):
                    self._cancel_timers(running)
                    if running.task is not None:
                        running.task.cancel()

    # --- what the core decided

    def perform(self, work: Work) -> None:
        """Do what the core wants done: stop, start, forget."""
        for stop in work.stop:
            self._stop(stop)
        over = [response for request in work.start if (response := self._start(request)) is not None]
        for ref in work.forget:
            output = self._outputs.pop(ref, None)
            if output is not None:
                output.remove()
        if over:
            self.perform(self.core.ended(over))
        self._moved.set()

    def speech(self, *, max_bytes: int = MAX_FRAME_BYTES, chunk_bytes: int = MAX_CHUNK_BYTES) -> Speech:
        """What the next frame is to say. It counts as handed to the stream."""
        outgoing = self.core.outgoing(now=self._loop.time(), max_bytes=max_bytes, chunk_bytes=chunk_bytes)
        chunks = []
        for read in outgoing.reads:
            chunk = self._read(read)
            self.core.log_sent(chunk)
            chunks.append(chunk)
        return Speech(outgoing.responses, chunks, outgoing.task_credit)

    # --- the end of the agent

    def stop_all(self, *, grace_seconds: float) -> None:
        """Stop everything that runs, because the agent goes."""
        for ref in list(self._running):
            self._stop(Stop(ref, round(grace_seconds * 1000), Reason.INFRASTRUCTURE))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds. It is looked at after everything that happens in the pool."""
        while not condition():
            self._moved.clear()
            await self._moved.wait()

    # --- within

    def _start(self, request: TaskRequest) -> TaskResponse | None:
        """Start an attempt; its end, if it is over at once."""
        entry = self._handlers.get(request.spec.type)
        if entry is not None and entry.inline is not None:
            return TaskResponse(request.ref, self._run_inline(entry.inline, request))
        if entry is None or entry.run is None:
            return TaskResponse(request.ref, Declined(message=f"this agent does not run {request.spec.type!r}"))
        if self._tasks is None:
            raise RuntimeError("the pool is not open")
        trace = self._begin_trace(request) if self._begin_trace is not None else None
        if trace is not None:
            request = evolve(request, traceparent=trace.traceparent)
        running = self._running[request.ref] = Running(self._context(request), trace)
        if running.context.deadline is not None:
            timeout = Stop(request.ref, DEFAULT_GRACE_MS, Reason.RUN_TIMEOUT)
            running.timers.append(self._loop.call_at(running.context.deadline, self._stop, timeout))
        running.task = self._tasks.create_task(
            self._run(request, entry.run, running), name=f"attempt {request.ref.task_id}"
        )
        return None

    def _run_inline(self, handler: InlineHandler, request: TaskRequest) -> Finished:
        if self._begin_trace is None:
            return _run_inline(handler, request)
        trace = self._begin_trace(request)
        finished = _run_inline(handler, request)
        trace.end(finished)
        return finished

    def _context(self, request: TaskRequest) -> AttemptContext:
        now = self._loop.time()
        timeout_ms = request.spec.timeout_ms
        return AttemptContext(
            request,
            deadline=None if timeout_ms is None else now + timeout_ms / 1000,
            teller=self.core,
            open_output=self._output,
            clock=self._loop.time,
        )

    async def _run(self, request: TaskRequest, handler: Handler, running: Running) -> None:
        try:
            finished = await self._outcome(request, handler, running)
        finally:
            self._cancel_timers(running)
            del self._running[request.ref]
        self._end(running, finished)

    async def _outcome(self, request: TaskRequest, handler: Handler, running: Running) -> Finished:
        try:
            finished = await handler(request.payload, running.context)
            return _checked(finished)
        except asyncio.CancelledError as error:
            return self._broken_off(request.ref, running, error)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is the failure of its task alone
            _log.exception("handler_failed", **_names(request.ref), type=request.spec.type)
            return endings.handler_failed(error)

    @staticmethod
    def _broken_off(ref: AttemptRef, running: Running, error: asyncio.CancelledError) -> Finished:
        """The end of a handler that was cancelled. Raises again what came from outside: then the whole pool ends."""
        if running.task is None or not running.task.cancelling():
            return endings.handler_failed(error)  # something that the handler waited for was cancelled
        if not running.aborted:
            raise error
        running.task.uncancel()
        _log.warning("handler_broken_off", **_names(ref))
        reason = running.context.stop_reason or Reason.INFRASTRUCTURE
        return endings.stopped(reason, confirmed=not running.context.listens)

    def _end(self, running: Running, finished: Finished) -> None:
        context = running.context
        finished = endings.presentable(finished, stop_reason=context.stop_reason)
        run_seconds = finished.run_seconds or self._loop.time() - context.begun_at
        totals = finished.log_totals
        output = self._outputs.get(context.ref)
        if output is not None:
            output.end()
            totals = output.totals()
        finished = replace(finished, run_seconds=run_seconds, log_totals=totals)
        if running.trace is not None:
            running.trace.end(finished)
        self.perform(self.core.ended([TaskResponse(context.ref, finished)]))

    def _stop(self, stop: Stop) -> None:
        running = self._running.get(stop.ref)
        if running is None or not running.context.ask_stop(stop.reason, stop.grace_ms / 1000):
            return
        patience = max(stop.grace_ms / 1000, self._least_patience)
        running.timers.append(self._loop.call_later(patience, self._insist, running))

    def _insist(self, running: Running) -> None:
        """The grace is over. A handler that does not listen for stops has had its time; another one is about to end."""
        if running.context.listens:
            running.timers.append(self._loop.call_later(self._stop_margin, running.abort))
        else:
            running.abort()

    @staticmethod
    def _cancel_timers(running: Running) -> None:
        for timer in running.timers:
            timer.cancel()

    def _output(self, ref: AttemptRef) -> Output:
        def grew() -> None:
            for stream in LogStream:
                end = output.readable_end(stream)
                if end:
                    self.core.output_grew(ref, stream, end)

        output = self._outputs[ref] = self._open_output(ref, grew)
        return output

    def _read(self, read: LogRead) -> LogChunk:
        """What was printed there. What cannot be read any more is a gap, so that the log goes on."""
        ref, stream, offset, limit = read
        output = self._outputs.get(ref)
        run = output.read(stream, offset, limit) if output is not None else b""
        if isinstance(run, Gap):
            return LogChunk(ref, stream, offset, b"", run.length)
        return LogChunk(ref, stream, offset, run, 0 if run else limit)


def _run_inline(handler: InlineHandler, request: TaskRequest) -> Finished:
    try:
        finished = _checked(handler(request.payload))
    except Exception as error:  # noqa: BLE001 - as above
        _log.exception("handler_failed", **_names(request.ref), type=request.spec.type)
        return endings.handler_failed(error)
    if len(finished.output) > endings.MAX_OUTPUT_BYTES or finished.error is not None:
        return endings.presentable(finished)
    return finished


def _checked(finished: object) -> Finished:
    if not isinstance(finished, Finished):
        raise TypeError(f"the handler returned {type(finished).__name__}, not how it ended")
    return finished


def _names(ref: AttemptRef) -> dict[str, str | int]:
    return {"task_id": ref.task_id, "attempt": ref.attempt, "fence": ref.fence}
