"""The same load for a long time: whether memory grows, and whether the work becomes slower."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from benchmarks.end_to_end import ECHO, Ends, ends_of
from benchmarks.measurement import Figure, Measurement
from benchmarks.processes import running
from benchmarks.raw import OPTIONS
from benchmarks.resident import own_kib, resident_kib, slope
from benchmarks.system import agent_command, agents_online, server
from nodelink.v1 import task_pb2, task_pb2_grpc

PER_FRAME = 64
UNDER_WAY = 256
SAMPLES = 600
"""So often memory is looked at, or each second if that is less often."""
WARM_UP = 0.2
"""The share of the time that is not counted: caches fill, and what is old begins to be removed."""
RETENTION = ("--retention", "60s", "--cleanup-interval", "5s")
"""Tasks are removed a minute after their end, so that the database does not grow for all the time either."""
Samples = Sequence[tuple[float, float]]
"""Values with the moments, in minutes, at which they were taken."""


def steady(minutes: float) -> Measurement:
    """The measurement."""
    return Measurement(
        name="memory: steady load",
        how=f"echo tasks in frames of {PER_FRAME}, at most {UNDER_WAY} under way, for {minutes:g} minutes; "
        f"finished tasks are kept for a minute; the first {WARM_UP:.0%} of the time is not counted; slopes by least "
        "squares",
        figures=(
            *_figures("server", "server"),
            *_figures("agent", "agent"),
            *_figures("resident", "server with mapped files"),
            *_figures("database", "database file"),
            Figure(key="memory.steady.first", name="throughput, first tenth", unit="tasks/s"),
            Figure(key="memory.steady.last", name="throughput, last tenth", unit="tasks/s"),
        ),
        run=partial(_measure, minutes),
        most_seconds=minutes * 60 + 300,
    )


def _figures(key: str, name: str) -> Sequence[Figure]:
    key = f"memory.steady.{key}"
    return (
        Figure(key=f"{key}.kib", name=f"{name} under steady load, average", unit="KiB"),
        Figure(key=f"{key}.slope", name=f"{name} under steady load, growth", unit="KiB/minute"),
    )


async def _measure(minutes: float, directory: Path) -> Mapping[str, float]:
    home = directory / "agent"
    home.mkdir()
    async with (
        server(directory, *RETENTION) as (address, process),
        running(agent_command(home, address, slots=UNDER_WAY, name="agent"), log=home / "log") as agent,
        grpc.aio.insecure_channel(address, options=OPTIONS) as channel,
    ):
        await agents_online(channel, 1)
        looks: dict[str, Callable[[], float]] = {
            "server": partial(own_kib, process.pid),
            "agent": partial(own_kib, agent.pid),
            "resident": partial(resident_kib, process.pid),
            "database": partial(_file_kib, directory / "nodelink.db"),
        }
        sizes, ended = await _loaded(channel, looks, minutes)
    return figures_of(sizes, ended, minutes)


def _file_kib(path: Path) -> float:
    return path.stat().st_size / 1024


async def _loaded(
    channel: grpc.aio.Channel, looks: Mapping[str, Callable[[], float]], minutes: float
) -> tuple[Mapping[str, Samples], Samples]:
    """The sizes that are looked at during the load, and how many tasks had ended by when."""
    sizes: dict[str, list[tuple[float, float]]] = {name: [] for name in looks}
    ended: list[tuple[float, float]] = []
    async with ends_of(channel, ECHO.type) as ends:
        began = time.monotonic()
        submitting = asyncio.create_task(_submit(channel, ends))
        every = max(minutes * 60 / SAMPLES, min(1.0, minutes * 60 / 20))
        try:
            while (now := (time.monotonic() - began) / 60) < minutes:
                for name, look in looks.items():
                    sizes[name].append((now, look()))
                ended.append((now, ends.count))
                await asyncio.wait({submitting}, timeout=every)
                if submitting.done():
                    await submitting
        finally:
            submitting.cancel()
            await asyncio.gather(submitting, return_exceptions=True)
    return sizes, ended


async def _submit(channel: grpc.aio.Channel, ends: Ends) -> None:
    """Hand tasks in, for ever, always as many as may be under way."""
    service: Any = task_pb2_grpc.TaskServiceStub(channel)
    submits = service.StreamSubmitTasks()
    answers = asyncio.create_task(_check(submits))
    frame = task_pb2.StreamSubmitTasksRequest(requests=[task_pb2.SubmitTaskRequest(spec=ECHO)] * PER_FRAME)
    submitted = 0
    try:
        while not answers.done():
            while submitted - ends.count <= UNDER_WAY - PER_FRAME:
                await submits.write(frame)
                submitted += PER_FRAME
            await ends.more()
        await answers
    finally:
        answers.cancel()
        submits.cancel()


async def _check(submits: Any) -> None:
    async for answer in submits:
        assert all(outcome.task_id for outcome in answer.outcomes), "a task was refused"
    raise AssertionError("the server has ended the stream")


def figures_of(sizes: Mapping[str, Samples], ended: Samples, minutes: float) -> dict[str, float]:
    """What the samples tell, without those of the warm-up."""
    since = minutes * WARM_UP
    found: dict[str, float] = {}
    for name, samples in sizes.items():
        counted = [sample for sample in samples if sample[0] >= since]
        found[f"memory.steady.{name}.kib"] = sum(kib for _, kib in counted) / len(counted)
        found[f"memory.steady.{name}.slope"] = slope(counted)
    tenth = (minutes - since) / 10
    found["memory.steady.first"] = rate_between(ended, since, since + tenth)
    found["memory.steady.last"] = rate_between(ended, minutes - tenth, minutes)
    return found


def rate_between(ended: Samples, since: float, until: float) -> float:
    """How many tasks ended a second, from samples of how many had ended by when (minutes)."""
    inside = [sample for sample in ended if since <= sample[0] <= until]
    if len(inside) < 2:  # so short a time that no two samples lie in it: the next one before it is taken too
        inside = [sample for sample in ended if sample[0] <= until][-2:]
    (first_at, first), (last_at, last) = inside[0], inside[-1]
    return (last - first) / (last_at - first_at) / 60
