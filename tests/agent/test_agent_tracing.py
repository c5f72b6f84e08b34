"""The spans that the agent makes of its attempts, and the context that attempts are given."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodelink.task import (
    AttemptRef,
    CancelCommand,
    ErrorCategory,
    Finished,
    Outcome,
    Reason,
    TaskError,
    TaskRequest,
    TaskSpec,
)
from nodelink_agent.pool import Pool
from nodelink_agent.tracing import AgentTracing
from tests.support.agent_parts import Manual, open_pool
from tests.support.spans import CALLER, TRACE, TRACEPARENT, Kept, has_failed, id_of, kept_spans, parent_of, trace_of

A = AttemptRef("a", 2, 10)
FAILED = Finished(
    outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=3, error=TaskError(ErrorCategory.EXIT_CODE, "hunter2")
)


@pytest.fixture
def kept() -> Iterator[Kept]:
    with kept_spans() as kept:
        yield kept


def give(pool: Pool, type: str = "manual", traceparent: str = TRACEPARENT) -> None:
    """Hand a task over."""
    pool.core.hello_held(now=pool.now())
    pool.perform(pool.core.welcomed([], response_credit=1_000, log_credit=1 << 30))
    pool.speech()
    request = TaskRequest(ref=A, spec=TaskSpec(type=type), payload=b'"hunter2"', traceparent=traceparent)
    pool.perform(pool.core.received([request], now=pool.now()))


async def ended(pool: Pool) -> None:
    """Return when nothing runs."""
    async with asyncio.timeout(10):
        await pool.until(lambda: pool.core.active == 0)


async def test_an_attempt_is_a_span_below_its_task_and_gives_its_own_context_on(kept: Kept, tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry, begin_trace=AgentTracing(kept.spans).begin) as pool:
        give(pool)
        context = await manual.begun("a")
        assert kept.names == []  # it has not ended
        manual.end("a")
        await ended(pool)

    run = kept.only("run")
    assert (trace_of(run), parent_of(run)) == (TRACE, CALLER)
    assert context.traceparent == f"00-{TRACE}-{id_of(run)}-01"
    assert not has_failed(run)
    assert dict(run.attributes or {}) == {
        "nodelink.task.id": "a",
        "nodelink.task.type": "manual",
        "nodelink.task.pool": "default",
        "nodelink.task.attempt": 2,
        "nodelink.outcome": "completed",
        "nodelink.task.reason": "",
    }


async def test_a_failed_attempt_is_an_error_with_its_exit_code_and_none_of_its_words(
    kept: Kept, tmp_path: Path
) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry, begin_trace=AgentTracing(kept.spans).begin) as pool:
        give(pool)
        await manual.begun("a")
        manual.end("a", FAILED)
        await ended(pool)

    run = kept.only("run")
    assert has_failed(run)
    assert (run.attributes or {})["process.exit.code"] == 3
    assert "hunter2" not in run.to_json()


async def test_an_attempt_that_was_cancelled_is_no_error(kept: Kept, tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry, begin_trace=AgentTracing(kept.spans).begin) as pool:
        give(pool)
        await manual.begun("a")
        pool.perform(pool.core.cancel([CancelCommand(A, 1_000, Reason.CANCELLED_BY_CALLER)]))
        await ended(pool)

    run = kept.only("run")
    assert (run.attributes or {})["nodelink.outcome"] == "cancelled"
    assert not has_failed(run)


async def test_an_attempt_that_is_over_at_once_is_a_span_too(kept: Kept, tmp_path: Path) -> None:
    async with open_pool(tmp_path, begin_trace=AgentTracing(kept.spans).begin) as pool:
        give(pool, "echo")
        await ended(pool)

    assert (parent_of(kept.only("run")), "hunter2" in kept.only("run").to_json()) == (CALLER, False)


async def test_a_type_that_the_agent_does_not_run_is_no_attempt(kept: Kept, tmp_path: Path) -> None:
    async with open_pool(tmp_path, begin_trace=AgentTracing(kept.spans).begin) as pool:
        give(pool, "baking")
        await ended(pool)

    assert kept.names == []


async def test_without_tracing_an_attempt_is_given_the_context_of_its_task(tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool:
        give(pool)
        context = await manual.begun("a")
        manual.end("a")
        await ended(pool)

    assert context.traceparent == TRACEPARENT
