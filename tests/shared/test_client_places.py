"""What the clients know of workspaces, limits and unique keys, against a real server: both clients alike."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from nodelink.client import (
    AsyncClient,
    Client,
    LimitHolder,
    LimitInForce,
    LimitList,
    LimitWaiter,
    Task,
    TaskFilter,
    Workspace,
    new_task,
)
from nodelink.errors import InvalidTask, NotBuilt, UniqueKeyTaken, WorkspaceConflict, WorkspaceNotFound
from nodelink.task import Execution, Reason, TaskStatus
from tests.support.grpc_door import GrpcDoor, grpc_door

Ask = Callable[..., Awaitable[Any]]
"""Calls a method of a client by its name."""


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture(params=["sync", "async"])
async def ask(request: pytest.FixtureRequest, door: GrpcDoor) -> AsyncIterator[Ask]:
    if request.param == "async":
        async with AsyncClient(str(door.address)) as client:

            async def of_async(name: str, *given: Any, **named: Any) -> Any:
                answer = getattr(client, name)(*given, **named)
                return await answer if inspect.isawaitable(answer) else answer

            yield of_async
        return
    with await asyncio.to_thread(Client, str(door.address)) as blocking:

        async def of_sync(name: str, *given: Any, **named: Any) -> Any:
            return await asyncio.to_thread(getattr(blocking, name), *given, **named)

        yield of_sync


async def test_workspaces_are_made_shown_listed_changed_and_removed(ask: Ask) -> None:
    made = await ask("create_workspace", "site", pool="web", mode="local", execution="once")
    assert isinstance(made, Workspace)
    assert (made.name, made.pool, made.mode, made.execution) == ("site", "web", "local", Execution.ONCE)
    assert await ask("workspace", "site") == made
    lab = await ask("create_workspace", "lab")
    assert (lab.pool, lab.mode, lab.execution) == ("default", "agent", None)
    assert list(await ask("workspaces")) == [lab, made]

    changed = await ask("update_workspace", "site", pool="p", mode="agent", execution=Execution.EXCLUSIVE)
    assert (changed.pool, changed.mode, changed.created_at) == ("p", "agent", made.created_at)
    assert changed.execution is Execution.EXCLUSIVE
    assert await ask("delete_workspace", "site") == changed
    assert list(await ask("workspaces")) == [lab]


async def test_what_a_workspace_refuses_is_raised_as_what_it_is(door: GrpcDoor, ask: Ask) -> None:
    await ask("create_workspace", "site")
    with pytest.raises(WorkspaceConflict, match="already"):
        await ask("create_workspace", "site")
    for name, named in (
        ("workspace", {}),
        ("delete_workspace", {}),
        ("update_workspace", {"pool": "p", "mode": "agent"}),
    ):
        with pytest.raises(WorkspaceNotFound, match="nobody"):
            await ask(name, "nobody", **named)
    with pytest.raises(NotBuilt, match="kubernetes"):
        await ask("create_workspace", "cluster", mode="kubernetes")
    for given in ({"mode": "docker"}, {"execution": "twice"}, {"pool": "a b"}, {"pool": 5}):
        with pytest.raises(InvalidTask):
            await ask("create_workspace", "other", **given)
    await door.submit(workspace="site")
    with pytest.raises(WorkspaceConflict, match="live tasks"):
        await ask("delete_workspace", "site")


async def test_the_tasks_of_a_workspace_are_listed(door: GrpcDoor, ask: Ask) -> None:
    await ask("create_workspace", "site")
    task_id, _ = await door.submit(workspace="site"), await door.submit()
    assert [task.id for task in await ask("list", TaskFilter(workspace="site"))] == [task_id]


async def test_limits_are_set_shown_listed_and_removed(door: GrpcDoor, ask: Ask) -> None:
    async with door.agent() as agent:
        task_id = await door.submit(lock="db")
        await agent.take()
        limit = await ask("set_limit", "pool:default", 0)
        assert (limit.name, limit.most, limit.settings_most, limit.taken) == ("pool:default", 0, None, 1)
        behind = await door.submit(lock="db", priority=80)
        listed = await ask("limits")
    assert isinstance(listed, LimitList)
    assert ([one.name for one in listed.limits], listed.total) == (["pool:default", "key:db"], 2)
    held = await ask("limit", "key:db")
    assert (held.most, held.taken) == (None, 1)
    [holder] = held.holders
    assert holder == LimitHolder(task_id, "a1", holder.since)
    assert holder.since is not None
    waiting = await ask("get", behind)
    assert held.waiting == (LimitWaiter(behind, 80, waiting.created_at),)
    assert held.waiting_more == 0
    assert set(waiting.in_force) == {LimitInForce("key:db", 1, 1), LimitInForce("pool:default", 0, 1)}

    assert (await ask("remove_limit", "pool:default")).most is None
    assert [one.name for one in (await ask("limits")).limits] == ["key:db"]


@pytest.mark.parametrize(
    "name, given",
    [
        ("limit", ("",)),
        ("limit", ("queue:x",)),
        ("set_limit", ("running", -1)),
        ("set_limit", ("running", 1_000_001)),
        ("set_limit", ("running", "5")),
        ("set_limit", ("queue:x", 5)),
        ("remove_limit", ("",)),
    ],
)
async def test_what_is_no_limit_is_refused(ask: Ask, name: str, given: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidTask):
        await ask(name, *given)


async def test_a_unique_key_that_is_taken_is_refused_or_answered_or_replaced(door: GrpcDoor, ask: Ask) -> None:
    async def outcome(on_conflict: str, payload: int) -> Any:
        submission = new_task("echo", payload, unique_key="nightly", on_conflict=on_conflict)
        [one] = await ask("submit_many", [submission])
        return one

    first = await outcome("fail", 1)
    taken = await outcome("fail", 2)
    assert isinstance(taken.refusal, UniqueKeyTaken)
    assert first.task_id in str(taken.refusal)
    existing = await outcome("use_existing", 3)
    assert (existing.task_id, existing.replayed) == (first.task_id, True)

    second = await outcome("replace", 4)

    old: Task = await ask("get", first.task_id)
    assert (old.status, old.reason) == (TaskStatus.CANCELLED, Reason.SUPERSEDED)
    assert second.task_id in old.message
    assert (await ask("get", second.task_id)).status is TaskStatus.PENDING
