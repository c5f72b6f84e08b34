"""The agent's side of the protocol, as values."""

from __future__ import annotations

import pytest

from nodelink.errors import ProtocolViolation
from nodelink.task import (
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Declined,
    Execution,
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
    TaskSpec,
    Verdict,
    VerdictAction,
)
from nodelink_agent.core.agent import AgentCore
from nodelink_agent.core.reconcile import reconcile
from nodelink_agent.core.work import Stop, Work

A = AttemptRef("a", 1, 10)
LATER_A = AttemptRef("a", 2, 20)
B = AttemptRef("b", 1, 11)
DONE = Finished(outcome=Outcome.COMPLETED)
NOTHING = Work()


def request(ref: AttemptRef) -> TaskRequest:
    return TaskRequest(ref=ref, spec=TaskSpec(type="echo"), payload=b"", execution=Execution.REPLAYABLE)


def committed(ref: AttemptRef) -> ResultAck:
    return ResultAck(ref, AckDisposition.COMMITTED)


def new_session(core: AgentCore, *verdicts: Verdict, response_credit: int = 1_000) -> Work:
    core.hello_held(now=0.0)
    return core.welcomed(verdicts, response_credit=response_credit, log_credit=1_000_000)


def make_core(slots: int = 2) -> AgentCore:
    core = AgentCore(slots=slots, wake=lambda: None, places={})
    new_session(core)
    assert core.outgoing(now=0.0).task_credit == slots
    return core


def running(*refs: AttemptRef, slots: int = 2) -> AgentCore:
    core = make_core(slots)
    core.received([request(ref) for ref in refs], now=0.0)
    return core


def end(core: AgentCore, ref: AttemptRef, update: Finished = DONE) -> Work:
    return core.ended([TaskResponse(ref, update)], now=0.0)


def test_a_task_starts_on_receipt_and_its_slot_is_free_when_its_result_is_sent() -> None:
    core = make_core()
    assert core.received([request(A)], now=0.0) == Work(start=[request(A)])
    assert core.outgoing(now=0.0).task_credit == 0
    end(core, A)
    outgoing = core.outgoing(now=0.0)
    assert (outgoing.responses, outgoing.task_credit) == ([TaskResponse(A, DONE)], 3)


def test_without_response_credit_the_slot_stays_taken() -> None:
    core = AgentCore(slots=1, wake=lambda: None, places={})
    new_session(core, response_credit=0)
    core.outgoing(now=0.0)
    core.received([request(A)], now=0.0)
    end(core, A)
    assert core.outgoing(now=0.0) == ([], [], 0)
    core.credit(response_credit=1)
    assert core.outgoing(now=0.0).task_credit == 2


def test_results_that_wait_to_be_sent_again_take_slots_in_the_new_session() -> None:
    core = running(A, B)
    for ref in (A, B):
        end(core, ref)
    core.outgoing(now=0.0)
    new_session(core, response_credit=0)
    assert core.outgoing(now=0.0).task_credit == 0
    core.credit(response_credit=1)
    assert core.outgoing(now=0.0).task_credit == 2


def test_attempts_with_only_output_left_take_slots_when_they_crowd() -> None:
    core = make_core(slots=1)
    for number in range(1, 4):
        ref = AttemptRef(str(number), 1, number)
        core.received([request(ref)], now=0.0)
        end(core, ref, Finished(outcome=Outcome.COMPLETED, log_totals={LogStream.STDOUT: 5}))
        core.outgoing(now=0.0)
        core.result_acked([committed(ref)])
        if number < 3:
            core.outgoing(now=0.0)
    assert core.task_credit() == 3
    core.log_acked([LogAck(AttemptRef("1", 1, 1), LogStream.STDOUT, 5)])
    core.log_acked([LogAck(AttemptRef("2", 1, 2), LogStream.STDOUT, 5)])
    assert core.task_credit() == 4


def test_a_duplicate_or_older_request_changes_nothing() -> None:
    core = make_core()
    core.received([request(LATER_A)], now=0.0)
    assert core.received([request(LATER_A)], now=0.0) == NOTHING
    core.outgoing(now=0.0)
    assert core.received([request(A)], now=0.0) == NOTHING
    assert core.heartbeat(now=0.0).refs == [LATER_A]


def test_a_greater_fence_supersedes_and_starts_when_the_older_attempt_is_gone() -> None:
    core = running(A)
    assert core.received([request(LATER_A)], now=0.0) == Work(stop=[Stop(A, 0, Reason.SUPERSEDED)])
    assert end(core, A) == Work(start=[request(LATER_A)], forget=[A])
    assert core.outgoing(now=0.0).responses == []
    end(core, LATER_A)
    assert core.outgoing(now=0.0).responses == [TaskResponse(LATER_A, DONE)]


def test_a_result_that_is_superseded_before_it_is_sent_is_sent_all_the_same() -> None:
    core = running(A)
    end(core, A)
    assert core.received([request(LATER_A)], now=0.0) == Work(start=[request(LATER_A)])
    assert core.outgoing(now=0.0).responses == [TaskResponse(A, DONE)]
    assert core.result_acked([committed(A)]) == Work(forget=[A])
    assert core.heartbeat(now=0.0).refs == [LATER_A]


def test_more_tasks_than_the_credit_that_was_told_are_a_violation() -> None:
    core = make_core(slots=1)
    with pytest.raises(ProtocolViolation, match="2 tasks were sent within a credit of 1"):
        core.received([request(A), request(B)], now=0.0)


def test_a_cancel_stops_what_runs_once() -> None:
    core = running(A)
    command = CancelCommand(A, 500, Reason.TOTAL_TIMEOUT)
    assert core.cancel([command, CancelCommand(B)]).stop == [Stop(A, 500, Reason.TOTAL_TIMEOUT)]
    assert core.cancel([command]) == NOTHING
    end(core, A)
    assert core.cancel([command]) == NOTHING


@pytest.mark.parametrize(
    "reason, outcome",
    [(Reason.CANCELLED_BY_CALLER, Outcome.CANCELLED), (Reason.START_TIMEOUT, Outcome.TIMEOUT)],
)
def test_a_cancel_of_what_still_waits_is_answered_at_once(reason: Reason, outcome: Outcome) -> None:
    core = running(A)
    core.received([request(LATER_A)], now=0.0)
    assert core.cancel([CancelCommand(LATER_A, 500, reason)]) == NOTHING
    assert core.outgoing(now=0.0).responses == [TaskResponse(LATER_A, Finished(outcome=outcome, reason=reason))]
    assert end(core, A) == Work(forget=[A])


def test_an_attempt_is_forgotten_when_result_and_output_are_acknowledged() -> None:
    core = running(A)
    end(core, A, Finished(outcome=Outcome.COMPLETED, log_totals={LogStream.STDOUT: 4}))
    (read,) = core.outgoing(now=0.0).reads
    core.log_sent(LogChunk(A, LogStream.STDOUT, read.offset, b"text"))
    assert core.result_acked([committed(A)]) == NOTHING
    assert core.hello_held(now=0.0) == [HeldAttempt(A, HeldState.LOGS_ONLY)]
    assert core.log_acked([LogAck(A, LogStream.STDOUT, 4)]) == Work(forget=[A])
    assert core.is_idle


def test_the_order_of_the_two_acknowledgements_does_not_matter() -> None:
    core = running(A)
    core.output_grew(A, LogStream.STDOUT, 4)
    core.log_acked([LogAck(A, LogStream.STDOUT, 4)])
    end(core, A, Finished(outcome=Outcome.COMPLETED, log_totals={LogStream.STDOUT: 4}))
    core.outgoing(now=0.0)
    assert core.result_acked([committed(A)]) == Work(forget=[A])


def test_an_acknowledgement_of_nothing_is_ignored() -> None:
    core = running(A)
    assert core.result_acked([committed(A), committed(B)]) == NOTHING
    assert core.heartbeat(now=0.0).refs == [A]


def test_verdicts_keep_stop_and_forget() -> None:
    core = running(A, B)
    work = new_session(core, Verdict(A, VerdictAction.STOP), Verdict(B, VerdictAction.FORGET))
    assert work.stop == [Stop(A, 10_000, Reason.CANCELLED_BY_CALLER), Stop(B, 0, Reason.SUPERSEDED)]
    assert end(core, B) == Work(forget=[B])
    end(core, A)
    assert core.outgoing(now=0.0).responses == [TaskResponse(A, DONE)]


def test_a_verdict_may_complete_the_output_of_an_attempt() -> None:
    core = running(A)
    end(core, A, Finished(outcome=Outcome.COMPLETED, log_totals={LogStream.STDOUT: 4}))
    core.outgoing(now=0.0)
    core.result_acked([committed(A)])
    work = new_session(core, Verdict(A, VerdictAction.KEEP, (LogAck(A, LogStream.STDOUT, 4),)))
    assert work.forget == [A]


def test_an_attempt_without_a_verdict_is_kept() -> None:
    held = [HeldAttempt(A, HeldState.RUNNING), HeldAttempt(B, HeldState.ENDED)]
    fate = reconcile(held, [Verdict(B, VerdictAction.FORGET), Verdict(LATER_A, VerdictAction.FORGET)])
    assert (fate.keep, fate.stop, fate.forget) == ([A], [], [B])


def test_a_draining_agent_declines_what_still_comes_and_gives_no_credit() -> None:
    core = running(A)
    core.drain()
    assert core.received([request(B)], now=0.0) == NOTHING
    outgoing = core.outgoing(now=0.0)
    assert outgoing.task_credit == 0
    ((ref, update),) = outgoing.responses
    assert ref == B
    assert isinstance(update, Declined)


def test_an_unreadable_request_is_declined_and_counts_against_the_credit() -> None:
    core = make_core(slots=1)
    core.received([], unreadable=[A], now=0.0)
    ((ref, update),), _, credit = core.outgoing(now=0.0)
    assert (ref, type(update), credit) == (A, Declined, 2)
    core.result_acked([committed(A)])
    assert core.is_idle


def test_nothing_is_told_of_an_attempt_that_is_not_running() -> None:
    core = make_core()
    core.started(A, at=0.0)
    core.progress(A, Progress(fraction=0.5))
    core.output_grew(A, LogStream.STDOUT, 5)
    end(core, A)
    assert core.outgoing(now=0.0) == ([], [], 0)


def test_results_do_not_starve_output() -> None:
    core = running(A, B)
    core.output_grew(A, LogStream.STDOUT, 10)
    end(core, B, Finished(outcome=Outcome.COMPLETED, output=b"x" * 2_000))
    outgoing = core.outgoing(now=0.0, max_bytes=1_000, chunk_bytes=100)
    assert len(outgoing.responses) == len(outgoing.reads) == 1


def test_a_frame_takes_as_much_of_a_stream_as_it_has_room_for() -> None:
    core = running(A)
    core.output_grew(A, LogStream.STDOUT, 1_000)
    reads = core.outgoing(now=0.0, max_bytes=450, chunk_bytes=100).reads
    sent = []
    while reads:
        for _, stream, offset, limit in reads:
            core.log_sent(LogChunk(A, stream, offset, b"x" * limit))
            sent.append((offset, limit))
        reads = core.more_reads(chunk_bytes=100)
    assert sent == [
        (0, 100),
        (100, 100),
        (200, 100),
    ]  # as they are counted; and no small run for the little that is left


def test_gaps_take_room_in_a_frame_too() -> None:
    core = running(A)
    core.output_grew(A, LogStream.STDOUT, 1_000_000)
    reads = core.outgoing(now=0.0, max_bytes=1_000, chunk_bytes=100).reads
    sent = 0
    while reads:
        for _, stream, offset, limit in reads:
            core.log_sent(LogChunk(A, stream, offset, b"", limit))
            sent += 1
        reads = core.more_reads(chunk_bytes=100)
    assert sent < 10


def test_the_host_is_woken_when_there_is_something_to_say() -> None:
    woken: list[bool] = []
    core = AgentCore(slots=1, wake=lambda: woken.append(True), places={})
    new_session(core)
    core.outgoing(now=0.0)
    core.received([request(A)], now=0.0)
    woken.clear()
    core.progress(A, Progress(fraction=0.5))
    core.output_grew(A, LogStream.STDOUT, 5)
    end(core, A)
    assert len(woken) == 3
