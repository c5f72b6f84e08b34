"""How long it takes until a cancel has been sent: from the call to its arrival at the agent that has the task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from benchmarks.bare_agent import BareAgent
from benchmarks.system import agents_online
from nodelink import wire
from nodelink.task import Finished, Outcome, Started, TaskResponse
from nodelink.v1 import agent_pb2, task_pb2, task_pb2_grpc

POOL = "held"
SLOTS = 4
NUMBER = 0xCA
WAIT_SECONDS = 30
STOPPED = Finished(outcome=Outcome.CANCELLED)


class Holder:
    """Holds every task that it is given until it is told to stop it."""

    def __init__(self) -> None:
        self.held: asyncio.Queue[str] = asyncio.Queue()
        self.told: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
        """Which cancel came when, in seconds of the process's clock. Until it is answered, one may come again."""

    def answer(self, frame: agent_pb2.ConnectResponse) -> list[TaskResponse]:
        """What an agent says to a frame."""
        for task in frame.tasks:
            self.held.put_nowait(task.ref.task_id)
        for cancel in frame.cancels:
            self.told.put_nowait((cancel.ref.task_id, time.perf_counter()))
        started = [TaskResponse(wire.ref_of(task.ref), Started()) for task in frame.tasks]
        return started + [TaskResponse(wire.ref_of(cancel.ref), STOPPED) for cancel in frame.cancels]


@asynccontextmanager
async def holding(channel: grpc.aio.Channel, address: str, *, agents: int) -> AsyncIterator[Holder]:
    """An agent that holds tasks, beside so many others."""
    holder = Holder()
    agent = BareAgent(NUMBER, address, pool=POOL, slots=SLOTS, answer=holder.answer)
    async with asyncio.TaskGroup() as group:  # without the agent there is nothing to wait for
        living = group.create_task(agent.live())
        await agents_online(channel, agents + 1)
        yield holder
        living.cancel()


async def cancel_times(channel: grpc.aio.Channel, holder: Holder, count: int) -> list[float]:
    """Seconds from the call to the agent, one task at a time, each with the agent before it is cancelled."""
    service = task_pb2_grpc.TaskServiceStub(channel)
    spec = task_pb2.TaskSpec(type="echo", pool=POOL, payload=b"1")
    times = []
    for _ in range(count):
        await service.SubmitTask(task_pb2.SubmitTaskRequest(spec=spec))
        task_id = await holder.held.get()
        began = time.perf_counter()
        await service.CancelTask(task_pb2.CancelTaskRequest(task_id=task_id, reason="measured"))
        times.append(await _arrival(holder, task_id) - began)
        waiting = task_pb2.WaitTaskRequest(task_id=task_id)
        waiting.timeout.seconds = WAIT_SECONDS
        await service.WaitTask(waiting)
    return times


async def _arrival(holder: Holder, task_id: str) -> float:
    while True:
        told, at = await holder.told.get()
        if told == task_id:
            return at
