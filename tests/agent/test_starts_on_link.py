"""When the agent says that work has begun: a frame for that alone only if the work takes longer than a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nodelink.task import AttemptRef, Finished, Progress, Started, TaskResponse
from nodelink_agent.core.starts import MOMENT_SECONDS
from nodelink_agent.link import Link
from nodelink_agent.pool import Pool
from tests.support.agent_parts import Manual, make_link, open_pool
from tests.support.fake_server import FakeServer, FakeSession, soon
from tests.support.pool_talk import give, open_session, request

A = AttemptRef("a", 1, 10)
B = AttemptRef("b", 1, 11)
AN_HOUR = 3_600_000


@asynccontextmanager
async def linked(pool: Pool) -> AsyncIterator[tuple[Link, FakeSession]]:
    """A welcomed session of a pool."""
    async with FakeServer().running() as server:
        link = make_link(server.address, pool)
        task = asyncio.create_task(link.run())
        try:
            session = await server.session()
            await session.welcome(interval_ms=AN_HOUR)  # no heartbeat has anything said
            yield link, session
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_short_work_takes_one_frame(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry, clock=lambda: 0.0) as pool, linked(pool) as (_, session):
        await session.give(A, type="manual")
        await manual.begun("a")
        await asyncio.sleep(2 * MOMENT_SECONDS)  # frames would go out, if there were any
        manual.end("a")
        assert isinstance((await session.response()).update, Started)
        assert isinstance((await session.response()).update, Finished)
        assert session.response_frames == 1


async def test_a_start_is_said_though_nothing_else_happens(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool, linked(pool) as (_, session):
        await session.give(A, type="manual")
        update = (await session.response()).update
        assert isinstance(update, Started)
        assert update.ago_ms >= MOMENT_SECONDS * 1000
        assert session.response_frames == 1
        await manual.begun("a")


async def test_progress_has_the_start_said_with_it(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry, clock=lambda: 0.0) as pool, linked(pool) as (_, session):
        await session.give(A, type="manual")
        (await manual.begun("a")).progress(0.5)
        assert isinstance((await session.response()).update, Started)
        assert await session.response() == TaskResponse(A, Progress(fraction=0.5))


async def test_an_agent_that_leaves_says_what_has_begun_before_its_goodbye(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry, clock=lambda: 0.0) as pool, linked(pool) as (link, session):
        await session.give(A, type="manual")
        await manual.begun("a")
        pool.perform(pool.core.drain())
        link.say_goodbye("the agent stops", idle=False)
        await soon(session.goodbyes.get())
        assert isinstance(session.responses.get_nowait().update, Started)


async def test_one_timer_does_for_all_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manual, loop = Manual(), asyncio.get_running_loop()
    async with open_pool(tmp_path, manual.entry, clock=lambda: 0.0) as pool:
        open_session(pool)
        delays, call_later = list[float](), loop.call_later

        def noted(delay: float, *what: Any) -> asyncio.TimerHandle:
            delays.append(delay)
            return call_later(delay, *what)

        monkeypatch.setattr(loop, "call_later", noted)
        give(pool, request(A), request(B))
        for task in ("a", "b"):
            await manual.begun(task)
            assert not pool.speech().responses
        assert delays.count(MOMENT_SECONDS) == 1
        pool.wake.clear()
        await soon(pool.wake.wait())
        assert not pool.speech().responses
        assert delays.count(MOMENT_SECONDS) == 2, "it is set again for those that still wait"


async def test_a_pool_that_closes_leaves_no_timer_behind(tmp_path: Path) -> None:
    manual = Manual(obeys=False)
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request(A))
        await manual.begun("a")
        pool.speech()
        timer = pool._speech_timer
        assert timer is not None
    assert timer.cancelled()
