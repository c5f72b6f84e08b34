"""What is written down, and in which order things may happen."""

from __future__ import annotations

import pytest

from nodelink.task import (
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Declined,
    Execution,
    Finished,
    Gone,
    HeldAttempt,
    HeldState,
    LogAck,
    LogStream,
    Outcome,
    ResultAck,
    TaskRequest,
    TaskResponse,
    TaskSpec,
    Verdict,
    VerdictAction,
)
from nodelink_agent.core.agent import AgentCore
from nodelink_agent.core.records import EndRecord, ForgetRecord, Remembered, StartRecord
from nodelink_agent.core.work import Work

A = AttemptRef("a", 1, 10)
LATER_A = AttemptRef("a", 2, 20)
B = AttemptRef("b", 1, 11)
C = AttemptRef("c", 1, 12)
DONE = Finished(outcome=Outcome.COMPLETED)
DONE_A = TaskResponse(A, DONE)


def request(ref: AttemptRef = A, type: str = "command", *, granted: bool = True) -> TaskRequest:
    execution = Execution.REPLAYABLE if type == "inline" else Execution.ONCE
    return TaskRequest(ref=ref, spec=TaskSpec(type=type), payload=b"", execution=execution, granted=granted)


def make_core() -> AgentCore:
    core = AgentCore(slots=2, wake=lambda: None, places={"command": "spawner", "handler": ""})
    welcome(core)
    return core


def welcome(core: AgentCore, *verdicts: Verdict) -> Work:
    core.hello_held(now=0.0)
    work = core.welcomed(verdicts, response_credit=1_000, log_credit=1_000)
    core.outgoing(now=0.0)
    return work


def running() -> AgentCore:
    core = make_core()
    core.received([request()], now=0.0)
    core.written(1, now=0.0)
    return core


def ended() -> AgentCore:
    core = running()
    core.ended([DONE_A], now=0.0)
    core.written(2, now=0.0)
    return core


def told(core: AgentCore) -> list[TaskResponse]:
    return core.outgoing(now=0.0).responses


def ack(ref: AttemptRef) -> ResultAck:
    return ResultAck(ref, AckDisposition.COMMITTED)


@pytest.mark.parametrize("type, place", [("command", "spawner"), ("handler", "")])
def test_nothing_begins_before_its_record_is_durable(type: str, place: str) -> None:
    core = make_core()
    work = core.received([request(type=type)], now=3.0)
    assert work == Work(records=[StartRecord(request(type=type), place, 3.0)])
    assert core.hello_held(now=3.0) == [HeldAttempt(A, HeldState.WAITING)]
    assert core.written(0, now=3.0) == Work()
    assert core.written(1, now=3.0) == Work(start=[request(type=type)])
    assert core.written(1, now=3.0) == Work()


def test_what_is_done_inline_begins_at_once_and_is_never_written_down() -> None:
    core = make_core()
    assert core.received([request(type="inline")], now=0.0) == Work(start=[request(type="inline")])
    assert core.ended([DONE_A], now=0.0) == Work()
    assert told(core) == [DONE_A]
    assert core.result_acked([ack(A)]) == Work(forget=[A])
    assert core.recorded == 0


@pytest.mark.parametrize("execution", [Execution.ONCE, Execution.EXCLUSIVE])
def test_what_must_not_be_done_again_is_written_down_wherever_it_is_done(execution: Execution) -> None:
    core = make_core()
    once = TaskRequest(ref=A, spec=TaskSpec(type="inline"), payload=b"", execution=execution)
    assert core.received([once], now=3.0) == Work(records=[StartRecord(once, "", 3.0)])
    assert core.written(1, now=3.0) == Work(start=[once])
    assert core.ended([DONE_A], now=3.0) == Work(records=[EndRecord(DONE_A)])


def test_a_result_is_told_when_its_record_is_durable() -> None:
    core = running()
    assert core.ended([DONE_A], now=0.0) == Work(records=[EndRecord(DONE_A)])
    assert (told(core), core.is_told) == ([], False)
    core.written(2, now=0.0)
    assert told(core) == [DONE_A]


def test_a_result_that_is_not_durable_yet_takes_its_slot() -> None:
    core = running()
    assert core.task_credit() == 2
    core.ended([DONE_A], now=0.0)
    assert core.task_credit() == 2
    core.written(2, now=0.0)
    told(core)
    assert core.task_credit() == 3


def test_results_wait_each_for_its_own_record() -> None:
    core = make_core()
    core.received([request(), request(B)], now=0.0)
    core.written(2, now=0.0)
    core.ended([DONE_A, TaskResponse(B, DONE)], now=0.0)
    core.written(3, now=0.0)
    assert told(core) == [DONE_A]


def test_a_successor_is_written_down_when_its_predecessor_is_gone() -> None:
    core = running()
    core.received([request(LATER_A)], now=0.0)
    work = core.ended([DONE_A], now=5.0)
    assert work.records == [ForgetRecord(A), StartRecord(request(LATER_A), "spawner", 5.0)]
    assert work.start == []
    assert core.written(core.recorded, now=5.0).start == [request(LATER_A)]


def test_one_sync_releases_everything_before_it() -> None:
    core = make_core()
    core.received([request(), request(B)], now=0.0)
    assert core.written(1, now=0.0).start == [request()]
    core.ended([DONE_A], now=0.0)
    assert core.written(3, now=0.0).start == [request(B)]
    assert told(core) == [DONE_A]


def test_what_is_forgotten_is_written_down_when_result_and_output_are_acknowledged() -> None:
    core = running()
    core.ended([TaskResponse(A, Finished(outcome=Outcome.COMPLETED, log_totals={LogStream.STDOUT: 4}))], now=0.0)
    core.written(2, now=0.0)
    told(core)
    assert core.result_acked([ack(A)]) == Work()
    assert core.log_acked([LogAck(A, LogStream.STDOUT, 4)]) == Work(records=[ForgetRecord(A)], forget=[A])


def test_what_is_stopped_before_its_record_is_durable_never_begins() -> None:
    core = make_core()
    core.received([request()], now=0.0)
    (record,) = core.cancel([CancelCommand(A)]).records
    assert isinstance(record, EndRecord)
    assert core.written(2, now=0.0) == Work()
    ((ref, update),) = told(core)
    assert (ref, type(update)) == (A, Finished)


def test_what_is_forgotten_before_its_record_is_durable_never_begins() -> None:
    core = make_core()
    core.received([request()], now=0.0)
    assert welcome(core, Verdict(A, VerdictAction.FORGET)) == Work(records=[ForgetRecord(A)], forget=[A])
    assert core.written(2, now=0.0) == Work()
    assert core.is_idle


def test_a_result_that_was_forgotten_before_its_record_was_durable_is_not_told() -> None:
    core = running()
    core.ended([DONE_A], now=0.0)
    welcome(core, Verdict(A, VerdictAction.FORGET))
    core.written(core.recorded, now=0.0)
    assert told(core) == []
    assert core.is_idle


def test_what_is_forgotten_while_it_runs_is_written_down_when_it_is_gone() -> None:
    core = running()
    work = welcome(core, Verdict(A, VerdictAction.FORGET))
    assert (work.records, [stop.ref for stop in work.stop]) == ([], [A])
    assert core.ended([DONE_A], now=0.0) == Work(records=[ForgetRecord(A)], forget=[A])


# --- a journal that cannot be written


def test_nothing_begins_without_a_journal_and_no_work_is_wanted() -> None:
    core = make_core()
    core.received([request()], now=0.0)
    work = core.not_written(1, now=0.0)
    assert work.start == []
    (record,) = work.records
    assert core.task_credit() == 1
    core.not_written(2, now=0.0)
    ((_, update),) = told(core)
    assert isinstance(update, Declined)
    assert update.just_this
    assert record == EndRecord(TaskResponse(A, update))
    core.journal_failing = False
    assert core.task_credit() == 3


def test_results_are_told_although_they_cannot_be_written_down() -> None:
    core = running()
    core.ended([DONE_A], now=0.0)
    core.not_written(2, now=0.0)
    assert told(core) == [DONE_A]
    assert core.written(2, now=0.0) == Work()
    assert told(core) == []


def test_what_comes_while_the_journal_fails_is_declined_unless_it_is_done_inline() -> None:
    core = AgentCore(slots=3, wake=lambda: None, places={"command": "spawner"})
    welcome(core)
    core.journal_failing = True
    work = core.received([request(), request(B, "inline", granted=False), request(C, "inline")], now=0.0)
    assert work == Work(start=[request(C, "inline")])
    assert {ref: type(update) for ref, update in told(core)} == {A: Declined, B: Declined}


# --- what an earlier process left


def restored(*remembered: Remembered) -> tuple[AgentCore, Work]:
    core = AgentCore(slots=5, wake=lambda: None, places={"command": "spawner"})
    return core, core.restore(remembered)


def test_what_runs_again_is_listed_and_ends_like_any_other() -> None:
    core, work = restored(Remembered(A, Execution.ONCE))
    assert work == Work()
    assert core.hello_held(now=0.0) == [HeldAttempt(A, HeldState.RUNNING)]
    core.welcomed([], response_credit=1_000, log_credit=1_000)
    assert core.ended([DONE_A], now=0.0) == Work(records=[EndRecord(DONE_A)])
    core.written(1, now=0.0)
    assert told(core) == [DONE_A]


def test_a_result_of_before_is_told_in_the_first_session() -> None:
    core, work = restored(Remembered(A, Execution.ONCE, None, DONE_A, is_recorded=True))
    assert work == Work()
    assert core.hello_held(now=0.0) == [HeldAttempt(A, HeldState.ENDED)]
    core.welcomed([Verdict(A, VerdictAction.KEEP)], response_credit=1_000, log_credit=1_000)
    assert told(core) == [DONE_A]
    assert core.result_acked([ack(A)]) == Work(records=[ForgetRecord(A)], forget=[A])


def test_an_end_that_was_found_is_written_down_before_it_is_told() -> None:
    gone = TaskResponse(A, Gone(agent_died=True))
    core, work = restored(Remembered(A, Execution.ONCE, None, gone))
    assert work == Work(records=[EndRecord(gone)])
    welcome(core)
    assert told(core) == []
    core.written(1, now=0.0)
    assert told(core) == [gone]


def test_output_of_before_goes_on_from_where_the_server_says() -> None:
    done = TaskResponse(A, Finished(outcome=Outcome.COMPLETED, log_totals={LogStream.STDOUT: 9}))
    core, _ = restored(Remembered(A, Execution.ONCE, None, done, is_recorded=True))
    core.hello_held(now=0.0)
    verdict = Verdict(A, VerdictAction.KEEP, (LogAck(A, LogStream.STDOUT, 5),))
    core.welcomed([verdict], response_credit=1_000, log_credit=1_000)
    (read,) = core.outgoing(now=0.0).reads
    assert (read.offset, read.limit) == (5, 4)


def test_what_is_gone_is_forgotten_with_its_acknowledgement_whatever_it_printed() -> None:
    core = running()
    core.output_grew(A, LogStream.STDOUT, 5)
    core.ended([TaskResponse(A, Gone())], now=0.0)
    core.written(2, now=0.0)
    told(core)
    assert core.result_acked([ack(A)]) == Work(records=[ForgetRecord(A)], forget=[A])
    assert core.is_idle


def test_what_is_done_inline_and_may_start_only_once_is_written_down_first() -> None:
    core = make_core()
    request = TaskRequest(ref=A, spec=TaskSpec(type="inline"), payload=b"", execution=Execution.ONCE)
    work = core.received([request], now=1.0)
    assert work.start == []
    assert [record.place for record in work.records if isinstance(record, StartRecord)] == [""]
    assert core.written(core.recorded, now=1.0).start == [request]
