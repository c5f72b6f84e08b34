"""TaskService over the TaskManager: reads requests, asks, writes answers.

What is raised here, `EveryCall` turns into a status.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from nodelink.errors import TaskNotFinished
from nodelink.task import DEFAULT_GRACE_MS
from nodelink.v1 import task_pb2, task_pb2_grpc
from nodelink_server.core.approvals import Named
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.task_record import TaskRecord
from nodelink_server.core.validation import check_batch
from nodelink_server.rpc.bulk import order_of, put_outcome
from nodelink_server.rpc.frames import watch_events
from nodelink_server.rpc.interceptors import Context
from nodelink_server.rpc.listing import put_page, put_results, query_of
from nodelink_server.rpc.output import read_output
from nodelink_server.rpc.plans import plans_page, plans_query_of, put_task_plan
from nodelink_server.rpc.requests import (
    duration_ms,
    given,
    id_of,
    new_limits_of,
    required,
    resolution_of,
    traceparent_of,
    wait_ms,
)
from nodelink_server.rpc.submissions import put_outcomes, submit_all, submit_one
from nodelink_server.rpc.submit_stream import SubmitStream
from nodelink_server.rpc.views import put_result, put_task
from nodelink_server.rpc.why_views import put_task_why


class TaskService(task_pb2_grpc.TaskServiceServicer):
    """Tasks for callers over gRPC."""

    def __init__(self, manager: TaskManager) -> None:
        self._manager = manager

    # --- submit -----------------------------------------------------------------------------------------------------

    async def SubmitTask(  # noqa: N802 - the name of the call, here and below
        self, request: task_pb2.SubmitTaskRequest, context: Context
    ) -> task_pb2.SubmitTaskResponse:
        """Accept one task; with `wait`, answer when it has finished or the wait is over."""
        patience_ms = wait_ms(request.wait, "wait", context) if request.HasField("wait") else None
        record, replayed = await submit_one(self._manager, request, traceparent_of(context), patience_ms)
        return task_pb2.SubmitTaskResponse(task=self._shown(record), replayed=replayed)

    async def BatchSubmitTasks(  # noqa: N802
        self, request: task_pb2.BatchSubmitTasksRequest, context: Context
    ) -> task_pb2.BatchSubmitTasksResponse:
        """Accept many tasks; each has its own outcome."""
        check_batch(len(request.requests), "requests")
        response = task_pb2.BatchSubmitTasksResponse()
        put_outcomes(response, await submit_all(self._manager.submit, request.requests, traceparent_of(context)))
        return response

    def StreamSubmitTasks(  # noqa: N802
        self, request_iterator: AsyncIterator[task_pb2.StreamSubmitTasksRequest], context: Context
    ) -> AsyncIterator[task_pb2.StreamSubmitTasksResponse]:
        """Accept tasks for as long as they come."""
        manager = self._manager
        stream = SubmitStream(manager.submit, stopping=manager.stopping, traceparent=traceparent_of(context))
        return stream.answers(request_iterator)

    # --- look -------------------------------------------------------------------------------------------------------

    async def GetTask(  # noqa: N802
        self, request: task_pb2.GetTaskRequest, context: Context
    ) -> task_pb2.GetTaskResponse:
        """One task."""
        record = await self._manager.get(id_of(request.task_id, "task_id"))
        return task_pb2.GetTaskResponse(task=self._shown(record))

    async def ExplainTask(  # noqa: N802
        self, request: task_pb2.ExplainTaskRequest, context: Context
    ) -> task_pb2.ExplainTaskResponse:
        """Why one task stands where it stands."""
        response = task_pb2.ExplainTaskResponse()
        put_task_why(response, await self._manager.why(id_of(request.task_id, "task_id")))
        return response

    async def ListTasks(  # noqa: N802
        self, request: task_pb2.ListTasksRequest, context: Context
    ) -> task_pb2.ListTasksResponse:
        """A page of tasks, newest first. It ends early if they are large."""
        response = task_pb2.ListTasksResponse()
        put_page(response, await self._manager.list(query_of(request)), self._put)
        return response

    async def WaitTask(  # noqa: N802
        self, request: task_pb2.WaitTaskRequest, context: Context
    ) -> task_pb2.WaitTaskResponse:
        """The task when it has finished, or as it is when the time is up."""
        patience_ms = wait_ms(given(request, "timeout"), "timeout", context)
        record = await self._manager.wait(id_of(request.task_id, "task_id"), patience_ms)
        return task_pb2.WaitTaskResponse(task=self._shown(record))

    async def WaitTasks(  # noqa: N802
        self, request: task_pb2.WaitTasksRequest, context: Context
    ) -> task_pb2.WaitTasksResponse:
        """The results of those that have finished, when one or all have, or when the time is up."""
        patience_ms = wait_ms(given(request, "timeout"), "timeout", context)
        response = task_pb2.WaitTasksResponse()
        put_results(response, await self._manager.wait_many(request.task_ids, patience_ms, all=request.all))
        return response

    def WatchTasks(  # noqa: N802
        self, request: task_pb2.WatchTasksRequest, context: Context
    ) -> AsyncIterator[task_pb2.WatchTasksResponse]:
        """Events as they happen. The first frame comes at once and tells that the watch stands."""
        return watch_events(self._manager.events, request)

    def ReadTaskLogs(  # noqa: N802
        self, request: task_pb2.ReadTaskLogsRequest, context: Context
    ) -> AsyncIterator[task_pb2.ReadTaskLogsResponse]:
        """What the task printed, from an offset, or the end of it."""
        return read_output(self._manager.logs, request)

    async def GetTaskResult(  # noqa: N802
        self, request: task_pb2.GetTaskResultRequest, context: Context
    ) -> task_pb2.GetTaskResultResponse:
        """How the task ended. Raises `TaskNotFinished`."""
        record = await self._manager.get(id_of(request.task_id, "task_id"))
        if not record.task.is_terminal:
            raise TaskNotFinished
        response = task_pb2.GetTaskResultResponse()
        put_result(response.result, record.end)
        return response

    # --- steer ------------------------------------------------------------------------------------------------------

    async def CancelTask(  # noqa: N802
        self, request: task_pb2.CancelTaskRequest, context: Context
    ) -> task_pb2.CancelTaskResponse:
        """Ask for the task to be stopped."""
        task_id = id_of(request.task_id, "task_id")
        grace_ms = duration_ms(request.grace, "grace") if request.HasField("grace") else DEFAULT_GRACE_MS
        record = await self._manager.cancel(task_id, message=request.reason, grace_ms=grace_ms)
        return task_pb2.CancelTaskResponse(task=self._shown(record))

    async def ExtendTask(  # noqa: N802
        self, request: task_pb2.ExtendTaskRequest, context: Context
    ) -> task_pb2.ExtendTaskResponse:
        """Give a task that is with an agent other limits."""
        record = await self._manager.extend(id_of(request.task_id, "task_id"), new_limits_of(request))
        return task_pb2.ExtendTaskResponse(task=self._shown(record))

    async def AbandonTask(  # noqa: N802
        self, request: task_pb2.AbandonTaskRequest, context: Context
    ) -> task_pb2.AbandonTaskResponse:
        """End a live task as failed, whatever its agent does."""
        record = await self._manager.abandon(id_of(request.task_id, "task_id"), reason=request.reason)
        return task_pb2.AbandonTaskResponse(task=self._shown(record))

    async def ResolveTask(  # noqa: N802
        self, request: task_pb2.ResolveTaskRequest, context: Context
    ) -> task_pb2.ResolveTaskResponse:
        """Say what became of a task in doubt. Raises `TaskNotInDoubt` for any other."""
        task_id, resolution = id_of(request.task_id, "task_id"), resolution_of(request.resolution)
        record = await self._manager.resolve(task_id, resolution=resolution, reason=request.reason)
        return task_pb2.ResolveTaskResponse(task=self._shown(record))

    async def RetryTask(  # noqa: N802
        self, request: task_pb2.RetryTaskRequest, context: Context
    ) -> task_pb2.RetryTaskResponse:
        """Run a finished task again, as a new one."""
        again = await self._manager.retry(
            id_of(request.task_id, "task_id"),
            idempotency_key=request.idempotency_key or None,
            traceparent=traceparent_of(context),
        )
        record = await self._manager.get(again.task.id)
        return task_pb2.RetryTaskResponse(task=self._shown(record), replayed=again.replayed)

    async def BulkTasks(  # noqa: N802
        self, request: task_pb2.BulkTasksRequest, context: Context
    ) -> task_pb2.BulkTasksResponse:
        """Do one thing to many tasks."""
        response = task_pb2.BulkTasksResponse()
        key = request.idempotency_key or None
        put_outcome(response, await self._manager.bulk(order_of(request), idempotency_key=key))
        return response

    async def ApproveTask(  # noqa: N802
        self, request: task_pb2.ApproveTaskRequest, context: Context
    ) -> task_pb2.ApproveTaskResponse:
        """Let a task apply its plan: the one that is named, and no other."""
        named = Named(request.plan_sha256, request.inputs_sha256, request.target)
        record = await self._manager.approve(id_of(request.task_id, "task_id"), named, message=request.message)
        return task_pb2.ApproveTaskResponse(task=self._shown(record))

    async def RejectTask(  # noqa: N802
        self, request: task_pb2.RejectTaskRequest, context: Context
    ) -> task_pb2.RejectTaskResponse:
        """End a task whose plan waits for an approval."""
        named = Named(request.plan_sha256)
        record = await self._manager.reject(id_of(request.task_id, "task_id"), named, message=request.message)
        return task_pb2.RejectTaskResponse(task=self._shown(record))

    async def GetPlan(  # noqa: N802
        self, request: task_pb2.GetPlanRequest, context: Context
    ) -> task_pb2.GetPlanResponse:
        """The latest plan of a task. Raises `PlanNotFound`."""
        response = task_pb2.GetPlanResponse()
        put_task_plan(response.plan, await self._manager.plans.of_task(id_of(request.task_id, "task_id")))
        return response

    async def ListPlans(  # noqa: N802
        self, request: task_pb2.ListPlansRequest, context: Context
    ) -> task_pb2.ListPlansResponse:
        """A page of the latest plans of tasks."""
        return plans_page(*await self._manager.plans.page(plans_query_of(request)))

    async def CleanUpTasks(  # noqa: N802
        self, request: task_pb2.CleanUpTasksRequest, context: Context
    ) -> task_pb2.CleanUpTasksResponse:
        """Let tasks that finished long ago leave the database now."""
        older_than_ms = duration_ms(required(request, "older_than"), "older_than")
        return task_pb2.CleanUpTasksResponse(removed=await self._manager.clean_up(older_than_ms))

    def _shown(self, record: TaskRecord) -> task_pb2.Task:
        pb = task_pb2.Task()
        self._put(pb, record)
        return pb

    def _put(self, pb: task_pb2.Task, record: TaskRecord) -> None:
        task = record.task
        put_task(
            pb,
            record,
            progress=self._manager.progress(task.id),
            contact=self._manager.contact(task),
        )
