"""TaskService over the TaskManager: reads requests, asks, writes answers.

What is raised here, `ErrorsToStatus` turns into a status.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from google.protobuf.duration_pb2 import Duration

from nodelink.errors import CallerError, FieldError, InvalidTask, NotBuilt, TaskNotFinished
from nodelink.task import DEFAULT_GRACE_MS
from nodelink.v1 import task_pb2, task_pb2_grpc
from nodelink.wire import STREAM_FROM_PB, ms_of
from nodelink_server.core.events import EventFilter
from nodelink_server.core.logbook import LogPage
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task import TaskRecord
from nodelink_server.rpc.frames import frames_of, logs_of
from nodelink_server.rpc.interceptors import Context
from nodelink_server.rpc.listing import cut_page, query_of
from nodelink_server.rpc.submissions import SubmitStream, check_size, put_outcomes, read_submission, submit_all
from nodelink_server.rpc.views import put_result, put_task

LOG_PAGE_BYTES = 256 << 10
ANSWER_MARGIN_MS = 200
"""How long before its caller gives up a wait is answered."""


class TaskService(task_pb2_grpc.TaskServiceServicer):
    """Tasks for callers over gRPC."""

    def __init__(self, manager: TaskManager) -> None:
        self._manager = manager

    # --- submit -----------------------------------------------------------------------------------------------------

    async def SubmitTask(  # noqa: N802 - the name of the call, here and below
        self, request: task_pb2.SubmitTaskRequest, context: Context
    ) -> task_pb2.SubmitTaskResponse:
        """Accept one task; with `wait`, answer when it has finished or the wait is over."""
        wait_ms = _wait_ms(request.wait, "wait", context) if request.HasField("wait") else None
        submission = read_submission(request)
        (outcome,) = await self._manager.submit([submission])
        if isinstance(outcome, CallerError):
            raise outcome
        response = task_pb2.SubmitTaskResponse(replayed=outcome.replayed)
        self._put(response.task, await self._record_of(outcome, submission.payload, wait_ms))
        return response

    async def _record_of(self, accepted: Accepted, payload: bytes, wait_ms: int | None) -> TaskRecord:
        task = accepted.task
        if wait_ms is not None:
            return await self._manager.wait(task.id, wait_ms)
        if accepted.replayed:
            return await self._manager.get(task.id)
        return TaskRecord(task=task, payload=payload, updated_at=task.created_at)

    async def BatchSubmitTasks(  # noqa: N802
        self, request: task_pb2.BatchSubmitTasksRequest, context: Context
    ) -> task_pb2.BatchSubmitTasksResponse:
        """Accept many tasks; each has its own outcome."""
        check_size(request.requests)
        response = task_pb2.BatchSubmitTasksResponse()
        put_outcomes(response, await submit_all(self._manager.submit, request.requests))
        return response

    def StreamSubmitTasks(  # noqa: N802
        self, request_iterator: AsyncIterator[task_pb2.StreamSubmitTasksRequest], context: Context
    ) -> AsyncIterator[task_pb2.StreamSubmitTasksResponse]:
        """Accept tasks for as long as they come."""
        return SubmitStream(self._manager.submit).answers(request_iterator)

    # --- look -------------------------------------------------------------------------------------------------------

    async def GetTask(  # noqa: N802
        self, request: task_pb2.GetTaskRequest, context: Context
    ) -> task_pb2.GetTaskResponse:
        """One task."""
        response = task_pb2.GetTaskResponse()
        self._put(response.task, await self._manager.get(_id_of(request.task_id)))
        return response

    async def ListTasks(  # noqa: N802
        self, request: task_pb2.ListTasksRequest, context: Context
    ) -> task_pb2.ListTasksResponse:
        """A page of tasks, newest first. It ends early if their payloads are large."""
        query = query_of(request)
        page, token = cut_page(await self._manager.list(query), query)
        response = task_pb2.ListTasksResponse(next_page_token=token)
        for record in page:
            self._put(response.tasks.add(), record)
        return response

    async def WaitTask(  # noqa: N802
        self, request: task_pb2.WaitTaskRequest, context: Context
    ) -> task_pb2.WaitTaskResponse:
        """The task when it has finished, or as it is when the time is up."""
        asked = request.timeout if request.HasField("timeout") else None
        wait_ms = _wait_ms(asked, "timeout", context)
        response = task_pb2.WaitTaskResponse()
        self._put(response.task, await self._manager.wait(_id_of(request.task_id), wait_ms))
        return response

    async def WatchTasks(  # noqa: N802
        self, request: task_pb2.WatchTasksRequest, context: Context
    ) -> AsyncIterator[task_pb2.WatchTasksResponse]:
        """Events as they happen. The first frame comes at once and tells that the watch stands."""
        wanted = EventFilter(
            task_id=request.task_id or None,
            agent_id=request.agent_id or None,
            pool=request.pool or None,
            type=request.type or None,
            names=frozenset(request.names),
        )
        bookmark = request.after_revision
        async with aclosing(self._manager.events.watch(wanted, after=request.after_revision or None)) as watched:
            async for events in watched:
                for frame in frames_of(events, bookmark, from_now=not (request.after_revision or request.task_id)):
                    bookmark = frame.bookmark
                    yield frame

    async def ReadTaskLogs(  # noqa: N802
        self, request: task_pb2.ReadTaskLogsRequest, context: Context
    ) -> AsyncIterator[task_pb2.ReadTaskLogsResponse]:
        """What the task printed, from an offset."""
        left = request.limit or None
        async with aclosing(self._log_pages(request)) as pages:
            async for page in pages:
                response = logs_of(page, of_one_stream=bool(request.stream), at_most=left)
                yield response
                if left is not None:
                    left -= sum(len(part.data) for part in response.parts)
                    if left <= 0:
                        return

    async def _log_pages(self, request: task_pb2.ReadTaskLogsRequest) -> AsyncGenerator[LogPage, None]:
        task_id = _id_of(request.task_id)
        stream = STREAM_FROM_PB.get(request.stream)
        if request.stream and stream is None:
            raise InvalidTask(FieldError("stream", f"{request.stream} is not known"))
        if request.follow:
            followed = self._manager.logs.follow(task_id, stream=stream, attempt=request.attempt, offset=request.offset)
            async with aclosing(followed) as pages:
                async for page in pages:
                    yield page
            return
        offset = request.offset
        while True:
            page = await self._manager.logs.read(
                task_id, stream=stream, attempt=request.attempt, offset=offset, limit=LOG_PAGE_BYTES
            )
            yield page
            if page.complete or not page.rows:
                return
            offset = page.next_offset

    async def GetTaskResult(  # noqa: N802
        self, request: task_pb2.GetTaskResultRequest, context: Context
    ) -> task_pb2.GetTaskResultResponse:
        """How the task ended. Raises `TaskNotFinished`."""
        record = await self._manager.get(_id_of(request.task_id))
        if not record.task.is_terminal:
            raise TaskNotFinished
        response = task_pb2.GetTaskResultResponse()
        put_result(response.result, record)
        return response

    # --- steer ------------------------------------------------------------------------------------------------------

    async def CancelTask(  # noqa: N802
        self, request: task_pb2.CancelTaskRequest, context: Context
    ) -> task_pb2.CancelTaskResponse:
        """Ask for the task to be stopped."""
        grace_ms = _ms_of(request.grace, "grace") if request.HasField("grace") else DEFAULT_GRACE_MS
        record = await self._manager.cancel(_id_of(request.task_id), message=request.reason, grace_ms=grace_ms)
        response = task_pb2.CancelTaskResponse()
        self._put(response.task, record)
        return response

    async def RetryTask(  # noqa: N802
        self, request: task_pb2.RetryTaskRequest, context: Context
    ) -> task_pb2.RetryTaskResponse:
        """Not in this version."""
        raise NotBuilt(message="running a finished task again is not available in this version")

    async def ApproveTask(  # noqa: N802
        self, request: task_pb2.ApproveTaskRequest, context: Context
    ) -> task_pb2.ApproveTaskResponse:
        """Not in this version."""
        raise NotBuilt(message="approving a plan is not available in this version")

    def _put(self, pb: task_pb2.Task, record: TaskRecord) -> None:
        task = record.task
        agent_id = task.attempt.agent_id if task.attempt and not task.is_terminal else None
        put_task(
            pb,
            record,
            progress=self._manager.progress(task.id),
            last_contact=self._manager.agents.last_contact(agent_id) if agent_id else None,
        )


def _id_of(task_id: str) -> str:
    if not task_id:
        raise InvalidTask(FieldError("task_id", "must be given"))
    return task_id


def _ms_of(duration: Duration, field: str) -> int:
    ms = ms_of(duration)
    if ms < 0:
        raise InvalidTask(FieldError(field, "must not be negative"))
    return ms


def _wait_ms(asked: Duration | None, field: str, context: Context) -> int | None:
    """How long to wait: as asked, but not past the caller's own deadline. None: for as long as the caller does."""
    asked_ms = None if asked is None else _ms_of(asked, field)
    remaining: float | None = context.time_remaining()
    if remaining is None:
        return asked_ms
    left = max(0, int(remaining * 1000) - ANSWER_MARGIN_MS)
    return left if asked_ms is None else min(asked_ms, left)
