"""`nodelink plans`, `nodelink tasks approve` and `reject`, and what is said of approvals on submission."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.server.rpc.test_plans import make_planned
from tests.support.cli_shell import Shell
from tests.support.grpc_door import GrpcDoor, grpc_door
from tests.support.planning import HANDLERS, PLAN_A, sha256


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path) -> Shell:
    return Shell(tmp_path, str(door.address))


async def test_a_plan_is_looked_at_and_approved(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent(handlers=HANDLERS) as agent:
        task_id = await make_planned(door, agent)
        listed = json.loads((await shell("plans", "list", "--waiting", "-o", "json")).out)
        assert [one["task_id"] for one in listed] == [task_id]
        shown = json.loads((await shell("plans", "get", task_id[:8], "-o", "json")).out)
        assert (shown["sha256"], shown["target"], shown["approved_by"]) == (PLAN_A.sha256, "site", None)

        said = await shell("tasks", "approve", task_id, "--plan", PLAN_A.sha256, "--message", "fine", "-o", "json")
        assert said.code == 0
        assert json.loads(said.out)["remarks"][0]["message"] == f"plan {PLAN_A.sha256}: fine"
        assert (await agent.take()).plan == PLAN_A


async def test_a_plan_is_rejected(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent(handlers=HANDLERS) as agent:
        task_id = await make_planned(door, agent)
        said = await shell("tasks", "reject", task_id, "--message", "no", "-o", "json")
        assert (said.code, json.loads(said.out)["reason"]) == (0, "approval_denied")


async def test_an_old_plan_is_a_conflict(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent(handlers=HANDLERS) as agent:
        task_id = await make_planned(door, agent)
        said = await shell("tasks", "approve", task_id, "--plan", sha256("old"))
        assert (said.code, said.out) == (5, b"")
        assert PLAN_A.sha256 in said.err


async def test_the_submitter_says_who_may_approve_and_until_when(door: GrpcDoor, shell: Shell) -> None:
    wishes = ("--approval-timeout", "4h", "--approval-by-other")
    said = await shell("submit", "plan_and_apply", "--payload", "{}", *wishes, "-o", "id")
    [task_id] = said.out.decode().split()
    spec = (await door.manager.get(task_id)).task.spec
    assert (spec.approval_timeout_ms, spec.approval_by_other) == (4 * 3600 * 1000, True)
