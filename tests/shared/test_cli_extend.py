"""`nodelink tasks extend`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cli_shell import Shell
from tests.support.doubts import started
from tests.support.grpc_door import GrpcDoor, grpc_door


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path) -> Shell:
    return Shell(tmp_path, str(door.address))


async def test_a_running_task_is_given_other_limits(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        await started(door, agent, task_id)
        limits = ("--timeout", "10m", "--total-timeout", "1h", "--heartbeat-timeout", "30s")
        said = await shell("tasks", "extend", task_id, *limits, "-o", "json")
        command = await agent.extended()

    form = json.loads(said.out)
    assert (said.code, form["status"]) == (0, "in_progress")
    [remark] = form["remarks"]
    assert (remark["kind"], remark["by"]) == ("extended", "local")
    assert remark["message"] == "timeout 10m, total timeout 1h, heartbeat timeout 30s"
    assert command.heartbeat_timeout_ms == 30_000


async def test_people_see_who_has_extended_a_task(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        await started(door, agent, task_id)
        said = await shell("tasks", "extend", task_id[:8], "--timeout", "10m")

    assert said.code == 0
    assert "extended" in said.out.decode()
    assert "timeout 10m" in said.out.decode()


async def test_what_is_not_with_an_agent_cannot_be_extended(door: GrpcDoor, shell: Shell) -> None:
    said = await shell("tasks", "extend", await door.submit(), "--timeout", "10m")
    assert (said.code, said.out) == (5, b"")
    assert said.err == "error: only a task that is with an agent can be extended; this one is pending\n"


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), "timeout: is needed, or total_timeout, or heartbeat_timeout"),
        (("--timeout", "soon"), "timeout: 'soon' is not a duration; write it like 1h30m, 45s or 500ms"),
        (("--timeout", "8d"), "timeout: must be at least 1ms and at most 7d"),
        (("--total-timeout", "367d"), "total_timeout: must be at least 1ms and at most 366d"),
        (("--heartbeat-timeout", "1ms"), "heartbeat_timeout: must be at least 1s and at most 7d"),
    ],
)
async def test_a_wrong_limit_is_named(door: GrpcDoor, shell: Shell, arguments: tuple[str, ...], words: str) -> None:
    said = await shell("tasks", "extend", await door.submit(), *arguments)
    assert (said.code, said.err) == (2, f"error: {words}\n")
