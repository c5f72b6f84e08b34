"""Limits as operators see and set them: durably first, and then for whatever comes."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import InvalidTask, StoreUnavailable
from nodelink.task import Execution, Reason, Started
from nodelink_server.core.assembly import Options
from nodelink_server.core.limit_views import MAX_LIMIT, MOST_HOLDERS, MOST_LISTED, LimitHolder
from tests.support.core_parts import Core, Database, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

AGENT = "019a7b1c-5e2f-7c3a-9d41-6b8e2f0a1c57"


async def connected(core: Core, *, slots: int = 4, agent_id: str = "a1") -> FakeAgent:
    agent = FakeAgent(core, slots=slots, agent_id=agent_id)
    await agent.connect()
    await asyncio.sleep(0.1)
    return agent


def summary(core: Core) -> list[tuple[str, int | None, int]]:
    return [(one.name, one.most, one.taken) for one in core.manager.limits.all().limits]


async def test_nothing_is_shown_where_nothing_is_set_or_held() -> None:
    async with running_core() as core:
        await connected(core)
        await core.submit()
        assert summary(core) == []
        view = core.manager.limits.get("pool:default")
        assert (view.name, view.most, view.taken, view.holders) == ("pool:default", None, 0, [])


async def test_a_limit_holds_for_what_comes_and_shows_who_has_its_places() -> None:
    async with running_core() as core:
        agent = await connected(core)
        await core.manager.limits.set("pool:default", 2)
        ids = await core.submit(*[make_submission() for _ in range(3)])
        await agent.task(1)
        await asyncio.sleep(1)

        assert len(agent.tasks) == 2
        view = core.manager.limits.get("pool:default")
        assert (view.most, view.taken, view.settings_most) == (2, 2, None)
        assert [(holder.task_id, holder.agent_id) for holder in view.holders] == [(ids[0], "a1"), (ids[1], "a1")]
        first = (await core.manager.get(ids[0])).task.attempt
        assert first is not None
        assert view.holders[0].since == first.sent_at
        waiting = (await core.manager.get(ids[2])).task
        assert (waiting.reason, "pool:default" in waiting.message) == (Reason.LIMIT, True)


async def test_what_runs_already_counts_when_a_limit_is_set_and_goes_on() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await connected(core)
        ids = await core.submit(make_submission(), make_submission())
        await agent.task(1)
        view = await core.manager.limits.set("pool:default", 2)
        assert (view.taken, [holder.task_id for holder in view.holders]) == (2, ids)
        await core.manager.limits.set("pool:default", 1)
        await core.manager.limits.set("running", 9)
        assert summary(core) == [("pool:default", 1, 2), ("running", 9, 2)]
        agent.say((await agent.task(1)).ref, Started())
        await asyncio.sleep(1)
        assert summary(core) == [("pool:default", 1, 2), ("running", 9, 2)]
        [waiting] = await core.submit()
        await agent.finish((await agent.task()).ref)
        await asyncio.sleep(1)
        assert len(agent.tasks) == 2

        await agent.finish((await agent.task(1)).ref)
        assert (await agent.task(2)).ref.task_id == waiting
        assert summary(core) == [("pool:default", 1, 1), ("running", 9, 1)]
        assert len(core.database.disk.holds) == 2


async def test_what_runs_already_counts_over_a_restart_as_well() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await connected(core)
        [task_id] = await core.submit()
        await agent.task()
        await core.manager.limits.set("type:echo", 1)
    async with running_core(database, options=Options(max_running=5)) as core:
        assert summary(core) == [("running", 5, 1), ("type:echo", 1, 1)]
        await core.manager.abandon(task_id, reason="its agent is gone")
        assert summary(core) == [("running", 5, 0), ("type:echo", 1, 0)]


async def test_what_is_given_back_counts_no_more() -> None:
    async with running_core() as core:
        agent = await connected(core)
        await core.submit()
        await agent.task()
        await core.manager.limits.set("running", 1)
        await agent.hang_up()
        await agent.connect()  # it has nothing, so that it runs once more
        await agent.task(1)
        assert summary(core) == [("running", 1, 1)]
        await agent.finish((await agent.task(1)).ref)
        assert summary(core) == [("running", 1, 0)]


async def test_who_waits_goes_on_when_a_limit_is_raised_or_removed() -> None:
    async with running_core() as core:
        agent = await connected(core)
        await core.manager.limits.set("running", 0)
        await core.submit(*[make_submission() for _ in range(3)])
        await asyncio.sleep(1)
        assert agent.tasks == []

        await core.manager.limits.set("running", 1)
        await agent.task()
        await asyncio.sleep(1)
        assert len(agent.tasks) == 1
        assert (await core.manager.limits.remove("running")).most is None
        await agent.task(2)


async def test_a_limit_that_is_removed_is_shown_no_more_whoever_still_runs() -> None:
    async with running_core() as core:
        agent = await connected(core)
        await core.submit(make_submission(lock="db"))
        await core.manager.limits.set("running", 5)
        await core.submit()
        await agent.task(1)
        assert summary(core) == [("running", 5, 2), ("key:db", None, 1)]
        view = await core.manager.limits.remove("running")
        assert (view.most, view.taken, view.holders) == (None, 0, [])
        assert summary(core) == [("key:db", None, 1)]
        assert core.manager.limits.get("running").taken == 0

        assert (await core.manager.limits.set("running", 5)).taken == 2
        for place in range(2):
            await agent.finish((await agent.task(place)).ref)
        assert summary(core) == [("running", 5, 0)]
        assert core.manager.rooms.limits.is_idle


@pytest.mark.parametrize("spec", [{"lock": "db"}, {"limits": {"db": 3}}])
async def test_a_key_can_be_closed_and_opened_again(spec: dict[str, object]) -> None:
    async with running_core() as core:
        agent = await connected(core)
        await core.manager.limits.set("key:db", 0)
        [task_id] = await core.submit(make_submission(**spec))  # type: ignore[arg-type]  # names of fields
        await asyncio.sleep(1)
        assert agent.tasks == []
        await core.manager.limits.remove("key:db")
        assert (await agent.task()).ref.task_id == task_id


async def test_keys_that_are_held_are_shown_by_the_names_that_people_call_them() -> None:
    async with running_core() as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        agent = await connected(core)
        await core.submit(
            make_submission(lock="db"),
            make_submission(limits={"licence": 5}),
            make_submission(workspace="site"),
        )
        await agent.task(2)
        await core.manager.limits.set("type:echo", 9)

        assert summary(core) == [
            ("type:echo", 9, 3),
            ("key:db", None, 1),
            ("key:licence", None, 1),
            ("workspace:site", None, 1),
        ]
        assert core.manager.limits.get("key:db").taken == 1


async def test_a_place_that_is_only_about_to_be_somebodys_has_no_agent_yet() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        agent.accepts = False
        await agent.connect()
        [task_id] = await core.submit(make_submission(lock="db", execution=Execution.ONCE))
        await agent.offer()
        assert core.manager.limits.get("key:db").holders == [LimitHolder(task_id)]


async def test_limits_are_kept_over_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        await core.manager.limits.set("pool:default", 1)
        await core.manager.limits.set("key:x", 7)
        await core.manager.limits.set("type:echo", 3)
        await core.manager.limits.remove("type:echo")
    async with running_core(database) as core:
        assert summary(core) == [("key:x", 7, 0), ("pool:default", 1, 0)]


async def test_the_settings_cap_how_much_runs_in_all_and_that_is_shown() -> None:
    async with running_core(options=Options(max_running=5)) as core:
        limits = core.manager.limits
        shown = [(one.most, one.settings_most) for one in limits.all().limits]
        assert shown == [(5, 5)]
        assert [(await limits.set("running", most)).most for most in (9, 3, 0)] == [5, 3, 0]
        assert (await limits.remove("running")).most == 5


@pytest.mark.parametrize(
    "name",
    [
        "running",
        "pool:p",
        "type:a.b-c",
        f"agent:{AGENT}",
        "workspace:site",
        "key:db",
        "key:a:b/c d é",
        "key:" + "x" * 200,
    ],
)
async def test_these_are_names_of_limits(name: str) -> None:
    async with running_core() as core:
        assert (await core.manager.limits.set(name, 1)).name == name
        assert summary(core) == [(name, 1, 0)]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "running:",
        "running:x",
        "RUNNING",
        "pool",
        "pool:",
        "pool:a b",
        "type:" + "x" * 64,
        "agent:a1",
        "agent:" + AGENT.upper(),
        "workspace:-x",
        "key:",
        "key:" + "x" * 201,
        "key:\x1fpool:default",
        "rate:mail",
        "queue:x",
    ],
)
async def test_other_names_are_refused_and_told_what_is_right(name: str) -> None:
    async with running_core() as core:
        with pytest.raises(InvalidTask, match="pool:NAME") as refused:
            await core.manager.limits.set(name, 1)
        assert [error.field for error in refused.value.errors] == ["name"]
        with pytest.raises(InvalidTask):
            core.manager.limits.get(name)
        with pytest.raises(InvalidTask):
            await core.manager.limits.remove(name)


@pytest.mark.parametrize("most, is_right", [(-1, False), (0, True), (MAX_LIMIT, True), (MAX_LIMIT + 1, False)])
async def test_a_limit_is_within_bounds(most: int, is_right: bool) -> None:
    async with running_core() as core:
        if is_right:
            assert (await core.manager.limits.set("running", most)).most == most
        else:
            with pytest.raises(InvalidTask) as refused:
                await core.manager.limits.set("running", most)
            assert [error.field for error in refused.value.errors] == ["most"]


async def test_what_is_not_durable_does_not_hold() -> None:
    async with running_core() as core:
        await core.manager.limits.set("running", 5)
        core.database.failing.add("apply")
        with pytest.raises(StoreUnavailable):
            await core.manager.limits.set("running", 0)
        with pytest.raises(StoreUnavailable):
            await core.manager.limits.remove("running")
        assert summary(core) == [("running", 5, 0)]


async def test_a_caller_that_goes_away_leaves_memory_as_the_database_is() -> None:
    async with running_core() as core:
        core.database.hold("apply")
        setting = asyncio.ensure_future(core.manager.limits.set("running", 5))
        await core.database.until_held("apply")
        setting.cancel()
        core.database.let_go("apply")
        await eventually(lambda: summary(core) == [("running", 5, 0)])
        assert core.database.disk.limits == {"running": 5}


async def test_a_list_shows_so_many_and_says_how_many_there_are() -> None:
    async with running_core() as core:
        agent = await connected(core)
        await core.submit(make_submission(lock="held"))
        await agent.task()
        for number in range(MOST_LISTED):
            await core.manager.limits.set(f"key:{number:04}", 1)

        shown = core.manager.limits.all()

        assert (len(shown.limits), shown.total) == (MOST_LISTED, MOST_LISTED + 1)
        assert [shown.limits[0].name, shown.limits[-1].name] == ["key:0000", f"key:{MOST_LISTED - 1:04}"]
        assert core.manager.limits.get("key:held").taken == 1


async def test_of_those_that_have_a_place_so_many_are_shown_and_all_are_counted() -> None:
    async with running_core() as core:
        agent = await connected(core, slots=MOST_HOLDERS + 1)
        await core.submit(*[make_submission(limits={"licence": 500}) for _ in range(MOST_HOLDERS + 1)])
        await agent.task(MOST_HOLDERS)

        view = core.manager.limits.get("key:licence")

        assert (view.taken, len(view.holders)) == (MOST_HOLDERS + 1, MOST_HOLDERS)
