"""The commands as processes of their own, against a real server and an agent that does what the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodelink.errors import NodelinkError, NotAllowed, NotAuthenticated, StoreConflict
from nodelink.task import ErrorCategory, LogStream, Outcome, Reason, TaskError
from tests.support.cli_shell import Shell
from tests.support.command_line import Running, nodelink
from tests.support.grpc_door import GrpcDoor, grpc_door

UNKNOWN_ID = "01900000-0000-7000-8000-ffffffffffff"
NOWHERE = "127.0.0.1:1"


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path) -> Shell:
    return Shell(tmp_path, str(door.address))


# --- run --------------------------------------------------------------------------------------------------------------


async def test_run_gives_both_streams_byte_for_byte_and_the_commands_own_code(door: GrpcDoor, shell: Shell) -> None:
    odd = b"a\x00b\xff\x1b[2J\r\nno end"
    async with (
        door.agent() as agent,
        shell.start("run", "--cwd", "/", "--env", "A=1", "--", "cmd", "-n", "x y") as command,
    ):
        request = await agent.take()
        agent.start(request.ref)
        agent.write(request.ref, LogStream.STDOUT, odd)
        agent.write(request.ref, LogStream.STDERR, b"oops")
        agent.finish(request.ref, outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=7)
        said = await command.end()

    assert json.loads(request.payload) == {"command": ["cmd", "-n", "x y"], "env": {"A": "1"}, "cwd": "/"}
    assert (said.out, said.err, said.code) == (odd, "oops", 7)


@pytest.mark.parametrize(
    "end, code",
    [
        ({}, 0),
        ({"outcome": Outcome.FAILED, "reason": Reason.SIGNAL, "exit_code": 137, "signal": 9}, 137),
        ({"outcome": Outcome.TIMEOUT, "reason": Reason.RUN_TIMEOUT, "exit_code": 143}, 124),
        (
            {
                "outcome": Outcome.FAILED,
                "reason": Reason.INFRASTRUCTURE,
                "error": TaskError(ErrorCategory.INFRASTRUCTURE, "the agent was stopped"),
            },
            125,
        ),
    ],
)
async def test_run_ends_as_its_task_ended(door: GrpcDoor, shell: Shell, end: dict[str, Any], code: int) -> None:
    async with door.agent() as agent, shell.start("run", "true") as command:
        ref = (await agent.take()).ref
        agent.start(ref)
        agent.finish(ref, **end)
        said = await command.end()

    assert said.code == code


async def test_a_task_that_waits_says_why(shell: Shell) -> None:
    async with shell.start("run", "--pool", "gpu", "--", "true") as command:
        assert "no agent of pool 'gpu' is connected" in await command.says("is pending")


async def test_the_first_interrupt_cancels_and_waits_for_the_end(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent, shell.start("run", "sleep", "60") as command:
        ref = (await agent.take()).ref
        agent.start(ref)
        command.interrupt()
        await agent.told_to_stop()
        agent.write(ref, LogStream.STDOUT, b"tidied up\n")
        agent.finish(ref, outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER)
        said = await command.end()

    assert (said.out, said.code) == (b"tidied up\n", 130)


async def test_the_second_interrupt_leaves_the_task_alone(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent, shell.start("run", "sleep", "60") as command:
        ref = (await agent.take()).ref
        await _interrupt_until(command, "cancelling")
        command.interrupt()
        said = await command.end()
        agent.finish(ref, outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER)

    assert said.code == 130
    assert f"left alone: {ref.task_id}" in said.err


async def test_a_task_whose_output_nobody_reads_any_more_is_cancelled(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent, shell.start("run", "yes") as command:
        ref = (await agent.take()).ref
        command.stop_reading()
        agent.write(ref, LogStream.STDOUT, b"y\n" * 1_000)
        await agent.told_to_stop()
        agent.finish(ref, outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER)
        said = await command.end()

    assert said.code == 1
    assert "Traceback" not in said.err


async def test_a_detached_run_prints_its_id_alone(door: GrpcDoor, shell: Shell) -> None:
    said = await shell("run", "--detach", "--", "true")
    task = await shell("tasks", "get", said.out.decode().strip(), "-o", "json")

    assert (said.code, said.err) == (0, "")
    assert json.loads(task.out)["payload"] == {"command": ["true"]}


async def test_run_gives_the_command_our_standard_input(door: GrpcDoor, shell: Shell) -> None:
    said = await shell("run", "--stdin", "--detach", "-o", "json", "cat", stdin="zażółć".encode())

    assert json.loads(said.out)["payload"]["stdin"] == "zażółć"


# --- submit -----------------------------------------------------------------------------------------------------------


async def test_submit_prints_the_id_of_a_durable_task(door: GrpcDoor, shell: Shell) -> None:
    said = await shell("submit", "echo", "--payload", '{"a": 1}', "--priority", "high", "--metadata", "ticket=7")
    task = json.loads((await shell("tasks", "get", said.out.decode().strip(), "-o", "json")).out)

    assert (task["payload"], task["priority"], task["metadata"]) == ({"a": 1}, 75, {"ticket": "7"})


async def test_submit_can_wait_for_the_result(door: GrpcDoor, shell: Shell) -> None:
    (shell.directory / "payload.json").write_text("[1]")
    async with (
        door.agent() as agent,
        shell.start("submit", "echo", "--payload", "@payload.json", "--wait", "-o", "json") as command,
    ):
        request = await agent.take()
        agent.finish(request.ref, output=request.payload)
        said = await command.end()

    assert (json.loads(said.out)["output"], said.code) == ([1], 0)


# --- tasks and agents -------------------------------------------------------------------------------------------------


async def test_a_list_comes_in_every_form(door: GrpcDoor, shell: Shell) -> None:
    ids = [await door.submit() for _ in range(2)][::-1]
    said = {
        form: (await shell("tasks", "list", "-o", form)).out.decode()
        for form in ("table", "json", "ndjson", "yaml", "id")
    }

    assert said["table"].splitlines()[0].split() == ["ID", "TYPE", "STATUS", "PRIO", "POOL", "AGENT", "CREATED"]
    assert said["id"].splitlines() == ids
    assert [task["id"] for task in json.loads(said["json"])] == ids
    assert [json.loads(line)["id"] for line in said["ndjson"].splitlines()] == ids
    assert [task["id"] for task in yaml.safe_load(said["yaml"])] == ids
    assert all(line == line.rstrip() for line in said["table"].splitlines())


async def test_a_task_has_the_published_names(door: GrpcDoor, shell: Shell) -> None:
    task_id = await door.submit()
    task = json.loads((await shell("tasks", "get", task_id, "-o", "json")).out)

    assert {
        "id",
        "type",
        "status",
        "reason",
        "priority",
        "pool",
        "agent_id",
        "attempt",
        "attempts",
        "created_at",
        "retry",
        "failures",
        "retry_at",
        "retry_of",
        "traceparent",
    } <= set(task)
    assert task["created_at"].endswith("Z")
    assert (task["status"], task["execution"], task["started_at"]) == ("pending", "replayable", None)


async def test_waiting_logs_result_and_events_of_a_finished_task(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        task_id = await door.submit("shell", b'{"command":["x"]}')
        ref = (await agent.take()).ref
        agent.write(ref, LogStream.STDOUT, b"out")
        agent.write(ref, LogStream.STDERR, b"err")
        agent.finish(ref, outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=3)
        waited = await shell("tasks", "wait", task_id, "-o", "id")
        logs, some, result, events = await asyncio.gather(
            shell("tasks", "logs", "-f", task_id),
            shell("tasks", "logs", task_id, "--stream", "stdout", "--offset", "1"),
            shell("tasks", "result", task_id, "-o", "json"),
            shell("tasks", "events", task_id, "-o", "ndjson"),
        )

    assert (waited.code, waited.out.decode().strip()) == (3, task_id)
    assert (logs.out, logs.err, some.out) == (b"out", "err", b"ut")
    assert json.loads(result.out)["exit_code"] == 3
    assert [json.loads(line)["event"] for line in events.out.splitlines()][-1] == "task.failed"


async def test_a_wait_that_is_over_exits_with_124(door: GrpcDoor, shell: Shell) -> None:
    said = await shell("tasks", "wait", await door.submit(), "--timeout", "1ms")

    assert said.code == 124


async def test_agents_are_shown_with_what_of_theirs_is_taken(door: GrpcDoor, shell: Shell) -> None:
    has = {"cpu": 4_000, "memory": 8 * 1024**3 * 1000}
    async with door.agent(slots=5, resources=has, type_limits={"shell": 2}) as agent:
        await door.submit(slots=3, resources={"cpu": 1_500, "memory": 512 * 1024**2 * 1000})
        await agent.take()
        listed = await shell("agents", "list")
        card = await shell("agents", "get", "a1")
        form = await shell("agents", "get", "a1", "-o", "json")

    header, row = listed.out.decode().splitlines()
    assert header.split()[4:6] == ["SLOTS", "RESOURCES"]
    assert "3/5    cpu 1.5/4, memory 512Mi/8Gi" in row
    lines = [line.split(maxsplit=1) for line in card.out.decode().splitlines()]
    assert ["used_slots", "3"] in lines
    assert lines[lines.index(["resources", "cpu 1.5/4"]) + 1] == ["memory", "512Mi/8Gi"]
    assert ["type_limits", "shell=2"] in lines
    assert json.loads(form.out)["resources"] == {
        "cpu": {"total": 4, "used": 1.5},
        "memory": {"total": 8 * 1024**3, "used": 512 * 1024**2},
    }


async def test_agents_are_listed_with_their_free_slots(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent(slots=3):
        said = await shell("agents", "list", "-o", "json")
        one = await shell("agents", "get", "a1", "-o", "yaml")

    assert [(agent["name"], agent["free_slots"], agent["status"]) for agent in json.loads(said.out)] == [
        ("agent a1", 3, "online")
    ]
    assert yaml.safe_load(one.out)["id"] == "a1"


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("tasks", "get", UNKNOWN_ID), 4, "there is no task"),
        (("tasks", "cancel", UNKNOWN_ID), 4, "there is no task"),
        (("tasks", "logs", UNKNOWN_ID), 4, "there is no task"),
        (("tasks", "events", UNKNOWN_ID), 4, "there is no task"),
        (("tasks", "get", "01900000-0000-7000-8000-ffff"), 4, "there is no task whose id begins with"),
        (("tasks", "get", "0190"), 2, "too short for a task's id: give 6 characters"),
        (("tasks", "retry", UNKNOWN_ID), 4, "there is no task"),
        (("tasks", "wait", UNKNOWN_ID), 4, "there is no task"),
        (("tasks", "list", "--agent", "nobody"), 4, "there is no agent"),
        (("agents", "get", "nobody"), 4, "there is no agent 'nobody', neither by name nor by id"),
        (("agents", "tasks", "nobody"), 4, "there is no agent"),
        (("agents", "sessions", "nobody"), 4, "there is no agent"),
        (("tasks", "list", "--q", "a b"), 2, "q: must be the beginning of an id"),
        (("tasks", "cleanup", "--older-than", "soon"), 2, "older_than: 'soon' is not a duration"),
        (("stats", "--from", "1h", "--to", "2h"), 2, "from"),
        (("agents", "list", "--server", NOWHERE), 7, f"cannot reach the server at {NOWHERE}"),
        (("stats", "--server", NOWHERE), 7, f"cannot reach the server at {NOWHERE}"),
        (("run", "--server", NOWHERE, "--", "true"), 7, f"cannot reach the server at {NOWHERE}"),
        (("submit", "nosuch"), 2, "type: 'nosuch' is not known"),
        (("run", "--timeout", "soon", "true"), 2, "timeout: 'soon' is not a duration"),
        (("submit", "echo", "--lock", "two\nlines"), 2, "lock: must have 1 to 200 printable characters"),
        (("submit", "echo", "--retries", "100"), 2, "retry.max_attempts: 101 is not from 1 to 100"),
        (("submit", "echo", "--retries", "1", "--retry-on", "x"), 2, "retry.on[0]: 'x' is not known"),
        (("submit", "echo", "--retries", "1", "--retry-initial", "6m"), 2, "retry.max: must be at least as long"),
        (("tasks", "extend", UNKNOWN_ID, "--timeout", "1m"), 4, "there is no task"),
        (("tasks", "abandon", UNKNOWN_ID, "--reason", "x"), 4, "there is no task"),
        (("tasks", "abandon", UNKNOWN_ID, "--reason", ""), 2, "reason: is needed"),
        (("tasks", "abandon", UNKNOWN_ID, "--reason", "x" * 1_001), 2, "at most 1,000 characters"),
        (("tasks", "resolve", UNKNOWN_ID, "--as", "failed", "--reason", "x"), 4, "there is no task"),
        (("tasks", "resolve", UNKNOWN_ID, "--as", "failed", "--reason", " "), 2, "reason: is needed"),
        (("agents", "undrain", "nobody"), 4, "there is no agent 'nobody', neither by name nor by id"),
        (("tasks", "get", UNKNOWN_ID, "--server", NOWHERE), 7, f"cannot reach the server at {NOWHERE}"),
    ],
)
async def test_an_error_is_one_line_and_a_published_code(
    shell: Shell, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = await shell(*arguments)

    assert (said.code, said.out) == (code, b"")
    assert said.err.startswith("error: ")
    assert words in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "error, code",
    [(NotAllowed("not for you"), 3), (NotAuthenticated("who are you?"), 6), (StoreConflict("as it stands"), 5)],
)
async def test_a_refusal_of_the_server_has_its_code_and_its_words(
    door: GrpcDoor, shell: Shell, error: NodelinkError, code: int
) -> None:
    door.switch.error = error
    said = await shell("tasks", "list")
    door.switch.error = None

    assert (said.code, said.out, said.err) == (code, b"", f"error: {error.message}\n")


async def test_what_has_ended_cannot_be_cancelled_and_what_runs_has_no_result(door: GrpcDoor, shell: Shell) -> None:
    task_id = await door.submit()
    result = await shell("tasks", "result", task_id)
    first = await shell("tasks", "cancel", task_id, "-o", "id")
    again = await shell("tasks", "cancel", task_id)

    assert [result.code, first.code, again.code] == [5, 0, 5]


async def test_a_server_in_this_directory_is_found_by_what_it_has_written(door: GrpcDoor, tmp_path: Path) -> None:
    written = tmp_path / ".nodelink" / "addresses.json"
    written.parent.mkdir()
    written.write_text(json.dumps({"grpc": str(door.address), "http": "http://127.0.0.1:1", "pid": 1}))
    task_id = await door.submit()
    said = await nodelink("tasks", "list", "-o", "id", cwd=tmp_path)

    assert said.out.decode().split() == [task_id]


async def _interrupt_until(command: Running, words: str) -> None:
    """Press Ctrl-C once the command listens for it, which it does before it submits its task."""
    command.interrupt()
    await command.says(words)
