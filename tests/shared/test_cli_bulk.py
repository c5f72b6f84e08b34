"""`nodelink tasks bulk` and `set-priority`: what they print, whom they ask, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cli_shell import Shell
from tests.support.grpc_door import GrpcDoor, grpc_door
from tests.support.pseudo_terminal import nodelink_on_terminal, on_terminal

NO_ID = "01900000-0000-7000-8000-00000000dead"


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path) -> Shell:
    return Shell(tmp_path, str(door.address))


async def test_tasks_are_stopped_and_run_again(door: GrpcDoor, shell: Shell) -> None:
    red, blue = await door.submit(metadata={"team": "red"}), await door.submit()

    tried = await shell("tasks", "bulk", "cancel", "--label", "team=red", "--dry-run")
    done = await shell("tasks", "bulk", "cancel", "--label", "team=red", "--reason", "enough", "-y", "-o", "json")
    again = await shell("tasks", "bulk", "retry", "--status", "cancelled", "-q", "team=red", "--yes", "-o", "id")
    card = await shell("tasks", "bulk", "cancel", "--status", "cancelled", "--status", "pending", "--yes")

    assert (tried.code, tried.out) == (0, b"matched   1\nwould_do  1\n")
    assert (done.code, json.loads(done.out)) == (0, {"matched": 1, "done": 1, "skipped": {}, "ids": [red]})
    assert (await door.manager.get(red)).task.message == "enough"
    [new] = again.out.decode().split()
    assert (again.code, new not in {red, blue}) == (0, True)
    assert (card.code, card.out) == (0, b"matched  3\ndone     2\nskipped  1 already finished\n")


async def test_tasks_are_selected_by_every_option(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent():
        door.manager.agents.cordon("a1", "a test")
        await door.submit(metadata={"team": "red"})
        fitting = (
            *("--status", "pending", "--type", "echo", "--pool", "default", "--label", "team=red"),
            *("--created-after", "1h", "--created-before", "2999-01-01T00:00:00Z", "-q", "team=red"),
        )
        found = await shell("tasks", "bulk", "cancel", *fitting, "--dry-run", "-o", "json")
        assert json.loads(found.out)["done"] == 1
        for wrong in (("--agent", "agent a1"), ("--workspace", "site"), ("--type", "shell")):
            none = await shell("tasks", "bulk", "cancel", *fitting, *wrong, "--dry-run", "-o", "json")
            assert (none.code, json.loads(none.out)["matched"]) == (0, 0), wrong


@pytest.mark.parametrize("key, code, text", [(b"y", 0, "done     2"), (b"n", 130, "")])
async def test_on_a_terminal_a_person_is_told_how_many_and_asked(
    door: GrpcDoor, shell: Shell, key: bytes, code: int, text: str
) -> None:
    ids = [await door.submit(), await door.submit()]
    await door.manager.cancel(await door.submit())
    both = ("--status", "pending", "--status", "cancelled")
    command = nodelink_on_terminal("tasks", "bulk", "set-priority", "high", *both)
    async with on_terminal(*command, cwd=shell.directory, env=shell.env) as terminal:
        await terminal.shows("3 task(s) match, of which are left alone: 1 already finished")
        await terminal.shows("set-priority 2 task(s)? [y/N]: ")
        terminal.press(key + b"\n")
        ended = await terminal.end()
        await terminal.shows(text)

    assert ended == code
    priorities = {(await door.manager.get(task_id)).task.spec.priority for task_id in ids}
    assert priorities == ({75} if key == b"y" else {50})


async def test_nobody_is_asked_about_nothing(door: GrpcDoor, shell: Shell) -> None:
    command = nodelink_on_terminal("tasks", "bulk", "retry", "--type", "echo")
    async with on_terminal(*command, cwd=shell.directory, env=shell.env) as terminal:
        assert await terminal.end() == 0
        await terminal.shows("matched  0\ndone     0\n")


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("cancel", "--yes"), 2, "say which tasks: at least one of --status, --type, --pool, --workspace, --agent"),
        (("cancel", "--type", "", "--pool", "default", "--yes"), 2, "--type must not be empty"),
        (("cancel", "-q", "", "--yes"), 2, "--q must not be empty"),
        (("cancel", "--type", "echo"), 2, "say --yes"),
        (("cancel", "--type", "echo", "--grace", "soon", "--yes"), 2, "grace"),
        (("cancel", "--agent", "nobody", "--yes"), 4, "there is no agent 'nobody'"),
        (("retry", "--type", "echo", "--reason", "x", "--yes"), 2, "No such option"),
        (("set-priority", "--type", "echo", "--yes"), 2, "PRIORITY"),
        (("set-priority", "101", "--type", "echo", "--yes"), 2, "priority: must be a whole number from 1 to 100"),
        (("delete", "--type", "echo", "--yes"), 2, "No such command 'delete'"),
    ],
)
async def test_what_would_be_a_slip_is_refused(
    door: GrpcDoor, shell: Shell, arguments: tuple[str, ...], code: int, words: str
) -> None:
    task_id = await door.submit()
    said = await shell("tasks", "bulk", *arguments)
    assert (said.code, said.out) == (code, b"")
    assert words in said.err
    assert (await door.manager.get(task_id)).task.status == "pending"


async def test_named_tasks_get_another_priority(door: GrpcDoor, shell: Shell) -> None:
    first, second = await door.submit(), await door.submit()
    done = await shell("tasks", "set-priority", first, second, "critical", "--reason", "now", "-o", "json")
    same = await shell("tasks", "set-priority", first, "100")
    await door.manager.cancel(second)
    ended = await shell("tasks", "set-priority", second, "1")
    missing = await shell("tasks", "set-priority", first, NO_ID, "7", "-o", "id")
    wrong = await shell("tasks", "set-priority", first, "high-ish")

    form = json.loads(done.out)
    assert (done.code, form["done"], set(form["ids"])) == (0, 2, {first, second})
    assert (same.code, same.out) == (0, b"matched  1\ndone     0\nskipped  1 already of this priority\n")
    assert (ended.code, ended.out) == (5, b"matched  1\ndone     0\nskipped  1 already finished\n")
    assert (missing.code, missing.out, missing.err) == (4, f"{first}\n".encode(), "1 of 2 are not there\n")
    assert (wrong.code, "priority: must be" in wrong.err) == (2, True)
    task = (await door.manager.get(first)).task
    assert task.spec.priority == 7


async def test_under_the_same_key_it_is_done_once(door: GrpcDoor, shell: Shell) -> None:
    await door.submit()
    cancel = ("tasks", "bulk", "cancel", "--type", "echo", "-y", "--idempotency-key", "release 7")
    first = await shell(*cancel)
    await door.submit()
    again = await shell(*cancel)
    other = await shell(*cancel, "--reason", "other")
    assert (first.code, again.code, again.out, b"done     1" in first.out) == (0, 0, first.out, True)
    assert other.code == 5
