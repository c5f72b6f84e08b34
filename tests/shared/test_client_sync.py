"""The synchronous client against a channel that the test plays: no server, no network, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
import grpc_testing
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from nodelink.client import Client, new_task
from nodelink.errors import Overloaded, TaskNotFound
from nodelink.task import LogStream, TaskStatus
from nodelink.v1 import admin_pb2, task_pb2

TASKS = task_pb2.DESCRIPTOR.services_by_name["TaskService"]
AGENTS = admin_pb2.DESCRIPTOR.services_by_name["AgentAdminService"]
WAIT_SECONDS = 30.0

_Result = TypeVar("_Result")


class Stage:
    """A client whose calls the test answers. The client works in a thread of its own."""

    def __init__(self, channel: Any, pool: ThreadPoolExecutor) -> None:
        self.client = Client("server:1", channel=channel)
        self._channel = channel
        self._pool = pool

    def call(self, work: Callable[[Client], _Result]) -> Future[_Result]:
        """Let the client do something."""
        return self._pool.submit(work, self.client)

    def answer(self, method: str, response: Any = None, *, error: tuple[Any, Any, str] | None = None) -> Any:
        """Answer the next call of a method. Returns its request."""
        service = AGENTS if method in AGENTS.methods_by_name else TASKS
        _, request, rpc = self._channel.take_unary_unary(service.methods_by_name[method])
        rpc.send_initial_metadata(())
        code, trailing, words = error or (grpc.StatusCode.OK, (), "")
        rpc.terminate(response, trailing, code, words)
        return request

    def stream(self, method: str, *responses: Any) -> Any:
        """Answer the next call of a method with a stream. Returns its request."""
        _, request, rpc = self._channel.take_unary_stream(TASKS.methods_by_name[method])
        rpc.send_initial_metadata(())
        for response in responses:
            rpc.send_response(response)
        rpc.terminate((), grpc.StatusCode.OK, "")
        return request


@pytest.fixture
def stage() -> Iterator[Stage]:
    testing: Any = grpc_testing  # it has no types
    channel = testing.channel([TASKS, AGENTS], testing.strict_fake_time(0.0))
    with ThreadPoolExecutor(1) as pool:
        yield Stage(channel, pool)


def a_task(status: task_pb2.TaskStatus = task_pb2.TASK_STATUS_PENDING, task_id: str = "t1") -> task_pb2.Task:
    return task_pb2.Task(id=task_id, status=status, spec=task_pb2.TaskSpec(type="echo", payload=b"null"))


def refused(code: grpc.StatusCode, reason: str, words: str, *details: Any) -> tuple[Any, Any, str]:
    number: Any = code.value[0]
    status = status_pb2.Status(code=number, message=words)
    for one in (error_details_pb2.ErrorInfo(reason=reason, domain="nodelink"), *details):
        packed = AnyMessage()
        packed.Pack(one)
        status.details.append(packed)
    return code, (("grpc-status-details-bin", status.SerializeToString()),), words


def test_a_submission_carries_what_was_asked(stage: Stage) -> None:
    asked = stage.call(lambda client: client.submit(new_task("echo", [1], delay="2s", idempotency_key="k")))
    request = stage.answer("SubmitTask", task_pb2.SubmitTaskResponse(task=a_task()))

    assert asked.result(WAIT_SECONDS).status is TaskStatus.PENDING
    assert (request.spec.type, request.spec.payload, request.idempotency_key) == ("echo", b"[1]", "k")
    assert (request.spec.delay.seconds, request.HasField("wait")) == (2, False)


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
    reading = stage.call(lambda client: list(client.follow("t1", stream=LogStream.STDERR)))
    part = task_pb2.LogPart(stream=task_pb2.LOG_STREAM_STDERR, data=b"x")
    request = stage.stream("ReadTaskLogs", task_pb2.ReadTaskLogsResponse(parts=[part], next_offset=1, complete=True))
    watching = stage.call(lambda client: list(client.watch(after=5)))
    event = task_pb2.TaskEvent(revision=7, name="task.created", data=b'{"a":1}')
    stage.stream("WatchTasks", task_pb2.WatchTasksResponse(events=[event], bookmark=7, reset=True))

    (page,) = reading.result(WAIT_SECONDS)
    assert (page.parts[0].data, page.complete, request.follow) == (b"x", True, True)
    assert [(e.name, e.revision) for e in watching.result(WAIT_SECONDS)] == [("reset", 7), ("task.created", 7)]


def test_agents_are_read(stage: Stage) -> None:
    asked = stage.call(lambda client: client.agents(pool="p"))
    agent = admin_pb2.Agent(id="a1", status=admin_pb2.AGENT_STATUS_ONLINE, slots=4, current_tasks=["t1"])
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
