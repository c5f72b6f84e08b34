"""What a person or an urgent task waits while the server is idle, loaded with 70 % of what it can do, or flooded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.cancels import Holder, cancel_times, holding
from benchmarks.end_to_end import URGENT, single_tasks, throughput
from benchmarks.lag import lag_between, lags_so_far
from benchmarks.measurement import MS, Figure, Measurement, milliseconds, times_of
from benchmarks.paced import loaded
from benchmarks.ratios import LOAD
from benchmarks.rest import connected, read_times
from benchmarks.system import System, system
from nodelink.v1 import task_pb2, task_pb2_grpc

FLOOD = 2
"""How much of the peak somebody submits who does not care what the server can do."""

FEWER = 5
"""When it is flooded, only so much of the probes is made: each waits longer."""


def under_load(*, peak_tasks: int, probes: int, slots: int) -> Measurement:
    """The measurement."""
    return Measurement(
        name="NodeLink under load",
        how=f"urgent tasks, REST reads and cancels, {probes} of each, one at a time: idle, then at {LOAD:.0%} of the "
        f"peak of {peak_tasks:,} tasks that were submitted just before, as a steady rate; then {probes // FEWER} of "
        f"each at {FLOOD} times the peak, as far as the stream's credit allows",
        figures=(
            Figure(key="load.peak", name="peak before the load", unit="tasks/s"),
            Figure(key="load.rate", name=f"load, {LOAD:.0%} of it wanted", unit="tasks/s"),
            *times_of("load.urgent_idle", "one urgent task, idle"),
            *times_of("load.urgent", "one urgent task, under load"),
            *times_of("load.read_idle", "REST read of a task, idle"),
            *times_of("load.read", "REST read of a task, under load"),
            *times_of("load.cancel_idle", "until a cancel is sent, idle"),
            *times_of("load.cancel", "until a cancel is sent, under load"),
            Figure(key="load.flood_rate", name=f"load, {FLOOD:.0%} of it wanted", unit="tasks/s"),
            *times_of("load.urgent_flood", "one urgent task, flooded"),
            *times_of("load.read_flood", "REST read of a task, flooded"),
            *times_of("load.cancel_flood", "until a cancel is sent, flooded"),
            *times_of("load.lag", "lateness of the server's loop, under load"),
        ),
        run=partial(_measure, peak_tasks, probes, slots),
    )


async def _measure(peak_tasks: int, probes: int, slots: int, directory: Path) -> Mapping[str, float]:
    async with (
        system(directory, slots=slots) as running,
        holding(running.channel, running.address, agents=1) as holder,
    ):
        await throughput(running.channel, tasks=peak_tasks // 10, per_frame=256, under_way=slots)
        idle = await _probe(running, holder, probes, "_idle")
        peak = await throughput(running.channel, tasks=peak_tasks, per_frame=256, under_way=slots)
        async with loaded(running.address, peak.rate * LOAD) as load:
            before = await lags_so_far(running.http)
            probed = await _probe(running, holder, probes, "")
            after = await lags_so_far(running.http)
        async with loaded(running.address, peak.rate * FLOOD) as flood:
            flooded = await _probe(running, holder, probes // FEWER, "_flood")
    lags = {f"load.lag.p{percent}": lag_between(before, after, percent) * MS for percent in (50, 99)}
    rates = {"load.peak": peak.rate, "load.rate": load.achieved, "load.flood_rate": flood.achieved}
    return {**rates, **idle, **probed, **flooded, **lags}


async def _probe(running: System, holder: Holder, probes: int, when: str) -> dict[str, float]:
    urgent = await single_tasks(running.channel, probes, priority=URGENT)
    cancels = await cancel_times(running.channel, holder, probes)
    async with connected(running.http) as connection:
        reads = await read_times(connection, await _a_task(running), probes)
    return {
        **milliseconds(f"load.urgent{when}", urgent),
        **milliseconds(f"load.cancel{when}", cancels),
        **milliseconds(f"load.read{when}", reads),
    }


async def _a_task(running: System) -> str:
    service = task_pb2_grpc.TaskServiceStub(running.channel)
    listed = await service.ListTasks(task_pb2.ListTasksRequest(page_size=1))
    return listed.tasks[0].id
