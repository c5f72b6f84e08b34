"""Every noun survives the way through protobuf, and what is not known does no harm."""

from __future__ import annotations

import os
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as some

from benchmarks.resident import own_kib
from nodelink import wire
from nodelink.errors import InvalidTask
from nodelink.plan import Plan
from nodelink.taken import NOTHING, Taken
from nodelink.task import (
    BY_RULE,
    DEFAULT_GRACE_MS,
    DEFAULT_POOL,
    Accepted,
    AckDisposition,
    AttemptRef,
    CancelCommand,
    Declined,
    ErrorCategory,
    Execution,
    ExtendCommand,
    Extended,
    Finished,
    Gone,
    HeldAttempt,
    HeldState,
    LogAck,
    LogChunk,
    LogStream,
    OnConflict,
    Outcome,
    Progress,
    Rate,
    Reason,
    ResultAck,
    RetryPolicy,
    Started,
    TaskError,
    TaskRequest,
    TaskResponse,
    TaskSpec,
    TaskStatus,
    Update,
    Verdict,
    VerdictAction,
    WhenTaken,
)
from nodelink.v1 import agent_pb2, task_pb2
from nodelink.values import evolve

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REF = AttemptRef("0190f3a2-7c1e-7abc-8def-0123456789ab", 3, (7 << 32) + 5)
FULL_SPEC = TaskSpec(
    type="shell",
    pool="gpu",
    priority=75,
    timeout_ms=1_500,
    queue_timeout_ms=0,
    start_timeout_ms=700,
    total_timeout_ms=90_000,
    scheduled_at=1_700_000_000_123,
    delay_ms=2,
    execution=Execution.ONCE,
    metadata={"a": "b", "é": "…"},
    lock="deploy",
    retry=RetryPolicy(max_attempts=100, initial_ms=0, max_ms=86_400_000, multiplier=1.5, on=("exit_code:75",)),
    heartbeat_timeout_ms=5_001,
    agent_id="0190f3a2-7c1e-7abc-8def-0123456789ab",
    selector="env=prod,!spot",
    slots=4_096,
    resources={"cpu": 500, "memory": 1 << 53},
    limits={"database": 4},
    rates={"mail": Rate(10, 60_000), "é": Rate(1, 1_500)},
    when_taken=WhenTaken.REPLACE,
    workspace="site",
    unique_key="nightly",
    on_conflict=OnConflict.USE_EXISTING,
    fairness_key="team blue",
    fairness_weight=1_000,
)
FULL_END = Finished(
    outcome=Outcome.FAILED,
    reason=Reason.EXIT_CODE,
    exit_code=0,
    signal=9,
    output=b'{"a":1}',
    error=TaskError(ErrorCategory.EXIT_CODE, "no"),
    run_seconds=1.5,
    cpu_seconds=0.5,
    max_rss_bytes=1 << 40,
    log_totals={LogStream.STDOUT: 5, LogStream.STDERR: 0},
    tree_gone=False,
    retry_after_ms=1_500,
    plan=Plan("a" * 64, 5),
    plan_artifact="plan",
)


@pytest.mark.parametrize("spec", [FULL_SPEC, TaskSpec(type="echo")], ids=["full", "least"])
def test_a_spec_comes_back(spec: TaskSpec) -> None:
    message = task_pb2.TaskSpec()
    wire.put_spec(message, spec, b"[1]")
    assert wire.spec_of(task_pb2.TaskSpec.FromString(message.SerializeToString())) == (spec, b"[1]")


def test_an_empty_spec_gets_the_defaults() -> None:
    spec, payload = wire.spec_of(task_pb2.TaskSpec(type="echo"))
    assert (spec.pool, spec.priority, spec.execution, payload) == (DEFAULT_POOL, BY_RULE, None, b"")
    assert spec == TaskSpec(type="echo")


def test_an_empty_policy_gets_the_defaults_and_no_policy_stays_none() -> None:
    spec, _ = wire.spec_of(task_pb2.TaskSpec(type="echo", retry=task_pb2.RetryPolicy()))
    without, _ = wire.spec_of(task_pb2.TaskSpec(type="echo"))

    assert spec.retry == RetryPolicy(max_attempts=3, initial_ms=1_000, max_ms=300_000, multiplier=2.0, on=())
    assert without.retry is None


def test_a_request_carries_its_policy_to_the_agent() -> None:
    message = agent_pb2.TaskRequest()
    wire.put_task_request(message, TaskRequest(ref=REF, spec=FULL_SPEC, payload=b"{}"))
    request = wire.task_request_of(agent_pb2.TaskRequest.FromString(message.SerializeToString()))

    assert request is not None
    assert request.spec.retry == FULL_SPEC.retry


@pytest.mark.parametrize(
    "field, known",
    [
        ("execution", "exclusive, once, replayable"),
        ("when_taken", "replace, skip, wait"),
        ("on_conflict", "fail, replace, use_existing"),
    ],
)
def test_a_choice_that_is_not_known_is_refused_by_name(field: str, known: str) -> None:
    message = task_pb2.TaskSpec(type="echo")
    setattr(message, field, 77)
    with pytest.raises(InvalidTask, match=f"{field}: 77 is not known; use one of {known}"):
        wire.spec_of(message)


def test_the_first_of_each_choice_may_be_named() -> None:
    spec, _ = wire.spec_of(
        task_pb2.TaskSpec(
            type="echo", when_taken=task_pb2.WHEN_TAKEN_WAIT, on_conflict=task_pb2.ON_CONFLICT_FAIL, slots=1
        )
    )
    assert spec == TaskSpec(type="echo")


def test_an_agent_is_not_told_what_only_the_server_needs() -> None:
    message = agent_pb2.TaskRequest()
    wire.put_task_request(message, TaskRequest(ref=REF, spec=FULL_SPEC, payload=b"{}"))
    request = wire.task_request_of(message)

    assert request is not None
    assert request.spec == evolve(
        FULL_SPEC,
        agent_id="",
        selector="",
        limits={},
        rates={},
        when_taken=WhenTaken.WAIT,
        unique_key="",
        on_conflict=OnConflict.FAIL,
        fairness_key="",
        fairness_weight=1,
    )


def test_a_request_comes_back_with_its_class() -> None:
    message = agent_pb2.TaskRequest()
    sent = TaskRequest(ref=REF, spec=TaskSpec(type="echo"), payload=b"{}", execution=Execution.REPLAYABLE)
    wire.put_task_request(message, sent)
    request = wire.task_request_of(agent_pb2.TaskRequest.FromString(message.SerializeToString()))
    assert request is not None
    assert (request.ref, request.payload, request.spec.type) == (REF, b"{}", "echo")
    assert (request.spec.execution, message.granted) == (Execution.REPLAYABLE, True)


@pytest.mark.parametrize(
    "sent,taken", [(TRACEPARENT, TRACEPARENT), ("", ""), ("00-zz-01", ""), (TRACEPARENT.upper(), "")]
)
def test_a_request_carries_a_trace_context_that_is_one(sent: str, taken: str) -> None:
    message = agent_pb2.TaskRequest()
    wire.put_task_request(message, TaskRequest(ref=REF, spec=TaskSpec(type="echo"), payload=b"{}", traceparent=sent))
    request = wire.task_request_of(agent_pb2.TaskRequest.FromString(message.SerializeToString()))
    assert request is not None
    assert (request.traceparent, len(message.trace_context)) == (taken, 1 if sent else 0)


@pytest.mark.parametrize("taken", [NOTHING, Taken(5, {"cpu": 500, "memory": 1 << 43})])
def test_what_is_taken_comes_back(taken: Taken) -> None:
    message = agent_pb2.Heartbeat()
    wire.put_taken(message, taken)
    assert wire.taken_of(agent_pb2.Heartbeat.FromString(message.SerializeToString())) == taken


def test_more_than_a_message_has_room_for_is_told_as_the_most() -> None:
    message = agent_pb2.Heartbeat()
    wire.put_taken(message, Taken(1 << 40, {"cpu": 1 << 70}))
    assert wire.taken_of(message) == Taken((1 << 32) - 1, {"cpu": (1 << 64) - 1})


def test_an_agent_that_does_not_count_says_nothing() -> None:
    assert wire.taken_of(agent_pb2.Heartbeat(number=1)) is None


def test_a_request_whose_spec_is_no_protobuf_is_unreadable() -> None:
    assert wire.task_request_of(agent_pb2.TaskRequest(spec=b"\xff\xff")) is None


@pytest.mark.parametrize(
    "update",
    [
        Started(),
        Started(ago_ms=1_500, containment="subreaper"),
        Progress(fraction=0.0),
        Progress(fraction=0.25, message="a quarter"),
        Declined(),
        Declined(message="no"),
        Declined(just_this=True),
        Accepted(),
        Gone(message="its agent died", agent_died=True),
        Extended(number=1, heartbeat_timeout_ms=0),
        Extended(number=7, timeout_ms=1_500, total_timeout_ms=90_000, heartbeat_timeout_ms=30_001),
        Finished(outcome=Outcome.COMPLETED),
        FULL_END,
    ],
    ids=lambda update: f"{type(update).__name__}",
)
def test_a_response_comes_back(update: Update) -> None:
    message = agent_pb2.TaskResponse()
    wire.put_task_response(message, TaskResponse(REF, update))
    read = agent_pb2.TaskResponse.FromString(message.SerializeToString())
    assert wire.task_response_of(read) == TaskResponse(REF, update)


@pytest.mark.parametrize(
    "message",
    [
        agent_pb2.TaskResponse(),
        agent_pb2.TaskResponse(finished=agent_pb2.Finished()),
        agent_pb2.TaskResponse(finished=agent_pb2.Finished(outcome=77)),  # type: ignore[arg-type]
    ],
    ids=["no update", "no outcome", "unknown outcome"],
)
def test_a_response_that_is_not_understood_is_none(message: agent_pb2.TaskResponse) -> None:
    assert wire.task_response_of(message) is None


def test_unknown_words_of_a_result_do_not_hide_its_outcome() -> None:
    message = agent_pb2.TaskResponse()
    message.finished.outcome = wire.OUTCOME_TO_PB[Outcome.FAILED]
    message.finished.reason = "of the future"
    message.finished.error.category = "of the future"
    message.finished.log_totals.add(stream=77, bytes=1)
    response = wire.task_response_of(message)
    assert response is not None
    assert isinstance(response.update, Finished)
    assert (response.update.reason, response.update.log_totals) == (Reason.NONE, {})
    assert response.update.error == TaskError(ErrorCategory.INTERNAL, "")


@pytest.mark.parametrize(
    "chunk", [LogChunk(REF, LogStream.STDERR, 7, b"x\xff"), LogChunk(REF, LogStream.STDOUT, 0, b"", 9)]
)
def test_a_run_of_output_comes_back(chunk: LogChunk) -> None:
    message = agent_pb2.LogChunk()
    wire.put_log_chunk(message, chunk)
    assert wire.log_chunk_of(message) == chunk


def test_output_of_an_unknown_stream_or_with_data_in_a_gap_is_not_understood() -> None:
    assert wire.log_chunk_of(agent_pb2.LogChunk(data=b"x")) is None
    assert wire.log_chunk_of(agent_pb2.LogChunk(stream=wire.STREAM_TO_PB[LogStream.STDOUT], data=b"x", gap=1)) is None
    assert wire.log_ack_of(agent_pb2.LogAck(offset=1)) is None


def test_acknowledgements_come_back() -> None:
    for disposition in AckDisposition:
        message = agent_pb2.ResultAck()
        wire.put_result_ack(message, ResultAck(REF, disposition))
        assert wire.result_ack_of(message) == ResultAck(REF, disposition)
    log_message = agent_pb2.LogAck()
    wire.put_log_ack(log_message, LogAck(REF, LogStream.STDOUT, 1 << 40))
    assert wire.log_ack_of(log_message) == LogAck(REF, LogStream.STDOUT, 1 << 40)


def test_an_unknown_disposition_acknowledges_all_the_same() -> None:
    assert wire.result_ack_of(agent_pb2.ResultAck(disposition=77)).disposition is AckDisposition.STALE  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "command", [ExtendCommand(REF, 1), ExtendCommand(REF, 3, 0, 30_001, heard=2), ExtendCommand(REF, 3, 1_500, None)]
)
def test_an_extension_comes_back(command: ExtendCommand) -> None:
    message = agent_pb2.ExtendCommand()
    wire.put_extend(message, command)
    assert wire.extend_of(agent_pb2.ExtendCommand.FromString(message.SerializeToString())) == command


def test_a_time_that_is_over_is_nothing() -> None:
    message = agent_pb2.ExtendCommand(number=1, timeout=Duration(seconds=-5), heartbeat_timeout=Duration(nanos=-5))
    assert wire.extend_of(message) == ExtendCommand(wire.ref_of(message.ref), 1, 0, 0)


def test_a_cancel_comes_back_and_has_defaults() -> None:
    message = agent_pb2.CancelCommand()
    wire.put_cancel(message, CancelCommand(REF, 0, Reason.TOTAL_TIMEOUT))
    assert wire.cancel_of(message) == CancelCommand(REF, 0, Reason.TOTAL_TIMEOUT)
    bare = wire.cancel_of(agent_pb2.CancelCommand(reason="of the future"))
    assert (bare.grace_ms, bare.reason) == (DEFAULT_GRACE_MS, Reason.CANCELLED_BY_CALLER)


def test_held_attempts_and_verdicts_come_back() -> None:
    for state in HeldState:
        message = agent_pb2.HeldAttempt()
        wire.put_held(message, HeldAttempt(REF, state))
        assert wire.held_of(message) == HeldAttempt(REF, state)
    for action in VerdictAction:
        verdict = Verdict(REF, action, (LogAck(REF, LogStream.STDERR, 4),))
        verdict_message = agent_pb2.Verdict()
        wire.put_verdict(verdict_message, verdict)
        assert wire.verdict_of(verdict_message) == verdict


def test_an_unknown_state_is_taken_for_running_and_an_unknown_action_for_none() -> None:
    assert wire.held_of(agent_pb2.HeldAttempt()).state is HeldState.RUNNING
    assert wire.verdict_of(agent_pb2.Verdict()) is None


@given(some.integers(min_value=-(10**14), max_value=10**14))
def test_milliseconds_come_back(ms: int) -> None:
    for message in (Duration(), Timestamp()):
        wire.put_ms(message, ms)
        assert wire.ms_of(message) == ms


def test_every_enum_of_the_protocol_has_its_noun() -> None:
    tables: dict[Any, tuple[dict[int, Any], Any]] = {
        task_pb2.TaskStatus: (wire.STATUS_FROM_PB, TaskStatus),
        task_pb2.Execution: (wire.EXECUTION_FROM_PB, Execution),
        task_pb2.LogStream: (wire.STREAM_FROM_PB, LogStream),
        agent_pb2.Outcome: (wire.OUTCOME_FROM_PB, Outcome),
        agent_pb2.HeldState: (wire.HELD_FROM_PB, HeldState),
        agent_pb2.VerdictAction: (wire.ACTION_FROM_PB, VerdictAction),
        agent_pb2.AckDisposition: (wire.DISPOSITION_FROM_PB, AckDisposition),
    }
    for numbers, (table, nouns) in tables.items():
        assert set(table) == {number for number in numbers.values() if number}
        assert set(table.values()) == set(nouns)


@pytest.mark.parametrize("spec", [FULL_SPEC, TaskSpec(type="echo")], ids=["full", "least"])
def test_work_that_many_ask_for_is_written_as_that_of_one(spec: TaskSpec) -> None:
    works = wire.WorkWriter()
    for payload in (b"1", b"", b'"' + b"x" * 300 + b'"'):
        written = task_pb2.TaskSpec.FromString(works.bytes_of(spec, payload))
        assert written == task_pb2.TaskSpec.FromString(wire.work_bytes(spec, payload))


def test_only_so_much_work_is_remembered_and_nothing_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_WRITTEN_SPECS", 2)
    works = wire.WorkWriter()
    large = TaskSpec(type="echo", metadata={"note": "x" * wire.LONGEST_KNOWN_SPEC})
    specs = [TaskSpec(type=f"t{number}") for number in range(5)]

    for spec in (large, *specs, *specs):
        read = task_pb2.TaskSpec.FromString(works.bytes_of(spec, b"1"))
        assert (read.type, read.payload, dict(read.metadata)) == (spec.type, b"1", dict(spec.metadata))
    assert len(works._known) <= 2


def test_what_has_been_written_is_not_kept() -> None:
    """A message that is used again keeps the memory of each value that it has ever had, which no Python tool sees."""
    works = wire.WorkWriter()
    before = own_kib(os.getpid())
    for number in range(128):
        works.bytes_of(FULL_SPEC, bytes([number]) * (1 << 20))
    assert own_kib(os.getpid()) - before < 64 << 10


def test_a_message_loses_its_payload_and_nothing_else() -> None:
    message = task_pb2.TaskSpec()
    wire.put_spec(message, FULL_SPEC, b"[1]")

    common, payload = wire.without_payload(message)

    assert payload == b"[1]"
    assert wire.spec_of(task_pb2.TaskSpec.FromString(common)) == (FULL_SPEC, b"")


def test_requests_that_ask_alike_share_what_they_ask() -> None:
    messages = []
    for payload in (b"1", b"2"):
        message = agent_pb2.TaskRequest()
        wire.put_task_request(message, TaskRequest(ref=REF, spec=TaskSpec(type="shared"), payload=payload))
        messages.append(message)
    first, second = map(wire.task_request_of, messages)

    assert first is not None
    assert second is not None
    assert first.spec is second.spec
    assert (first.payload, second.payload) == (b"1", b"2")
