"""The synchronous client, for programs without a loop. Threads may share one."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any, Self, TypeVar, cast

import grpc

from nodelink.client.asking import (
    batch_requests,
    cancel_request,
    list_request,
    logs_request,
    submit_request,
    wait_request,
)
from nodelink.client.channel import (
    ANSWERED_EARLY_SECONDS,
    CALL_SECONDS,
    DEFAULT_SERVER,
    LONG_POLL_SECONDS,
    OPTIONS,
)
from nodelink.client.failures import error_of
from nodelink.client.nouns import Agent, Event, LogPage, SubmitOutcome, Task, TaskFilter, TaskResult
from nodelink.client.patience import FIRST_DELAY_SECONDS
from nodelink.client.reading import AGENT_STATUSES, agent_of, events_of, log_page_of, outcomes_of, result_of, task_of
from nodelink.task import LogStream, Submission
from nodelink.v1 import admin_pb2, admin_pb2_grpc, task_pb2, task_pb2_grpc

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class Client:
    """Talks to one server over one connection. Used as a context, or closed at the end.

    Every call may raise a `NodelinkError`: `LinkLost` if the server cannot be reached, else what the server says.
    """

    def __init__(
        self, server: str = DEFAULT_SERVER, *, timeout: float = CALL_SECONDS, channel: grpc.Channel | None = None
    ) -> None:
        """A channel that is given is used instead of an own one, and closed with the client."""
        self.server = server
        self._timeout = timeout
        self._closed = threading.Event()
        self._channel = channel or grpc.insecure_channel(server, options=OPTIONS)
        self._tasks = task_pb2_grpc.TaskServiceStub(self._channel)
        self._agents = admin_pb2_grpc.AgentAdminServiceStub(self._channel)

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the connection, and whatever is under way on it."""
        self._closed.set()
        self._channel.close()

    # --- submit -----------------------------------------------------------------------------------------------------

    def submit(self, submission: Submission, *, wait: float | None = None) -> Task:
        """Hand in a task: it is durable when this returns. With `wait`, return at its end, or after so many seconds."""
        wait_ms = None if wait is None else round(wait * 1000)
        request = submit_request(submission, wait_ms=wait_ms)
        return task_of(self._call(self._tasks.SubmitTask, request, seconds=self._timeout + (wait or 0.0)).task)

    def submit_many(self, submissions: Iterable[Submission]) -> Sequence[SubmitOutcome]:
        """Hand in any number of tasks. An outcome for each, in order; a refused one does not hold up the others."""
        outcomes: list[SubmitOutcome] = []
        for request in batch_requests(submissions):
            outcomes += outcomes_of(self._call(self._tasks.BatchSubmitTasks, request))
        return outcomes

    # --- look -------------------------------------------------------------------------------------------------------

    def get(self, task_id: str) -> Task:
        """One task as it stands."""
        return task_of(self._call(self._tasks.GetTask, task_pb2.GetTaskRequest(task_id=task_id)).task)

    def list(self, wanted: TaskFilter | None = None, *, limit: int = 50) -> Sequence[Task]:
        """The newest tasks that match, newest first."""
        tasks: list[Task] = []
        token = ""
        while len(tasks) < limit:
            request = list_request(wanted or TaskFilter(), page_size=limit - len(tasks), page_token=token)
            page = self._call(self._tasks.ListTasks, request)
            tasks += map(task_of, page.tasks)
            token = page.next_page_token
            if not token:
                break
        return tasks

    def result(self, task_id: str) -> TaskResult:
        """How a task ended. Raises `TaskNotFinished`."""
        request = task_pb2.GetTaskResultRequest(task_id=task_id)
        return result_of(self._call(self._tasks.GetTaskResult, request).result)

    def wait(self, task_id: str, *, timeout: float | None = None) -> Task:
        """The task when it has ended, or as it stands after so many seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LONG_POLL_SECONDS if until is None else min(LONG_POLL_SECONDS, max(0.0, until - time.monotonic()))
            request = wait_request(task_id, timeout_ms=round(left * 1000))
            asked_at = time.monotonic()
            task = task_of(self._call(self._tasks.WaitTask, request, seconds=self._timeout + left).task)
            if task.is_terminal or (until is not None and time.monotonic() >= until):
                return task
            if time.monotonic() < asked_at + left - ANSWERED_EARLY_SECONDS:  # a server that is stopping does so
                self._closed.wait(FIRST_DELAY_SECONDS)

    def logs(
        self, task_id: str, *, stream: LogStream | None = None, attempt: int = 0, offset: int = 0, limit: int = 0
    ) -> Generator[LogPage, None, None]:
        """What a task has printed so far, in pages. `limit` 0: all of it; `attempt` 0: the current one."""
        request = logs_request(task_id, stream=stream, attempt=attempt, offset=offset, limit=limit)
        yield from map(log_page_of, self._stream(self._tasks.ReadTaskLogs, request))

    def follow(
        self, task_id: str, *, stream: LogStream | None = None, attempt: int = 0, offset: int = 0
    ) -> Generator[LogPage, None, None]:
        """What a task prints, as it comes, until nothing more will come. After `LinkLost`: go on from `next_offset`."""
        request = logs_request(task_id, stream=stream, attempt=attempt, offset=offset, follow=True)
        yield from map(log_page_of, self._stream(self._tasks.ReadTaskLogs, request))

    def watch(
        self, *, task_id: str = "", agent_id: str = "", pool: str = "", type: str = "", after: int = 0
    ) -> Generator[Event, None, None]:
        """Events as they happen, until the server ends the call. After `LinkLost`: go on after the last revision."""
        request = task_pb2.WatchTasksRequest(
            task_id=task_id, agent_id=agent_id, pool=pool, type=type, after_revision=after
        )
        for frame in self._stream(self._tasks.WatchTasks, request):
            yield from events_of(frame)

    # --- steer ------------------------------------------------------------------------------------------------------

    def cancel(self, task_id: str, *, reason: str = "", grace: str | None = None) -> Task:
        """Ask for a task to be stopped. If it has begun, it is cancelled only when its agent confirms it."""
        return task_of(self._call(self._tasks.CancelTask, cancel_request(task_id, reason=reason, grace=grace)).task)

    # --- agents -----------------------------------------------------------------------------------------------------

    def agents(self, *, status: str = "", pool: str = "") -> Sequence[Agent]:
        """The agents that the server knows, by name."""
        wanted = AGENT_STATUSES[status] if status else admin_pb2.AGENT_STATUS_UNSPECIFIED
        request = admin_pb2.ListAgentsRequest(status=wanted, pool=pool)
        return [agent_of(pb) for pb in self._call(self._agents.ListAgents, request).agents]

    def agent(self, agent_id: str) -> Agent:
        """One agent. Raises `AgentNotFound`."""
        return agent_of(self._call(self._agents.GetAgent, admin_pb2.GetAgentRequest(agent_id=agent_id)).agent)

    # --- calls ------------------------------------------------------------------------------------------------------

    def _call(
        self,
        method: grpc.UnaryUnaryMultiCallable[_Request, _Response],
        request: _Request,
        *,
        seconds: float | None = None,
    ) -> _Response:
        try:
            return method(request, timeout=seconds or self._timeout)
        except grpc.RpcError as error:
            raise error_of(error, self.server) from error

    def _stream(
        self, method: grpc.UnaryStreamMultiCallable[_Request, _Response], request: _Request
    ) -> Generator[_Response, None, None]:
        call: Any = method(request)
        try:
            for response in call:
                yield cast("_Response", response)
        except grpc.RpcError as error:
            raise error_of(error, self.server) from error
        finally:
            call.cancel()
