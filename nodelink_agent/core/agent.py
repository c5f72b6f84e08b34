"""What an agent knows and decides, without touching the world: what runs, what is to be said, what is forgotten.

The host (the pool, or a simulation) tells it what came from the server and what became of the work. What the host has
to do next is returned as `Work`; what is to be sent next is fetched with `outgoing`. Nothing here waits, and time is an
argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from nodelink.errors import ProtocolViolation
from nodelink.task import (
    DEFAULT_GRACE_MS,
    AttemptRef,
    CancelCommand,
    Declined,
    Finished,
    HeldAttempt,
    HeldState,
    LogAck,
    LogChunk,
    LogStream,
    Outcome,
    Progress,
    Reason,
    ResultAck,
    TaskRequest,
    TaskResponse,
    Verdict,
)
from nodelink_agent.core.attempts import Attempts
from nodelink_agent.core.logs import LogCursors, LogRead
from nodelink_agent.core.outbox import Outbox
from nodelink_agent.core.reconcile import reconcile

MAX_FRAME_ITEMS = 256
MAX_FRAME_BYTES = 256 * 1024
MAX_CHUNK_BYTES = 64 * 1024


class Stop(NamedTuple):
    """An attempt to be stopped: signal, `grace_ms`, kill. The host tells of its end as of any other."""

    ref: AttemptRef
    grace_ms: int
    reason: Reason


class Work(NamedTuple):
    """What the host has to do, in this order. What a forgotten attempt printed can be removed."""

    stop: list[Stop]
    start: list[TaskRequest]
    forget: list[AttemptRef]


class Outgoing(NamedTuple):
    """What the next frame says. `reads` are to be read and told of by `log_sent`; task credit 0: unchanged."""

    responses: list[TaskResponse]
    reads: list[LogRead]
    task_credit: int


class AgentCore:
    """The agent's side of the protocol. `wake` is called when there may be something new to send."""

    def __init__(self, *, slots: int, wake: Callable[[], None]) -> None:
        self._slots = slots
        self._wake = wake
        self._attempts = Attempts()
        self._outbox = Outbox()
        self._logs = LogCursors()
        self._received = 0
        self._credit_told = 0
        self._draining = False

    # --- the session

    def hello_held(self) -> list[HeldAttempt]:
        """Begin a new session, in which nothing may be sent until it is welcomed. Returns what its hello lists."""
        self._received = self._credit_told = 0
        self._outbox.new_session()
        self._logs.new_session()
        return self._attempts.held()

    def welcomed(self, verdicts: Iterable[Verdict], *, response_credit: int, log_credit: int) -> Work:
        """The session is open; do with what is held as the server says."""
        work = Work([], [], [])
        fate = reconcile(self._attempts.held(), verdicts)
        for ack in fate.logs:
            self._logs.resume(ack)
        for ref in fate.stop:
            self._stop(CancelCommand(ref, DEFAULT_GRACE_MS), work)
        for ref in fate.forget:
            self._discard(ref, work)
        for ref in fate.keep:
            self._forget_if_done(ref, work)
        self.credit(response_credit=response_credit, log_credit=log_credit)
        return work

    def credit(self, *, response_credit: int = 0, log_credit: int = 0) -> None:
        """So many frames with responses, and so many bytes of output, may be sent in this session."""
        self._outbox.allow(response_credit)
        self._logs.allow(log_credit)
        self._wake()

    def drain(self) -> None:
        """Take no more work. What was under way to here is declined."""
        self._draining = True

    # --- from the server

    def received(self, requests: Sequence[TaskRequest], *, unreadable: Sequence[AttemptRef] = ()) -> Work:
        """Tasks were handed over. Those that are new start; the unreadable are declined.

        Raises ProtocolViolation if there are more than the task credit allows.
        """
        self._received += len(requests) + len(unreadable)
        if self._received > self._credit_told:
            raise ProtocolViolation(f"{self._received} tasks were sent within a credit of {self._credit_told}")
        work = Work([], [], [])
        for request in requests:
            self._receive(request, work)
        unheld = [ref for ref in unreadable if self._attempts.state(ref) is None]
        self._outbox.results(TaskResponse(ref, Declined(message="the request cannot be read")) for ref in unheld)
        self._wake()
        return work

    def cancel(self, commands: Iterable[CancelCommand]) -> Work:
        """Stop attempts. Those that are not held, have ended or are being stopped are left alone."""
        work = Work([], [], [])
        for command in commands:
            self._stop(command, work)
        return work

    def result_acked(self, acks: Iterable[ResultAck]) -> Work:
        """Results are durable, or of no use: they are not sent again."""
        work = Work([], [], [])
        for ack in acks:
            if self._outbox.acknowledge(ack.ref):
                self._attempts.linger(ack.ref)
                self._forget_if_done(ack.ref, work)
        return work

    def log_acked(self, acks: Iterable[LogAck]) -> Work:
        """Output is durable up to some offsets, or to be sent again from there."""
        work = Work([], [], [])
        for ack in acks:
            self._logs.acknowledge(ack)
            self._forget_if_done(ack.ref, work)
        self._wake()
        return work

    def heartbeat_acked(self) -> None:
        """A heartbeat went to the server and back: output that has stood still for so long is sent again."""
        self._logs.resend_still()
        self._wake()

    # --- from the host

    def started(self, ref: AttemptRef, *, at: float, containment: str = "") -> None:
        """The work has really begun, at this moment of the clock that `outgoing` is given."""
        if self._attempts.state(ref) is HeldState.RUNNING:
            self._outbox.started(ref, at=at, containment=containment)
            self._wake()

    def progress(self, ref: AttemptRef, progress: Progress) -> None:
        """A handler reports its advance."""
        if self._attempts.state(ref) is HeldState.RUNNING:
            self._outbox.progress(ref, progress)
            self._wake()

    def output_grew(self, ref: AttemptRef, stream: LogStream, readable: int) -> None:
        """A stream of an attempt's output can be read up to here."""
        if self._attempts.state(ref) is not None:
            self._logs.grew(ref, stream, readable)
            self._wake()

    def ended(self, responses: Iterable[TaskResponse]) -> Work:
        """Attempts are over: Finished, or Declined if the work never began. May start successors that waited."""
        work = Work([], [], [])
        results = []
        for response in responses:
            ref, update = response
            if self._attempts.end(ref):
                results.append(response)
                if isinstance(update, Finished) and update.log_totals:
                    self._logs.end(ref, update.log_totals)
                continue
            if self._attempts.gone(ref):
                work.forget.append(ref)
                work.start.extend(self._attempts.begin_waiting(ref.task_id))
        self._outbox.results(results)
        self._wake()
        return work

    # --- to the server

    def outgoing(self, *, now: float, max_bytes: int = MAX_FRAME_BYTES, chunk_bytes: int = MAX_CHUNK_BYTES) -> Outgoing:
        """What the next frame says, as far as credit goes. It counts as handed to the stream."""
        responses, size = self._outbox.take(now=now, max_items=MAX_FRAME_ITEMS, max_bytes=max_bytes)
        log_bytes = max(max_bytes - size, chunk_bytes)  # results never starve output
        reads = self._logs.next_reads(max_bytes=log_bytes, chunk_bytes=chunk_bytes)
        return Outgoing(responses, reads, self._raised_task_credit())

    def log_sent(self, chunk: LogChunk) -> None:
        """What was read goes into the frame."""
        self._logs.sent(chunk)

    def running(self) -> list[AttemptRef]:
        """What a heartbeat names."""
        return self._attempts.running()

    @property
    def active(self) -> int:
        """How many attempts run, wait to, or are being killed."""
        return self._attempts.active

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing is left to tell."""
        return self._attempts.is_empty and self._outbox.is_empty

    def task_credit(self) -> int:
        """How many tasks the server may have sent in this session: those received, and the free slots."""
        # Attempts that only have output to deliver hold disk space: as many as there are slots are free of charge.
        crowd = max(self._attempts.lingering - self._slots, 0)
        free = self._slots - self._attempts.active - self._outbox.unsent_results - crowd
        return self._received + (0 if self._draining else max(free, 0))

    # --- within

    def _raised_task_credit(self) -> int:
        credit = self.task_credit()
        if credit <= self._credit_told:
            return 0
        self._credit_told = credit
        return credit

    def _receive(self, request: TaskRequest, work: Work) -> None:
        ref = request.ref
        newest = self._attempts.newest(ref.task_id)
        if newest is not None:
            if newest.fence >= ref.fence:
                return
            self._discard(newest, work)
        runs = self._attempts.add(request)
        if self._draining:
            self._attempts.end(ref)
            self._outbox.results([TaskResponse(ref, Declined(message="the agent takes no more work"))])
        elif runs:
            work.start.append(request)

    def _stop(self, command: CancelCommand, work: Work) -> None:
        match self._attempts.ask_stop(command.ref):
            case HeldState.RUNNING:
                work.stop.append(Stop(*command))
            case HeldState.WAITING:
                self.ended([TaskResponse(command.ref, never_began(command.reason))])

    def _discard(self, ref: AttemptRef, work: Work) -> None:
        if self._attempts.drop(ref):
            work.stop.append(Stop(ref, 0, Reason.SUPERSEDED))
        else:
            work.forget.append(ref)
        self._outbox.forget(ref)
        self._logs.forget(ref)

    def _forget_if_done(self, ref: AttemptRef, work: Work) -> None:
        if self._attempts.state(ref) is HeldState.LOGS_ONLY and self._logs.is_complete(ref):
            self._attempts.drop(ref)
            self._logs.forget(ref)
            work.forget.append(ref)


def never_began(reason: Reason) -> Finished:
    """The end of an attempt that was stopped before it could begin."""
    timed_out = reason not in {Reason.CANCELLED_BY_CALLER, Reason.SUPERSEDED}
    return Finished(outcome=Outcome.TIMEOUT if timed_out else Outcome.CANCELLED, reason=reason)
