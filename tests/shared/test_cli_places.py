"""`nodelink workspaces` and `nodelink limits` as processes of their own, against a real server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cli_shell import Shell
from tests.support.grpc_door import GrpcDoor, grpc_door


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path) -> Shell:
    return Shell(tmp_path, str(door.address))


# --- workspaces -------------------------------------------------------------------------------------------------------


async def test_workspaces_are_made_listed_shown_changed_and_deleted(shell: Shell) -> None:
    made = json.loads((await shell("workspaces", "create", "site", "--pool", "web", "-o", "json")).out)
    assert (made["name"], made["pool"], made["mode"]) == ("site", "web", "agent")
    assert (await shell("workspaces", "create", "lab", "--mode", "local", "-o", "id")).out == b"lab\n"

    table = (await shell("workspaces", "list")).out.decode().splitlines()
    assert [line.split()[:3] for line in table] == [
        ["NAME", "POOL", "MODE"],
        ["lab", "default", "local"],
        ["site", "web", "agent"],
    ]
    changed = json.loads((await shell("workspaces", "update", "site", "--mode", "local", "-o", "json")).out)
    assert changed == {**made, "mode": "local"}
    assert json.loads((await shell("workspaces", "get", "site", "-o", "json")).out) == changed
    assert json.loads((await shell("workspaces", "delete", "site", "-o", "json")).out) == changed
    assert (await shell("workspaces", "list", "-o", "id")).out == b"lab\n"


async def test_a_workspace_has_a_class_that_can_be_changed_and_taken_back(shell: Shell) -> None:
    async def execution(*arguments: str) -> object:
        return json.loads((await shell("workspaces", *arguments, "-o", "json")).out)["execution"]

    assert await execution("create", "site", "--execution", "exclusive") == "exclusive"
    assert await execution("update", "site", "--pool", "web") == "exclusive"
    assert await execution("update", "site", "--execution", "once") == "once"
    assert await execution("update", "site", "--execution", "by-type") is None


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("get", "nobody"), 4, "there is no workspace 'nobody'"),
        (("delete", "nobody"), 4, "there is no workspace 'nobody'"),
        (("update", "nobody", "--pool", "p"), 4, "there is no workspace 'nobody'"),
        (("update", "site"), 2, "nothing to change"),
        (("create", "site"), 5, "already"),
        (("delete", "site"), 5, "live tasks"),
        (("create", "a b"), 2, "name: must be"),
        (("create", "x", "--mode", "docker"), 2, "--mode"),
        (("create", "x", "--mode", "kubernetes"), 2, "not available in this version"),
    ],
)
async def test_what_cannot_be_done_is_said(
    door: GrpcDoor, shell: Shell, arguments: tuple[str, ...], code: int, words: str
) -> None:
    await door.manager.workspaces.create("site", pool="default", mode="agent")
    await door.submit(workspace="site")
    said = await shell("workspaces", *arguments)
    assert (said.code, said.out) == (code, b"")
    assert words in said.err


async def test_the_tasks_of_a_workspace_are_listed(door: GrpcDoor, shell: Shell) -> None:
    await door.manager.workspaces.create("site", pool="default", mode="agent")
    task_id, _ = await door.submit(workspace="site"), await door.submit()
    assert (await shell("tasks", "list", "--workspace", "site", "-o", "id")).out.decode().split() == [task_id]


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_limits_are_set_listed_and_removed(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        task_id = await door.submit(lock="db")
        await agent.take()
        behind = await door.submit(lock="db", priority=80)
        limit = json.loads((await shell("limits", "set", "pool:default", "4", "-o", "json")).out)
        table = (await shell("limits", "list")).out.decode().splitlines()
        named = json.loads((await shell("limits", "list", "--name", "key:db", "-o", "json")).out)

    assert (limit["name"], limit["most"], limit["settings_most"], limit["taken"]) == ("pool:default", 4, None, 1)
    assert [holder["task_id"] for holder in limit["holders"]] == [task_id]
    assert [line.split() for line in table] == [
        ["LIMIT", "MOST", "TAKEN", "WAITING", "FIRST", "HOLDER"],
        ["pool:default", "4", "1", "0", task_id],
        ["key:db", "not", "set", "1", "1", task_id],
    ]
    assert [(one["name"], one["taken"], one["holders"][0]["agent_id"]) for one in named] == [("key:db", 1, "a1")]
    assert [(one["waiting"][0]["task_id"], one["waiting"][0]["priority"], one["waiting_more"]) for one in named] == [
        (behind, 80, 0)
    ]
    removed = json.loads((await shell("limits", "remove", "pool:default", "-o", "json")).out)
    assert (removed["name"], removed["most"], removed["taken"]) == ("pool:default", None, 0)
    assert (await shell("limits", "list", "-o", "id")).out == b"key:db\n"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("set", "queue:x", "5"), "pool:NAME"),
        (("set", "running", "--", "-1"), "-1 is not in the range"),
        (("set", "running", "many"), "many"),
        (("set", "running", "1000001"), "most: 1000001 is not from 0 to 1,000,000"),
        (("set", "running"), "N"),
        (("remove", "queue:x"), "pool:NAME"),
        (("list", "--name", ""), "name: must be given"),
    ],
)
async def test_what_is_no_limit_is_said(shell: Shell, arguments: tuple[str, ...], words: str) -> None:
    said = await shell("limits", *arguments)
    assert (said.code, said.out) == (2, b"")
    assert words in said.err


async def test_a_unique_key_that_is_taken_is_a_conflict_that_names_the_task(door: GrpcDoor, shell: Shell) -> None:
    submit = ("submit", "echo", "--unique-key", "nightly", "-o", "id")
    first = (await shell(*submit)).out.decode().strip()
    taken = await shell(*submit)
    assert (taken.code, first in taken.err) == (5, True)

    existing = await shell(*submit, "--on-conflict", "use-existing")
    assert existing.out.decode().strip() == first
    second = (await shell(*submit, "--on-conflict", "replace")).out.decode().strip()
    assert second != first
    assert json.loads((await shell("tasks", "get", first, "-o", "json")).out)["reason"] == "superseded"
