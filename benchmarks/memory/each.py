"""What one of each thing takes of memory: a waiting task, a live task, an agent, a listener."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grpc

from benchmarks.bare_agent import BareAgent
from benchmarks.cpu import tree_of
from benchmarks.helper import helping
from benchmarks.measurement import LONG_SECONDS, Figure, Measurement
from benchmarks.processes import running
from benchmarks.raw import OPTIONS
from benchmarks.resident import own_kib, per_item, resident_kib
from benchmarks.scale.agents import FIRST, herd
from benchmarks.scale.herd import AGENTS
from benchmarks.system import addresses_of, agent_command, agents_online, server
from nodelink import wire
from nodelink.task import Started, TaskResponse
from nodelink.v1 import agent_pb2, task_pb2, task_pb2_grpc

PER_BATCH = 1_000
MOST_SLOTS = 4_000
WINDOW = "waiting"
HELD = "held"
HOLDERS = 0xA0000
SETTLE_SECONDS = 3.0
"""For so long nothing is done before memory is looked at, so that what is only in passing is gone."""
KIB = 1024
SPEC_PAYLOAD = json.dumps("x" * 62).encode()


class Sizes(NamedTuple):
    """How many of each thing are there while it is measured, and after how many seconds memory is looked at."""

    agents: int
    waiting: int
    live: int
    listeners: int
    settle: float = SETTLE_SECONDS


def each(sizes: Sizes) -> Measurement:
    """The measurement."""
    return Measurement(
        name="memory: one of each",
        how=f"own memory of a new server before and after {sizes.agents:,} light agents, each with a connection; "
        f"{sizes.waiting:,} waiting tasks of 64 bytes; {sizes.live:,} tasks that light agents hold; "
        f"{sizes.listeners:,} SSE listeners; but for a first few, with which it is warm; and of all processes of "
        "a real agent that has nothing to do",
        figures=(
            Figure(key="memory.agent.own", name="agent, its own processes", unit="KiB"),
            Figure(key="memory.agent.server", name="idle agent, server", unit="bytes"),
            Figure(key="memory.waiting", name="waiting task in the window, server", unit="bytes"),
            Figure(key="memory.live", name="live task (granted, not finished), server", unit="bytes"),
            Figure(key="memory.listener", name="listener, server", unit="bytes"),
            Figure(key="memory.server", name="server with nothing to do", unit="KiB"),
        ),
        most_seconds=LONG_SECONDS,
        run=partial(_measure, sizes),
    )


async def _measure(sizes: Sizes, directory: Path) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for name, measure in (("idle", _idle), ("waiting", _waiting), ("live", _live), ("listeners", _listeners)):
        home = directory / name
        home.mkdir()
        async with server(home) as (address, process):
            found |= await measure(home, address, process.pid, sizes)
    return found


async def _idle(directory: Path, address: str, pid: int, sizes: Sizes) -> Mapping[str, float]:
    """A real agent, and what light ones take of the server."""
    home = directory / "agent"
    home.mkdir()
    async with (
        grpc.aio.insecure_channel(address, options=OPTIONS) as channel,
        running(agent_command(home, address, slots=8, name="agent"), log=home / "log") as agent,
    ):
        await agents_online(channel, 1)
        await asyncio.sleep(sizes.settle)
        own, alone = sum(map(resident_kib, tree_of([agent.pid]))), resident_kib(pid)
    async with herd(AGENTS, address, first=0, count=FIRST, per_channel=1):
        before = own_kib(pid)
        async with herd(AGENTS, address, first=FIRST, count=sizes.agents, per_channel=1):
            taken = await _settled(pid, sizes.settle)
    of_one = per_item(before, taken, sizes.agents) * KIB
    return {"memory.agent.own": own, "memory.server": alone, "memory.agent.server": of_one}


async def _waiting(directory: Path, address: str, pid: int, sizes: Sizes) -> Mapping[str, float]:
    """Tasks that wait for an agent that never comes. A tenth of them come before memory is looked at."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        first = max(sizes.waiting // 10, 1)
        await _submit(channel, WINDOW, first)
        before = await _settled(pid, sizes.settle)
        await _submit(channel, WINDOW, sizes.waiting - first)
        return {"memory.waiting": per_item(before, await _settled(pid, sizes.settle), sizes.waiting - first) * KIB}


async def _live(directory: Path, address: str, pid: int, sizes: Sizes) -> Mapping[str, float]:
    """Tasks that have begun and do not end."""
    held = asyncio.Semaphore(0)

    def answer(frame: agent_pb2.ConnectResponse) -> list[TaskResponse]:
        for _ in frame.tasks:
            held.release()
        return [TaskResponse(wire.ref_of(task.ref), Started()) for task in frame.tasks]

    holders = range(-(-sizes.live // MOST_SLOTS))
    agents = [BareAgent(HOLDERS + n, address, pool=HELD, slots=MOST_SLOTS, answer=answer) for n in holders]
    living = [asyncio.create_task(agent.live()) for agent in agents]
    try:
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            await asyncio.gather(*(agent.welcomed.wait() for agent in agents))
            first = max(sizes.live // 10, 1)
            taken = []
            for count in (first, sizes.live - first):
                await _submit(channel, HELD, count)
                for _ in range(count):
                    await held.acquire()
                taken.append(await _settled(pid, sizes.settle))
            return {"memory.live": per_item(taken[0], taken[1], sizes.live - first) * KIB}
    finally:
        for one in living:
            one.cancel()
        await asyncio.gather(*living, return_exceptions=True)


async def _listeners(directory: Path, address: str, pid: int, sizes: Sizes) -> Mapping[str, float]:
    """Listeners to whom nothing is told. A tenth of them come before memory is looked at."""
    http = addresses_of(directory)["http"]
    first = max(sizes.listeners // 10, 1)
    async with _listening(http, first):
        before = await _settled(pid, sizes.settle)
        async with _listening(http, sizes.listeners - first):
            return {
                "memory.listener": per_item(before, await _settled(pid, sizes.settle), sizes.listeners - first) * KIB
            }


@asynccontextmanager
async def _listening(http: str, count: int) -> AsyncIterator[None]:
    async with helping("benchmarks.scale.listening", {"http": http, "listeners": [("", False)] * count}) as helper:
        assert await helper.hear() == "listening"
        yield


async def _submit(channel: grpc.aio.Channel, pool: str, count: int) -> None:
    service = task_pb2_grpc.TaskServiceStub(channel)
    request = task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type="echo", payload=SPEC_PAYLOAD, pool=pool))
    for first in range(0, count, PER_BATCH):
        batch = task_pb2.BatchSubmitTasksRequest(requests=[request] * min(PER_BATCH, count - first))
        answer = await service.BatchSubmitTasks(batch)
        assert all(outcome.task_id for outcome in answer.outcomes), answer.outcomes[0]


async def _settled(pid: int, seconds: float) -> float:
    await asyncio.sleep(seconds)
    return own_kib(pid)
