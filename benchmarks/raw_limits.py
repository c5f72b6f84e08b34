"""The limits of this machine, as measurements: gRPC, the disk, SQLite and asyncio, nothing of NodeLink around them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measurement import Figure, Measurement, milliseconds, times_of
from benchmarks.raw import bare_stream, items_per_second, round_trips, syncs
from benchmarks.raw_spawn import spawns_per_second
from benchmarks.raw_sqlite import measure_raw

AT_A_TIME = 8
COMMIT_TASKS = 256


def raw_grpc(*, frames: Sequence[int], items: int, pings: int) -> Measurement:
    """A bare stream, with so many items a frame, and one item at a time. `items`: as many in frames of 256."""
    return Measurement(
        name="raw gRPC",
        how=f"a grpc.aio server that answers each frame with one of as many items, 8 frames under way; {pings:,} times "
        "one item there and back",
        figures=(
            *(_stream_figure(per_frame) for per_frame in frames),
            *times_of("raw.ping", "raw gRPC ping-pong"),
        ),
        run=partial(_grpc, frames, items, pings),
    )


def _stream_figure(per_frame: int) -> Figure:
    return Figure(key=f"raw.stream{per_frame}.rate", name=f"raw gRPC stream echo, {per_frame} a frame", unit="items/s")


async def _grpc(frames: Sequence[int], items: int, pings: int, _: Path) -> Mapping[str, float]:
    found = {}
    async with bare_stream() as call:
        for per_frame in frames:
            count = max(items * per_frame // 256 * 4 if per_frame < 256 else items, per_frame)  # frames cost, not items
            await items_per_second(call, items=max(count // 5, per_frame), per_frame=per_frame)
            found[f"raw.stream{per_frame}.rate"] = await items_per_second(call, items=count, per_frame=per_frame)
        times = await round_trips(call, pings)
    return {**found, **milliseconds("raw.ping", times)}


def raw_sync(count: int) -> Measurement:
    """The disk."""

    async def run(directory: Path) -> Mapping[str, float]:
        return milliseconds("raw.sync", syncs(directory, count))

    return Measurement(
        name="raw fdatasync",
        how=f"4 KiB at the end of a file, {count:,} times",
        figures=times_of("raw.sync", "fdatasync of 4 KiB"),
        run=run,
    )


def raw_sqlite(tasks: int) -> Measurement:
    """SQLite alone."""
    tasks = max(tasks // COMMIT_TASKS, 1) * COMMIT_TASKS

    async def run(directory: Path) -> Mapping[str, float]:
        found = await asyncio.to_thread(measure_raw, directory, tasks, COMMIT_TASKS)
        return {"raw.sqlite.rate": found.tasks_per_second}

    return Measurement(
        name="raw SQLite",
        how=f"{tasks:,} tasks as rows that come in and change, {COMMIT_TASKS} a commit, synchronous=FULL",
        figures=(Figure(key="raw.sqlite.rate", name="raw SQLite group commit, insert and update", unit="tasks/s"),),
        run=run,
    )


def raw_spawn(count: int) -> Measurement:
    """asyncio's subprocesses alone."""

    async def run(_: Path) -> Mapping[str, float]:
        await spawns_per_second(max(count // 10, 1), at_a_time=1)
        return {
            "raw.spawn1.rate": await spawns_per_second(count, at_a_time=1),
            "raw.spawn8.rate": await spawns_per_second(count, at_a_time=AT_A_TIME),
        }

    return Measurement(
        name="raw asyncio spawn",
        how=f"/bin/true, {count:,} times, from one process",
        figures=(
            Figure(key="raw.spawn1.rate", name="raw asyncio spawn, one after the other", unit="commands/s"),
            Figure(key="raw.spawn8.rate", name=f"raw asyncio spawn, {AT_A_TIME} at a time", unit="commands/s"),
        ),
        run=run,
    )
