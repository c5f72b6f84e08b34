"""The asynchronous client. Calls that go on for long outlive a server that is away for a while."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
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
    PATIENCE_SECONDS,
)
from nodelink.client.failures import error_of
from nodelink.client.nouns import Agent, Event, LogPage, SubmitOutcome, Task, TaskFilter, TaskResult
from nodelink.client.patience import FIRST_DELAY_SECONDS, Patience
from nodelink.client.reading import AGENT_STATUSES, agent_of, events_of, log_page_of, outcomes_of, result_of, task_of
from nodelink.errors import LinkLost, NodelinkError
from nodelink.task import LogStream, Submission
from nodelink.v1 import admin_pb2, admin_pb2_grpc, task_pb2, task_pb2_grpc

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class AsyncClient:
    """Talks to one server over one connection. Made in a running loop; used as a context, or closed at the end.

    Every call may raise a `NodelinkError`: `LinkLost` if the server cannot be reached, else what the server says.
    """

    def __init__(
        self, server: str = DEFAULT_SERVER, *, timeout: float = CALL_SECONDS, patience: float = PATIENCE_SECONDS
    ) -> None:
        self.server = server
        self._timeout = timeout
        self._patience_seconds = patience
        self._channel = grpc.aio.insecure_channel(server, options=OPTIONS)
        self._tasks = task_pb2_grpc.TaskServiceStub(self._channel)
        self._agents = admin_pb2_grpc.AgentAdminServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """End the connection, and whatever is under way on it."""
        await self._channel.close(None)

    # --- submit -----------------------------------------------------------------------------------------------------

    async def submit(self, submission: Submission, *, wait: float | None = None) -> Task:
        """Hand in a task: it is durable when this returns. With `wait`, return at its end, or after so many seconds."""
        wait_ms = None if wait is None else round(wait * 1000)
        request = submit_request(submission, wait_ms=wait_ms)
        response = await self._call(self._tasks.SubmitTask, request, seconds=self._timeout + (wait or 0.0))
        return task_of(response.task)

    async def submit_many(self, submissions: Iterable[Submission]) -> Sequence[SubmitOutcome]:
        """Hand in any number of tasks. An outcome for each, in order; a refused one does not hold up the others."""
        outcomes: list[SubmitOutcome] = []
        for request in batch_requests(submissions):
            outcomes += outcomes_of(await self._call(self._tasks.BatchSubmitTasks, request))
        return outcomes

    # --- look -------------------------------------------------------------------------------------------------------

    async def get(self, task_id: str) -> Task:
        """One task as it stands."""
        response = await self._call(self._tasks.GetTask, task_pb2.GetTaskRequest(task_id=task_id))
        return task_of(response.task)

    async def list(self, wanted: TaskFilter | None = None, *, limit: int = 50) -> Sequence[Task]:
        """The newest tasks that match, newest first."""
        tasks: list[Task] = []
        token = ""
        while len(tasks) < limit:
            request = list_request(wanted or TaskFilter(), page_size=limit - len(tasks), page_token=token)
            page = await self._call(self._tasks.ListTasks, request)
            tasks += map(task_of, page.tasks)
            token = page.next_page_token
            if not token:
                break
        return tasks

    async def result(self, task_id: str) -> TaskResult:
        """How a task ended. Raises `TaskNotFinished`."""
        response = await self._call(self._tasks.GetTaskResult, task_pb2.GetTaskResultRequest(task_id=task_id))
        return result_of(response.result)

    async def wait(self, task_id: str, *, timeout: float | None = None) -> Task:
        """The task when it has ended, or as it stands after so many seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        patience = self._new_patience()
        while True:
            left = LONG_POLL_SECONDS if until is None else min(LONG_POLL_SECONDS, max(0.0, until - time.monotonic()))
            request = wait_request(task_id, timeout_ms=round(left * 1000))
            asked_at = time.monotonic()
            try:
                response = await self._call(self._tasks.WaitTask, request, seconds=self._timeout + left)
            except NodelinkError as error:
                await asyncio.sleep(patience.delay_after(error))
                continue
            patience.heard()
            task = task_of(response.task)
            if task.is_terminal or (until is not None and time.monotonic() >= until):
                return task
            if time.monotonic() < asked_at + left - ANSWERED_EARLY_SECONDS:  # a server that is stopping does so
                await asyncio.sleep(FIRST_DELAY_SECONDS)

    async def logs(
        self, task_id: str, *, stream: LogStream | None = None, attempt: int = 0, offset: int = 0, limit: int = 0
    ) -> AsyncGenerator[LogPage, None]:
        """What a task has printed so far, in pages. `limit` 0: all of it; `attempt` 0: the current one."""
        request = logs_request(task_id, stream=stream, attempt=attempt, offset=offset, limit=limit)
        async with aclosing(self._stream(self._tasks.ReadTaskLogs, request)) as responses:
            async for response in responses:
                yield log_page_of(response)

    async def follow(
        self, task_id: str, *, stream: LogStream | None = None, attempt: int = 0, offset: int = 0
    ) -> AsyncGenerator[LogPage, None]:
        """What a task prints, as it comes. Ends when nothing more will come; every byte comes once."""
        patience = self._new_patience()
        while True:
            request = logs_request(task_id, stream=stream, attempt=attempt, offset=offset, follow=True)
            try:
                async with aclosing(self._stream(self._tasks.ReadTaskLogs, request)) as responses:
                    async for response in responses:
                        patience.heard()
                        page = log_page_of(response)
                        offset = page.next_offset
                        yield page
                        if page.complete or not page.parts:  # an empty page: the rest is not to be had
                            return
                raise LinkLost(f"the server at {self.server} ended the output")
            except NodelinkError as error:
                await asyncio.sleep(patience.delay_after(error))

    async def watch(
        self, *, task_id: str = "", agent_id: str = "", pool: str = "", type: str = "", after: int = 0
    ) -> AsyncGenerator[Event, None]:
        """Events as they happen, none missed and none twice, for ever. `after`: the revision to go on from.

        Without it: from now, or, for one task, from its first event. An event named `reset` says that some are lost.
        """
        patience = self._new_patience()
        request = task_pb2.WatchTasksRequest(task_id=task_id, agent_id=agent_id, pool=pool, type=type)
        while True:
            request.after_revision = after
            try:
                async with aclosing(self._stream(self._tasks.WatchTasks, request)) as frames:
                    async for frame in frames:
                        patience.heard()
                        after = frame.bookmark or after
                        for event in events_of(frame):
                            yield event
                raise LinkLost(f"the server at {self.server} ended the watch")
            except NodelinkError as error:
                await asyncio.sleep(patience.delay_after(error))

    # --- steer ------------------------------------------------------------------------------------------------------

    async def cancel(self, task_id: str, *, reason: str = "", grace: str | None = None) -> Task:
        """Ask for a task to be stopped. If it has begun, it is cancelled only when its agent confirms it."""
        request = cancel_request(task_id, reason=reason, grace=grace)
        return task_of((await self._call(self._tasks.CancelTask, request)).task)

    # --- agents -----------------------------------------------------------------------------------------------------

    async def agents(self, *, status: str = "", pool: str = "") -> Sequence[Agent]:
        """The agents that the server knows, by name."""
        wanted = AGENT_STATUSES[status] if status else admin_pb2.AGENT_STATUS_UNSPECIFIED
        request = admin_pb2.ListAgentsRequest(status=wanted, pool=pool)
        return [agent_of(pb) for pb in (await self._call(self._agents.ListAgents, request)).agents]

    async def agent(self, agent_id: str) -> Agent:
        """One agent. Raises `AgentNotFound`."""
        request = admin_pb2.GetAgentRequest(agent_id=agent_id)
        return agent_of((await self._call(self._agents.GetAgent, request)).agent)

    # --- calls ------------------------------------------------------------------------------------------------------

    def _new_patience(self) -> Patience:
        return Patience(self._patience_seconds, monotonic=time.monotonic, random=random.random)

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[_Request, _Response],
        request: _Request,
        *,
        seconds: float | None = None,
    ) -> _Response:
        try:
            return await method(request, timeout=seconds or self._timeout)
        except grpc.RpcError as error:
            raise error_of(error, self.server) from error

    async def _stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[_Request, _Response], request: _Request
    ) -> AsyncGenerator[_Response, None]:
        call: Any = method(request)
        try:
            async for response in call:
                yield cast("_Response", response)
        except grpc.RpcError as error:
            raise error_of(error, self.server) from error
        finally:
            call.cancel()
