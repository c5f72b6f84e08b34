"""arq. Loaded by its worker and by the job."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings

WAIT_SECONDS = 120.0
POLL_SECONDS = 0.002
AT_A_TIME = 50
WAITED_FOR = 5
SETTINGS = RedisSettings.from_dsn(os.environ["PEER_BROKER"])


async def echo(context: Mapping[str, object], text: str) -> str:
    """Give back what came."""
    return text


class Worker:
    """The worker's settings."""

    functions = (func(echo, name="echo"),)
    redis_settings = SETTINGS
    max_jobs = 100
    poll_delay = POLL_SECONDS
    queue_read_limit = 500


_pools: list[ArqRedis] = []


async def echo_all(texts: Sequence[str]) -> Sequence[str]:
    """A task for each text, and their results in order. So many at a time are submitted, and so many waited for."""
    if not _pools:
        _pools.append(await create_pool(SETTINGS))
    [pool], room, waiting = _pools, asyncio.Semaphore(AT_A_TIME), asyncio.Semaphore(WAITED_FOR)

    async def submit(text: str) -> object:
        async with room:
            return await pool.enqueue_job("echo", text)

    async def result(job: Any) -> str:
        async with waiting:
            return str(await job.result(timeout=WAIT_SECONDS, poll_delay=POLL_SECONDS))

    jobs = await asyncio.gather(*map(submit, texts))
    return await asyncio.gather(*map(result, jobs))
