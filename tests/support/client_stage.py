"""A synchronous client against a channel that the test plays: no server, no network, no clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
import grpc_testing
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from nodelink.client import Client
from nodelink.v1 import admin_pb2, task_pb2

TASKS = task_pb2.DESCRIPTOR.services_by_name["TaskService"]
SERVICES = [TASKS, *admin_pb2.DESCRIPTOR.services_by_name.values()]
WAIT_SECONDS = 60.0

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


def a_task(status: task_pb2.TaskStatus = task_pb2.TASK_STATUS_PENDING, task_id: str = "t1") -> task_pb2.Task:
    """A task as the server tells of it."""
    return task_pb2.Task(id=task_id, status=status, spec=task_pb2.TaskSpec(type="echo", payload=b"null"))


def refused(code: grpc.StatusCode, reason: str, words: str, *details: Any) -> tuple[Any, Any, str]:
    """A refusal as the server sends it: status code, trailing metadata, words."""
    number: Any = code.value[0]
    status = status_pb2.Status(code=number, message=words)
    about = {"request_id": "r-7"}
    for one in (error_details_pb2.ErrorInfo(reason=reason, domain="nodelink", metadata=about), *details):
        packed = AnyMessage()
        packed.Pack(one)
        status.details.append(packed)
    return code, (("grpc-status-details-bin", status.SerializeToString()),), words


def accept(stream: Submissions, count: int, *, after: int = 0) -> None:
    """Accept so many submissions, in as many frames as they come in."""
    while count:
        frame = stream.frame()
        stream.answer(after, *(f"t{after + number}" for number in range(len(frame.requests))), credit=100)
        after += len(frame.requests)
        count -= len(frame.requests)


def results(task_id: str) -> task_pb2.WaitTasksResponse:
    """What a wait is answered when one task has ended."""
    return task_pb2.WaitTasksResponse(results=[a_result(task_id, task_id[1:].encode())])


def a_result(task_id: str, output: bytes = b"") -> task_pb2.TaskResult:
    """The result of a task that went well."""
    return task_pb2.TaskResult(task_id=task_id, status=task_pb2.TASK_STATUS_COMPLETED, output=output)


def out(text: bytes) -> task_pb2.LogPart:
    """A run of standard output."""
    return task_pb2.LogPart(stream=task_pb2.LOG_STREAM_STDOUT, data=text)


def meet(stage: Stage) -> None:
    """Let the server answer once: one that never has is not waited for."""
    met = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", task_pb2.GetTaskResponse(task=a_task()))
    met.result(WAIT_SECONDS)
