"""Taskiq over redis. Loaded by its worker and by the job."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

WAIT_SECONDS = 120.0
POLL_SECONDS = 0.001
AT_A_TIME = 50
WAITED_FOR = 5

broker = ListQueueBroker(os.environ["PEER_BROKER"], max_connection_pool_size=AT_A_TIME * 2).with_result_backend(
    RedisAsyncResultBackend(os.environ["PEER_RESULTS"], max_connection_pool_size=AT_A_TIME * 2)
)


async def _echo(text: str) -> str:
    return text


echo = broker.task(task_name="echo")(_echo)
_started: list[bool] = []


async def echo_all(texts: Sequence[str]) -> Sequence[str]:
    """A task for each text, and their results in order. So many at a time are submitted, and so many waited for."""
    if not _started:
        await broker.startup()
        _started.append(True)
    room, waiting = asyncio.Semaphore(AT_A_TIME), asyncio.Semaphore(WAITED_FOR)

    async def submit(text: str) -> object:
        async with room:
            return await echo.kiq(text)

    async def result(task: Any) -> str:
        async with waiting:
            found = await task.wait_result(check_interval=POLL_SECONDS, timeout=WAIT_SECONDS)
            return str(found.return_value)

    tasks = await asyncio.gather(*map(submit, texts))
    return await asyncio.gather(*map(result, tasks))
