"""The command line empties agents, and waits: for an agent that is empty, for a task that has come so far."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nodelink.cli.task_reach import MOST_AT_ONCE
from nodelink.cli.task_wait import STATUSES
from nodelink.client import reaching
from tests.support.cli_shell import Shell
from tests.support.doubts import started, until_told
from tests.support.grpc_door import GrpcDoor, grpc_door


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path) -> Shell:
    return Shell(tmp_path, str(door.address))


# --- drains ---------------------------------------------------------------------------------------------------------


async def test_an_agent_is_drained_and_let_have_work_again(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent():
        drained = await shell("agents", "drain", "agent a1", "--note", "a new disk", "--deadline", "10m", "-o", "json")
        card = await shell("agents", "get", "a1")
        why = await shell("agents", "why", "a1")
        lifted = await shell("agents", "undrain", "a1", "-o", "json")

    form = json.loads(drained.out)
    assert (drained.code, form["status"], form["drain_note"]) == (0, "cordoned", "a new disk")
    assert form["drain_deadline"] > form["drained_at"]
    assert "drain_deadline" in card.out.decode()
    assert "is drained since 2" in why.out.decode()
    form = json.loads(lifted.out)
    assert (form["status"], form["drained_at"], form["drain_deadline"]) == ("online", None, None)


async def test_a_wait_ends_when_nothing_runs_there(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        ref = await started(door, agent, await door.submit())
        late = await shell("agents", "drain", "a1", "--wait", "--timeout", "100ms", "-o", "json")
        async with shell.start("agents", "drain", "a1", "--wait", "-o", "json") as waiting:
            agent.finish(ref)
            said = await waiting.end()

    assert (late.code, late.err) == (124, "1 task(s) still run there\n")
    assert json.loads(late.out)["status"] == "draining"
    assert (said.code, json.loads(said.out)["current_tasks"]) == (0, [])


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("nobody",), 4, "there is no agent 'nobody'"),
        (("a1", "--deadline", "8d"), 2, "deadline"),
        (("a1", "--deadline", "soon"), 2, "deadline"),
        (("a1", "--note", "x" * 1_001), 2, "note"),
        (("a1", "--timeout", "1s"), 2, "say --wait as well"),
        (("a1", "--wait", "--timeout", "soon"), 2, "--timeout"),
    ],
)
async def test_a_wrong_drain_is_refused(
    door: GrpcDoor, shell: Shell, arguments: tuple[str, ...], code: int, words: str
) -> None:
    async with door.agent():
        said = await shell("agents", "drain", *arguments)
        assert (said.code, said.out) == (code, b"")
        assert words in said.err
        assert door.manager.agents.view("a1").status == "online"


# --- tasks on their way ---------------------------------------------------------------------------------------------


def test_what_can_be_waited_for_is_what_the_client_knows() -> None:
    assert STATUSES == reaching.STATUSES


async def test_a_wait_for_a_status_ends_when_it_is_reached(door: GrpcDoor, shell: Shell) -> None:
    task_id = await door.submit()
    watching = shell.start("tasks", "wait", task_id, "--for", "in_progress", "-o", "json")
    async with watching as waiting, door.agent() as agent:
        ref = await started(door, agent, task_id)
        said = await waiting.end()
        agent.finish(ref)
        await until_told(door.manager, task_id, "task.completed", after=0)
    past = await shell("tasks", "wait", task_id, "--for", "pending", "-o", "json")
    ended = await shell("tasks", "wait", task_id, "--for", "finished", "-o", "json")

    assert (said.code, json.loads(said.out)["status"]) == (0, "in_progress")
    assert (past.code, json.loads(past.out)["status"]) == (0, "completed")
    assert (ended.code, json.loads(ended.out)["status"]) == (0, "completed")


async def test_a_wait_that_is_in_vain_ends_with_a_conflict(door: GrpcDoor, shell: Shell) -> None:
    task_id = await door.submit()
    late = await shell("tasks", "wait", task_id, "--for", "in_progress", "--timeout", "100ms")
    await door.manager.cancel(task_id)
    said = await shell("tasks", "wait", task_id, "--for", "in_progress")

    assert (late.code, late.out, late.err) == (124, b"", "1 of 1 have not been in_progress yet\n")
    assert (said.code, said.out) == (5, b"")
    assert said.err == f"error: {task_id} has ended (cancelled) and was never in_progress\n"


async def test_of_several_tasks_all_or_any_are_waited_for(door: GrpcDoor, shell: Shell) -> None:
    cancelled, waits, pending = [await door.submit() for _ in range(3)]
    await door.manager.cancel(cancelled)
    for_pending = ("--for", "pending", "--timeout", "30s", "-o", "id")
    for_sent = ("--for", "sent", "--timeout", "100ms", "-o", "id")

    both = await shell("tasks", "wait", pending, waits, *for_pending)
    any_sent = await shell("tasks", "wait", "--any", cancelled, waits, *for_sent)
    all_sent = await shell("tasks", "wait", cancelled, waits, *for_sent)
    any_of_them = await shell("tasks", "wait", "--any", cancelled, waits, "--for", "cancelled", "-o", "id")
    none_of_them = await shell("tasks", "wait", "--any", cancelled, cancelled, "--for", "sent")

    assert (both.code, both.out.decode().split()) == (0, [pending, waits])
    assert (any_sent.code, any_sent.out) == (124, b"")
    assert (all_sent.code, "was never sent" in all_sent.err) == (5, True)
    assert (any_of_them.code, any_of_them.out.decode().split()) == (0, [cancelled])
    assert none_of_them.code == 5


async def test_so_many_tasks_are_waited_for_and_not_one_more(door: GrpcDoor, shell: Shell) -> None:
    ids = await asyncio.gather(*(door.submit() for _ in range(MOST_AT_ONCE + 1)))
    within = await shell("tasks", "wait", *ids[:-1], "--for", "pending", "-o", "id")
    past = await shell("tasks", "wait", *ids, "--for", "pending")

    assert (within.code, len(within.out.split())) == (0, MOST_AT_ONCE)
    assert (past.code, "at most 100 tasks" in past.err) == (2, True)


async def test_a_status_that_is_none_is_refused(shell: Shell) -> None:
    said = await shell("tasks", "wait", "0190a1b2", "--for", "complete")
    assert (said.code, "Did you mean 'completed'?" in said.err) == (2, True)
