"""NodeLink itself, as measurements: durable tasks by each way of handing them in, with one agent or several."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import grpc

from benchmarks.end_to_end import TRUE, Throughput, single_tasks, throughput
from benchmarks.measurement import Figure, Measurement, milliseconds, times_of
from benchmarks.rest import batched_rate, single_rate
from benchmarks.sdk import accepted_rates, result_rates
from benchmarks.system import system

PER_FRAME = 256
WARM_UP_TASKS = 2_560
WARM_UP_SINGLES = 50
SHELL_SLOTS = 64
SHELL_PER_FRAME = 16
SHELL_UNDER_WAY = 256


def stream(*, tasks: int, singles: int, slots: int) -> Measurement:
    """Frames of tasks on a stream, and tasks one at a time."""
    return Measurement(
        name="NodeLink stream",
        how=f"{tasks:,} replayable echo tasks in frames of {PER_FRAME}, at most {slots:,} under way, until the "
        f"event of each end; then {singles:,} one at a time, until the result",
        figures=(
            Figure(key="nodelink.stream.rate", name="durable echo tasks, stream", unit="tasks/s"),
            Figure(key="nodelink.stream.cpu", name="durable echo tasks, stream, CPU", unit="ms/task"),
            *times_of("nodelink.one", "one durable echo task"),
        ),
        run=partial(_stream, tasks, singles, slots),
    )


async def _stream(tasks: int, singles: int, slots: int, directory: Path) -> Mapping[str, float]:
    async with system(directory, slots=slots) as running:
        await throughput(running.channel, tasks=min(WARM_UP_TASKS, tasks), per_frame=PER_FRAME, under_way=slots)
        found = await throughput(running.channel, tasks=tasks, per_frame=PER_FRAME, under_way=slots)
        await single_tasks(running.channel, min(WARM_UP_SINGLES, singles))
        times = await single_tasks(running.channel, singles)
    return {"nodelink.stream.rate": found.rate, "nodelink.stream.cpu": found.cpu, **milliseconds("nodelink.one", times)}


def with_agents(agents: int, *, tasks: int, slots: int) -> Measurement:
    """The same stream with several agents, which share the slots."""
    key = f"nodelink.agents{agents}.rate"

    async def run(directory: Path) -> Mapping[str, float]:
        async with system(directory, slots=slots, agents=agents) as running:
            await throughput(running.channel, tasks=min(WARM_UP_TASKS, tasks), per_frame=PER_FRAME, under_way=slots)
            found = await throughput(running.channel, tasks=tasks, per_frame=PER_FRAME, under_way=slots)
        return {key: found.rate}

    return Measurement(
        name=f"NodeLink with {agents} agents",
        how=f"the same {tasks:,} tasks with {agents} agents of {slots // agents} slots",
        figures=(Figure(key=key, name=f"durable echo tasks, stream, {agents} agents", unit="tasks/s"),),
        run=run,
    )


def sdk(*, tasks: int, slots: int) -> Measurement:
    """The Python client, until every result has been read."""

    async def run(directory: Path) -> Mapping[str, float]:
        async with system(directory, slots=slots) as running:
            found = await result_rates(running.address, tasks)
        return {"nodelink.sdk.batch.rate": found.batch, "nodelink.sdk.loop.rate": found.loop}

    return Measurement(
        name="NodeLink SDK",
        how=f"{tasks:,} echo tasks by Client, until every result has been read",
        figures=(
            Figure(key="nodelink.sdk.batch.rate", name="SDK batch (submit_many), results read", unit="tasks/s"),
            Figure(key="nodelink.sdk.loop.rate", name="SDK loop of submit, results read", unit="tasks/s"),
        ),
        run=run,
    )


def sdk_accepting(*, tasks: int) -> Measurement:
    """The Python clients, until the tasks are durable."""

    async def run(directory: Path) -> Mapping[str, float]:
        async with system(directory, slots=1) as running:
            await accepted_rates(running.address, max(tasks // 10, 1))
            sync, aio = await accepted_rates(running.address, tasks)
        return {
            "nodelink.accept.batch": sync.batch,
            "nodelink.accept.loop": sync.loop,
            "nodelink.accept.async_batch": aio.batch,
            "nodelink.accept.async_loop": aio.loop,
        }

    return Measurement(
        name="NodeLink SDK, accepting",
        how=f"{tasks:,} tasks for a pool without agents, until they are durable",
        figures=(
            Figure(key="nodelink.accept.batch", name="SDK batch, accepted", unit="tasks/s"),
            Figure(key="nodelink.accept.loop", name="SDK loop of submit, accepted", unit="tasks/s"),
            Figure(key="nodelink.accept.async_batch", name="async SDK batch, accepted", unit="tasks/s"),
            Figure(key="nodelink.accept.async_loop", name="async SDK loop of submit, accepted", unit="tasks/s"),
        ),
        run=run,
    )


def rest(*, batched: int, single: int, slots: int) -> Measurement:
    """REST."""

    async def run(directory: Path) -> Mapping[str, float]:
        async with system(directory, slots=slots) as running:
            return {
                "nodelink.rest.batch.rate": await batched_rate(running, batched),
                "nodelink.rest.single.rate": await single_rate(running, single),
            }

    return Measurement(
        name="NodeLink REST",
        how=f"{batched:,} echo tasks in batches of 1,000, and {single:,} one a request on 8 connections, until the "
        "event of each end",
        figures=(
            Figure(key="nodelink.rest.batch.rate", name="REST batch", unit="tasks/s"),
            Figure(key="nodelink.rest.single.rate", name="REST single", unit="tasks/s"),
        ),
        run=run,
    )


def shell(tasks: int) -> Measurement:
    """Commands."""

    async def run(directory: Path) -> Mapping[str, float]:
        async with system(directory, slots=SHELL_SLOTS) as running:
            await _commands(running.channel, max(tasks // 10, SHELL_PER_FRAME))
            found = await _commands(running.channel, tasks)
        return {"nodelink.shell.rate": found.rate}

    return Measurement(
        name="NodeLink shell",
        how=f"/bin/true as {tasks:,} once tasks, {SHELL_SLOTS} slots, with spawner and journal, until each end",
        figures=(Figure(key="nodelink.shell.rate", name="once shell tasks (true)", unit="tasks/s"),),
        run=run,
    )


async def _commands(channel: grpc.aio.Channel, tasks: int) -> Throughput:
    return await throughput(channel, tasks=tasks, per_frame=SHELL_PER_FRAME, under_way=SHELL_UNDER_WAY, spec=TRUE)
