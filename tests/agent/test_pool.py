"""How attempts are run and ended, whatever the link does. The test speaks to the core as a server would."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nodelink.task import AckDisposition as Disposition
from nodelink.task import (
    AttemptRef,
    CancelCommand,
    Declined,
    ErrorCategory,
    Execution,
    Finished,
    LogAck,
    LogChunk,
    LogStream,
    Outcome,
    Reason,
    ResultAck,
    TaskResponse,
)
from nodelink_agent.endings import MAX_OUTPUT_BYTES
from nodelink_agent.handlers.registry import Context, HandlerEntry
from nodelink_agent.handlers.retry_later import RetryLater
from tests.support.agent_parts import Manual, open_pool
from tests.support.pool_talk import end_of, give, handler, open_session, request, results

A = AttemptRef("a", 1, 10)
LATER_A = AttemptRef("a", 2, 20)
B = AttemptRef("b", 1, 11)


def kept(directory: Path) -> list[Path]:
    """The output that is still held."""
    return [path for path in directory.iterdir() if path.suffix != ".removed"]


async def test_an_inline_handler_answers_at_once(tmp_path: Path) -> None:
    async with open_pool(tmp_path) as pool:
        open_session(pool)
        give(pool, request(type="echo", payload=b'"hi"'))
        speech = pool.speech()
    assert speech.responses == [TaskResponse(A, Finished(outcome=Outcome.COMPLETED, output=b'"hi"'))]
    assert not kept(tmp_path)


async def test_a_type_that_nobody_registered_is_declined(tmp_path: Path) -> None:
    async with open_pool(tmp_path) as pool:
        open_session(pool)
        give(pool, request(type="nothing"))
        (response,) = await results(pool)
    assert isinstance(response.update, Declined)
    assert "nothing" in response.update.message


async def test_a_handler_that_raises_fails_its_task_with_the_message(tmp_path: Path) -> None:
    async def run(_payload: bytes, _context: Context) -> Finished:
        raise ValueError("no such thing")

    async with open_pool(tmp_path, handler(run)) as pool:
        open_session(pool)
        give(pool, request())
        finished = await end_of(pool)
    assert (finished.outcome, finished.reason) == (Outcome.FAILED, Reason.HANDLER_ERROR)
    assert finished.error is not None
    assert (finished.error.category, finished.error.message) == (ErrorCategory.HANDLER, "ValueError: no such thing")


class _Busy(Exception):
    def __init__(self, retry_after: object) -> None:
        super().__init__("busy")
        self.retry_after = retry_after


@pytest.mark.parametrize(
    "error, retry_after_ms",
    [
        (RetryLater(90), 90_000),
        (RetryLater(0, "at once"), 0),
        (RetryLater(24 * 3600 + 1), 24 * 3_600_000),
        (RetryLater(float("inf")), 24 * 3_600_000),
        (_Busy(1.5), 1_500),
        (_Busy(timedelta(minutes=2)), 120_000),
        (_Busy(None), None),
        (_Busy("soon"), None),
        (_Busy(True), None),
        (_Busy(-1), None),
        (_Busy(float("nan")), None),
        (ValueError("no"), None),
    ],
)
async def test_a_handler_says_by_its_error_when_another_try_is_worth_it(
    tmp_path: Path, error: Exception, retry_after_ms: int | None
) -> None:
    async def run(_payload: bytes, _context: Context) -> Finished:
        raise error

    async with open_pool(tmp_path, handler(run)) as pool:
        open_session(pool)
        give(pool, request())
        finished = await end_of(pool)
    assert (finished.outcome, finished.reason) == (Outcome.FAILED, Reason.HANDLER_ERROR)
    assert finished.retry_after_ms == retry_after_ms


def test_who_wants_another_try_later_says_when() -> None:
    assert str(RetryLater(90)) == "worth another try in 90 s"
    assert str(RetryLater(90, "the registry is down")) == "the registry is down"


async def test_an_inline_handler_that_raises_fails_its_task_alone(tmp_path: Path) -> None:
    def run(_payload: bytes) -> Finished:
        raise ValueError("no such thing")

    entry = HandlerEntry(type="manual", execution=Execution.ONCE, inline=run)
    async with open_pool(tmp_path, entry) as pool:
        open_session(pool)
        give(pool, request(), request(AttemptRef("b", 1, 11), type="echo"))
        first, second = await results(pool, 2)
    assert isinstance(first.update, Finished)
    assert first.update.reason is Reason.HANDLER_ERROR
    assert isinstance(second.update, Finished)
    assert second.update.outcome is Outcome.COMPLETED


async def test_a_handler_that_returns_nothing_fails_its_task(tmp_path: Path) -> None:
    async def run(_payload: bytes, _context: Context) -> Any:
        return None

    async with open_pool(tmp_path, handler(run)) as pool:
        open_session(pool)
        give(pool, request())
        assert (await end_of(pool)).reason is Reason.HANDLER_ERROR


async def test_a_handler_whose_own_wait_is_cancelled_fails_its_task(tmp_path: Path) -> None:
    async def run(_payload: bytes, _context: Context) -> Finished:
        raise asyncio.CancelledError

    async with open_pool(tmp_path, handler(run)) as pool:
        open_session(pool)
        give(pool, request())
        assert (await end_of(pool)).reason is Reason.HANDLER_ERROR


@pytest.mark.parametrize("inline", [True, False])
async def test_an_output_over_the_limit_is_replaced_by_an_error(tmp_path: Path, inline: bool) -> None:
    large = Finished(outcome=Outcome.COMPLETED, output=b"x" * (MAX_OUTPUT_BYTES + 1))

    async def run(_payload: bytes, _context: Context) -> Finished:
        return large

    entry = HandlerEntry(type="manual", execution=Execution.ONCE, inline=lambda _: large) if inline else handler(run)
    async with open_pool(tmp_path, entry) as pool:
        open_session(pool)
        give(pool, request())
        finished = await end_of(pool)
    assert (finished.outcome, finished.reason, finished.output) == (Outcome.FAILED, Reason.RESOURCE, b"")
    assert finished.error is not None
    assert finished.error.category is ErrorCategory.RESOURCE


async def test_the_run_timeout_stops_the_attempt(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request(timeout_ms=20))
        context = await manual.begun("a")
        await end_of(pool)
    assert context.deadline is not None
    assert context.stop_reason is Reason.RUN_TIMEOUT


async def test_the_first_reason_of_a_stop_stands(tmp_path: Path) -> None:
    manual = Manual(obeys=False)
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request(timeout_ms=20))
        context = await manual.begun("a")
        async with asyncio.timeout(10):
            await context.stop_asked()
        pool.perform(pool.core.cancel([CancelCommand(A, 5_000)]))
        assert context.stop_reason is Reason.RUN_TIMEOUT
        manual.end("a")
        assert (await end_of(pool)).outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    "reason, outcome",
    [
        (Reason.CANCELLED_BY_CALLER, Outcome.CANCELLED),
        (Reason.TOTAL_TIMEOUT, Outcome.TIMEOUT),
    ],
)
async def test_a_handler_that_does_not_listen_is_broken_off(tmp_path: Path, reason: Reason, outcome: Outcome) -> None:
    manual = Manual(obeys=False)
    async with open_pool(tmp_path, manual.entry, patience=0.0, margin=0.0) as pool:
        open_session(pool)
        give(pool, request())
        await manual.begun("a")
        pool.perform(pool.core.cancel([CancelCommand(A, 0, reason)]))
        finished = await end_of(pool)
    assert (finished.outcome, finished.reason) == (outcome, reason)


async def test_a_handler_that_listens_and_does_not_end_is_not_called_cancelled(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def run(_payload: bytes, context: Context) -> Finished:
        begun.set()
        await context.stop_asked()
        return await asyncio.Future()

    async with open_pool(tmp_path, handler(run), patience=0.0, margin=0.0) as pool:
        open_session(pool)
        give(pool, request())
        await begun.wait()
        pool.perform(pool.core.cancel([CancelCommand(A, 0)]))
        finished = await end_of(pool)
    assert (finished.outcome, finished.reason, finished.tree_gone) == (Outcome.FAILED, Reason.CANCEL_UNCONFIRMED, False)


async def test_a_handler_that_listens_has_time_beyond_the_grace(tmp_path: Path) -> None:
    ended = Finished(outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER, exit_code=143)

    begun = asyncio.Event()

    async def run(_payload: bytes, context: Context) -> Finished:
        begun.set()
        await context.stop_asked()
        for _ in range(20):
            await asyncio.sleep(0.001)
        return ended

    async with open_pool(tmp_path, handler(run), patience=0.0) as pool:
        open_session(pool)
        give(pool, request())
        await begun.wait()
        pool.perform(pool.core.cancel([CancelCommand(A, 0)]))
        assert (await end_of(pool)).exit_code == 143


async def test_what_was_too_much_to_keep_is_sent_as_a_gap(tmp_path: Path) -> None:
    async def run(_payload: bytes, context: Context) -> Finished:
        context.log(bytes(range(100)))
        return Finished(outcome=Outcome.COMPLETED)

    async with open_pool(tmp_path, handler(run), kept_bytes=10) as pool:
        open_session(pool)
        give(pool, request())
        chunks: list[LogChunk] = []
        async with asyncio.timeout(10):
            while sum(len(chunk.data) + chunk.gap for chunk in chunks) < 100:
                await pool.wake.wait()
                pool.wake.clear()
                while spoken := pool.speech().chunks:
                    chunks += spoken
    assert [chunk.offset for chunk in chunks] == [0, *(chunk.end for chunk in chunks[:-1])]
    assert chunks[0].data == bytes(range(10))
    assert any(chunk.gap for chunk in chunks)
    assert b"".join(chunk.data for chunk in chunks).endswith(bytes([99]))


async def test_what_is_printed_is_kept_until_it_is_acknowledged(tmp_path: Path) -> None:
    async def run(_payload: bytes, context: Context) -> Finished:
        context.log(b"out")
        context.log(b"error", LogStream.STDERR)
        return Finished(outcome=Outcome.COMPLETED)

    async with open_pool(tmp_path, handler(run)) as pool:
        open_session(pool)
        give(pool, request())
        finished = await end_of(pool)
        assert finished.log_totals == {LogStream.STDOUT: 3, LogStream.STDERR: 5}
        pool.perform(pool.core.result_acked([ResultAck(A, Disposition.COMMITTED)]))
        pool.perform(pool.core.log_acked([LogAck(A, LogStream.STDOUT, 3)]))
        assert kept(tmp_path)
        pool.perform(pool.core.log_acked([LogAck(A, LogStream.STDERR, 5)]))
        assert not kept(tmp_path)
        assert pool.core.is_idle


async def test_a_superseding_attempt_waits_until_the_older_one_is_gone(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool:
        open_session(pool)
        give(pool, request())
        older = await manual.begun("a")
        older.log(b"never sent")
        give(pool, request(LATER_A))
        assert (older.cancelled, older.grace_seconds, older.stop_reason) == (True, 0.0, Reason.SUPERSEDED)
        assert (pool.core.active, manual.contexts["a"]) == (2, older)
        async with asyncio.timeout(10):
            await pool.until(lambda: pool.core.active == 1)
        newer = await manual.begun("a", after=older)
        assert newer.ref == LATER_A
        manual.end("a")
        (response,) = await results(pool)
    assert response.ref == LATER_A
    assert not kept(tmp_path)


async def test_closing_the_pool_breaks_off_what_runs(tmp_path: Path) -> None:
    manual = Manual(obeys=False)
    async with asyncio.timeout(10):
        async with open_pool(tmp_path, manual.entry) as pool:
            open_session(pool)
            give(pool, request(timeout_ms=60_000))
            await manual.begun("a")
