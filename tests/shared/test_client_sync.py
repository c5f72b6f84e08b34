"""The calls of the synchronous client against a channel that the test plays, and which of them are tried again."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from itertools import islice
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from nodelink.client import Client, new_task
from nodelink.errors import (
    LinkLost,
    Overloaded,
    TaskNotFound,
    TooLarge,
)
from nodelink.task import LogStream
from nodelink.v1 import admin_pb2, task_pb2
from tests.support.client_stage import WAIT_SECONDS, Stage, a_task, meet, out, playing, refused


@pytest.fixture
def stage() -> Iterator[Stage]:
    with playing() as stage:
        yield stage


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
