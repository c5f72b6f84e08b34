"""Workspaces: where their tasks run, one at a time; kept over restarts, gone only when nothing of them lives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodelink.errors import InvalidTask, NodelinkError, NotBuilt, StoreUnavailable, WorkspaceConflict, WorkspaceNotFound
from nodelink.selectors import MAX_REQUIREMENTS
from nodelink.task import Execution, Reason, TaskStatus
from nodelink_server.core.ports import TaskQuery, WorkspaceMode
from nodelink_server.core.workspaces import MOST_WORKSPACES
from tests.support.core_parts import Core, Database, make_submission, running_core
from tests.support.fake_agent import FakeAgent


async def make(core: Core, name: str = "site", *, pool: str = "default", mode: str = "agent") -> None:
    await core.manager.workspaces.create(name, pool=pool, mode=mode)


async def fields(core: Core, **spec: Any) -> list[str]:
    """The fields for which a task is refused."""
    refusal = await core.refused(make_submission(**spec))
    assert isinstance(refusal, InvalidTask), refusal
    return [error.field for error in refusal.errors]


async def refused(core: Core, **given: str) -> NodelinkError:
    """Why a workspace is refused."""
    wanted = {"name": "site", "pool": "default", "mode": "agent"} | given
    with pytest.raises(NodelinkError) as error:
        await core.manager.workspaces.create(wanted["name"], pool=wanted["pool"], mode=wanted["mode"])
    return error.value


async def test_a_workspace_is_kept_over_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        await make(core, "site", pool="web")
        await make(core, "lab", mode="local")
    async with running_core(database) as core:
        known = [(one.name, one.pool, one.mode) for one in core.manager.workspaces.all()]
        assert known == [("lab", "default", WorkspaceMode.LOCAL), ("site", "web", WorkspaceMode.AGENT)]
        assert core.manager.workspaces.get("site").pool == "web"


async def test_of_one_name_there_is_one() -> None:
    async with running_core() as core:
        await make(core)
        assert isinstance(await refused(core, pool="other"), WorkspaceConflict)
        assert core.manager.workspaces.get("site").pool == "default"


@pytest.mark.parametrize(
    "given, wrong",
    [
        ({"name": ""}, ["name"]),
        ({"name": "-site"}, ["name"]),
        ({"name": "x" * 64}, ["name"]),
        ({"pool": "a b"}, ["pool"]),
        ({"mode": "docker"}, ["mode"]),
        ({"mode": ""}, ["mode"]),
        ({"name": "ä", "pool": "", "mode": "AGENT"}, ["name", "pool", "mode"]),
    ],
)
async def test_every_field_that_is_wrong_is_named(given: dict[str, str], wrong: list[str]) -> None:
    async with running_core() as core:
        refusal = await refused(core, **given)
        assert isinstance(refusal, InvalidTask)
        assert [error.field for error in refusal.errors] == wrong
        assert core.manager.workspaces.all() == []


async def test_kubernetes_is_refused_by_name() -> None:
    async with running_core() as core:
        refusal = await refused(core, mode="kubernetes")
        assert isinstance(refusal, NotBuilt)
        assert "kubernetes" in refusal.message
        await make(core, "x" * 63)
        with pytest.raises(NotBuilt):
            await core.manager.workspaces.change("x" * 63, pool="default", mode="kubernetes")


async def test_there_are_at_most_so_many() -> None:
    async with running_core() as core:
        for number in range(MOST_WORKSPACES):
            await make(core, f"w{number}")
        assert isinstance(await refused(core), InvalidTask)
        assert isinstance(await refused(core, name="w1"), WorkspaceConflict)
        await core.manager.workspaces.remove("w5")
        await make(core)


async def test_a_task_needs_a_workspace_that_is_there() -> None:
    async with running_core() as core:
        assert await fields(core, workspace="site") == ["workspace"]
        await make(core)
        await core.submit(make_submission(workspace="site"))


async def test_a_task_runs_in_the_pool_of_its_workspace_and_cannot_ask_for_another() -> None:
    async with running_core() as core:
        await make(core, pool="web")
        assert await fields(core, workspace="site", pool="other") == ["pool"]

        ids = await core.submit(make_submission(workspace="site"), make_submission(workspace="site", pool="web"))

        assert [(await core.manager.get(task_id)).task.spec.pool for task_id in ids] == ["web", "web"]
        agent = FakeAgent(core)
        await agent.connect(pool="web")
        assert (await agent.task()).ref.task_id == ids[0]


async def test_one_task_of_a_workspace_at_a_time_is_with_an_agent() -> None:
    async with running_core() as core:
        await make(core)
        agent = FakeAgent(core, slots=3)
        await agent.connect()
        first, second = await core.submit(make_submission(workspace="site"), make_submission(workspace="site"))
        request = await agent.task()
        await asyncio.sleep(1)
        assert [one.ref.task_id for one in agent.tasks] == [first]
        task = (await core.manager.get(second)).task
        assert task.reason is Reason.LOCK
        assert "site" in task.message

        await agent.finish(request.ref)
        assert (await agent.task(1)).ref.task_id == second


async def test_a_task_of_a_local_workspace_runs_where_the_label_says_that_it_is_the_servers_machine() -> None:
    async with running_core() as core:
        await make(core, mode="local")
        [task_id] = await core.submit(make_submission(workspace="site", selector="gpu"))
        far, near = FakeAgent(core, agent_id="a1"), FakeAgent(core, agent_id="a2")
        await far.connect(labels={"gpu": "", "mode": "remote"})
        await asyncio.sleep(1)
        assert far.tasks == []

        await near.connect(labels={"gpu": "", "mode": "local"})

        assert (await near.task()).ref.task_id == task_id
        assert (await core.manager.get(task_id)).task.spec.selector == "gpu,mode=local"


async def test_a_task_of_a_local_workspace_can_be_run_again() -> None:
    async with running_core() as core:
        await make(core, mode="local")
        [first] = await core.submit(make_submission(workspace="site"))
        await core.manager.cancel(first)
        again = await core.manager.retry(first)
        assert again.task.spec.selector == "mode=local"


async def test_a_selector_that_is_too_long_with_the_workspaces_is_refused() -> None:
    async with running_core() as core:
        await make(core, mode="local")
        most = ",".join(f"l{number:02}" for number in range(MAX_REQUIREMENTS))
        assert await fields(core, workspace="site", selector=most) == ["labels"]
        await core.submit(make_submission(workspace="site", selector=most.rpartition(",")[0]))


async def test_what_a_workspace_is_changed_to_counts_for_what_comes_in_later() -> None:
    async with running_core() as core:
        await make(core)
        [before] = await core.submit(make_submission(workspace="site"))

        await core.manager.workspaces.change("site", pool="web", mode="local")

        [after] = await core.submit(make_submission(workspace="site"))
        specs = [(await core.manager.get(task_id)).task.spec for task_id in (before, after)]
        assert [(spec.pool, spec.selector) for spec in specs] == [("default", ""), ("web", "mode=local")]


async def test_a_task_that_names_no_class_has_that_of_its_workspace() -> None:
    database = Database()
    async with running_core(database) as core:
        workspaces = core.manager.workspaces
        await workspaces.create("site", pool="default", mode="agent", execution=Execution.EXCLUSIVE)
    async with running_core(database) as core:
        workspaces = core.manager.workspaces
        unnamed, named, elsewhere = await core.submit(
            make_submission(workspace="site"),
            make_submission(workspace="site", execution=Execution.ONCE),
            make_submission(),
        )
        await workspaces.change("site", pool="default", mode="agent")
        [later] = await core.submit(make_submission(workspace="site"))
        await core.manager.cancel(unnamed)
        again = await core.manager.retry(unnamed)

        tasks = [(await core.manager.get(task_id)).task for task_id in (unnamed, named, elsewhere, later)]
        classes = [(task.execution, task.spec.execution) for task in (*tasks, again.task)]
        assert classes == [
            (Execution.EXCLUSIVE, Execution.EXCLUSIVE),
            (Execution.ONCE, Execution.ONCE),
            (Execution.REPLAYABLE, None),
            (Execution.REPLAYABLE, None),
            (Execution.EXCLUSIVE, Execution.EXCLUSIVE),
        ]


async def test_what_is_not_there_cannot_be_got_changed_or_removed() -> None:
    async with running_core() as core:
        workspaces = core.manager.workspaces
        with pytest.raises(WorkspaceNotFound):
            workspaces.get("site")
        with pytest.raises(WorkspaceNotFound):
            await workspaces.change("site", pool="default", mode="agent")
        with pytest.raises(WorkspaceNotFound):
            await workspaces.remove("site")


async def test_a_workspace_cannot_be_removed_while_a_task_of_it_lives() -> None:
    async with running_core() as core:
        await make(core)
        [task_id] = await core.submit(make_submission(workspace="site", delay_ms=60_000))
        with pytest.raises(WorkspaceConflict):
            await core.manager.workspaces.remove("site")
        assert core.manager.workspaces.get("site").name == "site"

        await core.manager.cancel(task_id)
        await core.manager.workspaces.remove("site")
        assert core.manager.workspaces.all() == []
        assert await fields(core, workspace="site") == ["workspace"]
        assert [record.task.id for record in await core.manager.list(TaskQuery(workspace="site"))] == [task_id]


async def test_a_task_that_is_accepted_while_its_workspace_is_to_go_keeps_it() -> None:
    async with running_core() as core:
        await make(core)
        core.database.hold("applied")
        before = asyncio.ensure_future(core.submit())
        await core.database.until_held("applied")
        submit = asyncio.ensure_future(core.submit(make_submission(workspace="site")))  # it rides in the next commit
        await asyncio.sleep(0.01)
        remove = asyncio.ensure_future(core.manager.workspaces.remove("site"))
        await asyncio.sleep(0.01)
        assert await fields(core, workspace="site") == ["workspace"]  # it may be gone in a moment
        core.database.let_go("applied")

        await before
        [task_id] = await submit
        with pytest.raises(WorkspaceConflict):
            await remove
        assert await core.status(task_id) is TaskStatus.PENDING
        await core.submit(make_submission(workspace="site"))


async def test_while_the_database_is_away_everything_stays_as_it_is() -> None:
    async with running_core() as core:
        await make(core)
        core.database.failing.add("apply")
        workspaces = core.manager.workspaces
        with pytest.raises(StoreUnavailable):
            await workspaces.create("lab", pool="default", mode="agent")
        with pytest.raises(StoreUnavailable):
            await workspaces.change("site", pool="web", mode="agent")
        with pytest.raises(StoreUnavailable):
            await workspaces.remove("site")
        assert [(one.name, one.pool) for one in workspaces.all()] == [("site", "default")]
