"""How fast the Python clients hand tasks in, until they are durable: as batches, and one by one in a plain loop.

The tasks go to a pool without agents, so nothing but their acceptance is measured.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

from nodelink.client import AsyncClient, Client, new_task
from nodelink.task import Submission

POOL = "nobody"
PAYLOAD = {"text": "sixty-four bytes of payload, as the goals are given."}


class Rates(NamedTuple):
    """Tasks accepted in a second: by `submit_many`, and by a loop of `submit`."""

    batch: float
    loop: float


async def sdk_rates(server: str, *, tasks: int, rounds: int) -> tuple[Rates, Rates]:
    """The rates of the synchronous and of the asynchronous client. Each is the median, after a round not counted."""
    return await asyncio.to_thread(_sync_rates, server, tasks, rounds), await _async_rates(server, tasks, rounds)


def _sync_rates(server: str, tasks: int, rounds: int) -> Rates:
    found = []
    with Client(server) as client:
        for _ in range(rounds + 1):
            began = time.perf_counter()
            outcomes = client.submit_many(_submissions(tasks))
            batched = time.perf_counter()
            assert not any(outcome.refusal for outcome in outcomes)
            restarted = time.perf_counter()
            for _ in range(tasks):
                client.submit("echo", PAYLOAD, pool=POOL)
            client.flush()
            found.append(Rates(tasks / (batched - began), tasks / (time.perf_counter() - restarted)))
    return _median(found)


async def _async_rates(server: str, tasks: int, rounds: int) -> Rates:
    found = []
    async with AsyncClient(server) as client:
        for _ in range(rounds + 1):
            began = time.perf_counter()
            outcomes = await client.submit_many(_submissions(tasks))
            batched = time.perf_counter()
            assert not any(outcome.refusal for outcome in outcomes)
            restarted = time.perf_counter()
            for _ in range(tasks):
                client.submit("echo", PAYLOAD, pool=POOL)
            await client.flush()
            found.append(Rates(tasks / (batched - began), tasks / (time.perf_counter() - restarted)))
    return _median(found)


def _submissions(count: int) -> Iterator[Submission]:
    return (new_task("echo", PAYLOAD, pool=POOL) for _ in range(count))


def _median(found: list[Rates]) -> Rates:
    batch, loop = zip(*found[1:], strict=True)
    return Rates(statistics.median(batch), statistics.median(loop))
