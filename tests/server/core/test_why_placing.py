"""Why a task waits that says where it is to run, or what it shares: the true cause is named, and what would help."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.task import Rate, Reason
from nodelink_server.core.why import TaskWhy
from tests.support.core_parts import Core, make_submission, running_core
from tests.support.fake_agent import FakeAgent

ME, OTHER = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"


async def _agent(core: Core, agent_id: str = ME, *, slots: int = 3, **hello: object) -> FakeAgent:
    agent = FakeAgent(core, agent_id=agent_id, slots=slots)
    await agent.connect(**hello)  # type: ignore[arg-type]  # names of fields
    return agent


async def _why(core: Core, **spec: object) -> TaskWhy:
    """Why a new task stands as it does."""
    [task_id] = await core.submit(make_submission(**spec))  # type: ignore[arg-type]  # names of fields
    await asyncio.sleep(0.1)
    return await core.manager.why(task_id)


LASTING = [
    ({"agent_id": OTHER}, "agent", f"agent {OTHER} was never connected, or is of another pool", f"agent {OTHER}"),
    ({"selector": "env=test"}, "labels", "no agent has labels that match 'env=test'", "with labels that match"),
    ({"slots": 4}, "size", "no agent has 4 slots", "with 4 slots"),
    ({"resources": {"gpu": 2_000}}, "resources", "no agent has the resources that it needs", "with these resources"),
]


@pytest.mark.parametrize("spec, condition, summary, remedy", LASTING)
async def test_no_agent_is_what_it_needs(spec: dict[str, object], condition: str, summary: str, remedy: str) -> None:
    async with running_core() as core:
        await _agent(core, labels={"env": "prod"}, resources={"gpu": 1_000})
        why = await _why(core, **spec)

        assert why.summary == summary
        assert why.ruled_out == {condition: 1}
        assert remedy in why.remedies[0]
        assert why.task.reason is Reason.AGENT


PASSING = [
    ({"slots": 3}, {"slots": 2}, "slots", "waits for a free slot"),
    ({"resources": {"gpu": 600}}, {"resources": {"gpu": 600}}, "resources_free", "waits for free resources"),
    ({}, {}, "type_limit", "every agent that could run it runs as many 'echo' as it may"),
]


@pytest.mark.parametrize("spec, before, condition, summary", PASSING)
async def test_others_have_what_it_needs(
    spec: dict[str, object], before: dict[str, object], condition: str, summary: str
) -> None:
    async with running_core() as core:
        limits = {"echo": 1} if condition == "type_limit" else {}
        agent = await _agent(core, resources={"gpu": 1_000}, type_limits=limits)
        await core.submit(make_submission(**before))  # type: ignore[arg-type]  # names of fields
        await agent.task()
        why = await _why(core, **spec)

        assert why.summary == summary
        assert why.ruled_out == {condition: 1}


SHARED = [
    (
        {"limits": {"db": 1}},
        Reason.LIMIT,
        "limit 'db': 1 of 1 place(s) are taken, the first held by task",
        "the end of a task that has a place, or a higher limit",
    ),
    (
        {"workspace": "site"},
        Reason.LOCK,
        "workspace 'site' is held by task",
        "the end of the task that holds workspace 'site'",
    ),
    (
        {"rates": {"mail": Rate(1, 10_000)}},
        Reason.RATE,
        "rate 'mail' has room again in 9.9 seconds",
        "time: its places free themselves",
    ),
]


@pytest.mark.parametrize("spec, reason, message, remedy", SHARED)
async def test_others_have_the_places(spec: dict[str, object], reason: Reason, message: str, remedy: str) -> None:
    async with running_core() as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        agent = await _agent(core)
        await core.submit(make_submission(**spec))  # type: ignore[arg-type]  # names of fields
        await agent.task()
        why = await _why(core, **spec)

        assert message in why.summary
        assert [verdict.condition for verdict in why.verdicts if not verdict.holds] == [reason.value]
        assert why.task.reason is reason
        assert why.agents[0].fits
        assert why.remedies == (remedy,)


@pytest.mark.parametrize("name", ["running", "pool:default", "type:echo"])
async def test_a_limit_that_is_set_is_reached(name: str) -> None:
    async with running_core() as core:
        agent = await _agent(core)
        core.manager.rooms.limits.set(name, 1)
        await core.submit()
        await agent.task()
        why = await _why(core)

        assert why.summary == f"waits: limit {name} (1) is reached"
        assert why.task.reason is Reason.LIMIT
        assert why.remedies == ("the end of a task that has a place, or a higher limit",)


async def test_the_limit_of_the_agent_is_reached() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        core.manager.rooms.limits.set(f"agent:{ME}", 1)
        await core.submit()
        await agent.task()
        why = await _why(core)

        assert why.summary == "the limit of every agent that could run it is reached"
        assert why.ruled_out == {"gate": 1}


async def test_a_task_that_has_a_place_under_all_its_keys_says_so() -> None:
    async with running_core() as core:
        why = await _why(core, limits={"db": 1}, rates={"mail": Rate(1, 1_000)}, lock="k")

        assert [(verdict.condition, verdict.holds) for verdict in why.verdicts] == [
            ("scheduler", True),
            ("lock", True),
            ("limit", True),
            ("rate", True),
        ]
