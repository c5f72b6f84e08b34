"""One task, from a person to an agent and back: by REST as the quick start has it, and by the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.command_line import Said, nodelink, running
from tests.support.latch import Latch
from tests.support.processes import House
from tests.support.rest import Rest

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def rest(house: House) -> AsyncIterator[Rest]:
    async with Rest(house.server) as rest:
        yield rest


async def test_a_command_submitted_by_rest_is_run_and_everything_about_it_can_be_read(rest: Rest) -> None:
    answer = await rest.http.post(
        "/api/v1/tasks/shell", json={"command": "echo $GREETING; cat", "env": {"GREETING": "hello"}, "stdin": "world"}
    )
    task_id = answer.json()["id"]
    result = await rest.result(task_id)
    logs = await rest.http.get(f"/api/v1/tasks/{task_id}/logs")
    task = await rest.get(f"/tasks/{task_id}")
    listed = await rest.get("/tasks", type="shell")

    assert (answer.status_code, answer.headers["location"]) == (201, f"/api/v1/tasks/{task_id}")
    assert (result["status"], result["exit_code"], result["error"]) == ("completed", 0, None)
    assert (logs.content, logs.headers["x-next-offset"]) == (b"hello\nworld", "11")
    assert [attempt["state"] for attempt in task["attempts"]] == ["finished"]
    assert task_id in [shown["id"] for shown in listed["tasks"]]


async def test_the_room_of_a_task_tells_its_whole_life_in_order(rest: Rest) -> None:
    task_id = await rest.shell("echo one; echo two >&2; exit 3")
    await rest.result(task_id)
    told = []
    async with asyncio.timeout(60), rest.events(f"/tasks/{task_id}/events") as events:
        async for event in events:
            told.append(event)
            if event.name == "task.failed":
                break

    durable = [event for event in told if event.id]
    assert [event.name for event in durable][-2:] == ["task.started", "task.failed"]
    assert durable[0].name == "task.created"
    assert [event.id for event in durable] == sorted({event.id for event in durable})
    assert durable[-1].data["reason"] == "exit_code"


async def test_echo_gives_back_what_it_was_given(rest: Rest) -> None:
    payload = {"text": "naïve ☃", "numbers": [1, 2.5, None, True], "nested": {"deep": [[]]}}
    result = await rest.result(await rest.submit("echo", payload))

    assert (result["status"], result["output"], result["attempt"]) == ("completed", payload, 1)


async def test_a_type_that_nobody_knows_is_refused_by_name(rest: Rest) -> None:
    problem = await rest.post("/tasks", {"type": "baking"}, 422)

    assert [wrong["field"] for wrong in problem["errors"]] == ["type"]


async def test_a_task_for_which_there_is_no_agent_waits_and_says_why(rest: Rest) -> None:
    task_id = await rest.submit("echo", pool="elsewhere")
    task = await rest.get(f"/tasks/{task_id}")
    cancelled = await rest.cancel(task_id, 200)

    assert (task["status"], cancelled["status"]) == ("pending", "cancelled")
    assert "'elsewhere'" in task["message"]


async def test_run_shows_both_streams_while_the_command_runs_and_ends_with_its_code(
    house: House, latch: Latch, tmp_path: Path
) -> None:
    script = f"echo out; echo err >&2; read go < {latch.path}; exit 7"
    async with running("run", "--", "sh", "-c", script, cwd=tmp_path, env=_of(house)) as command:
        await command.says("err")  # the command waits for us, so this has come while it runs
        latch.release(1)
        said = await command.end()

    assert (said.code, said.out, said.err) == (7, b"out\n", "err\n")


async def test_run_says_why_a_command_could_not_begin(house: House, tmp_path: Path) -> None:
    said = await _nodelink(house, tmp_path, "run", "--", "no-such-program")

    assert (said.code, said.out) == (127, b"")
    assert said.err.endswith("ended as failed: command 'no-such-program' not found\n")


async def test_submit_waits_and_prints_the_result(house: House, tmp_path: Path) -> None:
    said = await _nodelink(house, tmp_path, "submit", "echo", "--payload", '{"a": 1}', "--wait", "-o", "json")

    assert said.code == 0
    assert json.loads(said.out)["output"] == {"a": 1}


async def test_the_command_line_waits_reads_output_and_lists_events(house: House, tmp_path: Path) -> None:
    detached = await _nodelink(house, tmp_path, "run", "--detach", "--", "sh", "-c", "echo text; exit 4")
    task_id = detached.out.decode().strip()
    waited = await _nodelink(house, tmp_path, "tasks", "wait", task_id)
    logs, events, result = await asyncio.gather(
        _nodelink(house, tmp_path, "tasks", "logs", task_id),
        _nodelink(house, tmp_path, "tasks", "events", task_id, "-o", "ndjson"),
        _nodelink(house, tmp_path, "tasks", "result", task_id, "-o", "json"),
    )

    assert (detached.code, waited.code) == (0, 4)
    assert logs.out == b"text\n"
    assert "task.failed" in events.out.decode().splitlines()[-1]
    assert json.loads(result.out)["exit_code"] == 4


def _of(house: House) -> dict[str, str]:
    return {"NODELINK_SERVER": house.server.grpc}


async def _nodelink(house: House, directory: Path, *arguments: str) -> Said:
    return await nodelink(*arguments, cwd=directory, env=_of(house))
