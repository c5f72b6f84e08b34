"""Automatic retries on the command line: how they are asked for, and how a task that is tried again is shown."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nodelink.cli.forms import task_form
from nodelink.cli.task_card import card_of
from nodelink.client import Attempt, RetryPolicy, Task
from nodelink.task import ErrorCategory, Outcome, Reason, TaskError, TaskSpec, TaskStatus
from tests.support.cli_shell import Shell
from tests.support.doubts import until_told
from tests.support.grpc_door import GrpcDoor, grpc_door

SOON = 4_102_444_800_000
MINUTE = 60_000


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path) -> Shell:
    return Shell(tmp_path, str(door.address))


def test_attempts_and_the_policy_have_lines_in_words() -> None:
    attempts = [
        Attempt(
            number=1,
            agent_id="a1",
            state="failed",
            finished_at=SOON,
            reason="exit_code",
            message="no disk",
            exit_code=3,
        ),
        Attempt(number=2, agent_id="a2", state="timeout", finished_at=SOON, reason="run_timeout"),
        Attempt(number=3, agent_id="a1", state="started", sent_at=SOON, started_at=SOON),
    ]
    policy = RetryPolicy(max_attempts=4, on=("exit_code:3", "timeout"))
    spec = TaskSpec(type="shell", retry=policy)
    task = Task(
        id="t1",
        status=TaskStatus.IN_PROGRESS,
        spec=spec,
        payload=b"",
        created_at=SOON,
        updated_at=SOON,
        failures=2,
        attempts=attempts,
    )
    card = card_of(task_form(task), SOON + MINUTE)

    at = "2100-01-01T00:00:00.000Z (1m ago)"
    assert card["attempts"] == (
        f"1 on a1: failed, exit code 3, {at}: no disk",
        f"2 on a2: timeout, {at}: run_timeout",
        f"3 on a1: started, {at}",
    )
    waits = "waits of up to 1s, 2 times longer each, at most 5m"
    assert (card["retry"], card["failures"]) == (f"4 attempts, {waits}, on exit_code:3, timeout", 2)


async def test_retries_are_counted_behind_the_first_try(door: GrpcDoor, shell: Shell) -> None:
    policy = ("--retries", "2", "--retry-initial", "2s", "--retry-max", "1m")
    said = [
        await shell(
            "run", "--detach", *policy, "--retry-on", "signal:9", "--retry-on", "timeout", "-o", "json", "true"
        ),
        await shell("submit", "echo", "--retries", "0", "-o", "json"),
        await shell("submit", "echo", "-o", "json"),
    ]
    forms = [json.loads(one.out) for one in said]

    full = {"max_attempts": 3, "initial": "2s", "max": "1m", "multiplier": 2.0, "on": ["signal:9", "timeout"]}
    usual = {"max_attempts": 1, "initial": "1s", "max": "5m", "multiplier": 2.0, "on": []}
    assert [form["retry"] for form in forms] == [full, usual, None]


async def test_a_task_that_waits_for_its_next_try_says_how_it_failed_and_when_that_is(
    door: GrpcDoor, shell: Shell
) -> None:
    async with door.agent() as agent:
        options = ("--retries", "2", "--retry-initial", "1h", "--retry-max", "1h")
        task_id = (await shell("submit", "echo", *options)).out.decode().strip()
        ref = (await agent.take()).ref
        agent.start(ref)
        error = TaskError(ErrorCategory.EXIT_CODE, "exit code 75")
        agent.finish(ref, outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=75, error=error)
        await until_told(door.manager, task_id, "task.retrying")
        card = (await shell("tasks", "get", task_id)).out.decode()
        form = json.loads((await shell("tasks", "get", task_id, "-o", "json")).out)

    lines = dict(line.split(maxsplit=1) for line in card.splitlines())
    assert (lines["failures"], form["failures"], form["status"], form["reason"]) == ("1", 1, "scheduled", "retry")
    assert lines["retry_at"].startswith(form["retry_at"])
    assert "(in " in lines["retry_at"]
    assert lines["attempts"].startswith("1 on a1: failed, exit code 75, ")
    assert [attempt["exit_code"] for attempt in form["attempts"]] == [75]
