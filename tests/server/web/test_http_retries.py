"""Automatic retries over HTTP: a policy is shown as it holds, and each attempt says how it ended."""

from __future__ import annotations

from typing import Any

import pytest

from nodelink.task import ErrorCategory, LogStream, Outcome, Reason, TaskError
from tests.support.doubts import until_told
from tests.support.http_door import Door, ManualAgent, app_door, http_door

TASKS = "/api/v1/tasks"
BROKEN = {
    "outcome": Outcome.FAILED,
    "reason": Reason.EXIT_CODE,
    "exit_code": 75,
    "error": TaskError(ErrorCategory.EXIT_CODE, "exit code 75"),
}
AT_ONCE = {"max_attempts": 3, "initial": "0s"}
IN_AN_HOUR = {"max_attempts": 3, "initial": "1h", "max": "1h"}


async def fail(agent: ManualAgent, **how: Any) -> None:
    """Let the next attempt begin and fail."""
    ref = (await agent.take()).ref
    agent.start(ref)
    agent.write(ref, LogStream.STDOUT, f"try {ref.attempt}\n".encode())
    agent.finish(ref, **{**BROKEN, **how})


async def after(door: Door, task_id: str, event: str) -> dict[str, Any]:
    """A task, once an event has been told of it."""
    await until_told(door.manager, task_id, event)
    return await door.get(task_id)


@pytest.mark.parametrize(
    "given, full",
    [
        ({}, {"max_attempts": 3, "initial": "1s", "max": "5m", "multiplier": 2.0, "on": []}),
        (
            {"max_attempts": 7.0, "initial": None, "multiplier": 1, "on": ["signal:9"]},
            {"max_attempts": 7, "initial": "1s", "max": "5m", "multiplier": 1.0, "on": ["signal:9"]},
        ),
        (None, None),
    ],
)
async def test_a_policy_is_shown_with_its_defaults(given: Any, full: Any) -> None:
    async with app_door() as door:
        task = await door.submit(retry=given)
        command = await door.http.post(f"{TASKS}/shell", json={"command": "true", "retry": given})

        assert (task["retry"], task["failures"], task["retry_at"]) == (full, 0, None)
        assert (await door.get(task["id"]))["retry"] == full
        assert command.json()["retry"] == full


async def test_a_policy_is_a_part_of_what_a_key_stands_for() -> None:
    async with app_door() as door:
        answers = [
            await door.http.post(TASKS, json={"type": "echo", "retry": retry}, headers={"Idempotency-Key": "k"})
            for retry in ({}, {"max_attempts": 3}, {"max_attempts": 4})
        ]
        assert [answer.status_code for answer in answers] == [201, 201, 409]


async def test_an_item_of_a_batch_is_refused_by_the_name_of_its_field() -> None:
    async with app_door() as door:
        items = [{"type": "echo", "retry": retry} for retry in ({}, {"max_attempts": 101}, {"often": True})]
        outcomes = (await door.http.post(f"{TASKS}/batch", json={"tasks": items})).json()["outcomes"]

        assert outcomes[0]["error"] is None
        wrong = [outcome["error"]["errors"][0]["field"] for outcome in outcomes[1:]]
        assert wrong == ["retry.max_attempts", "retry.often"]


async def test_a_task_that_waits_for_its_next_try_says_how_it_failed_and_when_that_is() -> None:
    async with http_door() as door, door.agent() as agent:
        task_id = (await door.submit(retry=IN_AN_HOUR))["id"]
        await fail(agent)
        task = await after(door, task_id, "task.retrying")
        [listed] = (await door.http.get(TASKS)).json()["tasks"]

        assert (task["reason"], task["failures"], task["attempt"], task["agent_id"]) == ("retry", 1, 0, None)
        assert task["updated_at"] <= task["retry_at"]
        [attempt] = task["attempts"]
        assert (attempt["number"], attempt["state"], attempt["reason"]) == (1, "failed", "exit_code")
        assert (attempt["message"], attempt["exit_code"], attempt["signal"]) == ("exit code 75", 75, None)
        assert (listed["failures"], listed["retry_at"]) == (1, None)


async def test_each_attempt_keeps_its_end_and_its_output() -> None:
    async with http_door() as door, door.agent() as agent:
        task_id = (await door.submit(retry=AT_ONCE))["id"]
        await fail(agent)
        await fail(agent, outcome=Outcome.TIMEOUT, reason=Reason.RUN_TIMEOUT, exit_code=None, signal=9)
        ref = (await agent.take()).ref
        agent.start(ref)
        agent.finish(ref, exit_code=0)
        task = await after(door, task_id, "task.completed")
        first = await door.http.get(f"{TASKS}/{task_id}/logs", params={"attempt": 1})
        second = await door.http.get(f"{TASKS}/{task_id}/logs", params={"attempt": 2, "follow": "true"})

        assert [attempt["state"] for attempt in task["attempts"]] == ["failed", "timeout", "finished"]
        assert [attempt["exit_code"] for attempt in task["attempts"]] == [75, None, 0]
        assert [attempt["signal"] for attempt in task["attempts"]] == [None, 9, None]
        assert [attempt["reason"] for attempt in task["attempts"]] == ["exit_code", "run_timeout", ""]
        assert (task["failures"], task["retry_at"], task["attempt"]) == (2, None, 3)
        assert (first.text, second.text) == ("try 1\n", "try 2\n")


async def test_what_fails_for_good_says_so_of_its_last_attempt() -> None:
    async with http_door() as door, door.agent() as agent:
        task_id = (await door.submit(retry={**AT_ONCE, "on": ["exit_code:1"]}))["id"]
        await fail(agent)
        task = await after(door, task_id, "task.failed")
        [attempt] = task["attempts"]

        assert (task["failures"], attempt["state"], attempt["exit_code"]) == (0, "finished", 75)
        assert (attempt["reason"], attempt["message"]) == ("exit_code", "exit code 75")
