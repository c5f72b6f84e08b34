"""How a test speaks to a pool: hands tasks over as a server would, and hears what would be sent."""

from __future__ import annotations

import asyncio
from typing import Any

from nodelink.task import AttemptRef, Declined, Execution, Finished, TaskRequest, TaskResponse, TaskSpec
from nodelink_agent.handlers.registry import Handler, HandlerEntry
from nodelink_agent.pool import Pool

_A = AttemptRef("a", 1, 10)


def request(ref: AttemptRef = _A, type: str = "manual", payload: bytes = b"1", **spec: Any) -> TaskRequest:
    """A task that is granted without a lease."""
    asked = TaskSpec(type=type, **spec)
    return TaskRequest(ref=ref, spec=asked, payload=payload, execution=Execution.REPLAYABLE)


def handler(run: Handler) -> HandlerEntry:
    """The type `manual`, done by this function."""
    return HandlerEntry(type="manual", execution=Execution.ONCE, run=run)


def open_session(pool: Pool) -> None:
    """Begin a session with plenty of credit."""
    pool.core.hello_held(now=pool.now())
    pool.perform(pool.core.welcomed([], response_credit=1_000, log_credit=1 << 30))
    pool.speech()


def give(pool: Pool, *requests: TaskRequest) -> None:
    """Hand tasks over."""
    pool.perform(pool.core.received(requests, now=pool.now()))


async def results(pool: Pool, count: int = 1) -> list[TaskResponse]:
    """The next ends of attempts, as they would be sent."""
    found: list[TaskResponse] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            await pool.wake.wait()
            pool.wake.clear()
            found += [r for r in pool.speech().responses if isinstance(r.update, Finished | Declined)]
    return found


async def end_of(pool: Pool) -> Finished:
    """How the only attempt ended."""
    (response,) = await results(pool)
    assert isinstance(response.update, Finished)
    return response.update
