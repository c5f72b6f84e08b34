"""What becomes of the attempts that the agent holds: begun, stopped, ended, forgotten, each in its order.

An attempt begins when its predecessor is gone and its record durable, and not after its lease; its end is told when
the record of that is durable. What is replayable and done inline waits for no record.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from nodelink.task import (
    AttemptRef,
    CancelCommand,
    Declined,
    Execution,
    Finished,
    Gone,
    HeldState,
    Outcome,
    Reason,
    TaskRequest,
    TaskResponse,
)
from nodelink_agent.core.attempts import Attempts
from nodelink_agent.core.leases import Leases
from nodelink_agent.core.ledger import Ledger
from nodelink_agent.core.logs import LogCursors
from nodelink_agent.core.outbox import Outbox
from nodelink_agent.core.records import Remembered
from nodelink_agent.core.work import Stop, Work

_TOO_LATE = Declined(message="its lease was over before it could start", just_this=True)
_DROPPED = Declined(message="the offer was dropped before it was granted", just_this=True)
GIVEN_BACK = Declined(message="the server wants the agent to be empty", just_this=True)
NO_JOURNAL = Declined(message="the agent's journal cannot be written", just_this=True)


class Holdings:
    """The attempts with all that belongs to them: their leases, records, results and output."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self.attempts = Attempts()
        self.outbox = Outbox()
        self.logs = LogCursors()
        self.leases = Leases()
        self.ledger = Ledger(places)

    # --- beginning

    def restore(self, remembered: Remembered, work: Work) -> None:
        """Hold what an earlier process left."""
        ref, execution, lease_ms, response, is_recorded, takes = remembered
        self.attempts.add(ref, takes)
        self.ledger.known.add(ref)
        if response is not None and is_recorded:
            self.attempts.end(ref)
            self.outbox.results([self._told(response)])
        elif response is not None:
            self.end(response, work)
        elif execution is Execution.REPLAYABLE and lease_ms is not None:
            # What holds it knows until when it may run; here that is known again with the first acknowledgement.
            self.leases.hold(ref, lease_ms, math.inf, extends=True)

    def accept(self, request: TaskRequest) -> None:
        """Hold what is offered, until it is granted or withdrawn."""
        self.attempts.wait(request, HeldState.ACCEPTED)
        self.outbox.accepted(request.ref)

    def start(self, request: TaskRequest, lease_ms: int | None, basis: int, now: float, work: Work) -> None:
        """Begin what is granted, unless it is too late: at once, or when nothing is in its way any more."""
        ref = request.ref
        is_written = self.ledger.keeps(request)
        is_blocked = ref.task_id in self.attempts.dying
        if lease_ms is not None:
            until = self.leases.end_of(lease_ms, basis)
            if now > until:
                self.end(TaskResponse(ref, _TOO_LATE), work)
                return
            if is_written or is_blocked:
                self.leases.hold(ref, lease_ms, until, extends=request.execution is Execution.REPLAYABLE)
        if is_blocked:
            self.attempts.wait(request, HeldState.WAITING)
        elif is_written:
            self._write_down(request, now, work)
        else:
            self._go(request, work)

    def release(self, upto: int, now: float, work: Work, *, failed: bool) -> None:
        """Records are durable, or (failed) cannot be made so: nothing begins on those, and results are told anyway."""
        starts, ends = self.ledger.release(upto)
        for ref in starts:
            until = self.leases.until(ref)
            request = self.attempts.take_waiting(ref, HeldState.WAITING)
            if request is None:
                continue  # stopped or forgotten since
            if failed or now > until:
                self.end(TaskResponse(ref, NO_JOURNAL if failed else _TOO_LATE), work)
                continue
            if request.execution is not Execution.REPLAYABLE:
                self.leases.drop(ref)  # it was only to begin within it
            self._go(request, work)
        self.outbox.results(end for end in ends if self.attempts.state(end.ref) is HeldState.ENDED)

    def _begin_next(self, task_id: str, now: float, work: Work) -> None:
        """An attempt is gone: the one that waited for that begins."""
        ref = self.attempts.newest(task_id)
        request = None if ref is None else self.attempts.take_waiting(ref, HeldState.WAITING)
        if request is None:
            return
        if now > self.leases.until(request.ref):
            self.end(TaskResponse(request.ref, _TOO_LATE), work)
        elif self.ledger.keeps(request):
            self._write_down(request, now, work)
        else:
            self._go(request, work)

    def _go(self, request: TaskRequest, work: Work) -> None:
        work.start.append(request)
        limits = self.attempts.take_limits(request.ref)
        if limits is not None:
            work.limits.append(limits)

    def _write_down(self, request: TaskRequest, now: float, work: Work) -> None:
        self.attempts.wait(request, HeldState.WAITING)
        self.ledger.begin(request, work, at=now)

    # --- ending

    def stop(self, command: CancelCommand, work: Work) -> None:
        """Stop an attempt, if it is held and was not stopped before. What has not begun is over at once."""
        match self.attempts.ask_stop(command.ref):
            case HeldState.RUNNING:
                self.outbox.starts.hurry(command.ref)
                work.stop.append(Stop(*command))
            case HeldState.WAITING if command.reason is Reason.DRAINED:
                self.end(TaskResponse(command.ref, GIVEN_BACK), work)
            case HeldState.WAITING:
                self.end(TaskResponse(command.ref, never_began(command.reason)), work)
            case HeldState.ACCEPTED:
                self.end(TaskResponse(command.ref, _DROPPED), work)

    def lapse(self, ref: AttemptRef, grace_ms: int, work: Work) -> None:
        """The lease of an attempt is over."""
        if self.attempts.state(ref) is HeldState.RUNNING:
            self.stop(CancelCommand(ref, grace_ms, Reason.LEASE_EXPIRED), work)
        else:
            self.end(TaskResponse(ref, _TOO_LATE), work)

    def supersede(self, older: AttemptRef, work: Work) -> None:
        """An attempt counts no more, because of a newer one. What has ended is told all the same."""
        match self.attempts.state(older):
            case HeldState.ACCEPTED:
                self.end(TaskResponse(older, _DROPPED), work)
            case HeldState.RUNNING | HeldState.WAITING:
                self.discard(older, work)

    def end(self, response: TaskResponse, work: Work) -> None:
        """It is known here how an attempt ended, or that it will not begin."""
        self.attempts.end(response.ref)
        self.leases.drop(response.ref)
        self.outbox.unaccept(response.ref)
        told = self._told(response)
        if told.ref in self.ledger.known:
            self.ledger.end(told, work)
        else:
            self.outbox.results([told])

    def ended(self, responses: Iterable[TaskResponse], now: float, work: Work) -> None:
        """The host tells how attempts ended."""
        results = []
        for response in responses:
            ref = response.ref
            if self.attempts.end(ref):
                if self.leases.held:
                    self.leases.drop(ref)
                told = self._told(response)
                if ref in self.ledger.known:
                    self.ledger.end(told, work)
                else:
                    results.append(told)
            elif self.attempts.gone(ref):
                self.forget(ref, work)
                self._begin_next(ref.task_id, now, work)
        self.outbox.results(results)

    def _told(self, response: TaskResponse) -> TaskResponse:
        """An end as it is told. How much was printed is known from now on."""
        ref, update = response
        if not isinstance(update, Finished):
            return response
        if update.log_totals:
            self.logs.end(ref, update.log_totals)
        if update.reason is Reason.LEASE_EXPIRED:
            return TaskResponse(ref, Gone(message="its lease was over"))
        return response

    # --- forgetting

    def acknowledged(self, ref: AttemptRef, work: Work) -> None:
        """A result needs not be told again. Without a length the output of its attempt has no end to wait for."""
        response = self.outbox.acknowledge(ref)
        if response is None:
            return
        self.attempts.linger(ref)
        if isinstance(response.update, Finished):
            self.forget_if_done(ref, work)
        elif self.attempts.state(ref) is not None:
            self.discard(ref, work)

    def forget_if_done(self, ref: AttemptRef, work: Work) -> None:
        """Forget an attempt if its result and its output are acknowledged."""
        if self.attempts.state(ref) is HeldState.LOGS_ONLY and self.logs.is_complete(ref):
            self.attempts.drop(ref)
            self.logs.forget(ref)
            self.forget(ref, work)

    def discard(self, ref: AttemptRef, work: Work) -> None:
        """Tell nothing more of an attempt, and forget it when nothing of it runs."""
        self.leases.drop(ref)
        self.outbox.forget(ref)
        self.logs.forget(ref)
        if self.attempts.drop(ref):
            work.stop.append(Stop(ref, 0, Reason.SUPERSEDED))
        else:
            self.forget(ref, work)

    def forget(self, ref: AttemptRef, work: Work) -> None:
        """Nothing of an attempt is left here."""
        if ref in self.ledger.known:
            self.ledger.forget(ref, work)
        work.forget.append(ref)


def never_began(reason: Reason) -> Finished:
    """The end of an attempt that was stopped before it could begin."""
    timed_out = reason not in {Reason.CANCELLED_BY_CALLER, Reason.SUPERSEDED}
    return Finished(outcome=Outcome.TIMEOUT if timed_out else Outcome.CANCELLED, reason=reason)
