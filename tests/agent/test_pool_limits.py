"""Heartbeat timeouts and extensions in the pool: handlers that are silent, and those that want more time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nodelink.task import (
    AttemptRef,
    CancelCommand,
    ErrorCategory,
    Execution,
    ExtendCommand,
    Extended,
    Finished,
    LogStream,
    Outcome,
    Reason,
    Started,
)
from nodelink_agent.context import LEAST_EXTENSION, MOST_EXTENSION, AttemptContext
from nodelink_agent.core.work import NewLimits
from nodelink_agent.deadlines import Deadlines
from nodelink_agent.endings import stopped
from nodelink_agent.handlers.registry import Context, HandlerEntry
from nodelink_agent.pool import Pool
from nodelink_agent.running import Elsewhere
from nodelink_server.core.validation import MAX_DELAY_MS, MAX_TIMEOUT_MS
from tests.support.agent_parts import Manual, open_pool
from tests.support.pool_talk import end_of, give, handler, open_session, request

A = AttemptRef("a", 1, 10)


def extend(pool: Pool, number: int = 1, **limits: int) -> None:
    """Give the attempt other limits, as the server does."""
    pool.perform(pool.core.extend([ExtendCommand(A, number, **limits)], now=pool.now()))


async def test_a_handler_that_is_silent_for_too_long_is_stopped(tmp_path: Path) -> None:
    async def run(_payload: bytes, context: Context) -> Finished:
        await context.stop_asked()
        assert context.stop_reason is not None
        return stopped(context.stop_reason, confirmed=True)

    async with open_pool(tmp_path, handler(run)) as pool:
        open_session(pool)
        give(pool, request(heartbeat_timeout_ms=20))
        finished = await end_of(pool)
    assert (finished.outcome, finished.reason) == (Outcome.TIMEOUT, Reason.HEARTBEAT_TIMEOUT)
    assert finished.error is not None
    assert finished.error.category is ErrorCategory.TIMEOUT
    assert finished.error.message == "no sign of life came for 0.02 s"


class Signs(Deadlines):
    """Counts the signs of life."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.count = 0

    def sign(self) -> None:
        self.count += 1


async def test_progress_and_output_are_signs_of_life(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request())
        context = await manual.begun("a")
        assert isinstance(context, AttemptContext)
        signs = context.deadlines = Signs()
        context.progress(0.5)
        assert signs.count == 1
        context.log(b"text")
        assert signs.count == 2
        context.output.append(LogStream.STDERR, b"text")
        assert signs.count > 2
        manual.end("a")
        await end_of(pool)


async def test_silence_is_the_business_of_who_holds_the_work(tmp_path: Path) -> None:
    manual, told = Manual(), list[NewLimits]()
    entry = HandlerEntry(type="manual", execution=Execution.ONCE, run=manual.run, place="elsewhere")
    async with open_pool(tmp_path, entry, elsewhere=Elsewhere(limit=told.append)) as pool:
        open_session(pool)
        give(pool, request(heartbeat_timeout_ms=1))
        context = await manual.begun("a")
        extend(pool, timeout_ms=1_000, heartbeat_timeout_ms=1)
        await asyncio.sleep(0.05)
        assert not context.cancelled
        [limits] = told
        assert (limits.ref, limits.number, limits.heartbeat_seconds) == (A, 1, 0.001)
        assert limits.run_until is not None
        assert context.limits == limits
        manual.end("a")
        assert (await end_of(pool)).outcome is Outcome.COMPLETED


async def test_a_run_is_made_longer_and_then_shorter(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request(timeout_ms=60_000))
        context = await manual.begun("a")
        first = context.deadline
        extend(pool, 1, timeout_ms=3_600_000)
        assert first is not None
        assert context.deadline is not None
        assert context.deadline > first
        extend(pool, 1, timeout_ms=0)  # told again: it changes nothing
        assert not context.cancelled
        extend(pool, 2, timeout_ms=0)
        assert (await end_of(pool)).reason is Reason.RUN_TIMEOUT


async def test_an_extension_may_bring_the_first_limit_of_silence(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request())
        context = await manual.begun("a")
        extend(pool, heartbeat_timeout_ms=20)
        await end_of(pool)
    assert context.stop_reason is Reason.HEARTBEAT_TIMEOUT


async def test_what_comes_after_the_end_changes_nothing(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request())
        await manual.begun("a")
        manual.end("a")
        await end_of(pool)
        extend(pool, timeout_ms=0)
        assert pool.core.active == 0


async def test_a_handler_gives_itself_more_time_at_once_and_the_server_is_told(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request(timeout_ms=60_000))
        context = await manual.begun("a")
        pool.speech()
        first = context.deadline
        context.extend(timeout=3_600, total_timeout=7_200, heartbeat_timeout=60)
        assert first is not None
        assert context.deadline is not None
        assert context.deadline > first
        [(_, started), (ref, update)] = pool.speech().responses
        assert isinstance(started, Started)
        assert ref == A
        assert isinstance(update, Extended)
        assert (update.number, update.heartbeat_timeout_ms) == (1, 60_000)
        assert update.timeout_ms is not None
        assert update.total_timeout_ms is not None
        assert 3_500_000 < update.timeout_ms <= 3_600_000 < update.total_timeout_ms <= 7_200_000
        manual.end("a")
        await end_of(pool)


async def test_a_handler_may_shorten_its_own_time(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request())
        context = await manual.begun("a")
        context.extend(timeout=0.001)
        await end_of(pool)
    assert context.stop_reason is Reason.RUN_TIMEOUT


async def test_a_stop_that_came_first_is_not_taken_back_by_more_time(tmp_path: Path) -> None:
    manual = Manual(obeys=False)
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request())
        context = await manual.begun("a")
        pool.perform(pool.core.cancel([CancelCommand(A, 60_000)]))
        context.extend(timeout=3_600)
        assert context.stop_reason is Reason.CANCELLED_BY_CALLER
        manual.end("a")
        await end_of(pool)


@pytest.mark.parametrize("name", sorted(MOST_EXTENSION))
async def test_what_a_handler_gives_itself_has_bounds(tmp_path: Path, name: str) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request())
        context = await manual.begun("a")
        for seconds in (LEAST_EXTENSION[name] * 0.99, MOST_EXTENSION[name] * 1.01, float("nan"), -1.0):
            with pytest.raises(ValueError, match=f"{name}: {seconds} is not from "):
                context.extend(**{name: seconds})
        with pytest.raises(ValueError, match="at least one of timeout, total_timeout, heartbeat_timeout"):
            context.extend()
        context.extend(**{name: MOST_EXTENSION[name]})
        manual.end("a")
        await end_of(pool)


def test_the_bounds_are_those_of_the_server() -> None:
    most = {"timeout": MAX_TIMEOUT_MS, "total_timeout": MAX_DELAY_MS, "heartbeat_timeout": MAX_TIMEOUT_MS}
    assert {name: ms / 1000 for name, ms in most.items()} == MOST_EXTENSION
