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
        load.achieved = float(await process.stdout.readline())
    finally:
        await stop(process)


async def submit_until_told(address: str, rate: float) -> None:
    """The process: says that the load is there, ends when stdin is closed, and says what it came to."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel, ends_of(channel, ECHO.type) as ends:
        submitting = asyncio.create_task(_submit(channel, rate))
        try:
            await ends.reach(int(rate * WARM_UP_SECONDS))
            _say("loaded")
            _say(f"{await _rate_until_told(ends)}")
        finally:
            submitting.cancel()


async def _rate_until_told(ends: Ends) -> float:
    told = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    before, began = ends.count, time.perf_counter()
    while not told.done():
        await ends.more()
    return (ends.count - before) / (time.perf_counter() - began)


async def _submit(channel: grpc.aio.Channel, rate: float) -> None:
    """A frame each time that one is due; late ones follow at once."""
    service: Any = task_pb2_grpc.TaskServiceStub(channel)
    submits = service.StreamSubmitTasks()
    answers = asyncio.create_task(_drop_answers(submits))
    frame = task_pb2.StreamSubmitTasksRequest(requests=[task_pb2.SubmitTaskRequest(spec=ECHO)] * PER_FRAME)
    due = time.perf_counter()
    try:
        while True:
            await submits.write(frame)
            due += PER_FRAME / rate
            await asyncio.sleep(due - time.perf_counter())
    finally:
        answers.cancel()
        submits.cancel()


async def _drop_answers(submits: Any) -> None:
    async for _ in submits:
        pass


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(submit_until_told(sys.argv[1], float(sys.argv[2])))
