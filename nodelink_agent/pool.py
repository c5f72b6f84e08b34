"""The agent's slots: runs attempts, stops them, and keeps what they printed. Outlives every link.

Decisions are the core's; this is the part that carries them out. Inline handlers run at once, others as tasks of a
group that belongs to the pool, once the journal knows of them. Moments are by CLOCK_BOOTTIME.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import structlog

from nodelink.failpoints import hit
from nodelink.taken import taken_by
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
from nodelink_agent.blobs import OpenBlobs
from nodelink_agent.boottime import boottime
from nodelink_agent.context import AttemptContext, BeginTrace
from nodelink_agent.core.agent import MAX_CHUNK_BYTES, MAX_FRAME_BYTES, AgentCore
from nodelink_agent.core.records import ForgetRecord, Remembered
from nodelink_agent.core.wishes import Wish
from nodelink_agent.core.work import NewLimits, Stop, Work
from nodelink_agent.deadlines import Deadlines
from nodelink_agent.handlers.registry import Ending, HandlerRegistry, InlineHandler
from nodelink_agent.journal.journal import Journal
from nodelink_agent.journal.known import Known
from nodelink_agent.outputs import OpenOutput, Outputs
from nodelink_agent.running import Elsewhere, Running

LEAST_PATIENCE = 1.0
"""Seconds that a handler is given to end after a stop, however short the grace."""
STOP_MARGIN = 10.0
"""Seconds beyond the grace after which a handler that ends by itself is broken off all the same."""
LEASE_LOOK_SECONDS = 1.0
"""So often at least is looked after leases: the loop's own clock stands still while the machine is suspended."""

_log = structlog.get_logger(__name__)

Handle = Callable[[], Awaitable[Ending]]
"""A handler with what it is given."""


class Speech(NamedTuple):
    """What the next frame says. Task credit 0: unchanged."""

    responses: list[TaskResponse]
    chunks: list[LogChunk]
    task_credit: int


class Pool:
    """Runs what the core says. `wake` is set when there may be something to send."""

    def __init__(
        self,
        *,
        slots: int,
        handlers: HandlerRegistry,
        journal: Journal,
        open_output: OpenOutput,
        elsewhere: Elsewhere | None = None,
        least_patience: float = LEAST_PATIENCE,
        stop_margin: float = STOP_MARGIN,
        begin_trace: BeginTrace | None = None,
        open_blobs: OpenBlobs | None = None,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self.wake = asyncio.Event()
        self.core = AgentCore(slots=slots, wake=self.wake.set, places=handlers.places())
        self.now = clock
        self._handlers = handlers
        self._journal = journal
        self._elsewhere = elsewhere or Elsewhere()
        self._outputs = Outputs(open_output, self._grew)
        self._least_patience = least_patience
        self._stop_margin = stop_margin
        self._begin_trace = begin_trace
        self._open_blobs = open_blobs
        self._running: dict[AttemptRef, Running] = {}
        self._moved = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tasks: asyncio.TaskGroup | None = None
        self._lease_timer: asyncio.TimerHandle | None = None
        self._speech_timer: asyncio.TimerHandle | None = None
        journal.on_written = self._written

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run attempts for as long as this lasts. What still runs at the end is broken off, and told to nobody."""
        async with asyncio.TaskGroup() as self._tasks:
            try:
                yield
            finally:
                self._journal.on_written = _nothing_more
                for timer in (self._lease_timer, self._speech_timer):
                    if timer is not None:
                        timer.cancel()
                for running in list(self._running.values()):
                    self._cancel_timers(running)
                    if running.task is not None:
                        running.task.cancel()

    def restore(self, known: Sequence[Known]) -> None:
        """Take up what an earlier process left: what others hold goes on, what that process did itself is gone."""
        resumed = [attempt for attempt in known if attempt.response is None and self._can_resume(attempt)]
        running = {attempt.request.ref for attempt in resumed}
        remembered = []
        for request, _, _, response in known:
            end = None if request.ref in running else response or TaskResponse(request.ref, endings.died())
            one = Remembered(request.ref, request.execution, request.lease_ms, end, response is not None)
            remembered.append(one._replace(takes=taken_by(request.spec, has_plan=request.plan is not None)))
        self.perform(self.core.restore(remembered))
        for one in remembered:
            if one.response is not None:
                update = one.response.update
                self._outputs.restore(one.ref, update.log_totals if isinstance(update, Finished) else None)
        for attempt in resumed:
            self._resume(attempt)

    # --- what the core decided

    def perform(self, work: Work) -> None:
        """Do what the core wants done: write down, stop, start, tell how leases go on, forget."""
        if work.records:
            self._write_down(work)
        for stop in work.stop:
            self._stop(stop)
        over = [response for request in work.start if (response := self._start(request)) is not None]
        if work.extend:
            self._elsewhere.extend(work.extend)
        for limits in work.limits:
            self._limit(limits)
        for ref in work.forget:
            self._outputs.forget(ref)
        if over:
            self.perform(self.core.ended(over, now=self.now()))
        self._watch_leases()
        self._moved.set()

    def speech(self, *, max_bytes: int = MAX_FRAME_BYTES, chunk_bytes: int = MAX_CHUNK_BYTES) -> Speech:
        """What the next frame is to say. It counts as handed to the stream."""
        now = self.now()
        outgoing = self.core.outgoing(now=now, max_bytes=max_bytes, chunk_bytes=chunk_bytes)
        chunks, reads = [], outgoing.reads
        while reads:
            for read in reads:
                chunk = self._outputs.read(read)
                self.core.log_sent(chunk)
                chunks.append(chunk)
            reads = self.core.more_reads(chunk_bytes=chunk_bytes)
        self._speak_in_time(now)
        return Speech(outgoing.responses, chunks, outgoing.task_credit)

    # --- the end of the agent

    @property
    def staying(self) -> int:
        """How many attempts run that go on without this process."""
        return sum(running.context.stays for running in self._running.values())

    def lost(self, place: str) -> None:
        """Whoever held the work of this place holds it no more: it stays only if its handler says so from now on."""
        for running in self._running.values():
            if running.place == place and running.context.can_be_stopped:
                running.context.outlives(False)

    def stop_all(self, *, grace_seconds: float, leave: bool = False) -> None:
        """Stop everything that runs, because the agent goes. `leave`: but for what goes on without it."""
        for ref, running in list(self._running.items()):
            if leave and running.context.stays:
                continue
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
        trace = self._begin_trace(request) if self._begin_trace is not None else None
        if trace is not None:
            request = evolve(request, traceparent=trace.traceparent)
        context = self._context(request)
        self._launch(request, partial(entry.run, request.payload, context), Running(context, entry.place, trace))
        timeout_ms, heartbeat_ms = request.spec.timeout_ms, request.spec.heartbeat_timeout_ms
        if timeout_ms is not None:
            context.deadlines.run(timeout_ms / 1000)
        if heartbeat_ms is not None and not entry.place:  # who holds it hears it first
            context.deadlines.allow_silence(heartbeat_ms / 1000)
        return None

    def _can_resume(self, attempt: Known) -> bool:
        entry = self._handlers.get(attempt.request.spec.type)
        return bool(attempt.place) and entry is not None and entry.resume is not None

    def _resume(self, attempt: Known) -> None:
        """Take up an attempt that others held meanwhile. They also see to its run timeout."""
        entry = self._handlers.get(attempt.request.spec.type)
        if entry is None or entry.resume is None:
            raise RuntimeError("what cannot be resumed was to be")
        context = self._context(attempt.request, begun_at=attempt.at)
        self._launch(attempt.request, partial(entry.resume, attempt.place, context), Running(context, attempt.place))

    def _launch(self, request: TaskRequest, handle: Handle, running: Running) -> None:
        if self._tasks is None:
            raise RuntimeError("the pool is not open")
        self._running[request.ref] = running
        running.task = self._tasks.create_task(
            self._run(request, handle, running), name=f"attempt {request.ref.task_id}"
        )

    def _run_inline(self, handler: InlineHandler, request: TaskRequest) -> Finished:
        if self._begin_trace is None:
            return _run_inline(handler, request)
        trace = self._begin_trace(request)
        finished = _run_inline(handler, request)
        trace.end(finished)
        return finished

    def _context(self, request: TaskRequest, *, begun_at: float | None = None) -> AttemptContext:
        ref = request.ref
        return AttemptContext(
            request,
            deadlines=Deadlines(lambda reason: self._stop(Stop(ref, DEFAULT_GRACE_MS, reason))),
            teller=self.core,
            open_output=self._outputs.open,
            clock=self.now,
            begun_at=begun_at,
            moved=self._moved.set,
            wished=partial(self._wished, ref),
            open_blobs=self._open_blobs,
        )

    async def _run(self, request: TaskRequest, handle: Handle, running: Running) -> None:
        try:
            ending = await self._outcome(request, handle, running)
        finally:
            self._cancel_timers(running)
            del self._running[request.ref]
        self._end(running, ending)

    async def _outcome(self, request: TaskRequest, handle: Handle, running: Running) -> Ending:
        try:
            return _checked(await handle())
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

    def _end(self, running: Running, ending: Ending) -> None:
        hit("agent.end.known")
        context = running.context
        totals = self._outputs.end(context.ref)
        if isinstance(ending, Finished):
            silent = context.deadlines.silent_seconds
            ending = endings.presentable(ending, stop_reason=context.stop_reason, silent_seconds=silent)
            run_seconds = ending.run_seconds or self.now() - context.begun_at
            totals = ending.log_totals if totals is None else totals
            ending = evolve(ending, run_seconds=run_seconds, log_totals=totals)
        if running.trace is not None:
            running.trace.end(ending if isinstance(ending, Finished) else endings.unseen())
        self.perform(self.core.ended([TaskResponse(context.ref, ending)], now=self.now()))

    def _stop(self, stop: Stop) -> None:
        running = self._running.get(stop.ref)
        if running is None or not running.context.can_be_stopped:
            return
        if not running.context.ask_stop(stop.reason, stop.grace_ms / 1000):
            return
        patience = max(stop.grace_ms / 1000, self._least_patience)
        running.timers.append(self._loop.call_later(patience, self._insist, running))

    def _insist(self, running: Running) -> None:
        """The grace is over. A handler that does not listen for stops has had its time; another one is about to end."""
        if not running.context.can_be_stopped:
            return
        if running.context.listens:
            running.timers.append(self._loop.call_later(self._stop_margin, running.abort))
        else:
            running.abort()

    @staticmethod
    def _cancel_timers(running: Running) -> None:
        running.context.deadlines.cancel()
        for timer in running.timers:
            timer.cancel()

    # --- limits

    def _limit(self, limits: NewLimits) -> None:
        """Keep other limits of an attempt, and have them kept where the work is done."""
        running = self._running.get(limits.ref)
        if running is None:
            return
        context = running.context
        context.limited(limits)
        if limits.run_until is not None:
            context.deadlines.run(limits.run_until - self.now())
        if running.place:
            self._elsewhere.limit(limits)
        elif limits.heartbeat_seconds is not None:
            context.deadlines.allow_silence(limits.heartbeat_seconds)

    def _wished(self, ref: AttemptRef, wish: Wish) -> None:
        """Work has given itself other limits."""
        self._limit(NewLimits(ref, 0, wish.run_until, wish.heartbeat_seconds))
        self.core.extended(ref, wish)

    def _grew(self, ref: AttemptRef, stream: LogStream, readable: int) -> None:
        """An attempt has printed something."""
        running = self._running.get(ref)
        if running is not None:
            running.context.deadlines.sign()
        self.core.output_grew(ref, stream, readable)

    # --- what may wait

    def _speak_in_time(self, now: float) -> None:
        """Have what waits for its moment said then, whatever happens: one timer, which is left alone until it rings."""
        speak_by = self.core.speak_by
        if speak_by is not None and self._speech_timer is None:
            self._speech_timer = self._loop.call_later(speak_by - now, self._speak)

    def _speak(self) -> None:
        self._speech_timer = None
        self.wake.set()

    # --- the journal and the leases

    def _write_down(self, work: Work) -> None:
        self._journal.append(work.records)
        for record in work.records:
            if isinstance(record, ForgetRecord):
                self._elsewhere.forget(record.ref)

    def _written(self, upto: int, durable: bool, failing: bool) -> None:
        """The journal has tried to write records up to this one."""
        if self.core.journal_failing != failing:
            self.core.journal_failing = failing
        tell = self.core.written if durable else self.core.not_written
        self.perform(tell(upto, now=self.now()))

    def _watch_leases(self) -> None:
        """Look after leases in time, and often, for as long as there are any."""
        lapse = self.core.next_lapse
        if lapse is None or self._lease_timer is not None:
            return
        delay = min(max(lapse - self.now(), 0.0), LEASE_LOOK_SECONDS)
        self._lease_timer = self._loop.call_later(delay, self._look_after_leases)

    def _look_after_leases(self) -> None:
        self._lease_timer = None
        self.perform(self.core.lapsed(now=self.now()))


def _nothing_more(_upto: int, _durable: bool, _failing: bool) -> None:
    """Nothing begins any more, and nobody is told."""


def _run_inline(handler: InlineHandler, request: TaskRequest) -> Finished:
    try:
        finished = handler(request.payload)
        if not isinstance(finished, Finished):
            raise TypeError(f"the handler returned {type(finished).__name__}, not how it ended")
    except Exception as error:  # noqa: BLE001 - as above
        _log.exception("handler_failed", **_names(request.ref), type=request.spec.type)
        return endings.handler_failed(error)
    if len(finished.output) > endings.MAX_OUTPUT_BYTES or finished.error is not None:
        return endings.presentable(finished)
    return finished


def _checked(ending: object) -> Ending:
    if not isinstance(ending, Ending):
        raise TypeError(f"the handler returned {type(ending).__name__}, not how it ended")
    return ending


def _names(ref: AttemptRef) -> dict[str, str | int]:
    return {"task_id": ref.task_id, "attempt": ref.attempt, "fence": ref.fence}
