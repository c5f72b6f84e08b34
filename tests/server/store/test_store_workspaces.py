"""Workspaces, over every store: kept by name, gone only when no live task names them; and their tasks in lists."""

from __future__ import annotations

from dataclasses import replace

from nodelink.task import Execution
from nodelink_server.core.ports import Store, TaskQuery, Workspace, WorkspaceMode
from tests.server.store.conftest import Database
from tests.server.store.lives import NOW, cancel, grant, live, settle, start, step, waiting

SITE = Workspace(name="site", pool="web", mode=WorkspaceMode.AGENT, created_at=NOW)
LAB = Workspace(name="lab", pool="default", mode=WorkspaceMode.LOCAL, created_at=NOW + 1, execution=Execution.ONCE)


async def known(store: Store) -> list[Workspace]:
    return list((await store.boot(NOW)).workspaces)


async def test_workspaces_are_known_after_a_restart_by_name(database: Database) -> None:
    async with database.open() as store:
        assert await known(store) == []
        assert [await store.create_workspace(one) for one in (SITE, LAB)] == [True, True]
    async with database.open() as store:
        assert await known(store) == [LAB, SITE]


async def test_of_one_name_there_is_one_workspace_and_the_first_stays(store: Store) -> None:
    await store.create_workspace(SITE)

    assert not await store.create_workspace(replace(SITE, pool="other"))

    assert await known(store) == [SITE]


async def test_a_workspace_gets_another_pool_and_mode_and_stays_as_old_as_it_is(store: Store) -> None:
    await store.create_workspace(SITE)

    assert await store.change_workspace(Workspace(name="site", pool="p", mode=WorkspaceMode.LOCAL, created_at=NOW + 9))
    assert not await store.change_workspace(LAB)

    assert await known(store) == [Workspace(name="site", pool="p", mode=WorkspaceMode.LOCAL, created_at=NOW)]


async def test_a_workspace_goes_when_the_last_of_its_tasks_has_ended(store: Store) -> None:
    for one in (SITE, LAB):
        await store.create_workspace(one)
    first, second = [await live(store, waiting(task_id, workspace="site")) for task_id in ("t1", "t2")]
    await live(store, waiting("elsewhere"))
    assert not await store.remove_workspace("site")

    await step(store, cancel(first))
    second = await step(store, start(await step(store, grant(second))))
    assert not await store.remove_workspace("site")
    assert await known(store) == [LAB, SITE]

    await step(store, settle(second))
    assert await store.remove_workspace("site")
    assert await known(store) == [LAB]


async def test_what_is_not_there_can_be_removed(store: Store) -> None:
    assert await store.remove_workspace("nobody's")


async def test_a_task_is_read_back_with_its_workspace_and_listed_by_it(store: Store) -> None:
    for number, workspace in enumerate(["site", "", "lab", "site"]):
        await live(store, waiting(f"t{number}", workspace=workspace, pool="p" if number else "default"))

    assert [task.spec.workspace for task in await store.find(["t0"])] == ["site"]
    page = await store.list(TaskQuery(workspace="site"))
    assert [record.task.id for record in page] == ["t3", "t0"]
    assert [record.task.id for record in await store.list(TaskQuery(workspace="site", pool="p"))] == ["t3"]
    assert [record.task.id for record in await store.list(TaskQuery(workspace="nobody's"))] == []


async def test_the_tasks_of_a_workspace_are_listed_page_by_page(store: Store) -> None:
    for number in range(5):
        await live(store, waiting(f"t{number}", workspace="site" if number % 2 == 0 else ""))

    first = await store.list(TaskQuery(workspace="site", page_size=2))
    second = await store.list(TaskQuery(workspace="site", page_size=2, before_key=first.next_key))

    assert [[record.task.id for record in page] for page in (first, second)] == [["t4", "t2"], ["t0"]]
    assert second.next_key == 0
