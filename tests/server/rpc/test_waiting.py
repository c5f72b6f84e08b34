"""Waiting for several tasks, running one again, tidying up; and what callers leave behind who stop waiting: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from nodelink.task import LogStream, Outcome, Reason
from nodelink.v1 import task_pb2
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, reason_of, refusal

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-00"


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def finished(door: GrpcDoor, **how: Any) -> str:
    """The id of a task that has ended."""
    async with door.agent() as agent:
        task_id = await door.submit()
        agent.finish((await agent.take()).ref, **how)
        await door.tasks.WaitTask(task_pb2.WaitTaskRequest(task_id=task_id), timeout=WAIT_SECONDS)
    return task_id


async def shown(door: GrpcDoor, task_id: str) -> Any:
    return (await door.tasks.GetTask(task_pb2.GetTaskRequest(task_id=task_id))).task


# --- waiting for several ----------------------------------------------------------------------------------------------


async def test_the_first_of_several_tasks_ends_the_wait_for_any(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        ids = [await door.submit() for _ in range(3)]
        refs = [(await agent.take()).ref for _ in ids]
        waiting = asyncio.ensure_future(
            door.tasks.WaitTasks(task_pb2.WaitTasksRequest(task_ids=ids), timeout=WAIT_SECONDS)
        )
        agent.finish(refs[1], output=b"2", outcome=Outcome.COMPLETED)
        answer = await waiting

    assert [(result.task_id, result.output) for result in answer.results] == [(ids[1], b"2")]


async def test_the_last_of_several_tasks_ends_the_wait_for_all(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        ids = [await door.submit() for _ in range(3)]
        refs = [(await agent.take()).ref for _ in ids]
        request = task_pb2.WaitTasksRequest(task_ids=ids, all=True)
        waiting = asyncio.ensure_future(door.tasks.WaitTasks(request, timeout=WAIT_SECONDS))
        for ref in reversed(refs):
            agent.finish(ref)
        answer = await waiting

    assert [result.task_id for result in answer.results] == ids


@pytest.mark.parametrize("all_of_them", [False, True])
async def test_a_wait_for_several_is_answered_before_its_callers_deadline(door: GrpcDoor, all_of_them: bool) -> None:
    ids = [await door.submit()]
    request = task_pb2.WaitTasksRequest(task_ids=ids, all=all_of_them)
    answer = await door.tasks.WaitTasks(request, timeout=1.0)

    assert not answer.results


async def test_a_wait_for_several_looks_once_if_it_is_not_to_wait(door: GrpcDoor) -> None:
    ids = [await finished(door), await door.submit()]
    request = task_pb2.WaitTasksRequest(task_ids=ids, timeout=Duration(), all=True)
    answer = await door.tasks.WaitTasks(request, timeout=WAIT_SECONDS)

    assert [result.task_id for result in answer.results] == ids[:1]


# --- who stops waiting ------------------------------------------------------------------------------------------------


def traces(door: GrpcDoor) -> int:
    """How many of those who wait, listen or follow the server knows of."""
    waiters = door.manager.rooms.consequences._waiters
    followers = door.manager.logs._followers
    return door.manager.events.listeners + sum(map(len, waiters.values())) + sum(map(len, followers.values()))


async def settled(door: GrpcDoor, count: int) -> None:
    """Wait until the server knows of so many."""
    async with asyncio.timeout(WAIT_SECONDS):
        while traces(door) != count:  # noqa: ASYNC110 - what goes away tells nobody
            await asyncio.sleep(0)


CALLS: list[tuple[str, Any]] = [
    ("SubmitTask", task_pb2.SubmitTaskRequest(wait=Duration(seconds=600))),
    ("WaitTask", task_pb2.WaitTaskRequest()),
    ("WaitTasks", task_pb2.WaitTasksRequest(all=True)),
    ("WatchTasks", task_pb2.WatchTasksRequest()),
    ("ReadTaskLogs", task_pb2.ReadTaskLogsRequest(follow=True)),
]


async def begun(door: GrpcDoor, name: str, template: Any, deadline: float | None) -> Any:
    """A call that waits on the server."""
    request = type(template)()
    request.CopyFrom(template)
    if name == "SubmitTask":
        request.spec.type, request.spec.payload = "echo", b"1"
    elif name == "WaitTasks":
        request.task_ids.append(await door.submit())
    elif name != "WatchTasks":
        request.task_id = await door.submit()
    call = getattr(door.tasks, name)(request, timeout=deadline)
    if name in {"WatchTasks", "ReadTaskLogs"}:
        await call.initial_metadata()
    await settled(door, 1)
    return call


@pytest.mark.parametrize("name, template", CALLS, ids=[name for name, _ in CALLS])
async def test_a_caller_that_leaves_leaves_nothing_behind(door: GrpcDoor, name: str, template: Any) -> None:
    call = await begun(door, name, template, None)
    call.cancel()

    await settled(door, 0)


@pytest.mark.parametrize("name, template", CALLS, ids=[name for name, _ in CALLS])
async def test_a_deadline_leaves_nothing_behind(door: GrpcDoor, name: str, template: Any) -> None:
    call = await begun(door, name, template, 1.0)

    await settled(door, 0)
    unary = name in {"SubmitTask", "WaitTask", "WaitTasks"}  # these are answered just before
    assert await call.code() is (grpc.StatusCode.OK if unary else grpc.StatusCode.DEADLINE_EXCEEDED)


# --- running again ----------------------------------------------------------------------------------------------------


async def test_a_finished_task_is_run_again_as_a_new_one_that_names_it(door: GrpcDoor) -> None:
    task_id = await finished(door, outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=1)
    before = await shown(door, task_id)
    again = (await door.tasks.RetryTask(task_pb2.RetryTaskRequest(task_id=task_id))).task

    assert (again.retry_of, again.status) == (task_id, task_pb2.TASK_STATUS_PENDING)
    assert again.spec.payload == before.spec.payload
    assert await shown(door, task_id) == before


async def test_the_same_key_runs_a_task_again_only_once(door: GrpcDoor) -> None:
    request = task_pb2.RetryTaskRequest(task_id=await finished(door), idempotency_key="again")
    first, second = await door.tasks.RetryTask(request), await door.tasks.RetryTask(request)

    assert (first.replayed, second.replayed, first.task.id) == (False, True, second.task.id)


async def test_a_task_that_goes_on_is_not_run_again(door: GrpcDoor) -> None:
    code, status = await refusal(door.tasks.RetryTask(task_pb2.RetryTaskRequest(task_id=await door.submit())))

    assert (code, reason_of(status)) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_FINISHED")


async def test_a_tidying_removes_what_is_old_and_only_when_it_says_how_old(door: GrpcDoor) -> None:
    task_id = await finished(door)
    kept = await door.tasks.CleanUpTasks(task_pb2.CleanUpTasksRequest(older_than=Duration(seconds=60)))
    _, unsaid = await refusal(door.tasks.CleanUpTasks(task_pb2.CleanUpTasksRequest()))
    gone = await door.tasks.CleanUpTasks(task_pb2.CleanUpTasksRequest(older_than=Duration()))
    code, _ = await refusal(door.tasks.GetTask(task_pb2.GetTaskRequest(task_id=task_id)))

    assert (kept.removed, gone.removed, code) == (0, 1, grpc.StatusCode.NOT_FOUND)
    assert detail(unsaid, error_details_pb2.BadRequest).field_violations[0].field == "older_than"


# --- trace context ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "in_request, in_metadata, stored",
    [("", PARENT, PARENT), (OTHER, PARENT, OTHER), (OTHER, "", OTHER), ("", "", ""), ("wrong", "00-wrong", "")],
)
async def test_the_trace_context_of_a_submission_is_its_own_or_its_calls(
    door: GrpcDoor, in_request: str, in_metadata: str, stored: str
) -> None:
    spec = task_pb2.TaskSpec(type="echo", payload=b"1")
    request = task_pb2.SubmitTaskRequest(spec=spec, traceparent=in_request)
    accepted = await door.tasks.SubmitTask(request, metadata=(("traceparent", in_metadata),))

    assert accepted.task.traceparent == (await shown(door, accepted.task.id)).traceparent == stored


async def test_the_trace_context_of_a_call_is_that_of_all_its_submissions(door: GrpcDoor) -> None:
    metadata = (("traceparent", PARENT),)
    request = task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type="echo", payload=b"1"))
    batch = await door.tasks.BatchSubmitTasks(task_pb2.BatchSubmitTasksRequest(requests=[request]), metadata=metadata)
    stream = door.tasks.StreamSubmitTasks(metadata=metadata, timeout=WAIT_SECONDS)
    await stream.write(task_pb2.StreamSubmitTasksRequest(requests=[request]))
    await stream.read()
    streamed = await stream.read()
    stream.cancel()
    ids = [batch.outcomes[0].task_id, streamed.outcomes[0].task_id]

    assert [(await shown(door, task_id)).traceparent for task_id in ids] == [PARENT, PARENT]


# --- the end of the output --------------------------------------------------------------------------------------------


async def printed(door: GrpcDoor) -> str:
    """A finished task that has printed `hello` to one stream, then `oops` to the other."""
    async with door.agent() as agent:
        task_id = await door.submit("shell", b'{"command":["true"]}')
        ref = (await agent.take()).ref
        agent.start(ref)
        agent.write(ref, LogStream.STDOUT, b"hello")
        agent.write(ref, LogStream.STDERR, b"oops")
        agent.finish(ref, exit_code=0)
        follow = task_pb2.ReadTaskLogsRequest(task_id=task_id, follow=True)
        async with asyncio.timeout(WAIT_SECONDS):
            assert b"".join([part.data async for page in door.tasks.ReadTaskLogs(follow) for part in page.parts])
    return task_id


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize(
    "stream, tail, expected",
    [(0, 6, b"looops"), (0, 100, b"hellooops"), (1, 2, b"lo"), (2, 1, b"s"), (1, 1 << 63, b"hello")],
)
async def test_the_tail_of_the_output_is_counted_from_its_end(
    door: GrpcDoor, stream: int, tail: int, expected: bytes, follow: bool
) -> None:
    task_id = await printed(door)
    selection: Any = {"task_id": task_id, "stream": stream, "tail": tail, "follow": follow}
    pages = [page async for page in door.tasks.ReadTaskLogs(task_pb2.ReadTaskLogsRequest(**selection))]

    assert b"".join(part.data for page in pages for part in page.parts) == expected
    assert pages[-1].complete


async def test_a_tail_with_an_offset_is_refused_by_name(door: GrpcDoor) -> None:
    request = task_pb2.ReadTaskLogsRequest(task_id=await printed(door), tail=1, offset=1)
    _, status = await refusal(door.tasks.ReadTaskLogs(request).read())

    assert detail(status, error_details_pb2.BadRequest).field_violations[0].field == "tail"


# --- finding ----------------------------------------------------------------------------------------------------------


async def test_tasks_are_found_by_their_labels_and_by_what_they_are_called(door: GrpcDoor) -> None:
    wanted = await door.submit(metadata={"ticket": "7", "team": "ops"})
    await door.submit(metadata={"ticket": "8"})
    found = []
    for query in ({"labels": {"ticket": "7", "team": "ops"}}, {"q": "ticket=7"}, {"q": wanted}):
        page = await door.tasks.ListTasks(task_pb2.ListTasksRequest(**query))
        found.append([task.id for task in page.tasks])

    assert found == [[wanted]] * 3
