"""Durable tasks from submit to the event that tells their end: as streams of frames, and one at a time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc

from benchmarks.cpu import cpu_seconds
from benchmarks.raw import PAYLOAD
from nodelink.task import DEFAULT_POOL
from nodelink.v1 import task_pb2, task_pb2_grpc

Submits = grpc.aio.StreamStreamCall[task_pb2.StreamSubmitTasksRequest, task_pb2.StreamSubmitTasksResponse]
Ended = grpc.aio.UnaryStreamCall[task_pb2.WatchTasksRequest, task_pb2.WatchTasksResponse]
ENDS = ("task.completed", "task.failed", "task.timeout", "task.cancelled", "task.lost")
URGENT = 100
ECHO = task_pb2.TaskSpec(type="echo", payload=PAYLOAD, execution=task_pb2.EXECUTION_REPLAYABLE)
TRUE = task_pb2.TaskSpec(type="shell", payload=b'{"command": ["/bin/true"]}', execution=task_pb2.EXECUTION_ONCE)


class Throughput(NamedTuple):
    """What a number of tasks came to. `cpu`: milliseconds a task of all processes, this one among them."""

    rate: float
    cpu: float


class Ends:
    """How many tasks of a type have ended since it was opened, and that none of them ended badly."""

    def __init__(self, watching: Ended) -> None:
        self._watching = watching
        self.count = 0

    async def reach(self, wanted: int) -> None:
        """Wait until so many have ended."""
        while self.count < wanted:
            await self.more()

    async def more(self) -> None:
        """Wait for the next frame of them."""
        frame = await self._watching.read()
        assert isinstance(frame, task_pb2.WatchTasksResponse), "the server ended the watch"
        assert not frame.reset, "events were lost"
        bad = [event for event in frame.events if event.name != "task.completed"]
        assert not bad, f"{bad[0].name}: {bad[0].reason}"
        self.count += len(frame.events)


@asynccontextmanager
async def ends_of(channel: grpc.aio.Channel, type: str) -> AsyncIterator[Ends]:
    """Count the ends of a type's tasks in the default pool from now on."""
    service = task_pb2_grpc.TaskServiceStub(channel)
    watching = service.WatchTasks(task_pb2.WatchTasksRequest(type=type, pool=DEFAULT_POOL, names=ENDS))
    await watching.read()
    try:
        yield Ends(watching)
    finally:
        watching.cancel()


async def throughput(
    channel: grpc.aio.Channel, *, tasks: int, per_frame: int, under_way: int, spec: task_pb2.TaskSpec = ECHO
) -> Throughput:
    """Submit durable tasks on a stream, at most so many under way, and wait for the event of each end."""
    tasks -= tasks % per_frame
    service = task_pb2_grpc.TaskServiceStub(channel)
    room = asyncio.Semaphore(under_way // per_frame)
    open_stream: Any = service.StreamSubmitTasks  # its types do not know that requests may be written instead
    request = task_pb2.SubmitTaskRequest(spec=spec)
    frame = task_pb2.StreamSubmitTasksRequest(requests=[request] * per_frame)
    async with ends_of(channel, spec.type) as ends:
        submits = open_stream()
        cpu, began = cpu_seconds([os.getpid()]), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            group.create_task(_read_outcomes(submits, tasks))
            group.create_task(_make_room(ends, tasks, per_frame, room))
            for _ in range(tasks // per_frame):
                await room.acquire()
                await submits.write(frame)
            await submits.done_writing()
        seconds = time.perf_counter() - began
        used = cpu_seconds([os.getpid()]) - cpu
    return Throughput(tasks / seconds, used / tasks * 1000)


async def _read_outcomes(submits: Submits, tasks: int) -> None:
    accepted = 0
    async for answer in submits:
        accepted += sum(1 for outcome in answer.outcomes if outcome.task_id)
    assert accepted == tasks, f"{accepted} of {tasks} accepted"


async def _make_room(ends: Ends, tasks: int, per_frame: int, room: asyncio.Semaphore) -> None:
    while (before := ends.count) < tasks:
        await ends.more()
        for _ in range(ends.count // per_frame - before // per_frame):
            room.release()


async def single_tasks(channel: grpc.aio.Channel, count: int, *, priority: int = 0) -> list[float]:
    """Seconds from submit to result, one task at a time."""
    service = task_pb2_grpc.TaskServiceStub(channel)
    request = task_pb2.SubmitTaskRequest(spec=ECHO)
    request.spec.priority = priority
    request.wait.seconds = 30
    times = []
    for _ in range(count):
        began = time.perf_counter()
        answer = await service.SubmitTask(request)
        times.append(time.perf_counter() - began)
        assert answer.task.status == task_pb2.TASK_STATUS_COMPLETED, answer.task
    return times
