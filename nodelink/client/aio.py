"""The asynchronous client. It has the names of the synchronous one, and waits with `await`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from itertools import islice
from typing import Any, Self, Unpack

import grpc

from nodelink.client.aio_calls import Calls
from nodelink.client.aio_sender import Sender
from nodelink.client.asking import Duration, SubmitOptions, TaskOptions, new_task, submission_of
from nodelink.client.awaited import Awaited
from nodelink.client.channel import CALL_SECONDS, MOST_UNANSWERED_AIO, OPTIONS, PATIENCE_SECONDS
from nodelink.client.figures import SchedulerStatus, Stats
from nodelink.client.lines import Lines
from nodelink.client.nouns import (
    Agent,
    AgentSession,
    Event,
    LogPage,
    LogPart,
    SubmitOutcome,
    Task,
    TaskFilter,
    TaskResult,
)
from nodelink.client.outgoing import Promise
from nodelink.client.patience import Heard
from nodelink.client.reading import (
    AGENT_STATUSES,
    agent_of,
    events_of,
    log_page_of,
    outcome_of,
    result_of,
    session_of,
    task_of,
)
from nodelink.client.reading_figures import scheduler_status_of, stats_of
from nodelink.client.requests import (
    batch_requests,
    cancel_request,
    clean_up_request,
    list_request,
    logs_request,
    logs_went_on,
    stats_request,
    wait_request,
    watch_went_on,
)
from nodelink.client.window import DEFAULT_WINDOW, Window
from nodelink.errors import TaskNotFinished
from nodelink.server_address import find_server
from nodelink.task import LogStream, Submission
from nodelink.v1 import admin_pb2, admin_pb2_grpc, task_pb2, task_pb2_grpc


class AsyncClient:
    """Talks to one server over one connection. Made in a running loop; used as a context, or closed at the end.

    Without a server: NODELINK_SERVER, then `./.nodelink/addresses.json`, then 127.0.0.1:50051. `timeout`: seconds for
    a call that is answered at once, further tries included. `patience`: seconds that the server may be away before a
    call that goes on for long, or a submission, fails; one that has never answered is not waited for.

    Every call may raise a `NodelinkError`: `LinkLost` if the server cannot be reached, else what the server says.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        timeout: float = CALL_SECONDS,
        patience: float = PATIENCE_SECONDS,
        most_unacknowledged: int = MOST_UNANSWERED_AIO,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        """A channel that is given is used instead of an own one, and closed with the client."""
        self.server = server or find_server()
        channel = channel or grpc.aio.insecure_channel(self.server, options=OPTIONS)
        self._tasks = task_pb2_grpc.TaskServiceStub(channel)
        self._agents = admin_pb2_grpc.AgentAdminServiceStub(channel)
        self._scheduler = admin_pb2_grpc.SchedulerServiceStub(channel)
        self._stats = admin_pb2_grpc.StatsServiceStub(channel)
        self._calls = Calls(self.server, channel, timeout=timeout, patience=patience)
        self._sender = Sender(lambda: self._tasks.StreamSubmitTasks(None), self._calls, most=most_unacknowledged)

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Flush and close. A refusal is raised unless something else is under way; being cancelled is not held up."""
        try:
            if kind is None:
                await self.flush()
            elif issubclass(kind, Exception | SystemExit):
                await self._sender.flush()
        finally:
            await self.close()

    def __repr__(self) -> str:
        """Which server, and whether it is closed."""
        return f"<AsyncClient of {self.server}{', closed' if self._calls.is_closed else ''}>"

    async def close(self) -> None:
        """End the connection and what is under way on it, at once: what `flush` would wait for is not waited for."""
        await self._sender.close()
        await self._calls.close()

    # --- submit -----------------------------------------------------------------------------------------------------

    def submit(self, task: Submission | str, payload: object = None, **options: Unpack[SubmitOptions]) -> TaskHandle:
        """Hand in a task, and go on at once: `submit("echo", {"any": "json"}, priority="HIGH", timeout="30s")`.

        The handle is a promise: the task is durable when the handle has been awaited, or after `flush`, or when the
        client's context is left without an error. Handles that gather ride together, so a loop is as fast as
        `submit_many`. Raises `InvalidTask` for what cannot be sent, and `Overloaded` while 100,000 are
        unacknowledged; what the server refuses is raised by the handle.
        """
        return TaskHandle(self, self._sender, self._sender.submit(submission_of(task, payload, options)))

    async def run(
        self,
        task: Submission | str,
        payload: object = None,
        *,
        wait: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskResult:
        """Hand in a task and wait for its end, or for so many seconds: then `TaskNotFinished`."""
        return await self.submit(task, payload, **options).result(wait)

    async def submit_many(self, submissions: Iterable[Submission]) -> Sequence[SubmitOutcome]:
        """Hand in any number of tasks, durable on return. An outcome for each, in order, refusals among them."""
        outcomes: list[SubmitOutcome] = []
        for request in batch_requests(submissions, self._sender.new_key):
            response = await self._calls.call(self._tasks.BatchSubmitTasks, request)
            outcomes += map(outcome_of, response.outcomes)
        return outcomes

    async def map(
        self,
        type: str,
        payloads: Iterable[object],
        *,
        ordered: bool = True,
        window: int = DEFAULT_WINDOW,
        **options: Unpack[TaskOptions],
    ) -> AsyncGenerator[TaskResult, None]:
        """The result of a task for each payload, in their order, or as they end. At most `window` are open at a time.

        A task that fails has a result like any other; one that is refused raises. What is open when the caller stops
        reading goes on by itself.
        """
        places = Window(window, ordered=ordered)
        rest = iter(payloads)
        fresh: list[TaskHandle] = []
        while True:
            fresh += self._fill(places, type, rest, options)
            places.place([(await handle).id for handle in fresh])
            fresh.clear()
            if not (waiting := places.waiting):
                return
            for result in places.take(await self.wait_any(waiting)):
                yield result
                fresh += self._fill(places, type, rest, options)

    def _fill(
        self, places: Window, type: str, payloads: Iterable[object], options: TaskOptions
    ) -> Sequence[TaskHandle]:
        handles = [self.submit(new_task(type, payload, **options)) for payload in islice(payloads, places.room)]
        places.room -= len(handles)
        return handles

    async def flush(self) -> None:
        """Wait until everything that was submitted so far is durable. Raises the first refusal nobody has looked at."""
        await self._sender.flush()
        refusal = self._sender.unseen()
        if refusal is not None:
            raise refusal

    # --- look -------------------------------------------------------------------------------------------------------

    async def get(self, task_id: str) -> Task:
        """One task as it stands."""
        return task_of((await self._calls.call(self._tasks.GetTask, task_pb2.GetTaskRequest(task_id=task_id))).task)

    async def list(self, wanted: TaskFilter | None = None, *, limit: int = 50) -> Sequence[Task]:
        """The newest tasks that match, newest first."""
        return [task async for task in self.iterate(wanted, limit=limit)]

    async def iterate(
        self, wanted: TaskFilter | None = None, *, limit: int | None = None
    ) -> AsyncGenerator[Task, None]:
        """All tasks that match, newest first, read page by page as they are taken."""
        token, left = "", limit
        while left is None or left > 0:
            request = list_request(wanted or TaskFilter(), left=left, page_token=token)
            page = await self._calls.call(self._tasks.ListTasks, request)
            for pb in page.tasks:
                yield task_of(pb)
            left = None if left is None else left - len(page.tasks)
            token = page.next_page_token
            if not token:
                return

    async def result(self, task_id: str) -> TaskResult:
        """How a task ended. Raises `TaskNotFinished`."""
        request = task_pb2.GetTaskResultRequest(task_id=task_id)
        return result_of((await self._calls.call(self._tasks.GetTaskResult, request)).result)

    # --- wait -------------------------------------------------------------------------------------------------------

    async def wait(self, task_id: str, *, timeout: float | None = None) -> Task:
        """The task when it has ended, or as it stands after so many seconds."""
        found: list[Task] = []

        def heard(response: task_pb2.WaitTaskResponse) -> Heard:
            found.append(task_of(response.task))
            return Heard.ALL if found[-1].is_terminal else Heard.NOTHING

        await self._calls.poll(
            self._tasks.WaitTask, lambda ms: wait_request(task_id, timeout_ms=ms), heard, timeout=timeout
        )
        return found[-1]

    async def wait_any(
        self, tasks: Iterable[str | TaskHandle], *, timeout: float | None = None
    ) -> Sequence[TaskResult]:
        """The results of those of at most 1,000 tasks that have ended, as soon as one has. Empty: the time was up."""
        return await self._wait_for(Awaited([await _id_of(task) for task in tasks], all=False), timeout)

    async def wait_all(
        self, tasks: Iterable[str | TaskHandle], *, timeout: float | None = None
    ) -> Sequence[TaskResult]:
        """The results of all the tasks, in their order; or of those that have ended after so many seconds."""
        return await self._wait_for(Awaited([await _id_of(task) for task in tasks], all=True), timeout)

    async def _wait_for(self, awaited: Awaited, timeout: float | None) -> Sequence[TaskResult]:
        if awaited:
            await self._calls.poll(self._tasks.WaitTasks, awaited.request, awaited.take, timeout=timeout)
        return awaited.ended

    # --- output and events ------------------------------------------------------------------------------------------

    async def logs(
        self,
        task_id: str,
        *,
        stream: LogStream | str | None = None,
        attempt: int = 0,
        offset: int = 0,
        limit: int = 0,
        tail: int = 0,
    ) -> AsyncGenerator[LogPart, None]:
        """What a task has printed so far. `attempt` 0: the current one; `limit` 0: all; `tail`: only the last bytes.

        Its last output may come a moment after its result; `stream_logs` waits for it.
        """
        request = logs_request(task_id, stream=stream, attempt=attempt, offset=offset, limit=limit, tail=tail)
        async with aclosing(self._calls.stream(self._tasks.ReadTaskLogs, request)) as responses:
            async for response in responses:
                for part in log_page_of(response).parts:
                    yield part

    async def stream_logs(
        self,
        task_id: str,
        *,
        stream: LogStream | str | None = None,
        attempt: int = 0,
        offset: int = 0,
        tail: int = 0,
    ) -> AsyncGenerator[LogPart, None]:
        """What a task prints, as it comes, to the end. Every byte comes once, also over a restart of the server."""
        pages = self.log_pages(task_id, stream=stream, attempt=attempt, offset=offset, tail=tail)
        async with aclosing(pages):
            async for page in pages:
                for part in page.parts:
                    yield part

    async def stream_lines(self, task_id: str, *, stream: LogStream | str | None = None) -> AsyncGenerator[str, None]:
        """The same as lines of text, without their ends."""
        lines = Lines()
        async with aclosing(self.stream_logs(task_id, stream=stream)) as parts:
            async for part in parts:
                for line in lines.take([part]):
                    yield line
        for line in lines.end():
            yield line

    async def log_pages(
        self,
        task_id: str,
        *,
        stream: LogStream | str | None = None,
        attempt: int = 0,
        offset: int = 0,
        tail: int = 0,
    ) -> AsyncGenerator[LogPage, None]:
        """As `stream_logs`, in pages that tell the offset to go on from, and whether the output is complete."""
        request = logs_request(task_id, stream=stream, attempt=attempt, offset=offset, tail=tail, follow=True)
        async with aclosing(self._calls.resumed(self._tasks.ReadTaskLogs, request, logs_went_on)) as responses:
            async for response in responses:
                yield log_page_of(response)

    async def watch(
        self,
        *,
        task_id: str = "",
        agent_id: str = "",
        pool: str = "",
        type: str = "",
        names: Iterable[str] = (),
        after: int = 0,
    ) -> AsyncGenerator[Event, None]:
        """Events as they happen, none missed and none twice, for ever. `after`: the revision to go on from.

        Without it: from now, or, for one task, from its first event. An event named `reset` says that some are lost.
        """
        request = task_pb2.WatchTasksRequest(
            task_id=task_id, agent_id=agent_id, pool=pool, type=type, names=names, after_revision=after
        )
        async with aclosing(self._calls.resumed(self._tasks.WatchTasks, request, watch_went_on)) as frames:
            async for frame in frames:
                for event in events_of(frame):
                    yield event

    # --- steer ------------------------------------------------------------------------------------------------------

    async def cancel(self, task_id: str, *, reason: str = "", grace: Duration | None = None) -> Task:
        """Ask for a task to be stopped. If it has begun, it is cancelled only when its agent confirms it."""
        request = cancel_request(task_id, reason=reason, grace=grace)
        return task_of((await self._calls.call(self._tasks.CancelTask, request, safe=False)).task)

    async def retry(self, task_id: str, *, idempotency_key: str | None = None) -> Task:
        """Run a finished task again, as a new one, which is returned. Raises `TaskNotFinished`."""
        request = task_pb2.RetryTaskRequest(task_id=task_id, idempotency_key=idempotency_key or self._sender.new_key())
        return task_of((await self._calls.call(self._tasks.RetryTask, request)).task)

    async def clean_up(self, older_than: Duration) -> int:
        """Remove the tasks that ended longer ago than that, with their output. Returns how many."""
        request = clean_up_request(older_than)
        return (await self._calls.call(self._tasks.CleanUpTasks, request, safe=False)).removed

    # --- agents and figures -----------------------------------------------------------------------------------------

    async def agents(
        self, *, status: str = "", pool: str = "", labels: Mapping[str, str] | None = None
    ) -> Sequence[Agent]:
        """The agents that the server knows and that match, by name."""
        wanted = AGENT_STATUSES[status] if status else admin_pb2.AGENT_STATUS_UNSPECIFIED
        request = admin_pb2.ListAgentsRequest(status=wanted, pool=pool, labels=labels)
        return [agent_of(pb) for pb in (await self._calls.call(self._agents.ListAgents, request)).agents]

    async def agent(self, agent_id: str) -> Agent:
        """One agent. Raises `AgentNotFound`."""
        request = admin_pb2.GetAgentRequest(agent_id=agent_id)
        return agent_of((await self._calls.call(self._agents.GetAgent, request)).agent)

    async def agent_sessions(self, agent_id: str) -> AsyncGenerator[AgentSession, None]:
        """The connections of an agent, newest first, read page by page as they are taken."""
        token = ""
        while True:
            request = admin_pb2.ListAgentSessionsRequest(agent_id=agent_id, page_token=token)
            page = await self._calls.call(self._agents.ListAgentSessions, request)
            for pb in page.sessions:
                yield session_of(pb)
            token = page.next_page_token
            if not token:
                return

    async def scheduler_status(self) -> SchedulerStatus:
        """What waits and what runs, now."""
        request = admin_pb2.GetSchedulerStatusRequest()
        return scheduler_status_of(await self._calls.call(self._scheduler.GetSchedulerStatus, request))

    async def stats(
        self,
        *,
        by: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        step: Duration | None = None,
    ) -> Stats:
        """What was done in the last hour, or from `since` to `until`. `by`: agent, pool or type.

        `step`: the length of a bucket.
        """
        request = stats_request(by=by, since=since, until=until, step=step)
        return stats_of(await self._calls.call(self._stats.GetStats, request))


class TaskHandle:
    """A task that was submitted: a promise, until it has been awaited. `await handle` gives the handle, durable."""

    __slots__ = ("_client", "_promise", "_sender")

    def __init__(self, client: AsyncClient, sender: Sender, promise: Promise) -> None:
        self._client = client
        self._sender = sender
        self._promise = promise

    def __repr__(self) -> str:
        """The task's id, or how its submission stands."""
        return f"<TaskHandle {self._promise!r}>"

    def __await__(self) -> Generator[Any, None, TaskHandle]:
        """Wait until the server has made the task durable. Raises the refusal. May be awaited again, by many."""
        return self._durable().__await__()

    @property
    def id(self) -> str:
        """The task's id. Raises the refusal; and InvalidStateError as long as nobody knows: await the handle first."""
        outcome = self._promise.seen()
        if outcome is None:
            raise asyncio.InvalidStateError(f"the task has no id yet: await the handle first ({self!r})")
        return outcome.task_id

    def accepted(self) -> bool:
        """Whether the task is durable, without waiting. Raises the refusal."""
        return self._promise.seen() is not None

    async def get(self) -> Task:
        """The task as it stands."""
        return await self._client.get((await self).id)

    async def wait(self, timeout: float | None = None) -> Task:
        """The task when it has ended, or as it stands after so many seconds. TimeoutError: it is not durable yet."""
        left = await self._accepted_within(timeout)
        return await self._client.wait(self.id, timeout=left)

    async def result(self, timeout: float | None = None) -> TaskResult:
        """How it ended, when it has. Raises `TaskNotFinished` after so many seconds; TimeoutError: not durable yet."""
        left = await self._accepted_within(timeout)
        results = await self._client.wait_all([self.id], timeout=left)
        if not results:
            raise TaskNotFinished(f"{self.id} has not finished within {timeout:g} s")
        return results[0]

    async def cancel(self, *, reason: str = "", grace: Duration | None = None) -> Task:
        """Ask for it to be stopped. If it has begun, it is cancelled only when its agent confirms it."""
        return await self._client.cancel((await self).id, reason=reason, grace=grace)

    async def logs(self, *, stream: LogStream | str | None = None) -> AsyncGenerator[LogPart, None]:
        """What it has printed so far."""
        async with aclosing(self._client.logs((await self).id, stream=stream)) as parts:
            async for part in parts:
                yield part

    async def stream_logs(self, *, stream: LogStream | str | None = None) -> AsyncGenerator[LogPart, None]:
        """What it prints, as it comes, to the end."""
        async with aclosing(self._client.stream_logs((await self).id, stream=stream)) as parts:
            async for part in parts:
                yield part

    async def stream_lines(self, *, stream: LogStream | str | None = None) -> AsyncGenerator[str, None]:
        """The same as lines of text."""
        async with aclosing(self._client.stream_lines((await self).id, stream=stream)) as lines:
            async for line in lines:
                yield line

    async def _durable(self) -> TaskHandle:
        await self._sender.settled(self._promise)
        self._promise.seen()
        return self

    async def _accepted_within(self, timeout: float | None) -> float | None:
        """Wait until it is durable. Returns how much of the time is left."""
        began = time.monotonic()
        async with asyncio.timeout(timeout):
            await self
        return None if timeout is None else max(0.0, timeout - (time.monotonic() - began))


async def _id_of(task: str | TaskHandle) -> str:
    return task if isinstance(task, str) else (await task).id
