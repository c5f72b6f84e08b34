"""Pages: what is asked for, and where a page ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nodelink.errors import FieldError, InvalidTask
from nodelink.task import TaskStatus
from nodelink.v1 import admin_pb2, task_pb2
from nodelink.wire import STATUS_FROM_PB
from nodelink_server.core.ports import AgentSessionRecord, TaskPage, TaskQuery
from nodelink_server.core.task_record import TaskEnd, TaskRecord
from nodelink_server.rpc.messages import PAGE_BYTES
from nodelink_server.rpc.requests import moment_ms, page_size_of, place_of, token_of
from nodelink_server.rpc.views import put_result, put_session


def query_of(request: task_pb2.ListTasksRequest) -> TaskQuery:
    """What a request asks for. Raises `InvalidTask`."""
    after = moment_ms(request.created_after, "created_after") if request.HasField("created_after") else None
    before = moment_ms(request.created_before, "created_before") if request.HasField("created_before") else None
    return TaskQuery(
        page_size=page_size_of(request.page_size),
        before_key=place_of(request.page_token),
        statuses=frozenset(map(status_of, request.statuses)),
        type=request.type or None,
        pool=request.pool or None,
        workspace=request.workspace or None,
        agent_id=request.agent_id or None,
        created_after=after,
        created_before=before,
        labels=frozenset(request.labels.items()),
        q=request.q,
    )


def put_page(
    response: task_pb2.ListTasksResponse, page: TaskPage, put: Callable[[task_pb2.Task, TaskRecord], None]
) -> None:
    """Write one page of tasks, and the token of the next one if there is one. Large tasks end it early."""
    taken, next_key = 0, page.next_key
    for number, record in enumerate(page, start=1):
        task = response.tasks.add()
        put(task, record)
        taken += task.ByteSize()
        if taken > PAGE_BYTES and number < len(page):
            next_key = record.task.key
            break
    response.next_page_token = token_of(next_key) if next_key else ""


def put_results(response: task_pb2.WaitTasksResponse, ends: Sequence[TaskEnd]) -> None:
    """Write results, in order, as many as fit; at least one if there is any."""
    taken = 0
    for end in ends:
        result = response.results.add()
        put_result(result, end)
        taken += result.ByteSize()
        if taken > PAGE_BYTES:
            return


def put_sessions(
    response: admin_pb2.ListAgentSessionsResponse, records: Sequence[AgentSessionRecord], size: int
) -> None:
    """Write one page of an agent's sessions, and the token of the next one if there is one."""
    for record in records[:size]:
        put_session(response.sessions.add(), record)
    if len(records) > size:
        response.next_page_token = token_of(records[size - 1].number)


def status_of(number: int) -> TaskStatus:
    """The status that a number stands for. Raises `InvalidTask`."""
    status = STATUS_FROM_PB.get(number)
    if status is None:
        raise InvalidTask(FieldError("statuses", f"{number} is not known"))
    return status
