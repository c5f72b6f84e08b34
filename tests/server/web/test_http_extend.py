"""Other limits for running tasks over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from nodelink.task import ExtendCommand
from tests.support.doubts import started
from tests.support.http_door import Door, app_door

TASKS = "/api/v1/tasks"
UNKNOWN_ID = "01900000-0000-7000-8000-000000000000"


async def extended(door: Door, task_id: str, **limits: Any) -> httpx.Response:
    """The answer to an extension."""
    return await door.http.post(f"{TASKS}/{task_id}/extend", json=limits)


def refused(answer: httpx.Response) -> tuple[int, str, list[str]]:
    """The status and code of a refusal, and the fields that it names."""
    problem = answer.json()
    return answer.status_code, problem["code"], [error["field"] for error in problem["errors"]]


async def test_a_running_task_gets_other_limits_and_says_so() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit(timeout="1m"))["id"]
        ref = await started(door, agent, task_id)
        answer = await extended(door, task_id, timeout="10m", total_timeout="1h", heartbeat_timeout="30s")
        task = answer.json()

        assert (answer.status_code, task["id"], task["status"], task["timeout"]) == (200, task_id, "in_progress", "1m")
        [remark] = task["remarks"]
        assert (remark["kind"], remark["by"]) == ("extended", "local")
        assert remark["message"] == "timeout 10m, total timeout 1h, heartbeat timeout 30s"
        command = await agent.extended()
        assert command == ExtendCommand(ref, 1, command.timeout_ms, 30_000)


async def test_what_is_null_stays_as_it_is() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        await started(door, agent, task_id)
        answer = await extended(door, task_id, timeout=None, heartbeat_timeout="1s")
        assert answer.json()["remarks"][0]["message"] == "heartbeat timeout 1s"


@pytest.mark.parametrize(
    "limits, field",
    [
        ({}, "timeout"),
        ({"timeout": None}, "timeout"),
        ({"timeout": "0s"}, "timeout"),
        ({"timeout": "7d1ms"}, "timeout"),
        ({"timeout": 60}, "timeout"),
        ({"total_timeout": "366d1ms"}, "total_timeout"),
        ({"heartbeat_timeout": "999ms"}, "heartbeat_timeout"),
        ({"heartbeat_timeout": "7d1ms"}, "heartbeat_timeout"),
        ({"timeout": "1m", "queue_timeout": "1m"}, "queue_timeout"),
    ],
)
async def test_a_wrong_limit_is_refused_by_name(limits: dict[str, Any], field: str) -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        await started(door, agent, task_id)
        assert refused(await extended(door, task_id, **limits)) == (422, "INVALID", [field])
        assert (await door.get(task_id))["remarks"] == []


async def test_only_what_is_with_an_agent_can_be_extended() -> None:
    async with app_door() as door:
        task_id = (await door.submit())["id"]
        answer = await extended(door, task_id, timeout="1m")
        assert refused(answer) == (409, "CANNOT_EXTEND", [])
        assert "this one is pending" in answer.json()["detail"]
        await door.http.post(f"{TASKS}/{task_id}/cancel")
        assert refused(await extended(door, task_id, timeout="1m")) == (409, "ALREADY_FINISHED", [])
        assert refused(await extended(door, UNKNOWN_ID, timeout="1m")) == (404, "NOT_FOUND", [])
        answer = await door.http.post(f"{TASKS}/{task_id}/extend?force=true", json={"timeout": "1m"})
        assert refused(answer) == (422, "INVALID", ["force"])
        assert (await door.http.post(f"{TASKS}/{task_id}/extend")).status_code == 422


async def test_an_agent_of_an_older_version_is_named_as_the_reason() -> None:
    async with app_door() as door, door.agent(features=()) as agent:
        task_id = (await door.submit())["id"]
        await started(door, agent, task_id)
        answer = await extended(door, task_id, timeout="1m", total_timeout="1h")
        assert refused(answer) == (409, "CANNOT_EXTEND", [])
        assert "older version" in answer.json()["detail"]
        assert (await extended(door, task_id, total_timeout="1h")).status_code == 200
