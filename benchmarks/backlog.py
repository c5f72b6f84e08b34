"""A large backlog through small windows: many delayed and queued tasks, and agents of several pools that come to them.

The order in which they were granted is read from the database afterwards and compared with the order in which they had
to be: of those that were ready, the first of a pool goes first. `python -m benchmarks.backlog`.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import random
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.bare_agent import BareAgent
from benchmarks.raw import OPTIONS
from benchmarks.system import server
from nodelink import wire
from nodelink.task import Finished, Outcome, TaskResponse
from nodelink.v1 import agent_pb2, task_pb2, task_pb2_grpc

TASKS = 200_000
AGENTS = 50
POOLS = ("north", "east", "south", "west")
SLOTS = 20
PER_FRAME = 1_000
DELAY_SECONDS = (45, 75)
TOLERANCES_MS = (100, 300, 1_000)
"""A task that became ready so little before another was granted may not have been durable by then."""
DONE = Finished(outcome=Outcome.COMPLETED, output=b'"done"')


@dataclass(frozen=True, slots=True)
class Backlog:
    """What came of it. Sizes in MiB."""

    tasks: int
    tasks_per_second: float
    before_mib: float
    most_mib: float
    overtaken: dict[int, int]


def light_agent(number: int, address: str) -> BareAgent:
    """An agent without a pool of workers: whatever it is given has ended."""
    return BareAgent(number, address, pool=POOLS[number % len(POOLS)], slots=SLOTS, answer=_all_done)


def _all_done(frame: agent_pb2.ConnectResponse) -> list[TaskResponse]:
    return [TaskResponse(wire.ref_of(task.ref), DONE) for task in frame.tasks]


async def submit(channel: grpc.aio.Channel, tasks: int) -> None:
    """Hand in so many tasks: one half waits for agents, the other for a time in a while."""
    chance = random.Random(1)
    service = task_pb2_grpc.TaskServiceStub(channel)
    began = time.time()
    for first in range(0, tasks, PER_FRAME):
        frame = task_pb2.BatchSubmitTasksRequest()
        for number in range(first, min(first + PER_FRAME, tasks)):
            spec = frame.requests.add().spec
            spec.CopyFrom(_spec(chance))
            if number % 2:
                spec.scheduled_at.FromMilliseconds(int((began + chance.uniform(*DELAY_SECONDS)) * 1000))
        answer = await service.BatchSubmitTasks(frame)
        assert all(outcome.task_id for outcome in answer.outcomes), answer.outcomes[0]


def _spec(chance: random.Random) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(
        type="echo", payload=b"1", pool=chance.choice(POOLS), priority=chance.choice((25, 50, 50, 75, 100))
    )


async def measure(directory: Path, *, tasks: int, agents: int) -> Backlog:
    """Build the backlog, let the agents come, and wait until nothing is left."""
    async with server(directory) as (address, process):
        before = _resident(process.pid)
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            await submit(channel, tasks)
            began = time.monotonic()
            living = [asyncio.create_task(light_agent(number, address).live()) for number in range(agents)]
            await _until_done(directory / "nodelink.db", tasks)
            seconds = time.monotonic() - began
            for one in living:
                one.cancel()
            await asyncio.gather(*living, return_exceptions=True)
        most = _resident(process.pid, most=True)
    overtaken = {late: count_overtaken(directory / "nodelink.db", late) for late in TOLERANCES_MS}
    return Backlog(tasks, tasks / seconds, before, most, overtaken)


async def _until_done(database: Path, tasks: int) -> None:
    while True:
        await asyncio.sleep(0.5)
        done = await asyncio.to_thread(_count_done, database)
        sys.stderr.write(f"\r{done:,} of {tasks:,} tasks done")
        if done == tasks:
            sys.stderr.write("\n")
            return


def _count_done(database: Path) -> int:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM tasks WHERE finished_at IS NOT NULL").fetchone()[0])
    finally:
        connection.close()


def count_overtaken(database: Path, late_ms: int) -> int:
    """How many tasks were granted although one of their pool that goes before them had been ready for so long."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    columns = "pool, rank, key, ready_at, ready_revision, sent_at, sent_revision"
    rows = connection.execute(f"SELECT {columns} FROM tasks ORDER BY sent_revision").fetchall()  # noqa: S608
    connection.close()
    overtaken = 0
    by_pool: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    for pool, *row in rows:
        by_pool[pool].append(tuple(row))
    for granted in by_pool.values():
        coming = sorted(granted, key=lambda row: row[2])
        waiting: list[tuple[int, int]] = []
        gone: set[int] = set()
        place = 0
        for rank, key, _, _, sent_at, _ in granted:
            while place < len(coming) and coming[place][2] + late_ms < sent_at:
                heapq.heappush(waiting, (coming[place][0], coming[place][1]))
                place += 1
            while waiting and waiting[0][1] in gone:
                heapq.heappop(waiting)
            overtaken += bool(waiting and waiting[0] < (rank, key))
            gone.add(key)
    return overtaken


def _resident(pid: int, *, most: bool = False) -> float:
    """How much memory a process has, or had at most, in MiB."""
    wanted = "VmHWM:" if most else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, *value = line.split()
        if name == wanted:
            return int(value[0]) / 1024
    return 0.0


def table(backlog: Backlog) -> str:
    """The figures for people."""
    rows = {
        "tasks, one half of them delayed": f"{backlog.tasks:,}",
        "from the coming of the agents until the last end": f"{backlog.tasks_per_second:,.0f} tasks/s",
        "memory of the server before, and at most": f"{backlog.before_mib:.0f} MiB, {backlog.most_mib:.0f} MiB",
        **{f"overtook one that was ready for {late} ms": f"{n:,}" for late, n in backlog.overtaken.items()},
    }
    return "\n".join(f"{name:50} {value}" for name, value in rows.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.backlog", description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--agents", type=int, default=AGENTS)
    parser.add_argument("--directory", type=Path, help="where to put the database; the system's own if not given")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        backlog = asyncio.run(measure(Path(directory), tasks=given.tasks, agents=given.agents))
    sys.stdout.write(table(backlog) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
