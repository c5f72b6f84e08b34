"""How fast the Python clients hand tasks in: as batches, and one by one in a plain loop.

Once until they are durable, and once until every result has been read. What is only accepted goes to a pool without
agents, so nothing else is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import NamedTuple

from nodelink.client import AsyncClient, Client, new_task
from nodelink.task import DEFAULT_POOL, Submission

NOBODY = "nobody"
PAYLOAD = {"text": "sixty-four bytes of payload, as the goals are given."}
WAIT_SECONDS = 60.0


class Rates(NamedTuple):
    """Tasks in a second: by `submit_many`, and by a loop of `submit`."""

    batch: float
    loop: float


async def accepted_rates(server: str, tasks: int) -> tuple[Rates, Rates]:
    """Until they are durable: by the synchronous client, and by the asynchronous one."""
    return await asyncio.to_thread(_accepted, server, tasks), await _accepted_async(server, tasks)


def _accepted(server: str, tasks: int) -> Rates:
    with Client(server) as client:
        began = time.perf_counter()
        outcomes = client.submit_many(_submissions(tasks, NOBODY))
        batched = time.perf_counter()
        assert not any(outcome.refusal for outcome in outcomes)
        restarted = time.perf_counter()
        for _ in range(tasks):
            client.submit("echo", PAYLOAD, pool=NOBODY)
        client.flush()
        return Rates(tasks / (batched - began), tasks / (time.perf_counter() - restarted))


async def _accepted_async(server: str, tasks: int) -> Rates:
    async with AsyncClient(server) as client:
        began = time.perf_counter()
        outcomes = await client.submit_many(_submissions(tasks, NOBODY))
        batched = time.perf_counter()
        assert not any(outcome.refusal for outcome in outcomes)
        restarted = time.perf_counter()
        for _ in range(tasks):
            client.submit("echo", PAYLOAD, pool=NOBODY)
        await client.flush()
        return Rates(tasks / (batched - began), tasks / (time.perf_counter() - restarted))


async def result_rates(server: str, tasks: int) -> Rates:
    """Until every result has been read, by the synchronous client."""
    return await asyncio.to_thread(_results, server, tasks)


def _results(server: str, tasks: int) -> Rates:
    with Client(server) as client:
        began = time.perf_counter()
        outcomes = client.submit_many(_submissions(tasks, DEFAULT_POOL))
        _read_all(client, [outcome.task_id for outcome in outcomes])
        batched = time.perf_counter()
        handles = [client.submit("echo", PAYLOAD) for _ in range(tasks)]
        client.flush()
        _read_all(client, [handle.id for handle in handles])
        return Rates(tasks / (batched - began), tasks / (time.perf_counter() - batched))


def _read_all(client: Client, ids: list[str]) -> None:
    results = client.wait_all(ids, timeout=WAIT_SECONDS)
    assert [result.value for result in results] == [PAYLOAD] * len(ids), f"{len(results)} of {len(ids)} results"


def _submissions(count: int, pool: str) -> Iterator[Submission]:
    return (new_task("echo", PAYLOAD, pool=pool) for _ in range(count))
