"""What the clients say of agents that are to be empty, and how they wait: for an agent, and for a task on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from nodelink.client import AsyncClient, Client
from nodelink.errors import AgentNotFound, InvalidTask, TaskAlreadyFinished, TaskNotFound
from nodelink.task import TaskStatus
from nodelink.v1 import admin_pb2, task_pb2
from tests.support.client_stage import Stage, a_task, in_a_thread, meet, playing
from tests.support.doubts import started
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, grpc_door

UNKNOWN_ID = "01900000-0000-7000-8000-ffffffffffff"


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
async def client(door: GrpcDoor) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(str(door.address), timeout=WAIT_SECONDS) as client:
        yield client


# --- drains ---------------------------------------------------------------------------------------------------------


async def test_a_drain_says_what_the_agent_shows(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent():
        drained = await client.drain_agent("a1", note="a new disk", deadline="10m")
        endless = await client.drain_agent("a1")
        lifted = await client.undrain_agent("a1")

    assert (drained.status, drained.drain_note) == ("cordoned", "a new disk")
    assert drained.drained_at is not None
    assert drained.drain_deadline is not None
    assert (endless.drained_at, endless.drain_deadline, endless.drain_note) == (drained.drained_at, None, "")
    assert (lifted.status, lifted.drained_at) == ("online", None)


async def test_a_wrong_drain_is_refused(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent():
        with pytest.raises(AgentNotFound):
            await client.drain_agent("nobody")
        with pytest.raises(InvalidTask, match="deadline"):
            await client.drain_agent("a1", deadline="8d")
        with pytest.raises(InvalidTask, match="deadline"):
            await client.drain_agent("a1", deadline="soon")
        with pytest.raises(AgentNotFound):
            await client.wait_until_empty("nobody")


async def test_whoever_waits_for_an_empty_agent_hears_when_it_is(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent() as agent:
        ref = await started(door, agent, await door.submit())
        await client.drain_agent("a1")
        busy = await client.wait_until_empty("a1", timeout=0.1)
        waiting = asyncio.create_task(client.wait_until_empty("a1"))
        await asyncio.wait({waiting}, timeout=0.1)
        assert not waiting.done()
        agent.finish(ref)
        empty = await waiting

    assert busy.current_tasks == (ref.task_id,)
    assert (empty.current_tasks, empty.status) == ((), "cordoned")


async def test_an_agent_without_work_is_empty_at_once(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent():
        assert (await client.wait_until_empty("a1", timeout=0)).current_tasks == ()
        assert (await client.wait_until_empty("a1")).current_tasks == ()


def _agent(*tasks: str) -> admin_pb2.GetAgentResponse:
    return admin_pb2.GetAgentResponse(agent=admin_pb2.Agent(id="a1", current_tasks=tasks))


def test_the_synchronous_client_waits_for_an_empty_agent_too() -> None:
    with playing() as stage:
        meet(stage)
        waiting = stage.call(lambda client: client.wait_until_empty("a1"))
        request, stream = stage.opened("WatchTasks")
        assert (request.agent_id, sorted(request.names)) == ("a1", ["agent.completed", "agent.drained", "agent.failed"])
        stream.send_response(task_pb2.WatchTasksResponse(bookmark=1))
        stage.answer("GetAgent", _agent("t1"))
        stream.send_response(task_pb2.WatchTasksResponse(bookmark=2))
        stage.answer("GetAgent", _agent())
        assert waiting.result(WAIT_SECONDS).current_tasks == ()


# --- a task on its way ----------------------------------------------------------------------------------------------


async def test_a_status_is_waited_for_and_one_that_is_past_comes_at_once(door: GrpcDoor, client: AsyncClient) -> None:
    task_id = await door.submit()
    waiting = asyncio.create_task(client.wait(task_id, until="in_progress"))
    assert (await client.wait(task_id, until="pending")).status is TaskStatus.PENDING
    async with door.agent() as agent:
        ref = await started(door, agent, task_id)
        assert (await waiting).status is TaskStatus.IN_PROGRESS
        agent.finish(ref)
        assert (await client.wait(task_id, until="finished")).status is TaskStatus.COMPLETED
    for past in ("created", "pending", "sent", "in_progress", "completed"):
        assert (await client.wait(task_id, until=past, timeout=WAIT_SECONDS)).status is TaskStatus.COMPLETED
        assert (await client.wait(task_id, until=past, timeout=0)).status is TaskStatus.COMPLETED


async def test_a_status_that_is_never_reached_is_told(door: GrpcDoor, client: AsyncClient) -> None:
    task_id = await door.submit()
    waiting = asyncio.create_task(client.wait(task_id, until="in_progress"))
    with pytest.raises(TimeoutError, match=rf"^{task_id} was not in_progress within 0.1 s$"):
        await client.wait(task_id, until="in_progress", timeout=0.1)
    await client.cancel(task_id)
    with pytest.raises(TaskAlreadyFinished, match=r"has ended \(cancelled\) and was never in_progress"):
        await waiting
    with pytest.raises(TaskNotFound):
        await client.wait(UNKNOWN_ID, until="in_progress")
    with pytest.raises(InvalidTask, match="until"):
        await client.wait(task_id, until="running")


async def test_a_handle_waits_for_a_status(door: GrpcDoor, client: AsyncClient) -> None:
    handle = await client.submit("echo")
    assert (await handle.wait(until="pending")).status is TaskStatus.PENDING


@pytest.mark.parametrize("by_handle", [False, True])
def test_the_synchronous_client_waits_for_a_status_too(by_handle: bool) -> None:
    with playing() as stage:
        meet(stage)
        if by_handle:
            handle = stage.client.submit("echo")
            stream = stage.submissions(credit=10)
            stream.frame()
            stream.answer(0, "t1")
            waiting = in_a_thread(lambda: handle.wait(until="in_progress"))
        else:
            waiting = stage.call(lambda client: client.wait("t1", until="in_progress"))
        _see(stage, a_task())
        request, events = stage.opened("WatchTasks")
        assert (request.task_id, request.after_revision) == ("t1", 0)
        events.send_response(_told(task_pb2.TASK_STATUS_PENDING))
        events.send_response(_told(task_pb2.TASK_STATUS_IN_PROGRESS))
        stage.answer("GetTask", task_pb2.GetTaskResponse(task=a_task(task_pb2.TASK_STATUS_IN_PROGRESS)))
        assert waiting.result(WAIT_SECONDS).status is TaskStatus.IN_PROGRESS


def test_a_listener_that_has_missed_something_looks_at_the_task() -> None:
    with playing() as stage:
        meet(stage)
        waiting = stage.call(lambda client: client.wait("t1", until="in_progress"))
        _see(stage, a_task())
        _, events = stage.opened("WatchTasks")
        events.send_response(task_pb2.WatchTasksResponse(reset=True, bookmark=9))
        completed = a_task(task_pb2.TASK_STATUS_COMPLETED)
        attempt = completed.attempts.add(number=1, agent_id="a1", state="finished")
        attempt.started_at.FromMilliseconds(1)
        _see(stage, completed)
        _see(stage, completed)
        assert waiting.result(WAIT_SECONDS).status is TaskStatus.COMPLETED


def test_a_time_that_is_no_number_is_refused() -> None:
    client = Client("127.0.0.1:1")
    with pytest.raises(InvalidTask, match="timeout"):
        client.wait("t1", until="pending", timeout="soon")  # type: ignore[arg-type]
    with pytest.raises(InvalidTask, match="timeout"):
        client.wait_until_empty("a1", timeout="soon")  # type: ignore[arg-type]
    client.close()


def _see(stage: Stage, task: task_pb2.Task) -> None:
    stage.answer("GetTask", task_pb2.GetTaskResponse(task=task))


def _told(status: task_pb2.TaskStatus) -> task_pb2.WatchTasksResponse:
    return task_pb2.WatchTasksResponse(
        bookmark=1, events=[task_pb2.TaskEvent(revision=1, name="task.any", task_id="t1", status=status)]
    )
