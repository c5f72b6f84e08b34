"""What an agent knows and decides, without touching the world: what runs, what is to be said, what is forgotten.

The host (the pool, or a simulation) tells it what came from the server and what became of the work. What the host has
to do next is returned as `Work`; what is to be sent next is fetched with `outgoing`. Nothing here waits, and time is an
argument: CLOCK_BOOTTIME in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from nodelink.errors import ProtocolViolation
from nodelink.taken import Taken, taken_by
from nodelink.task import (
    DEFAULT_GRACE_MS,
    AttemptRef,
    CancelCommand,
    Declined,
    ExtendCommand,
    HeldAttempt,
    HeldState,
    LogAck,
    LogChunk,
    LogStream,
    Progress,
    Reason,
    ResultAck,
    StartCommand,
    TaskRequest,
    TaskResponse,
    Verdict,
)
from nodelink_agent.core.holdings import GIVEN_BACK, NO_JOURNAL, Holdings
from nodelink_agent.core.logs import LogRead
from nodelink_agent.core.outbox import ITEM_BYTES
from nodelink_agent.core.reconcile import reconcile
from nodelink_agent.core.records import Remembered
from nodelink_agent.core.wishes import Wish
from nodelink_agent.core.work import NewLimits, Work

MAX_FRAME_ITEMS = 256
MAX_FRAME_BYTES = 256 * 1024
MAX_CHUNK_BYTES = 64 * 1024
LAPSE_GRACE_MS = 2_000
"""What is stopped because its lease is over must be gone soon: the margin of the lease is for this."""

_DRAINING = Declined(message="the agent takes no more work", just_this=True)
_UNREADABLE = Declined(message="the request cannot be read")


class Outgoing(NamedTuple):
    """What the next frame says. `reads` are to be read and told of by `log_sent`; task credit 0: unchanged."""

    responses: list[TaskResponse]
    reads: list[LogRead]
    task_credit: int


class Beat(NamedTuple):
    """A heartbeat: its number, the attempts that it names, and what these and the dying take of the agent."""

    number: int
    refs: list[AttemptRef]
    taken: Taken


class AgentCore:
    """The agent's side of the protocol. `wake` is called when there may be something new to send.

    `places`: by type, where the work is done: by a spawner, of which this is the id, or in the agent's own process
    (empty). Types that are not in it are done inline, and those attempts are not written down if they are replayable.
    """

    def __init__(self, *, slots: int, wake: Callable[[], None], places: Mapping[str, str]) -> None:
        self._slots = slots
        self._wake = wake
        self._holdings = holdings = Holdings(places)
        self._attempts, self._outbox, self._logs = holdings.attempts, holdings.outbox, holdings.logs
        self._leases, self._ledger = holdings.leases, holdings.ledger
        self._received = 0
        self._credit_told = 0
        self._log_room = 0
        self._draining = False
        self._journal_failing = False

    # --- the journal

    def restore(self, remembered: Iterable[Remembered]) -> Work:
        """Take up what an earlier process left. To be called before the first session."""
        work = Work()
        for attempt in remembered:
            self._holdings.restore(attempt, work)
        return work

    @property
    def recorded(self) -> int:
        """How many records were handed out so far: the number of the last."""
        return self._ledger.count

    def written(self, upto: int, *, now: float) -> Work:
        """The records up to this number are durable: what waited for them may start, and be told."""
        work = Work()
        self._holdings.release(upto, now, work, failed=False)
        self._wake()
        return work

    def not_written(self, upto: int, *, now: float) -> Work:
        """The records up to this number cannot be written yet. Nothing starts on them; results are told all the same.

        If the agent dies before they are written, it can only tell that these attempts are gone.
        """
        work = Work()
        self._journal_failing = True
        self._holdings.release(upto, now, work, failed=True)
        self._wake()
        return work

    @property
    def journal_failing(self) -> bool:
        """Whether the journal takes no more: then the agent wants no work."""
        return self._journal_failing

    @journal_failing.setter
    def journal_failing(self, failing: bool) -> None:
        self._journal_failing = failing
        self._wake()

    # --- the session

    def hello_held(self, *, now: float) -> list[HeldAttempt]:
        """Begin a new session, in which nothing may be sent until it is welcomed. Returns what its hello lists."""
        self._received = self._credit_told = 0
        self._outbox.new_session()
        self._logs.new_session()
        self._leases.new_session(now)
        return self._attempts.held()

    def welcomed(self, verdicts: Iterable[Verdict], *, response_credit: int, log_credit: int) -> Work:
        """The session is open, and its hello acknowledged; do with what is held as the server says."""
        work = Work()
        fate = reconcile(self._attempts.held(), verdicts)
        for ack in fate.logs:
            self._logs.resume(ack)
        for ref in fate.stop:
            self._holdings.stop(CancelCommand(ref, DEFAULT_GRACE_MS), work)
        for ref in fate.forget:
            self._holdings.discard(ref, work)
        for ref in fate.keep:
            self._holdings.forget_if_done(ref, work)
        work.extend += self._leases.acknowledged(0)
        self.credit(response_credit=response_credit, log_credit=log_credit)
        return work

    def credit(self, *, response_credit: int = 0, log_credit: int = 0) -> None:
        """So many frames with responses, and so many bytes of output, may be sent in this session."""
        self._outbox.allow(response_credit)
        self._logs.allow(log_credit)
        self._wake()

    def drain(self) -> Work:
        """Take no more work. What was under way to here, or offered, is declined."""
        work = Work()
        self._draining = True
        self._outbox.starts.hurry_all()
        for ref in self._attempts.accepted():
            self._holdings.end(TaskResponse(ref, _DRAINING), work)
        self._wake()
        return work

    def give_back(self) -> Work:
        """The server wants the agent to be empty: what has not begun is declined. What comes later is taken: the server
        may have changed its mind.
        """
        work = Work()
        self._outbox.starts.hurry_all()
        for ref in self._attempts.unbegun():
            self._holdings.end(TaskResponse(ref, GIVEN_BACK), work)
        self._wake()
        return work

    def heartbeat(self, *, now: float) -> Beat:
        """The heartbeat that is sent now."""
        return Beat(self._leases.sent(now), self._attempts.told(), self._attempts.taken())

    def heartbeat_acked(self, number: int, unknown: Iterable[AttemptRef] = ()) -> Work:
        """A heartbeat went to the server and back. Leases last longer; of what it named, the unknown is stopped.

        Output that has stood still for so long is sent again.
        """
        work = Work()
        self._logs.resend_still()
        for ref in unknown:
            self._holdings.stop(CancelCommand(ref, DEFAULT_GRACE_MS, Reason.SUPERSEDED), work)
        work.extend += self._leases.acknowledged(number)
        self._wake()
        return work

    # --- leases

    @property
    def next_lapse(self) -> float | None:
        """When `lapsed` is to be called at the latest. None: nothing that is held has a lease that ends."""
        return self._leases.next_lapse

    def lease_until(self, ref: AttemptRef) -> float | None:
        """Until when a replayable attempt may run. None: for ever, as far as is known here."""
        until = self._leases.until(ref)
        return None if math.isinf(until) else until

    def lapsed(self, *, now: float) -> Work:
        """Stop what has run out of its lease, and decline what can no more begin within it."""
        work = Work()
        for ref in self._leases.take_over(now):
            self._holdings.lapse(ref, LAPSE_GRACE_MS, work)
            self._wake()
        return work

    # --- from the server

    def received(self, requests: Sequence[TaskRequest], *, now: float, unreadable: Sequence[AttemptRef] = ()) -> Work:
        """Tasks were handed over. Those that are new are started, or accepted if offered; the unreadable are declined.

        Raises ProtocolViolation if there are more than the task credit allows.
        """
        self._received += len(requests) + len(unreadable)
        if self._received > self._credit_told:
            raise ProtocolViolation(f"{self._received} tasks were sent within a credit of {self._credit_told}")
        work = Work()
        for request in requests:
            self._receive(request, now, work)
        unheld = [ref for ref in unreadable if self._attempts.state(ref) is None]
        self._outbox.results(TaskResponse(ref, _UNREADABLE) for ref in unheld)
        self._wake()
        return work

    def start(self, commands: Iterable[StartCommand], *, now: float) -> Work:
        """Offers that were accepted are granted. What is not held, or was granted before, is left alone."""
        work = Work()
        for ref, lease_ms, basis in commands:
            request = self._attempts.take_waiting(ref, HeldState.ACCEPTED)
            if request is not None:
                self._outbox.unaccept(ref)
                self._holdings.start(request, lease_ms, basis, now, work)
        self._wake()
        return work

    def extend(self, commands: Iterable[ExtendCommand], *, now: float) -> Work:
        """Give attempts other limits. Of what is not held or has ended, or if they came before, nothing changes."""
        work = Work()
        for ref, number, timeout_ms, heartbeat_ms, heard in commands:
            self._outbox.wishes.heard(ref, heard)
            run_until = None if timeout_ms is None else now + timeout_ms / 1000
            limits = NewLimits(ref, number, run_until, None if heartbeat_ms is None else heartbeat_ms / 1000)
            if self._attempts.extend(limits):
                work.limits.append(limits)
        return work

    def cancel(self, commands: Iterable[CancelCommand]) -> Work:
        """Stop attempts. Those that are not held, have ended or are being stopped are left alone."""
        work = Work()
        for command in commands:
            self._holdings.stop(command, work)
        self._wake()
        return work

    def result_acked(self, acks: Iterable[ResultAck]) -> Work:
        """Results are durable, or of no use: they are not sent again."""
        work = Work()
        for ack in acks:
            self._holdings.acknowledged(ack.ref, work)
        return work

    def log_acked(self, acks: Iterable[LogAck]) -> Work:
        """Output is durable up to some offsets, or to be sent again from there."""
        work = Work()
        for ack in acks:
            self._logs.acknowledge(ack)
            self._holdings.forget_if_done(ack.ref, work)
        self._wake()
        return work

    # --- from the host

    def started(self, ref: AttemptRef, *, at: float, containment: str = "") -> None:
        """The work has really begun, at this moment."""
        if self._attempts.state(ref) is HeldState.RUNNING:
            self._outbox.starts.add(ref, at=at, containment=containment)
            if self._draining or self._logs.has_printed(ref):  # what a command prints may be heard of first
                self._outbox.starts.hurry(ref)
            self._wake()

    def progress(self, ref: AttemptRef, progress: Progress) -> None:
        """A handler reports its advance."""
        if self._attempts.state(ref) is HeldState.RUNNING:
            self._outbox.progress(ref, progress)
            self._wake()

    def extended(self, ref: AttemptRef, wish: Wish) -> None:
        """Work has given itself other limits."""
        if self._attempts.state(ref) is HeldState.RUNNING:
            self._outbox.wishes.add(ref, wish)
            self._outbox.starts.hurry(ref)
            self._wake()

    def output_grew(self, ref: AttemptRef, stream: LogStream, readable: int) -> None:
        """A stream of an attempt's output can be read up to here."""
        if self._attempts.state(ref) is not None:
            self._logs.grew(ref, stream, readable)
            self._outbox.starts.hurry(ref)
            self._wake()

    def ended(self, responses: Iterable[TaskResponse], *, now: float) -> Work:
        """Attempts are over: Finished, Gone, or Declined if the work never began. May start successors that waited."""
        work = Work()
        self._holdings.ended(responses, now, work)
        self._wake()
        return work

    # --- to the server

    def outgoing(self, *, now: float, max_bytes: int = MAX_FRAME_BYTES, chunk_bytes: int = MAX_CHUNK_BYTES) -> Outgoing:
        """What the next frame says, as far as credit goes. It counts as handed to the stream."""
        responses, size = self._outbox.take(now=now, max_items=MAX_FRAME_ITEMS, max_bytes=max_bytes)
        self._log_room = max(max_bytes - size, chunk_bytes)  # results never starve output
        reads = self._logs.next_reads(max_bytes=self._log_room, chunk_bytes=chunk_bytes)
        return Outgoing(responses, reads, self._raised_task_credit())

    @property
    def speak_by(self) -> float | None:
        """When `outgoing` has more to say, even if nothing happens until then. None: it has not."""
        return self._outbox.starts.next_due

    def log_sent(self, chunk: LogChunk) -> None:
        """What was read goes into the frame."""
        self._logs.sent(chunk)
        self._log_room -= max(len(chunk.data), ITEM_BYTES)

    def more_reads(self, *, chunk_bytes: int = MAX_CHUNK_BYTES) -> list[LogRead]:
        """What the same frame has room for beside what was read for it: the next turns. Empty: it is full enough."""
        if self._log_room < chunk_bytes:
            return []
        return self._logs.next_reads(max_bytes=self._log_room, chunk_bytes=chunk_bytes)

    @property
    def active(self) -> int:
        """How many attempts are accepted, run, wait to, or are being killed."""
        return self._attempts.active

    @property
    def is_told(self) -> bool:
        """Whether of all that is over, results and output have been told and acknowledged."""
        return self._outbox.is_empty and not self._attempts.holds_ended

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing is left to tell."""
        return self._attempts.is_empty and self.is_told

    def task_credit(self) -> int:
        """How many tasks the server may have sent in this session: those received, and the free slots."""
        if self._draining or self._journal_failing:
            return self._received
        # Attempts that only have output to deliver hold disk space: as many as there are slots are free of charge.
        crowd = max(self._attempts.lingering - self._slots, 0)
        taken = self._attempts.active + self._ledger.waiting_ends + self._outbox.unsent_results + crowd
        return self._received + max(self._slots - taken, 0)

    # --- within

    def _raised_task_credit(self) -> int:
        credit = self.task_credit()
        if credit <= self._credit_told:
            return 0
        self._credit_told = credit
        return credit

    def _receive(self, request: TaskRequest, now: float, work: Work) -> None:
        ref = request.ref
        newest = self._attempts.newest(ref.task_id)
        if newest is not None and newest.fence > ref.fence:
            return
        if not self._attempts.add(ref, taken_by(request.spec, has_plan=request.plan is not None)):
            if self._attempts.state(ref) is HeldState.ACCEPTED:
                self._outbox.accepted(ref)  # who offers again has not heard it
            return
        if newest is not None:
            self._holdings.supersede(newest, work)
        refusal = self._refusal(request) if self._draining or self._journal_failing else None
        if refusal is not None:
            self._holdings.end(TaskResponse(ref, refusal), work)
        elif request.granted:
            self._holdings.start(request, request.lease_ms, request.basis, now, work)
        else:
            self._holdings.accept(request)

    def _refusal(self, request: TaskRequest) -> Declined | None:
        """Why this agent takes no work of this kind now."""
        if self._draining:
            return _DRAINING
        return NO_JOURNAL if not request.granted or self._ledger.keeps(request) else None
