"""The spans that the server makes of what happens to tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from nodelink.errors import NoAgent, StoreUnavailable
from nodelink.task import Declined, Finished, Outcome, Reason, Submission
from nodelink.values import evolve
from nodelink_server.core.observer import Observer
from nodelink_server.tracing import ServerTracing
from tests.support.clock import LoopClock
from tests.support.core_parts import Core, Database, make_submission, running_core
from tests.support.fake_agent import FakeAgent
from tests.support.spans import (
    CALLER,
    TRACE,
    TRACEPARENT,
    UNSAMPLED,
    Kept,
    has_failed,
    id_of,
    kept_spans,
    parent_of,
    trace_of,
)

NS_PER_MS = 1_000_000
FAILED = Finished(outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=3)


@pytest.fixture
def kept() -> Iterator[Kept]:
    with kept_spans() as kept:
        yield kept


@asynccontextmanager
async def traced_core(kept: Kept, database: Database | None = None) -> AsyncIterator[Core]:
    """A core whose tasks are traced."""
    clock = LoopClock()
    tracing = ServerTracing(kept.spans, now_ns=lambda: clock.now() * NS_PER_MS)
    observer = Observer(submitting=tracing.submitting, committed=tracing.committed)
    async with running_core(database, observer=observer) as core:
        yield core


def traced(traceparent: str = TRACEPARENT, **fields: object) -> Submission:
    """A submission that belongs to a trace."""
    return evolve(make_submission(**fields), traceparent=traceparent)  # type: ignore[arg-type]  # names of fields


async def test_a_task_leaves_a_span_for_each_step_below_that_of_its_caller(kept: Kept) -> None:
    async with traced_core(kept) as core:
        [task_id] = await core.submit(traced())
        agent = FakeAgent(core)
        await agent.connect()
        request = await agent.task()
        await agent.finish(request.ref)

    submit, dispatch, settle = kept.only("submit"), kept.only("dispatch"), kept.only("settle")
    assert {trace_of(span) for span in kept.ended()} == {TRACE}
    assert parent_of(submit) == CALLER
    assert parent_of(dispatch) == parent_of(settle) == id_of(submit)
    assert request.traceparent == f"00-{TRACE}-{id_of(submit)}-01"
    assert {dict(span.attributes or {})["nodelink.task.id"] for span in kept.ended()} == {task_id}


async def test_a_caller_without_a_trace_begins_one(kept: Kept) -> None:
    async with traced_core(kept) as core:
        await core.submit(make_submission())
        agent = FakeAgent(core)
        await agent.connect()
        await agent.finish((await agent.task()).ref)

    assert parent_of(kept.only("submit")) == ""
    assert {trace_of(span) for span in kept.ended()} == {trace_of(kept.only("submit"))}
    assert kept.names == ["submit", "dispatch", "settle"]


async def test_what_the_caller_does_not_sample_is_not_traced_and_the_agent_is_told_so(kept: Kept) -> None:
    async with traced_core(kept) as core:
        await core.submit(traced(UNSAMPLED))
        agent = FakeAgent(core)
        await agent.connect()
        request = await agent.task()
        await agent.finish(request.ref)

    assert kept.names == []
    assert request.traceparent.startswith(f"00-{TRACE}-")
    assert request.traceparent.endswith("-00")


async def test_each_task_of_a_batch_has_a_span_of_its_own(kept: Kept) -> None:
    async with traced_core(kept) as core:
        await core.submit(traced(), traced(), traced())

    spans = kept.ended("submit")
    assert [parent_of(span) for span in spans] == [CALLER] * 3
    assert len({id_of(span) for span in spans}) == 3


async def test_a_failed_task_settles_as_an_error_and_nothing_that_it_said_is_told(kept: Kept) -> None:
    async with traced_core(kept) as core:
        await core.submit(traced(payload=b'{"secret": "hunter2"}'))
        agent = FakeAgent(core)
        await agent.connect()
        ref = (await agent.task()).ref
        agent.say(ref, FAILED)
        await agent.acked(ref)

    settle = kept.only("settle")
    assert has_failed(settle)
    assert not has_failed(kept.only("dispatch"))
    assert dict(settle.attributes or {}) == {
        "nodelink.task.id": ref.task_id,
        "nodelink.task.type": "echo",
        "nodelink.task.pool": "default",
        "nodelink.task.attempt": 1,
        "nodelink.agent.id": "a1",
        "nodelink.task.status": "failed",
        "nodelink.task.reason": "exit_code",
    }


async def test_each_attempt_is_dispatched_in_a_span_of_its_own(kept: Kept) -> None:
    async with traced_core(kept) as core:
        await core.submit(traced())
        agent, other = FakeAgent(core), FakeAgent(core, agent_id="a2")
        await agent.connect()
        agent.say((await agent.task()).ref, Declined())
        await other.connect()
        await other.finish((await other.task()).ref)

    attempts = [(span.attributes or {})["nodelink.task.attempt"] for span in kept.ended("dispatch")]
    assert attempts == [1, 2]
    assert len(kept.ended("settle")) == 1


async def test_waiting_shows_as_the_length_of_the_dispatch(kept: Kept) -> None:
    async with traced_core(kept) as core:
        await core.submit(traced())
        await asyncio.sleep(0.05)
        agent = FakeAgent(core)
        await agent.connect()
        await agent.task()

    dispatch = kept.only("dispatch")
    assert dispatch.start_time is not None
    assert dispatch.end_time is not None
    assert dispatch.end_time - dispatch.start_time >= 50 * NS_PER_MS


async def test_a_task_that_is_cancelled_while_it_waits_is_settled_without_an_attempt(kept: Kept) -> None:
    async with traced_core(kept) as core:
        [task_id] = await core.submit(traced())
        await core.manager.cancel(task_id)

    assert kept.names == ["submit", "settle"]
    assert "nodelink.task.attempt" not in (kept.only("settle").attributes or {})


async def test_a_task_that_is_refused_has_a_submit_without_a_task(kept: Kept) -> None:
    async with traced_core(kept) as core:
        assert isinstance(await core.refused(traced(queue_timeout_ms=0)), NoAgent)

    assert kept.names == ["submit"]
    assert "nodelink.task.id" not in (kept.only("submit").attributes or {})
    assert not has_failed(kept.only("submit"))


async def test_a_task_that_was_accepted_before_is_not_traced_again(kept: Kept) -> None:
    async with traced_core(kept) as core:
        first = await core.submit(traced(key="k"))
        again = await core.submit(traced(key="k"))

    assert first == again
    assert ["nodelink.task.id" in (span.attributes or {}) for span in kept.ended("submit")] == [True, False]


async def test_a_submit_that_cannot_be_made_durable_is_an_error(kept: Kept) -> None:
    database = Database()
    async with traced_core(kept, database) as core:
        database.failing.add("apply")
        with pytest.raises(StoreUnavailable):
            await core.submit(traced())
        database.failing.clear()

    assert has_failed(kept.only("submit"))


async def test_without_an_observer_the_context_goes_through_as_it_came() -> None:
    async with running_core() as core:
        await core.submit(traced())
        agent = FakeAgent(core)
        await agent.connect()
        assert (await agent.task()).traceparent == TRACEPARENT
