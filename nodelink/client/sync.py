"""The synchronous client, for scripts, programs without a loop, and the Python prompt. Threads may share one."""

from __future__ import annotations

import time
import weakref
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from itertools import islice
from typing import Self, Unpack

import grpc

from nodelink.client.asking import Duration, SubmitOptions, TaskOptions, new_task, submission_of
from nodelink.client.awaited import Awaited
from nodelink.client.channel import CALL_SECONDS, MOST_UNANSWERED, OPTIONS, PATIENCE_SECONDS
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
from nodelink.client.sync_calls import Calls
from nodelink.client.sync_sender import Sender
from nodelink.client.window import DEFAULT_WINDOW, Window
from nodelink.errors import TaskNotFinished
from nodelink.server_address import find_server
from nodelink.task import LogStream, Submission
from nodelink.v1 import admin_pb2, admin_pb2_grpc, task_pb2, task_pb2_grpc


class Client:
    """Talks to one server over one connection. Used as a context, or closed at the end.

    Without a server: NODELINK_SERVER, then `./.nodelink/addresses.json`, then 127.0.0.1:50051. `timeout`: seconds for
    a call that is answered at once, further tries included. `patience`: seconds that the server may be away before a
    call that goes on for long, or a submission, fails; one that has never answered is not waited for.

    Every call may raise a `NodelinkError`: `LinkLost` if the server cannot be reached, else what the server says.
    Make it after a fork, not before: an inherited one raises RuntimeError.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        timeout: float = CALL_SECONDS,
        patience: float = PATIENCE_SECONDS,
        most_unacknowledged: int = MOST_UNANSWERED,
        channel: grpc.Channel | None = None,
    ) -> None:
        """A channel that is given is used instead of an own one, and closed with the client."""
        self.server = server or find_server()
        channel = channel or grpc.insecure_channel(self.server, options=OPTIONS)
        self._tasks = task_pb2_grpc.TaskServiceStub(channel)
        self._agents = admin_pb2_grpc.AgentAdminServiceStub(channel)
        self._scheduler = admin_pb2_grpc.SchedulerServiceStub(channel)
        self._stats = admin_pb2_grpc.StatsServiceStub(channel)
        self._calls = Calls(self.server, channel, timeout=timeout, patience=patience)
        self._sender = Sender(self._tasks.StreamSubmitTasks, self._calls, most=most_unacknowledged)
        self._release = weakref.finalize(self, _release, self._sender, self._calls)  # a forgotten client leaks nothing

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Flush and close. A refusal is raised unless something else is under way; Ctrl-C is not held up."""
        try:
            if kind is None:
                self.flush()
            elif issubclass(kind, Exception | SystemExit):
                self._sender.flush()
        finally:
            self.close()

    def __repr__(self) -> str:
        """Which server, and whether it is closed."""
        return f"<Client of {self.server}{', closed' if self._calls.is_closed else ''}>"

    def close(self) -> None:
        """End the connection and what is under way on it, at once: what `flush` would wait for is not waited for."""
        self._release()

    # --- submit -----------------------------------------------------------------------------------------------------

    def submit(self, task: Submission | str, payload: object = None, **options: Unpack[SubmitOptions]) -> TaskHandle:
        """Hand in a task, and go on at once: `submit("echo", {"any": "json"}, priority="HIGH", timeout="30s")`.

        The handle is a promise: the task is durable when its `id` is there, or after `flush`, or when the client's
        context is left without an error. Handles that gather ride together, so a loop is as fast as `submit_many`.
        Blocks while 10,000 are unacknowledged. Raises `InvalidTask` for what cannot be sent; what the server refuses
        is raised by the handle.
        """
        return TaskHandle(self, self._sender, self._sender.submit(submission_of(task, payload, options)))

    def run(
        self,
        task: Submission | str,
        payload: object = None,
        *,
        wait: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskResult:
        """Hand in a task and wait for its end, or for so many seconds: then `TaskNotFinished`."""
        return self.submit(task, payload, **options).result(wait)

    def submit_many(self, submissions: Iterable[Submission]) -> Sequence[SubmitOutcome]:
        """Hand in any number of tasks, durable on return. An outcome for each, in order, refusals among them."""
        outcomes: list[SubmitOutcome] = []
        for request in batch_requests(submissions, self._sender.new_key):
            outcomes += map(outcome_of, self._calls.call(self._tasks.BatchSubmitTasks, request).outcomes)
        return outcomes

    def map(
        self,
        type: str,
        payloads: Iterable[object],
        *,
        ordered: bool = True,
        window: int = DEFAULT_WINDOW,
        **options: Unpack[TaskOptions],
    ) -> Generator[TaskResult, None, None]:
        """The result of a task for each payload, in their order, or as they end. At most `window` are open at a time.

        A task that fails has a result like any other; one that is refused raises. What is open when the caller stops
        reading goes on by itself.
        """
        places = Window(window, ordered=ordered)
        rest = iter(payloads)
        fresh: list[TaskHandle] = []
        while True:
            fresh += self._fill(places, type, rest, options)
            places.place(handle.id for handle in fresh)
            fresh.clear()
            if not (waiting := places.waiting):
                return
            for result in places.take(self.wait_any(waiting)):
                yield result
                fresh += self._fill(places, type, rest, options)

    def _fill(
        self, places: Window, type: str, payloads: Iterable[object], options: TaskOptions
    ) -> Sequence[TaskHandle]:
        handles = [self.submit(new_task(type, payload, **options)) for payload in islice(payloads, places.room)]
        places.room -= len(handles)
        return handles

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that was submitted so far is durable, or for so many seconds. Returns whether it is.

        Raises the first refusal that nobody has looked at.
        """
        is_done = self._sender.flush(timeout)
        refusal = self._sender.unseen()
        if refusal is not None:
            raise refusal
        return is_done

    # --- look -------------------------------------------------------------------------------------------------------

    def get(self, task_id: str) -> Task:
        """One task as it stands."""
        return task_of(self._calls.call(self._tasks.GetTask, task_pb2.GetTaskRequest(task_id=task_id)).task)

    def list(self, wanted: TaskFilter | None = None, *, limit: int = 50) -> Sequence[Task]:
        """The newest tasks that match, newest first."""
        return tuple(self.iterate(wanted, limit=limit))

    def iterate(self, wanted: TaskFilter | None = None, *, limit: int | None = None) -> Generator[Task, None, None]:
        """All tasks that match, newest first, read page by page as they are taken."""
        token, left = "", limit
        while left is None or left > 0:
            request = list_request(wanted or TaskFilter(), left=left, page_token=token)
            page = self._calls.call(self._tasks.ListTasks, request)
            yield from map(task_of, page.tasks)
            left = None if left is None else left - len(page.tasks)
            token = page.next_page_token
            if not token:
                return

    def result(self, task_id: str) -> TaskResult:
        """How a task ended. Raises `TaskNotFinished`."""
        request = task_pb2.GetTaskResultRequest(task_id=task_id)
        return result_of(self._calls.call(self._tasks.GetTaskResult, request).result)

    # --- wait -------------------------------------------------------------------------------------------------------

    def wait(self, task_id: str, *, timeout: float | None = None) -> Task:
        """The task when it has ended, or as it stands after so many seconds."""
        found: list[Task] = []

        def heard(response: task_pb2.WaitTaskResponse) -> Heard:
            found.append(task_of(response.task))
            return Heard.ALL if found[-1].is_terminal else Heard.NOTHING

        self._calls.poll(self._tasks.WaitTask, lambda ms: wait_request(task_id, timeout_ms=ms), heard, timeout=timeout)
        return found[-1]

    def wait_any(self, tasks: Iterable[str | TaskHandle], *, timeout: float | None = None) -> Sequence[TaskResult]:
        """The results of those of at most 1,000 tasks that have ended, as soon as one has. Empty: the time was up."""
        return self._wait_for(Awaited(map(_id_of, tasks), all=False), timeout)

    def wait_all(self, tasks: Iterable[str | TaskHandle], *, timeout: float | None = None) -> Sequence[TaskResult]:
        """The results of all the tasks, in their order; or of those that have ended after so many seconds."""
        return self._wait_for(Awaited(map(_id_of, tasks), all=True), timeout)

    def _wait_for(self, awaited: Awaited, timeout: float | None) -> Sequence[TaskResult]:
        if awaited:
            self._calls.poll(self._tasks.WaitTasks, awaited.request, awaited.take, timeout=timeout)
        return awaited.ended

    # --- output and events ------------------------------------------------------------------------------------------

    def logs(
        self,
        task_id: str,
        *,
        stream: LogStream | str | None = None,
        attempt: int = 0,
        offset: int = 0,
        limit: int = 0,
        tail: int = 0,
    ) -> Generator[LogPart, None, None]:
        """What a task has printed so far. `attempt` 0: the current one; `limit` 0: all; `tail`: only the last bytes.

        Its last output may come a moment after its result; `stream_logs` waits for it.
        """
        request = logs_request(task_id, stream=stream, attempt=attempt, offset=offset, limit=limit, tail=tail)
        for response in self._calls.stream(self._tasks.ReadTaskLogs, request):
            yield from log_page_of(response).parts

    def stream_logs(
        self,
        task_id: str,
        *,
        stream: LogStream | str | None = None,
        attempt: int = 0,
        offset: int = 0,
        tail: int = 0,
    ) -> Generator[LogPart, None, None]:
        """What a task prints, as it comes, to the end. Every byte comes once, also over a restart of the server."""
        for page in self.log_pages(task_id, stream=stream, attempt=attempt, offset=offset, tail=tail):
            yield from page.parts

    def stream_lines(self, task_id: str, *, stream: LogStream | str | None = None) -> Generator[str, None, None]:
        """The same as lines of text, without their ends."""
        lines = Lines()
        with closing(self.stream_logs(task_id, stream=stream)) as parts:
            for part in parts:
                yield from lines.take([part])
        yield from lines.end()

    def log_pages(
        self,
        task_id: str,
        *,
        stream: LogStream | str | None = None,
        attempt: int = 0,
        offset: int = 0,
        tail: int = 0,
    ) -> Generator[LogPage, None, None]:
        """As `stream_logs`, in pages that tell the offset to go on from, and whether the output is complete."""
        request = logs_request(task_id, stream=stream, attempt=attempt, offset=offset, tail=tail, follow=True)
        yield from map(log_page_of, self._calls.resumed(self._tasks.ReadTaskLogs, request, logs_went_on))

    def watch(
        self,
        *,
        task_id: str = "",
        agent_id: str = "",
        pool: str = "",
        type: str = "",
        names: Iterable[str] = (),
        after: int = 0,
    ) -> Generator[Event, None, None]:
        """Events as they happen, none missed and none twice, for ever. `after`: the revision to go on from.

        Without it: from now, or, for one task, from its first event. An event named `reset` says that some are lost.
        """
        request = task_pb2.WatchTasksRequest(
            task_id=task_id, agent_id=agent_id, pool=pool, type=type, names=names, after_revision=after
        )
        for frame in self._calls.resumed(self._tasks.WatchTasks, request, watch_went_on):
            yield from events_of(frame)

    # --- steer ------------------------------------------------------------------------------------------------------

    def cancel(self, task_id: str, *, reason: str = "", grace: Duration | None = None) -> Task:
        """Ask for a task to be stopped. If it has begun, it is cancelled only when its agent confirms it."""
        request = cancel_request(task_id, reason=reason, grace=grace)
        return task_of(self._calls.call(self._tasks.CancelTask, request, safe=False).task)

    def retry(self, task_id: str, *, idempotency_key: str | None = None) -> Task:
        """Run a finished task again, as a new one, which is returned. Raises `TaskNotFinished`."""
        request = task_pb2.RetryTaskRequest(task_id=task_id, idempotency_key=idempotency_key or self._sender.new_key())
        return task_of(self._calls.call(self._tasks.RetryTask, request).task)

    def clean_up(self, older_than: Duration) -> int:
        """Remove the tasks that ended longer ago than that, with their output. Returns how many."""
        return self._calls.call(self._tasks.CleanUpTasks, clean_up_request(older_than), safe=False).removed

    # --- agents and figures -----------------------------------------------------------------------------------------

    def agents(self, *, status: str = "", pool: str = "", labels: Mapping[str, str] | None = None) -> Sequence[Agent]:
        """The agents that the server knows and that match, by name."""
        wanted = AGENT_STATUSES[status] if status else admin_pb2.AGENT_STATUS_UNSPECIFIED
        request = admin_pb2.ListAgentsRequest(status=wanted, pool=pool, labels=labels)
        return [agent_of(pb) for pb in self._calls.call(self._agents.ListAgents, request).agents]

    def agent(self, agent_id: str) -> Agent:
        """One agent. Raises `AgentNotFound`."""
        return agent_of(self._calls.call(self._agents.GetAgent, admin_pb2.GetAgentRequest(agent_id=agent_id)).agent)

    def agent_sessions(self, agent_id: str) -> Generator[AgentSession, None, None]:
        """The connections of an agent, newest first, read page by page as they are taken."""
        token = ""
        while True:
            request = admin_pb2.ListAgentSessionsRequest(agent_id=agent_id, page_token=token)
            page = self._calls.call(self._agents.ListAgentSessions, request)
            yield from map(session_of, page.sessions)
            token = page.next_page_token
            if not token:
                return

    def scheduler_status(self) -> SchedulerStatus:
        """What waits and what runs, now."""
        request = admin_pb2.GetSchedulerStatusRequest()
        return scheduler_status_of(self._calls.call(self._scheduler.GetSchedulerStatus, request))

    def stats(
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
        return stats_of(self._calls.call(self._stats.GetStats, request))


class TaskHandle:
    """A task that was submitted: a promise, until the server has made it durable. Threads may share one."""

    __slots__ = ("_client", "_promise", "_sender")

    def __init__(self, client: Client, sender: Sender, promise: Promise) -> None:
        self._client = client
        self._sender = sender
        self._promise = promise

    def __repr__(self) -> str:
        """The task's id, or how its submission stands. Never waits."""
        return f"<TaskHandle {self._promise!r}>"

    @property
    def id(self) -> str:
        """The task's id. Waits until the server has made the task durable; raises the refusal."""
        self._accepted_within(None)
        outcome = self._promise.seen()
        assert outcome is not None, "what is settled has an outcome"
        return outcome.task_id

    def accepted(self) -> bool:
        """Whether the task is durable, without waiting. Raises the refusal."""
        return self._promise.seen() is not None

    def get(self) -> Task:
        """The task as it stands."""
        return self._client.get(self.id)

    def wait(self, timeout: float | None = None) -> Task:
        """The task when it has ended, or as it stands after so many seconds. TimeoutError: it is not durable yet."""
        left = self._accepted_within(timeout)
        return self._client.wait(self.id, timeout=left)

    def result(self, timeout: float | None = None) -> TaskResult:
        """How it ended, when it has. Raises `TaskNotFinished` after so many seconds; TimeoutError: not durable yet."""
        left = self._accepted_within(timeout)
        results = self._client.wait_all([self.id], timeout=left)
        if not results:
            raise TaskNotFinished(f"{self.id} has not finished within {timeout:g} s")
        return results[0]

    def cancel(self, *, reason: str = "", grace: Duration | None = None) -> Task:
        """Ask for it to be stopped. If it has begun, it is cancelled only when its agent confirms it."""
        return self._client.cancel(self.id, reason=reason, grace=grace)

    def logs(self, *, stream: LogStream | str | None = None) -> Generator[LogPart, None, None]:
        """What it has printed so far."""
        return self._client.logs(self.id, stream=stream)

    def stream_logs(self, *, stream: LogStream | str | None = None) -> Generator[LogPart, None, None]:
        """What it prints, as it comes, to the end."""
        return self._client.stream_logs(self.id, stream=stream)

    def stream_lines(self, *, stream: LogStream | str | None = None) -> Generator[str, None, None]:
        """The same as lines of text."""
        return self._client.stream_lines(self.id, stream=stream)

    def _accepted_within(self, timeout: float | None) -> float | None:
        """Wait until it is settled. Returns how much of the time is left."""
        began = time.monotonic()
        if not self._sender.wait(self._promise, timeout):
            raise TimeoutError(f"the server has not accepted it yet: {self!r}")
        return None if timeout is None else max(0.0, timeout - (time.monotonic() - began))


def _id_of(task: str | TaskHandle) -> str:
    return task if isinstance(task, str) else task.id


def _release(sender: Sender, calls: Calls) -> None:
    if not calls.is_inherited:  # its locks may be held by threads that did not come along
        sender.close()
        calls.close()
