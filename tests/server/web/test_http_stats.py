"""What waits, what runs and what was done, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from nodelink.task import Outcome
from tests.support.http_door import Door, app_door

SECONDS = 30


async def finished(door: Door, task_id: str) -> None:
    """Wait for the end of a task."""
    async with asyncio.timeout(SECONDS):
        assert (await door.http.get(f"/api/v1/tasks/{task_id}/result?wait=25s")).status_code == 200


async def stats(door: Door, query: str = "") -> dict[str, Any]:
    """The statistics."""
    answer = await door.http.get(f"/api/v1/stats?{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_the_scheduler_tells_what_waits_by_priority_and_what_runs() -> None:
    async with app_door() as door, door.agent(slots=1) as agent:
        await door.submit()
        await agent.take()
        for priority in ("LOW", "HIGH", "HIGH", 100):
            await door.submit(priority=priority)
        answer = await door.http.get("/api/v1/scheduler/status")
        assert answer.status_code == 200
        assert answer.json() == {
            "state": "running",
            "queued_tasks": 4,
            "running_tasks": 1,
            "max_concurrent_tasks": 0,
            "available_slots": 0,
            "queue_by_priority": {"CRITICAL": 1, "HIGH": 2, "NORMAL": 0, "LOW": 1},
            "last_checkpoint_at": None,
            "pauses": [],
        }


async def test_statistics_tell_what_was_created_and_how_it_ended() -> None:
    async with app_door() as door, door.agent() as agent:
        for outcome in (Outcome.COMPLETED, Outcome.FAILED):
            task_id = (await door.submit())["id"]
            agent.finish((await agent.take()).ref, outcome=outcome, run_seconds=0.5)
            await finished(door, task_id)
        told = await stats(door, "from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z")
        [bucket] = told["buckets"]
        [group] = bucket["groups"]
        assert (group["key"], group["created"], group["finished"]) == ("", 2, {"completed": 1, "failed": 1})
        assert (group["assigned"], group["returned"], group["assignment_success"]) == (2, 0, 1.0)
        assert group["run_seconds"]["count"] == 2
        assert told["now"]["response_channel_capacity"] >= 1


async def test_statistics_are_told_apart() -> None:
    async with app_door() as door, door.agent() as agent:
        for pool in ("default", "other"):
            await door.submit(pool=pool)
        await agent.take()
        for by, keys in (("pool", {"default", "other"}), ("type", {"echo"})):
            told = await stats(door, f"by={by}&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z")
            assert {group["key"] for bucket in told["buckets"] for group in bucket["groups"]} == keys


async def test_nothing_done_is_no_bucket() -> None:
    async with app_door() as door:
        told = await stats(door, "from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z&step=1h")
        assert (told["from"], told["to"], told["step"]) == (
            "2020-01-01T00:00:00.000Z",
            "2020-01-02T00:00:00.000Z",
            "1h",
        )
        assert told["buckets"] == []


async def test_a_time_that_cannot_be_told_is_refused_by_name() -> None:
    async with app_door() as door:
        for query, field in (
            ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
            ("step=90s", "step"),
            ("step=0s", "step"),
            ("from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z&step=1m", "step"),
        ):
            answer = await door.http.get(f"/api/v1/stats?{query}")
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), query
