"""A real server, a real agent, and a client that submits durable echo tasks and waits for every result."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from benchmarks.raw import OPTIONS, PAYLOAD
from nodelink.v1 import admin_pb2, admin_pb2_grpc, task_pb2, task_pb2_grpc

START_SECONDS = 20.0
Submits = grpc.aio.StreamStreamCall[task_pb2.StreamSubmitTasksRequest, task_pb2.StreamSubmitTasksResponse]
Ends = grpc.aio.UnaryStreamCall[task_pb2.WatchTasksRequest, task_pb2.WatchTasksResponse]
ENDED = ("task.completed", "task.failed", "task.timeout", "task.cancelled", "task.lost")


class System(NamedTuple):
    """A running server: its gRPC address, and a channel to it."""

    address: str
    channel: grpc.aio.Channel


@asynccontextmanager
async def server(directory: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A server as users run it, on the database of a directory: its gRPC address, and its process."""
    command = ("nodelink_server", "--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
    async with _process(directory, *command) as process:
        yield await _address(directory / "addresses.json"), process


@asynccontextmanager
async def system(directory: Path, *, slots: int) -> AsyncIterator[System]:
    """Server and agent as users run them."""
    async with AsyncExitStack() as stack:
        address, _ = await stack.enter_async_context(server(directory))
        agent = ("nodelink_agent", "--server", address, "--slots", str(slots))
        await stack.enter_async_context(_process(directory, *agent))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=OPTIONS))
        await _agent_online(channel)
        yield System(address, channel)


@asynccontextmanager
async def _process(directory: Path, module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A service in a process of its own, its logs beside the database."""
    with (directory / f"{module}.log").open("wb") as log:
        command = (sys.executable, "-m", module, "--data-dir", str(directory), *arguments)
        process = await asyncio.create_subprocess_exec(*command, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            await process.wait()


async def _address(path: Path) -> str:
    async with asyncio.timeout(START_SECONDS):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process writes it, and nothing else runs here
            await asyncio.sleep(0.02)
    return str(json.loads(path.read_text())["grpc"])  # noqa: ASYNC240


async def _agent_online(channel: grpc.aio.Channel) -> None:
    admin = admin_pb2_grpc.AgentAdminServiceStub(channel)
    request = admin_pb2.ListAgentsRequest(status=admin_pb2.AGENT_STATUS_ONLINE)
    async with asyncio.timeout(START_SECONDS):
        while not (await admin.ListAgents(request)).agents:  # noqa: ASYNC110 - another process tells
            await asyncio.sleep(0.02)


async def tasks_per_second(channel: grpc.aio.Channel, *, tasks: int, per_frame: int, under_way: int) -> float:
    """Durable tasks from submit to the event that tells their end, at most so many under way."""
    service = task_pb2_grpc.TaskServiceStub(channel)
    ends = service.WatchTasks(task_pb2.WatchTasksRequest(type="echo", names=ENDED))
    await ends.read()
    room = asyncio.Semaphore(under_way // per_frame)
    open_stream: Any = service.StreamSubmitTasks  # its types do not know that requests may be written instead
    submits = open_stream()
    request = task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type="echo", payload=PAYLOAD))
    frame = task_pb2.StreamSubmitTasksRequest(requests=[request] * per_frame)
    began = time.perf_counter()
    reading = asyncio.create_task(_read_outcomes(submits, tasks))
    counting = asyncio.create_task(_count_ends(ends, tasks, per_frame, room))
    for _ in range(tasks // per_frame):
        await room.acquire()
        await submits.write(frame)
    await submits.done_writing()
    await asyncio.gather(reading, counting)
    seconds = time.perf_counter() - began
    ends.cancel()
    return tasks / seconds


async def _read_outcomes(submits: Submits, tasks: int) -> None:
    accepted = 0
    async for answer in submits:
        accepted += sum(1 for outcome in answer.outcomes if outcome.task_id)
    assert accepted == tasks, f"{accepted} of {tasks} accepted"


async def _count_ends(ends: Ends, tasks: int, per_frame: int, room: asyncio.Semaphore) -> None:
    ended = 0
    while ended < tasks:
        frame = await ends.read()
        assert isinstance(frame, task_pb2.WatchTasksResponse), "the server ended the watch"
        before, ended = ended, ended + len(frame.events)
        for _ in range(ended // per_frame - before // per_frame):
            room.release()


async def single_tasks(channel: grpc.aio.Channel, count: int) -> list[float]:
    """Seconds from submit to result, one task at a time."""
    service = task_pb2_grpc.TaskServiceStub(channel)
    request = task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type="echo", payload=PAYLOAD))
    request.wait.seconds = 30
    times = []
    for _ in range(count):
        began = time.perf_counter()
        answer = await service.SubmitTask(request)
        times.append(time.perf_counter() - began)
        assert answer.task.status == task_pb2.TASK_STATUS_COMPLETED, answer.task
    return times
