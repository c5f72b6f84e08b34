"""The synchronous client against a channel that the test plays: no server, no network, no clock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import grpc
import grpc_testing
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from nodelink.client import Client, TaskHandle, new_task
from nodelink.errors import (
    InvalidTask,
    LinkLost,
    NodelinkError,
    NotAllowed,
    Overloaded,
    ProtocolViolation,
    TaskNotFound,
    TooLarge,
)
from nodelink.task import LogStream
from nodelink.v1 import admin_pb2, task_pb2

TASKS = task_pb2.DESCRIPTOR.services_by_name["TaskService"]
SERVICES = [TASKS, *admin_pb2.DESCRIPTOR.services_by_name.values()]
WAIT_SECONDS = 30.0

_Result = TypeVar("_Result")


def in_a_thread(work: Callable[[], _Result]) -> Future[_Result]:
    """Do something in a thread that holds up nobody if the test fails."""
    future: Future[_Result] = Future()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is the future's to raise
            future.set_exception(error)

    threading.Thread(target=do, daemon=True).start()
    return future


class Stage:
    """A client whose calls the test answers. The client works in a thread of its own, and nothing waits for ever."""

    def __init__(self, channel: Any, **options: Any) -> None:
        self.client = Client("server:1", channel=channel, **options)
        self._channel = channel

    def call(self, work: Callable[[Client], _Result]) -> Future[_Result]:
        """Let the client do something."""
        return in_a_thread(lambda: work(self.client))

    def soon(self, work: Callable[[], _Result]) -> _Result:
        """What something gives, within bearable time."""
        return in_a_thread(work).result(WAIT_SECONDS)

    def answer(self, method: str, response: Any = None, *, error: tuple[Any, Any, str] | None = None) -> Any:
        """Answer the next call of a method. Returns its request."""
        service = next(one for one in SERVICES if method in one.methods_by_name)
        descriptor = service.methods_by_name[method]
        _, request, rpc = self.soon(lambda: self._channel.take_unary_unary(descriptor))
        rpc.send_initial_metadata(())
        code, trailing, words = error or (grpc.StatusCode.OK, (), "")
        rpc.terminate(response, trailing, code, words)
        return request

    def opened(self, method: str) -> tuple[Any, Any]:
        """The request of the next call of a method that is answered with a stream, and the stream."""
        descriptor = TASKS.methods_by_name[method]
        _, request, rpc = self.soon(lambda: self._channel.take_unary_stream(descriptor))
        rpc.send_initial_metadata(())
        return request, rpc

    def stream(self, method: str, *responses: Any) -> Any:
        """Answer the next call of a method with a stream. Returns its request."""
        request, rpc = self.opened(method)
        for response in responses:
            rpc.send_response(response)
        rpc.terminate((), grpc.StatusCode.OK, "")
        return request

    def submissions(self, *, credit: int) -> Submissions:
        """The next stream of submissions, with so much credit."""
        descriptor = TASKS.methods_by_name["StreamSubmitTasks"]
        _, rpc = self.soon(lambda: self._channel.take_stream_stream(descriptor))
        rpc.send_initial_metadata(())
        rpc.send_response(task_pb2.StreamSubmitTasksResponse(submit_credit=credit))
        return Submissions(self, rpc)


class Submissions:
    """One stream of submissions as its server sees it."""

    def __init__(self, stage: Stage, rpc: Any) -> None:
        self._stage = stage
        self._rpc = rpc

    def frame(self) -> Any:
        """The next frame."""
        return self._stage.soon(self._rpc.take_request)

    def answer(self, number: int, *outcomes: Any, credit: int = 0) -> None:
        """Say what became of the submissions from this number on: ids, or refusals."""
        answer = task_pb2.StreamSubmitTasksResponse(first_number=number, submit_credit=credit)
        for outcome in outcomes:
            if isinstance(outcome, task_pb2.Refusal):
                answer.outcomes.add(refusal=outcome)
            else:
                answer.outcomes.add(task_id=outcome)
        self._rpc.send_response(answer)

    def closed(self) -> None:
        """Wait until no more frames will come."""
        self._stage.soon(self._rpc.requests_closed)

    def end(self, code: grpc.StatusCode, trailing: Any = (), words: str = "") -> None:
        """End the stream."""
        self._rpc.terminate(trailing, code, words)


@contextmanager
def playing(**options: Any) -> Iterator[Stage]:
    """A client with these options, and its stage."""
    testing: Any = grpc_testing  # it has no types
    channel = testing.channel(SERVICES, testing.strict_fake_time(0.0))
    stage = Stage(channel, **options)
    yield stage
    stage.client.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with playing() as stage:
        yield stage


def a_task(status: task_pb2.TaskStatus = task_pb2.TASK_STATUS_PENDING, task_id: str = "t1") -> task_pb2.Task:
    return task_pb2.Task(id=task_id, status=status, spec=task_pb2.TaskSpec(type="echo", payload=b"null"))


def refused(code: grpc.StatusCode, reason: str, words: str, *details: Any) -> tuple[Any, Any, str]:
    number: Any = code.value[0]
    status = status_pb2.Status(code=number, message=words)
    about = {"request_id": "r-7"}
    for one in (error_details_pb2.ErrorInfo(reason=reason, domain="nodelink", metadata=about), *details):
        packed = AnyMessage()
        packed.Pack(one)
        status.details.append(packed)
    return code, (("grpc-status-details-bin", status.SerializeToString()),), words


def test_many_tasks_go_in_batches_of_a_thousand(stage: Stage) -> None:
    asked = stage.call(lambda client: client.submit_many([new_task("echo")] * 1_001))
    refusal = task_pb2.Refusal(code="OVERLOADED", message="full")
    first = task_pb2.BatchSubmitTasksResponse(outcomes=[task_pb2.SubmitOutcome(task_id="t")] * 1_000)
    last = task_pb2.BatchSubmitTasksResponse(outcomes=[task_pb2.SubmitOutcome(refusal=refusal)])

    assert len(stage.answer("BatchSubmitTasks", first).requests) == 1_000
    assert len(stage.answer("BatchSubmitTasks", last).requests) == 1
    outcomes = asked.result(WAIT_SECONDS)
    assert outcomes[999].task_id == "t"
    assert isinstance(outcomes[1_000].refusal, Overloaded)


def test_one_that_no_message_can_carry_keeps_its_place_among_many(stage: Stage) -> None:
    large = new_task("echo", "x" * (4 << 20))
    asked = stage.call(lambda client: client.submit_many([new_task("echo"), large, new_task("echo")]))
    for task_id in ("t0", "t2"):
        accepted = task_pb2.BatchSubmitTasksResponse(outcomes=[task_pb2.SubmitOutcome(task_id=task_id)])
        assert len(stage.answer("BatchSubmitTasks", accepted).requests) == 1
    alone = stage.soon(lambda: stage.client.submit_many([large]))

    outcomes = asked.result(WAIT_SECONDS)
    assert [outcome.task_id for outcome in outcomes] == ["t0", "", "t2"]
    assert [type(outcome.refusal) for outcome in (outcomes[1], *alone)] == [TooLarge, TooLarge]


def test_a_wait_asks_again_until_the_task_has_ended(stage: Stage) -> None:
    asked = stage.call(lambda client: client.wait("t1"))
    stage.answer("WaitTask", task_pb2.WaitTaskResponse(task=a_task()))
    stage.answer("WaitTask", task_pb2.WaitTaskResponse(task=a_task(task_pb2.TASK_STATUS_COMPLETED)))

    assert asked.result(WAIT_SECONDS).is_terminal


def test_a_list_turns_the_pages(stage: Stage) -> None:
    asked = stage.call(lambda client: client.list(limit=3))
    page = task_pb2.ListTasksResponse(tasks=[a_task(task_id="t3"), a_task(task_id="t2")], next_page_token="more")
    assert stage.answer("ListTasks", page).page_size == 3
    request = stage.answer("ListTasks", task_pb2.ListTasksResponse(tasks=[a_task()]))

    assert (request.page_size, request.page_token) == (1, "more")
    assert [task.id for task in asked.result(WAIT_SECONDS)] == ["t3", "t2", "t1"]


def test_output_and_events_come_as_they_are_sent(stage: Stage) -> None:
    reading = stage.call(lambda client: list(client.log_pages("t1", stream=LogStream.STDERR)))
    part = task_pb2.LogPart(stream=task_pb2.LOG_STREAM_STDERR, data=b"x")
    request = stage.stream("ReadTaskLogs", task_pb2.ReadTaskLogsResponse(parts=[part], next_offset=1, complete=True))
    watching = stage.call(lambda client: list(islice(client.watch(after=5), 2)))
    event = task_pb2.TaskEvent(revision=7, name="task.created", data=b'{"a":1}')
    stage.stream("WatchTasks", task_pb2.WatchTasksResponse(events=[event], bookmark=7, reset=True))

    (page,) = reading.result(WAIT_SECONDS)
    assert (page.parts[0].data, page.complete, request.follow) == (b"x", True, True)
    assert [(e.name, e.revision) for e in watching.result(WAIT_SECONDS)] == [("reset", 7), ("task.created", 7)]


def test_agents_are_read(stage: Stage) -> None:
    asked = stage.call(lambda client: client.agents(pool="p"))
    agent = admin_pb2.Agent(id="a1", status=admin_pb2.AGENT_STATUS_ONLINE, slots=4, free_slots=3)
    request = stage.answer("ListAgents", admin_pb2.ListAgentsResponse(agents=[agent]))

    (shown,) = asked.result(WAIT_SECONDS)
    assert (shown.id, shown.status, shown.free_slots, request.pool) == ("a1", "online", 3, "p")


def test_a_refusal_is_one_of_our_errors(stage: Stage) -> None:
    asked = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", error=refused(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "there is no task t1"))

    with pytest.raises(TaskNotFound, match="there is no task t1"):
        asked.result(WAIT_SECONDS)


def test_a_refusal_by_a_newer_server_is_still_told_in_words(stage: Stage) -> None:
    asked = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", error=refused(grpc.StatusCode.ABORTED, "SOMETHING_NEW", "not on a Sunday"))

    with pytest.raises(Exception, match="not on a Sunday"):
        asked.result(WAIT_SECONDS)


@pytest.mark.parametrize(
    "code, words",
    [
        (grpc.StatusCode.UNAVAILABLE, "cannot reach the server at server:1"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "the server at server:1 did not answer in time"),
        (grpc.StatusCode.UNIMPLEMENTED, "the server at server:1 does not know this call"),
        (grpc.StatusCode.UNKNOWN, r"the server at server:1 failed to answer \(UNKNOWN\)"),
    ],
)
def test_without_a_word_of_the_server_it_is_the_way_that_failed(
    stage: Stage, code: grpc.StatusCode, words: str
) -> None:
    asked = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", error=(code, (), "details"))

    with pytest.raises(Exception, match=words):
        asked.result(WAIT_SECONDS)


# --- what is tried again --------------------------------------------------------------------------------------------


def test_a_server_that_never_answered_is_not_waited_for(stage: Stage) -> None:
    asked = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", error=(grpc.StatusCode.UNAVAILABLE, (), "refused"))

    with pytest.raises(LinkLost):
        asked.result(WAIT_SECONDS)


@pytest.mark.parametrize(
    "error",
    [
        (grpc.StatusCode.UNAVAILABLE, (), "gone"),
        refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "the database is busy", error_details_pb2.RetryInfo()),
        refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "too many calls"),
    ],
    ids=["link", "store", "overloaded"],
)
def test_what_may_pass_is_tried_again(stage: Stage, error: tuple[Any, Any, str]) -> None:
    meet(stage)
    asked = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", error=error)
    stage.answer("GetTask", error=error)
    stage.answer("GetTask", task_pb2.GetTaskResponse(task=a_task()))

    assert asked.result(WAIT_SECONDS).id == "t1"


def test_what_is_not_safe_is_not_tried_again(stage: Stage) -> None:
    meet(stage)
    asked = stage.call(lambda client: client.cancel("t1"))
    stage.answer("CancelTask", error=(grpc.StatusCode.UNAVAILABLE, (), "gone"))

    with pytest.raises(LinkLost):
        asked.result(WAIT_SECONDS)


def test_a_batch_and_a_retry_are_tried_again_under_the_same_keys(stage: Stage) -> None:
    meet(stage)
    batch = stage.call(lambda client: client.submit_many([new_task("echo"), new_task("echo", idempotency_key="mine")]))
    lost = (grpc.StatusCode.UNAVAILABLE, (), "gone")
    first = stage.answer("BatchSubmitTasks", error=lost)
    outcomes = [task_pb2.SubmitOutcome(task_id="t1"), task_pb2.SubmitOutcome(task_id="t2", replayed=True)]
    again = stage.answer("BatchSubmitTasks", task_pb2.BatchSubmitTasksResponse(outcomes=outcomes))
    retried = stage.call(lambda client: client.retry("t1"))
    key = stage.answer("RetryTask", error=lost).idempotency_key
    same = stage.answer("RetryTask", task_pb2.RetryTaskResponse(task=a_task(task_id="t3")))

    assert first == again
    assert (len({one.idempotency_key for one in first.requests}), first.requests[1].idempotency_key) == (2, "mine")
    assert [outcome.replayed for outcome in batch.result(WAIT_SECONDS)] == [False, True]
    assert (retried.result(WAIT_SECONDS).id, same.idempotency_key) == ("t3", key)


def test_a_failure_names_the_call_as_the_server_has_noted_it(stage: Stage) -> None:
    asked = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", error=refused(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "there is no task t1"))

    with pytest.raises(TaskNotFound) as failed:
        asked.result(WAIT_SECONDS)
    assert failed.value.request_id == "r-7"


def test_a_stream_that_breaks_goes_on_where_it_was(stage: Stage) -> None:
    parts: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read(client: Client) -> None:
        for part in client.stream_logs("t1", tail=9):
            parts.put(part.data)

    reading = stage.call(read)
    request, rpc = stage.opened("ReadTaskLogs")
    asked = [(request.offset, request.tail)]
    rpc.send_response(task_pb2.ReadTaskLogsResponse(parts=[out(b"one ")], next_offset=14))
    first = parts.get(timeout=WAIT_SECONDS)
    rpc.terminate((), grpc.StatusCode.UNAVAILABLE, "")
    request, rpc = stage.opened("ReadTaskLogs")
    asked.append((request.offset, request.tail))
    rpc.send_response(task_pb2.ReadTaskLogsResponse(parts=[out(b"two")], next_offset=17, complete=True))
    reading.result(WAIT_SECONDS)

    assert first + parts.get_nowait() == b"one two"
    assert asked == [(0, 9), (14, 0)]


# --- submissions on a stream ----------------------------------------------------------------------------------------


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


# --- waiting for many -----------------------------------------------------------------------------------------------


def test_all_are_waited_for_a_thousand_at_a_time_and_told_in_order(stage: Stage) -> None:
    ids = [f"t{number}" for number in range(1_001)]
    waiting = stage.call(lambda client: client.wait_all([*ids, "t0"]))
    first = stage.answer("WaitTasks", task_pb2.WaitTasksResponse(results=[a_result(one) for one in ids[999::-1]]))
    second = stage.answer("WaitTasks", task_pb2.WaitTasksResponse(results=[a_result("t1000")]))

    assert (len(first.task_ids), first.all, list(second.task_ids)) == (1_000, True, ["t1000"])
    assert [result.task_id for result in waiting.result(WAIT_SECONDS)] == ids


def test_whoever_waits_for_any_gets_those_that_have_ended(stage: Stage) -> None:
    waiting = stage.call(lambda client: client.wait_any(["t1", "t2", "t3"], timeout=5))
    request = stage.answer("WaitTasks", task_pb2.WaitTasksResponse(results=[a_result("t2")]))

    assert (list(request.task_ids), request.all, request.timeout.seconds) == (["t1", "t2", "t3"], False, 5)
    assert [result.task_id for result in waiting.result(WAIT_SECONDS)] == ["t2"]


def test_nothing_to_wait_for_is_not_asked_for(stage: Stage) -> None:
    assert not stage.soon(lambda: stage.client.wait_all([]))


def test_the_first_of_too_many_cannot_be_waited_for(stage: Stage) -> None:
    with pytest.raises(InvalidTask):
        stage.soon(lambda: stage.client.wait_any(f"t{number}" for number in range(1_001)))


@pytest.mark.parametrize("ordered, expected", [(True, [0, 1, 2]), (False, [1, 0, 2])])
def test_a_map_keeps_its_window(stage: Stage, ordered: bool, expected: list[int]) -> None:
    taken: list[int] = []

    def inputs() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    mapped = stage.call(lambda client: [r.value for r in client.map("echo", inputs(), ordered=ordered, window=2)])
    stream = stage.submissions(credit=10)
    accept(stream, 2)
    assert taken == [0, 1]
    stage.answer("WaitTasks", task_pb2.WaitTasksResponse(results=[a_result("t1", b"1")]))
    if ordered:
        assert list(stage.answer("WaitTasks", results("t0")).task_ids) == ["t0"]
        accept(stream, 1, after=2)
    else:
        accept(stream, 1, after=2)
        assert list(stage.answer("WaitTasks", results("t0")).task_ids) == ["t0", "t2"]
    stage.answer("WaitTasks", results("t2"))

    assert mapped.result(WAIT_SECONDS) == expected


def accept(stream: Submissions, count: int, *, after: int = 0) -> None:
    """Accept so many submissions, in as many frames as they come in."""
    while count:
        frame = stream.frame()
        stream.answer(after, *(f"t{after + number}" for number in range(len(frame.requests))), credit=100)
        after += len(frame.requests)
        count -= len(frame.requests)


def results(task_id: str) -> task_pb2.WaitTasksResponse:
    return task_pb2.WaitTasksResponse(results=[a_result(task_id, task_id[1:].encode())])


def a_result(task_id: str, output: bytes = b"") -> task_pb2.TaskResult:
    return task_pb2.TaskResult(task_id=task_id, status=task_pb2.TASK_STATUS_COMPLETED, output=output)


def out(text: bytes) -> task_pb2.LogPart:
    return task_pb2.LogPart(stream=task_pb2.LOG_STREAM_STDOUT, data=text)


def meet(stage: Stage) -> None:
    """Let the server answer once: one that never has is not waited for."""
    met = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", task_pb2.GetTaskResponse(task=a_task()))
    met.result(WAIT_SECONDS)
