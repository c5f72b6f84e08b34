"""What tasks print: how fast it is stored, whether it is complete, and whether heartbeats are late meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from benchmarks.measurement import LONG_SECONDS, Figure, Measurement
from benchmarks.system import System, system
from nodelink.task import LogStream
from nodelink.v1 import task_pb2, task_pb2_grpc
from nodelink_agent.command import CommandSpec
from nodelink_agent.commands import Commands, start_spawner

MB = 1_000_000
LINE = "x" * 99 + "\n"
FLOOD = f"import sys; [sys.stdout.write({LINE!r} * 1000) for _ in range({{pieces}})]"
FLOOD_PIECE = 100_000
STEADY = f"""
import sys, time
due = time.monotonic()
for _ in range({{pieces}}):
    sys.stdout.write({LINE!r} * 1000)
    sys.stdout.flush()
    due += 0.1
    time.sleep(max(0, due - time.monotonic()))
"""
LOGS = "logs.db"
SPOOL = "scale.output.spool.rate"
PIECES_PER_SECOND = 10
SECONDS = 600.0
LOOK_SECONDS = 0.1
HEARTBEAT_SECONDS = 5.0
"""As the server has it unless it is told otherwise."""


class Printed(NamedTuple):
    """What some tasks printed. `complete`: the share of tasks of which nothing more will come, and each byte or its gap
    is there; `gaps`: what share of the bytes the agent did not keep: for a server that does not take them as fast it
    keeps the first and the last 32 MiB of a stream; `silence`: the longest that the server had not heard of the agent,
    in seconds.
    """

    mb_per_second: float
    complete: float
    gaps: float
    silence: float


def output(*, spool_mb: int, flood_mb: int, tasks: int, seconds: int) -> Measurement:
    """The measurement: a command of a spawner alone, then one task that prints as fast as it can, then many that each
    print 1 MB a second.
    """
    return Measurement(
        name="scale: output",
        how=f"{spool_mb:,} MB of one command, by a spawner alone; {flood_mb} MB of one shell task; then {tasks} shell "
        f"tasks that each print 1 MB a second for {seconds} s; until the logs are complete; the agent's last contact "
        f"is looked at every {LOOK_SECONDS:g} s",
        figures=[
            Figure(key=SPOOL, name=f"{spool_mb:,} MB of one command, from its pipe into the spool", unit="MB/s"),
            *_figures("flood", f"{flood_mb} MB of one task"),
            *_figures("steady", f"1 MB/s of {tasks} tasks each"),
        ],
        run=partial(_measure, spool_mb, flood_mb, tasks, seconds),
        most_seconds=LONG_SECONDS,
    )


def _figures(key: str, name: str) -> Sequence[Figure]:
    key = f"scale.output.{key}"
    return (
        Figure(key=f"{key}.rate", name=f"{name}, stored", unit="MB/s"),
        Figure(key=f"{key}.complete", name=f"{name}, complete logs", unit="of all"),
        Figure(key=f"{key}.gaps", name=f"{name}, not kept by the agent", unit="of all"),
        Figure(key=f"{key}.silence", name=f"{name}, longest without a word of the agent", unit="s"),
    )


async def _measure(spool_mb: int, flood_mb: int, tasks: int, seconds: int, directory: Path) -> Mapping[str, float]:
    spooled = await _spooled(directory, spool_mb * MB)
    flood = _command(FLOOD.format(pieces=flood_mb * MB // FLOOD_PIECE))
    steady = _command(STEADY.format(pieces=seconds * PIECES_PER_SECOND))
    async with system(directory, slots=tasks) as running:
        one = await _printed(running, directory, flood, 1, flood_mb * MB)
        many = await _printed(running, directory, steady, tasks, seconds * MB)
    found = {**_values("flood", one), **_values("steady", many), "scale.output.steady.asked": float(tasks)}
    return {SPOOL: spooled, **found}


async def _spooled(directory: Path, size: int) -> float:
    """How fast a spawner takes what a command prints, with no server and no task."""
    spec = CommandSpec(
        id="1",
        argv=["head", "-c", str(size), "/dev/zero"],
        env={"PATH": os.environ.get("PATH", os.defpath)},
        cwd="/",
        directory=str((directory / "spool").absolute()),
    )
    async with Commands(start_spawner(directory / "alone")) as commands:
        began = time.perf_counter()
        command = await commands.start(spec, lambda _stream, _extent: None)
        end = await command.wait()
        took = time.perf_counter() - began
        await commands.leave(stop=True)
    assert end.exit_code == 0, end
    assert command.output[LogStream.STDOUT].total == size, command.output
    return size / MB / took


def _values(key: str, printed: Printed) -> dict[str, float]:
    key = f"scale.output.{key}"
    found = {f"{key}.rate": printed.mb_per_second, f"{key}.complete": printed.complete}
    return {**found, f"{key}.gaps": printed.gaps, f"{key}.silence": printed.silence}


def _command(code: str) -> task_pb2.TaskSpec:
    payload = json.dumps({"command": [sys.executable, "-I", "-S", "-c", code]}).encode()
    return task_pb2.TaskSpec(type="shell", payload=payload, execution=task_pb2.EXECUTION_ONCE)


async def _printed(running: System, directory: Path, spec: task_pb2.TaskSpec, tasks: int, size: int) -> Printed:
    """Have so many tasks print so many bytes each, and wait until all that is stored."""
    service: Any = task_pb2_grpc.TaskServiceStub(running.channel)
    before = _gap_bytes(directory)
    async with httpx.AsyncClient(base_url=running.http, timeout=SECONDS) as http, _watching(http) as silences:
        began = time.perf_counter()
        requests = [task_pb2.SubmitTaskRequest(spec=spec)] * tasks
        answer = await service.BatchSubmitTasks(task_pb2.BatchSubmitTasksRequest(requests=requests))
        ids = [outcome.task_id for outcome in answer.outcomes]
        logs = await asyncio.gather(*(_is_complete(service, http, task_id, size) for task_id in ids))
        took = time.perf_counter() - began
    lost = _gap_bytes(directory) - before
    stored = tasks * size - lost
    return Printed(stored / MB / took, sum(logs) / tasks, lost / (tasks * size), max(silences, default=0.0))


async def _is_complete(service: Any, http: httpx.AsyncClient, task_id: str, size: int) -> bool:
    """Wait until nothing more is printed and stored; whether all of it is there."""
    waited = await service.WaitTask(task_pb2.WaitTaskRequest(task_id=task_id), timeout=SECONDS)
    assert waited.task.status == task_pb2.TASK_STATUS_COMPLETED, waited.task
    logs = f"/api/v1/tasks/{task_id}/logs"
    async with http.stream("GET", logs, params={"follow": "true", "tail": 1}) as rest:
        async for _ in rest.aiter_raw():
            continue
    last = await http.get(logs, params={"tail": 1})
    return last.headers["x-log-complete"] == "true" and int(last.headers["x-next-offset"]) == size


def _gap_bytes(directory: Path) -> int:
    """How many bytes of all output so far the agent could not keep."""
    with closing(sqlite3.connect(f"file:{directory}/{LOGS}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT coalesce(sum(gap), 0) FROM log_chunks").fetchone()[0])


@asynccontextmanager
async def _watching(http: httpx.AsyncClient) -> AsyncIterator[list[float]]:
    """For how long the server had not heard of the agent, at many moments."""
    silences: list[float] = []
    watching = asyncio.create_task(_look(http, silences))
    try:
        yield silences
        assert not watching.done(), watching.exception()
    finally:
        watching.cancel()


async def _look(http: httpx.AsyncClient, silences: list[float]) -> None:
    while True:
        [agent] = (await http.get("/api/v1/agents")).json()["agents"]
        silences.append((datetime.now(UTC) - _moment(agent)).total_seconds())
        await asyncio.sleep(LOOK_SECONDS)


def _moment(agent: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(agent["last_heartbeat_at"])
