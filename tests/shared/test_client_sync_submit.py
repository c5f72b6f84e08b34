"""Submitting with the synchronous client, on a stream that the test plays: promises, refusals, bounds and ways out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from nodelink.client import TaskHandle, new_task
from nodelink.errors import (
    InvalidTask,
    LinkLost,
    NodelinkError,
    NotAllowed,
    ProtocolViolation,
    TooLarge,
)
from nodelink.v1 import task_pb2
from tests.support.client_stage import WAIT_SECONDS, Stage, accept, in_a_thread, meet, playing, refused


@pytest.fixture
def stage() -> Iterator[Stage]:
    with playing() as stage:
        yield stage


def test_a_submission_carries_what_was_asked_and_the_handle_its_id(stage: Stage) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    handle = stage.client.submit("echo", [1], delay="2s", priority="HIGH", idempotency_key="k", traceparent=trace)
    stream = stage.submissions(credit=10)
    (request,) = stream.frame().requests

    assert not handle.accepted()
    stream.answer(0, "t1")
    assert stage.soon(lambda: handle.id) == "t1"
    assert handle.accepted()
    assert (request.spec.type, request.spec.payload, request.idempotency_key) == ("echo", b"[1]", "k")
    assert (request.spec.delay.seconds, request.spec.priority, request.traceparent) == (2, 75, trace)


def test_what_gathers_rides_together_within_the_credit(stage: Stage) -> None:
    handles = [stage.client.submit("echo", number) for number in range(7)]
    stream = stage.submissions(credit=3)
    first = stream.frame()
    stream.answer(0, "t0", "t1", "t2", credit=7)
    second = stream.frame()
    stream.answer(3, "t3", "t4", "t5", "t6")

    assert (first.first_number, len(first.requests)) == (0, 3)
    assert (second.first_number, len(second.requests)) == (3, 4)
    assert stage.soon(lambda: [handle.id for handle in handles]) == [f"t{n}" for n in range(7)]
    keys = [request.idempotency_key for request in [*first.requests, *second.requests]]
    assert len(set(keys)) == 7
    assert all(0 < len(key) <= 32 for key in keys)


def test_what_a_broken_stream_has_not_answered_is_sent_again_under_the_same_keys(stage: Stage) -> None:
    handles = [stage.client.submit("echo", number) for number in range(3)]
    broken = stage.submissions(credit=10)
    sent = broken.frame()
    broken.answer(0, "t0")
    stage.soon(lambda: handles[0].id)
    broken.end(grpc.StatusCode.UNAVAILABLE)
    stream = stage.submissions(credit=10)
    again = stream.frame()
    stream.answer(0, "t1", "t2")

    assert list(again.requests) == list(sent.requests[1:])
    assert again.first_number == 0
    assert stage.soon(lambda: [handle.id for handle in handles]) == ["t0", "t1", "t2"]


def test_an_idle_stream_is_ended_and_the_next_submission_opens_another() -> None:
    with playing(patience=0.0) as stage:  # an end that was asked for needs no patience
        first = stage.client.submit("echo")
        stream = stage.submissions(credit=10)
        stream.frame()
        stream.answer(0, "t0")
        stage.soon(lambda: first.id)
        stream.closed()
        second = stage.client.submit("echo")
        stream.end(grpc.StatusCode.OK)
        accept(stage.submissions(credit=10), 1)

        assert stage.soon(lambda: second.id) == "t0"


def test_a_refused_item_does_not_hold_up_the_others(stage: Stage) -> None:
    good, bad, last = (stage.client.submit("echo", number) for number in range(3))
    stream = stage.submissions(credit=10)
    stream.frame()
    stream.answer(0, "t0", task_pb2.Refusal(code="INVALID", message="no such type", field="type"), "t2")

    assert (stage.soon(lambda: good.id), stage.soon(lambda: last.id)) == ("t0", "t2")
    with pytest.raises(InvalidTask) as refusal:
        stage.soon(lambda: bad.id)
    with pytest.raises(InvalidTask):
        bad.accepted()
    assert refusal.value.errors[0].field == "type"
    assert stage.soon(stage.client.flush)  # somebody has looked at it


def test_flush_raises_the_first_refusal_that_nobody_has_looked_at(stage: Stage) -> None:
    for number in range(3):
        stage.client.submit("echo", number)
    stream = stage.submissions(credit=10)
    flushing = stage.call(lambda client: client.flush())
    stream.frame()
    stream.answer(0, "t0", task_pb2.Refusal(code="INVALID", message="first"), task_pb2.Refusal(message="second"))

    with pytest.raises(InvalidTask, match="first"):
        flushing.result(WAIT_SECONDS)
    assert stage.soon(stage.client.flush)


def test_a_flush_may_be_given_up(stage: Stage) -> None:
    stage.client.submit("echo")

    assert not stage.client.flush(timeout=0)


def test_submit_blocks_while_too_many_are_unacknowledged() -> None:
    with playing(most_unacknowledged=2) as stage:
        stage.client.submit("echo", 0)
        stage.client.submit("echo", 1)
        third = stage.call(lambda client: client.submit("echo", 2))
        stream = stage.submissions(credit=10)
        stream.frame()
        assert not third.done()
        stream.answer(0, "t0")
        assert stream.frame().first_number == 2
        stream.answer(1, "t1", "t2")

        assert stage.soon(lambda: third.result(WAIT_SECONDS).id) == "t2"


def test_a_stream_that_the_server_refuses_fails_what_rides_on_it(stage: Stage) -> None:
    handle = stage.client.submit("echo")
    code, trailing, words = refused(grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN", "not you")
    stage.submissions(credit=10).end(code, trailing, words)

    with pytest.raises(NotAllowed, match="not you"):
        stage.soon(lambda: handle.id)


def test_an_answer_that_nobody_asked_for_fails_what_rides_on_the_stream(stage: Stage) -> None:
    handle = stage.client.submit("echo")
    stream = stage.submissions(credit=10)
    stream.frame()
    stream.answer(5, "t9")

    with pytest.raises(ProtocolViolation):
        stage.soon(lambda: handle.id)


def test_patience_ends_with_a_lost_link() -> None:
    with playing(patience=0.0) as stage:
        meet(stage)
        handle = stage.client.submit("echo")
        stage.submissions(credit=10).end(grpc.StatusCode.UNAVAILABLE)

        with pytest.raises(LinkLost):
            stage.soon(lambda: handle.id)


def test_a_closed_client_accepts_nothing_and_fails_what_is_open(stage: Stage) -> None:
    handle = stage.client.submit("echo")
    stage.submissions(credit=10).frame()
    stage.client.close()

    with pytest.raises(LinkLost, match="closed before"):
        stage.soon(lambda: handle.id)
    for late in (lambda: stage.client.submit("echo"), lambda: stage.client.get("t1")):
        with pytest.raises(LinkLost, match="this client is closed"):
            late()


def test_an_interrupt_is_not_held_up_by_what_is_unacknowledged(stage: Stage) -> None:
    def interrupted() -> None:
        with stage.client as client:
            client.submit("echo")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.soon(interrupted)


@pytest.mark.parametrize("way_out", [SystemExit, ZeroDivisionError])
def test_any_other_way_out_waits_until_all_is_durable(stage: Stage, way_out: type[BaseException]) -> None:
    handles: list[TaskHandle] = []

    def leave() -> None:
        with stage.client as client:
            handles.append(client.submit("echo"))
            raise way_out

    leaving = in_a_thread(leave)
    accept(stage.submissions(credit=1), 1)

    with pytest.raises(way_out):
        leaving.result(WAIT_SECONDS)
    assert handles[0].accepted()


def test_a_bug_in_the_thread_leaves_nobody_waiting(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    open_stream = stage.client._sender._open_stream
    stage.client._sender._open_stream = lambda _frames: 1 / 0
    handle = stage.client.submit("echo")
    with pytest.raises(NodelinkError, match="ZeroDivisionError"):
        stage.soon(lambda: handle.id)
    stage.client._sender._open_stream = open_stream
    second = stage.client.submit("echo")
    accept(stage.submissions(credit=1), 1)

    assert stage.soon(lambda: second.id) == "t0"
    assert [one.exc_type for one in told] == [ZeroDivisionError]


def test_what_cannot_fit_into_a_message_is_refused_at_once(stage: Stage) -> None:
    with pytest.raises(TooLarge):
        stage.client.submit("echo", "x" * (4 << 20))


def test_a_submission_that_says_it_all_takes_no_options(stage: Stage) -> None:
    with pytest.raises(TypeError):
        stage.client.submit(new_task("echo"), priority=1)


def test_what_is_shown_at_the_prompt_tells_how_it_stands(stage: Stage) -> None:
    good, bad = stage.client.submit("echo"), stage.client.submit("nosuch")
    before = repr(good)
    stream = stage.submissions(credit=10)
    stream.frame()
    stream.answer(0, "t0", task_pb2.Refusal(code="INVALID", message="no such type"))
    stage.soon(lambda: good.id)
    stage.soon(stage.client._sender.flush)

    assert [before, repr(good)] == ["<TaskHandle echo, not accepted yet>", "<TaskHandle t0>"]
    assert repr(bad) == "<TaskHandle nosuch, refused: no such type>"
    assert repr(stage.client) == "<Client of server:1>"
