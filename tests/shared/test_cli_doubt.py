"""Doubt on the command line: what people read of it, what programs read of it, and what is decided about it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodelink.cli.forms import task_form
from nodelink.cli.task_card import card_of
from nodelink.cli.task_decisions import RESOLUTIONS
from nodelink.client import LateResult, Remark, Task
from nodelink.client import requests as client_requests
from nodelink.task import Execution, TaskSpec, TaskStatus
from nodelink.v1 import task_pb2
from nodelink_server.core.decisions import Resolution
from tests.support.cli_shell import Shell
from tests.support.doubts import NOBODY_SAW, put_in_doubt, started
from tests.support.grpc_door import GrpcDoor, grpc_door
from tests.support.http_door import ManualAgent
from tests.support.pseudo_terminal import nodelink_on_terminal, on_terminal

SOON = 4_102_444_800_000
MINUTE = 60_000


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path) -> Shell:
    return Shell(tmp_path, str(door.address))


async def doubted(door: GrpcDoor, agent: ManualAgent) -> str:
    """The id of a task that is in doubt."""
    task_id = await door.submit("shell", b'{"command":"deploy"}', execution=task_pb2.EXECUTION_EXCLUSIVE, lock="deploy")
    await put_in_doubt(door, agent, task_id)
    return task_id


# --- what is shown ----------------------------------------------------------------------------------------------------


def a_task(status: TaskStatus, **more: Any) -> Task:
    """A task as the client has it."""
    spec = TaskSpec(type="shell", execution=Execution.EXCLUSIVE, lock="deploy")
    fields = {"id": "t1", "spec": spec, "payload": b"1", "created_at": SOON, "updated_at": SOON, "message": "silent"}
    return Task(**{**fields, "status": status, **more})


@pytest.mark.parametrize(
    "task, words",
    [
        (a_task(TaskStatus.PENDING), ()),
        (a_task(TaskStatus.IN_PROGRESS, contact="connected", may_have_run=True), ()),
        (
            a_task(TaskStatus.IN_PROGRESS, contact="lost", may_have_run=True),
            ("its agent is not heard of; when the lease is over, the rule of its class applies",),
        ),
        (
            a_task(TaskStatus.PENDING, may_have_run=True),
            ("an earlier attempt may have run: nobody saw how it ended",),
        ),
        (a_task(TaskStatus.LOST, may_have_run=True), ("it may have run: nobody saw how it ended",)),
        (a_task(TaskStatus.COMPLETED), ()),
        (
            a_task(TaskStatus.UNKNOWN, contact="lost", may_have_run=True),
            (
                "how it goes on is not known since 2100-01-01T00:00:00.000Z (1m ago): silent",
                "its lock is kept until its agent tells, or a person says what became of it (`nodelink tasks resolve`)",
            ),
        ),
    ],
    ids=lambda value: value.status.value if isinstance(value, Task) else "",
)
def test_people_are_told_what_nobody_knows(task: Task, words: tuple[str, ...]) -> None:
    assert card_of(task_form(task), SOON + MINUTE)["doubt"] == words


def test_since_when_a_task_is_unknown_is_the_last_time_that_it_became_so() -> None:
    remarks = [
        Remark(kind="unknown", at=SOON - 9 * MINUTE, message="first"),
        Remark(kind="recovered", at=SOON - 8 * MINUTE),
        Remark(kind="unknown", at=SOON - 2 * MINUTE, message="second"),
    ]
    doubt, _ = card_of(task_form(a_task(TaskStatus.UNKNOWN, remarks=remarks)), SOON)["doubt"]

    assert doubt.endswith("since 2099-12-31T23:58:00.000Z (2m ago): second")


def test_late_results_and_remarks_have_a_line_each() -> None:
    late = [
        LateResult(attempt=1, agent_id="a1", received_at=SOON, outcome="failed", exit_code=3, message="no disk"),
        LateResult(attempt=2, agent_id="a2", received_at=SOON, outcome="gone"),
    ]
    remarks = [Remark(kind="unknown", at=SOON), Remark(kind="resolved", at=SOON, by="local", message="I looked")]
    card = card_of(task_form(a_task(TaskStatus.FAILED, late_results=late, remarks=remarks)), SOON + MINUTE)

    told = "told 2100-01-01T00:00:00.000Z (1m ago)"
    assert card["late_results"] == (
        f"attempt 1 on a1: failed, exit code 3, {told}: no disk",
        f"attempt 2 on a2: gone, {told}",
    )
    assert card["remarks"] == (
        "unknown 2100-01-01T00:00:00.000Z (1m ago)",
        "resolved by local 2100-01-01T00:00:00.000Z (1m ago): I looked",
    )


async def test_a_running_task_shows_its_class_its_lock_and_its_lease(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        task_id = await door.submit(lock="deploy")
        await started(door, agent, task_id)
        card = (await shell("tasks", "get", task_id)).out.decode()
        form = json.loads((await shell("tasks", "get", task_id, "-o", "json")).out)

    lines = dict(line.split(maxsplit=1) for line in card.splitlines())
    assert (lines["execution"], lines["lock"], lines["contact"]) == ("replayable", "deploy", "connected")
    assert lines["lease_until"].startswith(form["lease_until"][:15])
    assert "(in " in lines["lease_until"]
    assert "doubt" not in lines
    assert (form["lock"], form["contact"], form["may_have_run"]) == ("deploy", "connected", True)
    assert (form["late_results"], form["remarks"]) == ([], [])


async def test_a_task_in_doubt_is_told_in_every_form(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        task_id = await doubted(door, agent)
        card = (await shell("tasks", "get", task_id)).out.decode()
        form = yaml.safe_load((await shell("tasks", "get", task_id, "-o", "yaml")).out)
        listed = await shell("tasks", "list", "--status", "unknown")

    assert "how it goes on is not known since 2" in card
    assert NOBODY_SAW in card
    assert (form["status"], form["lock"], form["execution"]) == ("unknown", "deploy", "exclusive")
    assert [(remark["kind"], remark["by"]) for remark in form["remarks"]] == [("unknown", None)]
    assert "doubt" not in form
    assert listed.out.decode().splitlines()[0].split() == ["ID", "TYPE", "STATUS", "PRIO", "POOL", "AGENT", "CREATED"]
    assert task_id in listed.out.decode()


# --- what is decided --------------------------------------------------------------------------------------------------


def test_the_resolutions_are_those_of_the_client_and_the_server() -> None:
    assert RESOLUTIONS == tuple(client_requests.RESOLUTIONS) == tuple(Resolution)


async def test_a_submission_says_its_lock_and_its_class(door: GrpcDoor, shell: Shell) -> None:
    said = await shell("run", "--detach", "--lock", "deploy", "--execution", "exclusive", "--", "true")
    form = json.loads((await shell("tasks", "get", said.out.decode().strip(), "-o", "json")).out)

    assert (form["lock"], form["execution"]) == ("deploy", "exclusive")


async def test_a_live_task_is_given_up_once(door: GrpcDoor, shell: Shell) -> None:
    task_id = await door.submit()
    first = await shell("tasks", "abandon", task_id, "--reason", "the machine burnt", "-o", "json")
    again = await shell("tasks", "abandon", task_id[:-1] + task_id[-1], "--reason", "again")

    form = json.loads(first.out)
    assert (form["status"], form["reason"], form["message"]) == ("failed", "abandoned", "the machine burnt")
    assert (again.code, again.err) == (5, "error: the task has already finished: failed\n")


@pytest.mark.parametrize("how, status", [("completed", "completed"), ("failed", "failed")])
async def test_a_person_says_how_a_task_ended(door: GrpcDoor, shell: Shell, how: str, status: str) -> None:
    async with door.agent() as agent:
        task_id = await doubted(door, agent)
        said = await shell("tasks", "resolve", task_id, "--as", how, "--reason", "I looked", "-o", "json")

    form = json.loads(said.out)
    assert (said.code, form["status"], form["reason"]) == (0, status, "resolved")
    assert form["remarks"][-1]["message"] == "I looked"


async def test_what_is_not_in_doubt_cannot_be_resolved(door: GrpcDoor, shell: Shell) -> None:
    said = await shell("tasks", "resolve", await door.submit(), "--as", "rerun", "--yes", "--reason", "x")

    assert (said.code, said.out) == (5, b"")
    assert said.err == "error: only what is unknown can be resolved; the task is pending\n"


async def test_whoever_lets_a_task_run_again_without_a_terminal_says_yes(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        task_id = await doubted(door, agent)
        asked = await shell("tasks", "resolve", task_id, "--as", "rerun", "--reason", "x")
        unharmed = await shell("tasks", "get", task_id, "-o", "json")
        said = await shell("tasks", "resolve", task_id, "--as", "rerun", "--reason", "it was off", "--yes")
        request = await agent.take()

    assert (asked.code, "say --yes" in asked.err) == (2, True)
    assert json.loads(unharmed.out)["status"] == "unknown"
    assert (said.code, request.ref.attempt) == (0, 2)


@pytest.mark.parametrize("key, code", [(b"n", 130), (b"y", 0)])
async def test_on_a_terminal_a_person_is_asked_once_more(door: GrpcDoor, shell: Shell, key: bytes, code: int) -> None:
    async with door.agent() as agent:
        task_id = await doubted(door, agent)
        command = nodelink_on_terminal("tasks", "resolve", task_id, "--as", "rerun", "--reason", "x")
        async with on_terminal(*command, cwd=shell.directory, env=shell.env) as terminal:
            await terminal.shows("Run it a second time? [y/N]: ")
            terminal.press(key + b"\n")
            ended = await terminal.end()
        form = json.loads((await shell("tasks", "get", task_id, "-o", "json")).out)

    assert ended == code
    assert (form["status"] == "unknown") is (code != 0)


async def test_a_cordoned_agent_says_why_and_is_let_have_work_again(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent():
        door.manager.agents.cordon("a1", "5 starts failed")
        shown = await shell("agents", "get", "a1", "-o", "json")
        card = await shell("agents", "get", "a1")
        lifted = await shell("agents", "undrain", "agent a1", "-o", "json")

    form = json.loads(shown.out)
    assert (form["status"], form["cordon_reason"]) == ("cordoned", "5 starts failed")
    assert "5 starts failed" in card.out.decode()
    assert (json.loads(lifted.out)["status"], json.loads(lifted.out)["cordon_reason"]) == ("online", None)
