"""What callers of TaskService listen to: events as they happen, and output as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from nodelink.task import LogStream
from nodelink.v1 import task_pb2
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, grpc_door, refusal
from tests.support.grpc_streams import all_of, calls_under_way, read, settled


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


# --- watch ------------------------------------------------------------------------------------------------------------


async def test_a_watch_resumes_behind_its_bookmark_without_a_gap(door: GrpcDoor) -> None:
    await door.submit()
    call = door.tasks.WatchTasks(task_pb2.WatchTasksRequest())
    bookmark = (await read(call)).bookmark
    call.cancel()
    ids = [await door.submit() for _ in range(3)]
    resumed = door.tasks.WatchTasks(task_pb2.WatchTasksRequest(after_revision=bookmark))
    ids.append(await door.submit())

    events = await _events_until(resumed, "task.created", ids[-1])

    assert [event.task_id for event in events if event.name == "task.created"] == ids


async def test_a_watch_of_one_task_begins_with_its_first_event(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        ref = (await agent.take()).ref
        call = door.tasks.WatchTasks(task_pb2.WatchTasksRequest(task_id=task_id))
        agent.finish(ref)
        events = await _events_until(call, "task.completed", task_id)

    kept = [event.revision for event in events if event.revision]
    assert events[0].name == "task.created"
    assert kept == sorted(set(kept))


async def test_a_revision_that_is_not_there_resets_the_watch(door: GrpcDoor) -> None:
    await door.submit()
    call = door.tasks.WatchTasks(task_pb2.WatchTasksRequest(after_revision=1 << 40))
    frames = [await read(call), await read(call)]

    assert frames[1].reset
    assert 0 < frames[1].bookmark < 1 << 40


@pytest.mark.slow
async def test_a_watch_for_which_nothing_comes_is_told_how_far_it_may_resume(door: GrpcDoor) -> None:
    call = door.tasks.WatchTasks(task_pb2.WatchTasksRequest(pool="nobodys"))
    begun = await read(call)
    await door.submit()
    told = await read(call)
    call.cancel()

    assert not told.events
    assert told.bookmark > begun.bookmark


async def test_a_name_that_no_event_has_is_refused_and_not_waited_for(door: GrpcDoor) -> None:
    call = door.tasks.WatchTasks(task_pb2.WatchTasksRequest(names=["task.completed", "task.done"]))

    code, status = await refusal(call.read())

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "names: 'task.done' is not known" in status.message


@pytest.mark.parametrize("name", ["WatchTasks", "ReadTaskLogs"])
async def test_a_listener_that_goes_leaves_nothing_behind(door: GrpcDoor, name: str) -> None:
    idle = calls_under_way()
    async with door.agent() as agent:
        task_id = await door.submit()
        ref = (await agent.take()).ref
        agent.write(ref, LogStream.STDOUT, b"x")
        more = {"follow": True} if name == "ReadTaskLogs" else {}
        call = getattr(door.tasks, name)(getattr(task_pb2, f"{name}Request")(task_id=task_id, **more))
        await read(call)
        assert calls_under_way() > idle
        call.cancel()

        await settled(lambda: door.manager.events.listeners == 0 and calls_under_way() == idle)


# --- output -----------------------------------------------------------------------------------------------------------


async def _task_with_output(door: GrpcDoor) -> str:
    """A finished task that has printed `hello` to one stream, then `oops` to the other, and has lost 3 bytes."""
    async with door.agent() as agent:
        task_id = await door.submit("shell", b'{"command":["true"]}')
        ref = (await agent.take()).ref
        agent.start(ref)
        agent.write(ref, LogStream.STDOUT, b"hello")
        agent.write(ref, LogStream.STDERR, b"oops")
        agent.write(ref, LogStream.STDOUT, b"", gap=3)
        agent.finish(ref, exit_code=0)
        await door.tasks.WaitTask(task_pb2.WaitTaskRequest(task_id=task_id), timeout=WAIT_SECONDS)
    return task_id


def _parts(pages: Sequence[Any]) -> list[tuple[int, int, bytes, int]]:
    return [(part.stream, part.offset, part.data, part.gap) for page in pages for part in page.parts]


async def test_output_comes_in_order_of_arrival_with_its_gaps(door: GrpcDoor) -> None:
    task_id = await _task_with_output(door)
    pages = await all_of(door.tasks.ReadTaskLogs(task_pb2.ReadTaskLogsRequest(task_id=task_id, follow=True)))

    assert _parts(pages) == [(1, 0, b"hello", 0), (2, 5, b"oops", 0), (1, 9, b"", 3)]
    assert (pages[-1].next_offset, pages[-1].complete) == (12, True)


async def test_output_of_one_stream_is_counted_in_that_stream(door: GrpcDoor) -> None:
    task_id = await _task_with_output(door)
    request = task_pb2.ReadTaskLogsRequest(task_id=task_id, stream=task_pb2.LOG_STREAM_STDERR, offset=1)
    pages = await all_of(door.tasks.ReadTaskLogs(request))

    assert _parts(pages) == [(2, 1, b"ops", 0)]


async def test_a_limit_cuts_the_output_and_tells_where_to_go_on(door: GrpcDoor) -> None:
    task_id = await _task_with_output(door)
    (page,) = await all_of(door.tasks.ReadTaskLogs(task_pb2.ReadTaskLogsRequest(task_id=task_id, limit=7)))

    assert _parts([page]) == [(1, 0, b"hello", 0), (2, 5, b"oo", 0)]
    assert (page.next_offset, page.complete) == (7, False)


async def _events_until(call: Any, name: str, task_id: str) -> list[Any]:
    events: list[Any] = []
    while not any(event.name == name and event.task_id == task_id for event in events):
        events += (await read(call)).events
    call.cancel()
    return events
