"""A command that fails twice and works the third time is tried again by itself, and each try can be looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import Said, nodelink
from tests.support.processes import House

pytestmark = pytest.mark.slow

SCRIPT = "echo x >> tries; tries=$(wc -l < tries); echo try $tries; [ $tries -ge 3 ] || exit 7"
POLICY = ("--retries", "2", "--retry-initial", "100ms")


async def test_a_command_is_tried_until_it_works_and_each_try_is_kept(house: House, tmp_path: Path) -> None:
    async def shell(*arguments: str) -> Said:
        return await nodelink(*arguments, cwd=tmp_path, env={"NODELINK_SERVER": house.server.grpc})

    detached = await shell("run", "--detach", *POLICY, "--cwd", str(tmp_path), "--", "sh", "-c", SCRIPT)
    task_id = detached.out.decode().strip()
    waited = await shell("tasks", "wait", task_id)
    task = json.loads((await shell("tasks", "get", task_id, "-o", "json")).out)
    card = (await shell("tasks", "get", task_id)).out.decode()
    logs = [(await shell("tasks", "logs", task_id, "--attempt", str(number))).out for number in (1, 2, 3)]
    events = (await shell("tasks", "events", task_id, "-o", "ndjson")).out.splitlines()

    assert (waited.code, task["status"], task["failures"]) == (0, "completed", 2)
    assert [attempt["state"] for attempt in task["attempts"]] == ["failed", "failed", "finished"]
    assert [attempt["exit_code"] for attempt in task["attempts"]] == [7, 7, 0]
    assert card.count(": failed, exit code 7") == 2
    assert logs == [b"try 1\n", b"try 2\n", b"try 3\n"]
    assert [json.loads(line)["event"] for line in events].count("task.retrying") == 2


async def test_run_follows_every_try_and_exits_with_the_code_of_the_last(house: House, tmp_path: Path) -> None:
    command = ("run", *POLICY, "--cwd", str(tmp_path), "--", "sh", "-c", f"sleep 1; {SCRIPT}")
    said = await nodelink(*command, cwd=tmp_path, env={"NODELINK_SERVER": house.server.grpc})

    assert (said.code, said.out) == (0, b"try 1\ntry 2\ntry 3\n")
