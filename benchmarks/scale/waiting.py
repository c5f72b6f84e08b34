"""Whether what waits slows down what runs: durable echo tasks beside tasks that wait for agents of another pool."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from benchmarks.end_to_end import throughput
from benchmarks.measurement import LONG_SECONDS, Figure, Measurement
from benchmarks.system import System, system
from nodelink.task import Execution, TaskSpec
from nodelink_server.core.ports import Batch, Change, EventName
from nodelink_server.core.task import Task, ready
from nodelink_server.store.sql import open_store

PER_COMMIT = 1_000
PER_FRAME = 256
TURNS = 3
POOL = "elsewhere"
NOW = 1_700_000_000_000
PAYLOAD = json.dumps("x" * 62).encode()
PENDING = (EventName.TASK_CREATED, EventName.TASK_PENDING)


def waiting(counts: Sequence[int], *, tasks: int, slots: int) -> Measurement:
    """The measurement: one system for each of the counts, which are measured in turn."""
    return Measurement(
        name="scale: waiting tasks",
        how=f"{tasks:,} replayable echo tasks in frames of {PER_FRAME}, while "
        f"{', '.join(f'{count:,}' for count in counts)} tasks wait in a pool without agents; a system for each, all "
        f"there at once and measured in turn, {TURNS} times; medians",
        figures=[
            Figure(key=f"scale.waiting.{place}.rate", name=f"durable echo tasks, {count:,} wait", unit="tasks/s")
            for place, count in enumerate(counts)
        ],
        run=partial(_measure, counts, tasks, slots),
        most_seconds=LONG_SECONDS,
    )


async def _measure(counts: Sequence[int], tasks: int, slots: int, directory: Path) -> Mapping[str, float]:
    async with AsyncExitStack() as stack:
        systems = []
        for place, count in enumerate(counts):
            home = directory / str(place)
            home.mkdir()
            await fill(home, count)
            systems.append(await stack.enter_async_context(system(home, slots=slots)))
        for one in systems:
            await _rate(one, tasks // 10, slots)
        rates: list[list[float]] = [[] for _ in counts]
        for _ in range(TURNS):
            for one, its in zip(systems, rates, strict=True):
                its.append(await _rate(one, tasks, slots))
    return {f"scale.waiting.{place}.rate": statistics.median(its) for place, its in enumerate(rates)}


async def _rate(one: System, tasks: int, slots: int) -> float:
    tasks, per_frame = max(tasks, 1), min(PER_FRAME, max(tasks, 1))
    found = await throughput(one.channel, tasks=tasks, per_frame=per_frame, under_way=max(slots, per_frame))
    return found.rate


async def fill(directory: Path, count: int) -> None:
    """Put so many waiting tasks into the database of a directory, through the store."""
    async with open_store(f"sqlite:///{directory}/nodelink.db", ids=lambda: "benchmark") as store:
        await store.boot(NOW)
        for first in range(0, count, PER_COMMIT):
            changes = [_task(number) for number in range(first, min(first + PER_COMMIT, count))]
            await store.apply(Batch(now=NOW + first, control_ms=first, changes=changes))


def _task(number: int) -> Change:
    task = Task(
        id=f"0190a000-0000-7000-8000-{number:012x}",
        spec=TaskSpec(type="echo", pool=POOL),
        execution=Execution.REPLAYABLE,
        created_at=NOW,
        payload=PAYLOAD,
    )
    return Change(task=ready(task, rank=number, now=NOW, queue_deadline=None), expected=0, events=PENDING)
