"""What tasks take of their agent, in a whole core: no agent is ever given more than it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nodelink.taken import Taken
from nodelink.task import (
    AttemptRef,
    Declined,
    Execution,
    Finished,
    Gone,
    HeldAttempt,
    HeldState,
    Outcome,
    RetryPolicy,
    Submission,
    TaskRequest,
    TaskStatus,
)
from nodelink.values import evolve
from nodelink_server.core.use import Use
from tests.support.core_parts import (
    COMPLETED,
    Core,
    Database,
    eventually,
    make_session,
    make_spec,
    make_submission,
    make_task,
    running_core,
)
from tests.support.fake_agent import FakeAgent

FAILED = Finished(outcome=Outcome.FAILED)
OFFERED: dict[str, Any] = {"resources": {"cpu": 2_000, "gpu": 1_000}, "type_limits": {"shell": 1}}
"""What the agents here have beside five slots."""


def wide(**fields: Any) -> Submission:
    """A task of three slots."""
    return make_submission(slots=3, **fields)


def with_gpu(**fields: Any) -> Submission:
    """A task that takes the only one."""
    return make_submission(resources={"gpu": 1_000}, **fields)


@asynccontextmanager
async def one_agent(database: Database | None = None, **hello: Any) -> AsyncIterator[tuple[Core, FakeAgent]]:
    """A core with one agent."""
    async with running_core(database) as core:
        agent = FakeAgent(core, slots=5)
        await agent.connect(**(OFFERED | hello))
        yield core, agent


async def long(agent: FakeAgent) -> None:
    """Let so much time go by that whatever can happen has happened, while an agent lists all that it was given."""
    for _ in range(200):
        agent.beat(*(request.ref for request in agent.tasks))
        await asyncio.sleep(5)


async def given(agent: FakeAgent, count: int) -> list[TaskRequest]:
    """What the agent was given so far, which is so many tasks in the long run."""
    if count:
        await agent.task(count - 1)
    await asyncio.sleep(1)
    assert len(agent.tasks) == count
    return agent.tasks


@pytest.mark.parametrize("take", [wide, with_gpu])
@pytest.mark.parametrize("execution", [Execution.REPLAYABLE, Execution.ONCE])
async def test_what_does_not_fit_beside_another_waits_for_its_end(
    take: Callable[..., Submission], execution: Execution
) -> None:
    async with one_agent() as (core, agent):
        first, second = await core.submit(take(execution=execution), take(execution=execution))
        [request] = await given(agent, 1)
        assert await core.status(second) is TaskStatus.PENDING

        await agent.finish(request.ref)
        agent.give_credit(1)

        assert [one.ref.task_id for one in await given(agent, 2)] == [first, second]


async def test_what_fits_beside_a_wide_task_is_not_kept_waiting() -> None:
    async with one_agent() as (core, agent):
        await core.submit(wide())
        await core.submit(make_submission(), make_submission(), make_submission())
        await given(agent, 3)
        view = core.manager.agents.view("a1")
        assert (view.used.slots, view.free_slots) == (5, 0)


async def test_what_nobody_could_ever_run_waits_for_an_agent_that_can() -> None:
    async with one_agent() as (core, agent):
        await core.submit(
            make_submission(slots=6),
            make_submission(resources={"gpu": 1_001}),
            make_submission(resources={"tpu": 1}),
        )
        await given(agent, 0)
        large = FakeAgent(core, agent_id="large", slots=6)
        await large.connect(resources={"gpu": 2_000})
        await given(large, 1)
        tpu = FakeAgent(core, agent_id="tpu", slots=1)
        await tpu.connect(resources={"tpu": 1_000})
        await given(tpu, 1)
        large.say(large.tasks[0].ref, COMPLETED)
        large.give_credit(1)
        await given(large, 2)
        assert not agent.tasks


async def test_an_agent_that_says_nothing_of_resources_has_none() -> None:
    async with one_agent(resources={}) as (core, agent):
        await core.submit(make_submission(resources={"cpu": 1}))
        await given(agent, 0)


async def test_only_so_many_tasks_of_a_type_run_at_a_time() -> None:
    async with one_agent() as (core, agent):
        shell = make_submission("shell", payload=b'{"command": "true"}')
        shells = await core.submit(shell, shell)
        echoes = await core.submit(make_submission(), make_submission())
        requests = await given(agent, 3)
        assert {one.ref.task_id for one in requests} == {shells[0], *echoes}
        await agent.finish(next(one.ref for one in requests if one.spec.type == "shell"))
        agent.give_credit(1)
        await given(agent, 4)
        assert agent.tasks[-1].ref.task_id == shells[1]


async def test_what_is_taken_is_shown() -> None:
    async with one_agent() as (core, agent):
        await core.submit(make_submission(slots=2, resources={"cpu": 500}), make_submission(resources={"cpu": 250}))
        await given(agent, 2)
        view = core.manager.agents.view("a1")
        assert (view.used.slots, view.free_slots, view.used.resources) == (3, 2, {"cpu": 750})
        agent.beat(draining=True)
        assert (core.manager.agents.view("a1").used.slots, core.manager.agents.view("a1").free_slots) == (3, 0)
        for request in agent.tasks:
            await agent.finish(request.ref)
        view = core.manager.agents.view("a1")
        assert (view.used.slots, view.used.resources) == (0, {})


async def test_while_results_and_grants_pass_each_other_no_more_slots_are_shown_than_there_are() -> None:
    async with one_agent() as (core, agent):
        await core.submit(*[make_submission() for _ in range(6)])
        await given(agent, 5)
        agent.give_credit(1)  # one has ended, and its result is on its way
        await given(agent, 6)
        view = core.manager.agents.view("a1")
        assert (view.used.slots, len(view.current_tasks)) == (5, 6)


# --- what was taken is free again, however it ended


@pytest.mark.parametrize("end", ["completed", "failed", "gone", "declined", "cancelled", "retried"])
async def test_however_a_task_ends_what_it_took_is_free_again(end: str) -> None:
    async with one_agent() as (core, agent):
        retry = RetryPolicy(max_attempts=2, initial_ms=0) if end == "retried" else None
        [task_id] = await core.submit(with_gpu(slots=3, retry=retry))
        ref = (await agent.task()).ref
        await _end(core, agent, ref, end)
        agent.give_credit(1)
        if end in {"gone", "declined", "retried"}:  # it runs once more, and would not if it were in its own way
            again = (await agent.task(1)).ref
            assert (again.task_id, again.attempt) == (task_id, 2)
            await agent.finish(again)
            agent.give_credit(2)
        assert core.manager.agents.view("a1").used.slots == 0
        assert not agent.session.use.used
        before = len(agent.tasks)
        await core.submit(with_gpu(slots=5))
        await given(agent, before + 1)


async def _end(core: Core, agent: FakeAgent, ref: AttemptRef, end: str) -> None:
    match end:
        case "completed":
            agent.say(ref, COMPLETED)
        case "failed" | "retried":
            agent.say(ref, FAILED)
        case "gone":
            agent.say(ref, Gone(message="nobody saw it"))
        case "declined":
            agent.say(ref, Declined(message="not now", just_this=True))
        case "cancelled":
            await core.manager.cancel(ref.task_id)
            agent.say((await agent.cancelled()).ref, Finished(outcome=Outcome.CANCELLED))
    await agent.acked(ref)


async def test_an_offer_that_is_declined_or_not_answered_takes_nothing_any_more() -> None:
    async with one_agent() as (core, agent):
        agent.accepts = False
        await core.submit(with_gpu(execution=Execution.ONCE, slots=3))
        agent.say((await agent.offer()).ref, Declined(message="no", just_this=True))
        agent.give_credit(1)
        await eventually(lambda: len(agent.offers) == 2)
        await eventually(lambda: agent.session.use.used == {"gpu": 1_000})
        await long(agent)  # it is withdrawn, and offered again while there is credit: each unanswered one keeps one
        assert len(agent.offers) == 1 + 3
        assert (agent.session.use.used, agent.session.use.extra_slots) == ({}, 0)


async def test_a_grant_that_cannot_be_made_durable_takes_nothing() -> None:
    async with one_agent() as (core, agent):
        first = (await core.submit(with_gpu(slots=3)))[0]
        second = (await core.submit(with_gpu(slots=3)))[0]
        core.database.failing.add("apply")
        agent.say((await agent.task()).ref, COMPLETED)
        agent.give_credit(1)
        await long(agent)
        assert len(agent.tasks) == 1
        core.database.failing.clear()
        assert [one.ref.task_id for one in await given(agent, 2)] == [first, second]


def test_a_promise_that_came_to_nothing_takes_nothing() -> None:
    session = make_session(slots=5)
    session.use = Use({"gpu": 1_000}, {"echo": 1})
    task = evolve(make_task(), spec=make_spec(slots=3, resources={"gpu": 1_000}))
    session.reserve(task)
    assert (session.room, session.use.used, session.use.is_full("echo")) == (2, {"gpu": 1_000}, True)
    session.release([task])
    assert (session.room, session.use.used, session.use.is_full("echo")) == (5, {}, False)


# --- across sessions and starts


async def test_what_an_agent_runs_takes_as_much_in_its_next_session() -> None:
    async with one_agent() as (core, agent):
        await core.submit(with_gpu(slots=3), with_gpu(slots=3))
        ref = (await agent.task()).ref
        await agent.hang_up()
        await agent.connect(held=[HeldAttempt(ref, HeldState.RUNNING)], credit=4, **OFFERED)
        await given(agent, 1)
        view = core.manager.agents.view("a1")
        assert (view.free_slots, view.used.resources) == (2, {"gpu": 1_000})
        await agent.finish(ref)
        agent.give_credit(0)
        await given(agent, 2)


async def test_so_it_does_after_a_restart_of_the_server() -> None:
    database = Database()
    async with one_agent(database) as (core, agent):
        await core.submit(with_gpu(slots=3), with_gpu(slots=3))
        ref = (await agent.task()).ref
    async with running_core(database) as core:
        assert core.manager.agents.view("a1").used == Taken(3, {"gpu": 1_000})
        again = FakeAgent(core, slots=5)
        again.number = agent.number
        await again.connect(held=[HeldAttempt(ref, HeldState.RUNNING)], credit=4, **OFFERED)
        await given(again, 0)
        await again.finish(ref)
        again.give_credit(0)
        await given(again, 1)


async def test_an_agent_that_comes_back_with_less_is_given_what_it_has_now() -> None:
    async with one_agent() as (core, agent):
        await agent.hang_up()
        await core.submit(with_gpu(), wide())
        agent.slots = 2
        await agent.connect()
        await given(agent, 0)
        agent.slots = 3
        await agent.hang_up()
        await agent.connect()
        await given(agent, 1)
        assert agent.tasks[0].spec.slots == 3


async def test_a_wide_task_whose_agent_is_lost_takes_what_it_needs_of_the_next() -> None:
    async with one_agent() as (core, agent):
        [task_id] = await core.submit(with_gpu(slots=3))
        await agent.task()
        await agent.hang_up()
        other = FakeAgent(core, agent_id="a2", slots=5)
        await other.connect(**OFFERED)
        await long(other)  # its lease runs out
        assert (await other.task()).ref.task_id == task_id
        await core.submit(wide())
        await given(other, 1)
