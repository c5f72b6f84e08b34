"""Echo tasks at a steady rate from a process of its own, as somebody else's load."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc

from benchmarks.end_to_end import ECHO, Ends, ends_of
from benchmarks.processes import stop
from benchmarks.raw import OPTIONS
from nodelink.v1 import task_pb2, task_pb2_grpc

PER_FRAME = 64
WARM_UP_SECONDS = 1.0


class Load:
    """A load that is there. After it has ended, `achieved` is how many tasks a second ended meanwhile."""

    achieved = 0.0


@asynccontextmanager
async def loaded(address: str, rate: float) -> AsyncIterator[Load]:
    """So many tasks a second, for as long as this lasts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.paced", address, str(rate)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    load = Load()
    try:
        assert await process.stdout.readline() == b"loaded\n", "the load has not begun"
        yield load
        process.stdin.close()
        said = await process.stdout.readline()
        assert said, "the load broke down"
        load.achieved = float(said)
    finally:
        await stop(process)


async def submit_until_told(address: str, rate: float) -> None:
    """The process: says that the load is there, ends when stdin is closed, and says what it came to."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel, ends_of(channel, ECHO.type) as ends:
        service: Any = task_pb2_grpc.TaskServiceStub(channel)
        pace = Pace(service.StreamSubmitTasks(), rate)
        async with asyncio.TaskGroup() as group:  # a load that has broken is none
            parts = [group.create_task(part) for part in (pace.submit(), pace.hear())]
            await ends.reach(int(rate * WARM_UP_SECONDS))
            _say("loaded")
            _say(f"{await _rate_until_told(ends)}")
            for part in parts:
                part.cancel()


class Pace:
    """Submits frames as they are due, within the stream's credit. Late ones follow at once."""

    def __init__(self, submits: Any, rate: float) -> None:
        self._submits = submits
        self._seconds = PER_FRAME / rate
        self._credit = 0
        self._grown = asyncio.Event()

    async def submit(self) -> None:
        """Until cancelled."""
        frame = task_pb2.StreamSubmitTasksRequest(requests=[task_pb2.SubmitTaskRequest(spec=ECHO)] * PER_FRAME)
        due, sent = time.perf_counter(), 0
        while True:
            sent += PER_FRAME
            while sent > self._credit:
                self._grown.clear()
                await self._grown.wait()
            await self._submits.write(frame)
            due += self._seconds
            await asyncio.sleep(due - time.perf_counter())

    async def hear(self) -> None:
        """Take the answers, until cancelled."""
        async for answer in self._submits:
            self._credit = max(self._credit, answer.submit_credit)
            self._grown.set()


async def _rate_until_told(ends: Ends) -> float:
    told = asyncio.create_task(_until_told())
    before, began = ends.count, time.perf_counter()
    while not told.done():
        await ends.more()
    return (ends.count - before) / (time.perf_counter() - began)


async def _until_told() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(submit_until_told(sys.argv[1], float(sys.argv[2])))
