"""Agents whose core breaks one rule of the protocol each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from nodelink.task import (
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Declined,
    Finished,
    Gone,
    HeldAttempt,
    HeldState,
    Outcome,
    ResultAck,
    TaskRequest,
    TaskResponse,
)
from nodelink_agent.core.agent import Outgoing
from nodelink_agent.core.records import Remembered
from nodelink_agent.core.work import Work

# -- results and output -----------------------------------------------------------------------------------------------


def drops_results_on_reconnect(core: Any) -> None:
    """A result that was sent and not acknowledged is not sent again."""
    begin = core._outbox.new_session

    def clean() -> None:
        core._outbox._unacknowledged.clear()
        begin()

    core._outbox.new_session = clean


def deletes_results_as_it_sends_them(core: Any) -> None:
    """A result that was handed to the stream is taken for told."""
    outgoing = core.outgoing

    def hasty(**how: Any) -> Outgoing:
        found: Outgoing = outgoing(**how)
        acks = [
            ResultAck(ref, AckDisposition.COMMITTED)
            for ref, update in found.responses
            if isinstance(update, Finished | Gone | Declined)
        ]
        core.pending.append(core.result_acked(acks))
        return found

    core.pending = []
    core.outgoing = hasty
    _perform_later(core)


def _perform_later(core: Any) -> None:
    """What a spoiled `outgoing` wants done is done with the next work of the core."""
    acked = core.heartbeat_acked

    def with_pending(*what: Any) -> Work:
        work: Work = acked(*what)
        for one in core.pending:
            work.records += one.records
            work.forget += one.forget
        core.pending.clear()
        return work

    core.heartbeat_acked = with_pending


def forgets_output_with_the_result(core: Any) -> None:
    """When the result is acknowledged, what is left of the output is thrown away."""
    acked = core.result_acked

    def tidy(acks: Iterable[ResultAck]) -> Work:
        acks = list(acks)
        work: Work = acked(acks)
        for ack in acks:
            if core._attempts.state(ack.ref) is HeldState.LOGS_ONLY:
                core._holdings.discard(ack.ref, work)
        return work

    core.result_acked = tidy


def ignores_where_output_is_to_go_on(core: Any) -> None:
    """After a reconnect, output goes on from where the agent believes that it was, sent or not."""
    core._logs.new_session = lambda: setattr(core._logs, "_bytes_left", 0)
    core._logs.resume = lambda ack: None
    core._logs.resend_still = lambda: None


# -- hellos and memory ------------------------------------------------------------------------------------------------


def hides_what_it_holds(core: Any) -> None:
    """The hello lists nothing."""
    held = core.hello_held

    def modest(*, now: float) -> list[HeldAttempt]:
        held(now=now)
        return []

    core.hello_held = modest


def takes_what_is_gone_for_never_begun(core: Any) -> None:
    """After a restart, work whose end nobody saw is said never to have begun."""
    restore = core.restore

    def rash(remembered: Iterable[Remembered]) -> Work:
        work: Work = restore([_never_begun(attempt) for attempt in remembered])
        return work

    core.restore = rash


def _never_begun(attempt: Remembered) -> Remembered:
    response = attempt.response
    if response is None or not isinstance(response.update, Gone):
        return attempt
    return attempt._replace(response=TaskResponse(attempt.ref, Declined(just_this=True)))


def says_nothing_of_deaths(core: Any) -> None:
    """Work that died with the agent is told as any other that is gone."""
    restore = core.restore

    def modest(remembered: Iterable[Remembered]) -> Work:
        work: Work = restore([_without_death(attempt) for attempt in remembered])
        return work

    core.restore = modest


def _without_death(attempt: Remembered) -> Remembered:
    response = attempt.response
    if response is None or not isinstance(response.update, Gone):
        return attempt
    return attempt._replace(response=TaskResponse(attempt.ref, Gone()))


# -- starts, leases and the journal -----------------------------------------------------------------------------------


def starts_before_it_is_written_down(core: Any) -> None:
    """Work begins without a record: after a restart nothing is known of it."""
    holdings = core._holdings

    def hasty(request: TaskRequest, now: float, work: Work) -> None:
        work.start.append(request)

    holdings._write_down = hasty


def never_writes_results_down(core: Any) -> None:
    """A result is told at once, and dies with the process."""
    core._ledger.end = lambda response, work: core._outbox.results([response])


def starts_late(core: Any) -> None:
    """A grant that was under way for long is carried out all the same."""
    core._leases.end_of = lambda lease_ms, basis: math.inf


def starts_offers_without_a_grant(core: Any) -> None:
    """An offer is taken for a grant."""
    receive = core._receive

    def rash(request: TaskRequest, now: float, work: Work) -> None:
        receive(request, now, work)
        taken = core._attempts.take_waiting(request.ref, HeldState.ACCEPTED)
        if taken is not None:
            core._holdings.start(taken, None, 0, now, work)

    core._receive = rash


def never_ends_a_lease(core: Any) -> None:
    """Replayable work runs on for as long as it likes."""
    core._leases.take_over = lambda now: []


def believes_that_every_heartbeat_arrives(core: Any) -> None:
    """Leases are counted from the last heartbeat that was sent, heard or not."""
    beat, pending = core.heartbeat, []

    def hopeful(*, now: float) -> Any:
        sent = beat(now=now)
        pending.extend(core._leases.acknowledged(sent.number))
        return sent

    core.heartbeat = hopeful


def forgets_attempts_that_it_stops(core: Any) -> None:
    """A stop is answered at once, whatever still runs."""
    stop = core._holdings.stop

    def hasty(command: CancelCommand, work: Work) -> None:
        running = core._attempts.state(command.ref) is HeldState.RUNNING
        stop(command, work)
        if running:
            core._holdings.end(_cancelled(command.ref), work)

    core._holdings.stop = hasty


def _cancelled(ref: AttemptRef) -> TaskResponse:
    return TaskResponse(ref, Finished(outcome=Outcome.CANCELLED))


def loses_stops(core: Any) -> None:
    """Nothing that runs is ever stopped for a caller."""
    core.cancel = lambda commands: Work()


def keeps_nothing_of_what_is_done_at_once(core: Any) -> None:
    """What is done inline is not written down, even if it may be done only once."""
    ledger = core._ledger
    ledger.keeps = lambda request: request.spec.type in ledger._places
