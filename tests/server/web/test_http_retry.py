"""A finished task once more, and the end of finished ones, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from nodelink.errors import StoreUnavailable
from nodelink.task import Outcome, Reason
from tests.support.http_door import Door, ManualAgent, app_door

TASKS = "/api/v1/tasks"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECONDS = 30


async def failed_task(door: Door, agent: ManualAgent, **fields: Any) -> dict[str, Any]:
    """A task that has failed."""
    task = await door.submit(**fields)
    agent.finish((await agent.take()).ref, outcome=Outcome.FAILED, reason=Reason.HANDLER_ERROR)
    await ended(door, task["id"])
    return await door.get(task["id"])


async def ended(door: Door, task_id: str) -> None:
    """Wait for the end of a task."""
    async with asyncio.timeout(SECONDS):
        answer = await door.http.get(f"{TASKS}/{task_id}/result?wait=25s")
        assert answer.status_code == 200, answer.text


async def retried(door: Door, task_id: str, **headers: str) -> httpx.Response:
    """The answer to a retry."""
    return await door.http.post(f"{TASKS}/{task_id}/retry", headers=headers)


async def test_a_finished_task_runs_once_more_as_a_new_one() -> None:
    async with app_door() as door, door.agent() as agent:
        fields = {"payload": {"n": 1}, "metadata": {"team": "blue"}, "priority": 70, "timeout": "1m"}
        first = await failed_task(door, agent, **fields)
        answer = await retried(door, first["id"])
        task = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"{TASKS}/{task['id']}" != f"{TASKS}/{first['id']}"
        assert "idempotency-replayed" not in answer.headers
        assert {name: task[name] for name in fields} == fields
        assert task["retry_of"] == first["id"]
        assert (await agent.take()).ref.task_id == task["id"]
        assert await door.get(first["id"]) == first


async def test_a_retry_is_due_at_once_whenever_the_first_was() -> None:
    async with app_door() as door:
        task_id = (await door.submit(delay="1h"))["id"]
        await door.http.post(f"{TASKS}/{task_id}/cancel")
        task = (await retried(door, task_id)).json()
        assert (task["status"], task["scheduled_at"]) == ("pending", None)


async def test_the_same_key_retries_once() -> None:
    async with app_door() as door, door.agent() as agent:
        first = await failed_task(door, agent)
        key = {"Idempotency-Key": "again"}
        one, two = [await retried(door, first["id"], **key) for _ in range(2)]
        assert one.json()["id"] == two.json()["id"]
        assert (two.status_code, two.headers["idempotency-replayed"]) == (201, "true")
        assert two.headers["location"] == one.headers["location"]


async def test_a_key_of_another_request_is_a_conflict() -> None:
    async with app_door() as door, door.agent() as agent:
        first = await failed_task(door, agent)
        await door.http.post(TASKS, json={"type": "echo"}, headers={"Idempotency-Key": "k"})
        answer = await retried(door, first["id"], **{"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["code"]) == (409, "IDEMPOTENCY_CONFLICT")


async def test_what_has_not_ended_is_not_retried() -> None:
    async with app_door() as door:
        answer = await retried(door, (await door.submit())["id"])
        assert (answer.status_code, answer.json()["code"]) == (409, "NOT_FINISHED")
        assert (await retried(door, "nobody")).status_code == 404


@pytest.mark.parametrize("body, status", [({}, 201), (None, 201), ({"priority": 5}, 422)])
async def test_a_retry_has_nothing_to_say(body: Any, status: int) -> None:
    async with app_door() as door, door.agent() as agent:
        first = await failed_task(door, agent)
        assert (await door.http.post(f"{TASKS}/{first['id']}/retry", json=body)).status_code == status


async def test_the_trace_context_is_kept_with_the_task() -> None:
    async with app_door() as door, door.agent() as agent:
        for path, body in ((TASKS, {"type": "echo"}), (f"{TASKS}/shell", {"command": "true"})):
            answer = await door.http.post(path, json=body, headers={"traceparent": TRACE})
            assert (await door.get(answer.json()["id"]))["traceparent"] == answer.json()["traceparent"] == TRACE
            assert (await agent.take()).traceparent == TRACE
        batch = await door.http.post(
            f"{TASKS}/batch", json={"tasks": [{"type": "echo"}]}, headers={"traceparent": TRACE}
        )
        [outcome] = batch.json()["outcomes"]
        assert (await door.get(outcome["task_id"]))["traceparent"] == TRACE


async def test_a_retry_joins_the_trace_that_asks_for_it() -> None:
    async with app_door() as door, door.agent() as agent:
        first = await failed_task(door, agent)
        assert first["traceparent"] is None
        assert (await retried(door, first["id"], traceparent=TRACE)).json()["traceparent"] == TRACE


@pytest.mark.parametrize("given", ["nonsense", TRACE.upper(), "00-" + "0" * 32 + TRACE[35:], ""])
async def test_a_wrong_trace_context_is_ignored(given: str) -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, json={"type": "echo"}, headers={"traceparent": given})
        assert (answer.status_code, answer.json()["traceparent"]) == (201, None)


async def test_finished_tasks_leave_when_they_are_old_enough() -> None:
    async with app_door() as door, door.agent() as agent:
        gone = await failed_task(door, agent)
        stays = await door.submit(delay="1h")
        kept = await door.http.post(f"{TASKS}/cleanup", json={"older_than": "1h"})
        assert (kept.status_code, kept.json()) == (200, {"removed": 0})
        answer = await door.http.post(f"{TASKS}/cleanup", json={"older_than": "0s"})
        assert answer.json() == {"removed": 1}
        assert (await door.http.get(f"{TASKS}/{gone['id']}")).status_code == 404
        assert (await door.get(stays["id"]))["status"] == "scheduled"


@pytest.mark.parametrize(
    "body", [{}, {"older_than": None}, {"older_than": 5}, {"older_than": "-1s"}, {"older_than": "101000d"}]
)
async def test_a_clean_up_says_how_old(body: dict[str, Any]) -> None:
    async with app_door() as door:
        answer = await door.http.post(f"{TASKS}/cleanup", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "older_than")


async def test_a_clean_up_that_the_database_refuses_says_when_to_come_again() -> None:
    away = False

    def fault(kind: str) -> None:
        if away:
            raise StoreUnavailable

    async with app_door(fault=fault) as door:
        away = True
        answer = await door.http.post(f"{TASKS}/cleanup", json={"older_than": "1h"})
        away = False
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["retry_after"] == 5
