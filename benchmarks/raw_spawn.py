"""How many commands asyncio alone starts and waits for in a second: the limit for shell tasks."""

from __future__ import annotations

import asyncio
import time

COMMAND = "/bin/true"


async def spawns_per_second(count: int, *, at_a_time: int) -> float:
    """`/bin/true`, so many of them in all."""
    left = iter(range(count))

    async def spawn() -> None:
        for _ in left:
            process = await asyncio.create_subprocess_exec(COMMAND, stdin=asyncio.subprocess.DEVNULL)
            status = await process.wait()
            assert status == 0, status

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(spawn())
    return count / (time.perf_counter() - began)
