"""`/plans`, and what is said about the plan of a task, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from nodelink.plan import PLAN_AND_APPLY
from nodelink.task import Execution
from tests.server.web.test_http_extend import refused
from tests.support.doubts import until_told
from tests.support.http_door import Door, app_door
from tests.support.planning import HANDLERS, PLAN_A, sha256

TASKS = "/api/v1/tasks"
PLANS = "/api/v1/plans"
UNKNOWN_ID = "01900000-0000-7000-8000-000000000000"


async def said(door: Door, task_id: str, verb: str, **body: Any) -> httpx.Response:
    """The answer to an approval, or a rejection."""
    return await door.http.post(f"{TASKS}/{task_id}/{verb}", json=body)


async def make_planned(door: Door, agent: Any, **fields: Any) -> str:
    """The id of a task whose plan waits for an approval."""
    task = await door.submit(type=PLAN_AND_APPLY, **fields)
    request = await agent.take()
    agent.finish(request.ref, plan=PLAN_A)
    await until_told(door.manager, task["id"], "task.plan_completed")
    return str(task["id"])


async def test_a_plan_is_shown_approved_and_applied() -> None:
    async with app_door() as door, door.agent(handlers=HANDLERS) as agent:
        task_id = await make_planned(door, agent)
        shown = (await door.http.get(f"{TASKS}/{task_id}/plan")).json()
        assert (shown["task_id"], shown["status"], shown["sha256"]) == (task_id, "plan_completed", PLAN_A.sha256)
        assert (shown["target"], shown["summary"], shown["size"]) == ("site", "one to add", 100)
        assert shown["expires_at"] > shown["planned_at"]

        answer = await said(door, task_id, "approve", plan_sha256=PLAN_A.sha256, target="site", message="fine")
        assert (answer.status_code, answer.json()["plan_sha256"]) == (200, PLAN_A.sha256)
        assert answer.json()["remarks"][0]["message"] == f"plan {PLAN_A.sha256}: fine"
        request = await agent.take()
        assert (request.plan, request.execution) == (PLAN_A, Execution.EXCLUSIVE)
        shown = (await door.http.get(f"{TASKS}/{task_id}/plan")).json()
        assert (shown["approved_by"], shown["expires_at"]) == ("local", None)


async def test_a_rejected_plan_ends_its_task() -> None:
    async with app_door() as door, door.agent(handlers=HANDLERS) as agent:
        task_id = await make_planned(door, agent)
        assert refused(await said(door, task_id, "reject", plan_sha256=sha256("old"))) == (409, "PLAN_CHANGED", [])
        answer = (await said(door, task_id, "reject", message="no")).json()
        assert (answer["status"], answer["reason"], answer["message"]) == ("cancelled", "approval_denied", "no")


@pytest.mark.parametrize(
    "body, expected",
    [
        ({"plan_sha256": sha256("old")}, (409, "PLAN_CHANGED", [])),
        ({"plan_sha256": PLAN_A.sha256, "target": "elsewhere"}, (409, "PLAN_CHANGED", [])),
        ({"plan_sha256": PLAN_A.sha256, "inputs_sha256": sha256("other")}, (409, "PLAN_CHANGED", [])),
        ({}, (422, "INVALID", ["plan_sha256"])),
        ({"plan_sha256": "x" * 64}, (422, "INVALID", ["plan_sha256"])),
        ({"plan_sha256": PLAN_A.sha256, "message": "m" * 1_001}, (422, "INVALID", ["message"])),
        ({"plan_sha256": PLAN_A.sha256, "target": "t" * 1_001}, (422, "INVALID", ["target"])),
        ({"plan_sha256": PLAN_A.sha256, "nonsense": 1}, (422, "INVALID", ["nonsense"])),
    ],
)
async def test_anything_else_is_refused_by_name(body: dict[str, Any], expected: Any) -> None:
    async with app_door() as door, door.agent(handlers=HANDLERS) as agent:
        task_id = await make_planned(door, agent)
        assert refused(await said(door, task_id, "approve", **body)) == expected


async def test_what_has_no_plan_is_refused_by_name() -> None:
    async with app_door() as door:
        task_id = (await door.submit())["id"]
        named = {"plan_sha256": PLAN_A.sha256}
        assert refused(await said(door, task_id, "approve", **named)) == (409, "PLAN_NOT_WAITING", [])
        assert refused(await said(door, UNKNOWN_ID, "approve", **named)) == (404, "NOT_FOUND", [])
        assert refused(await door.http.get(f"{TASKS}/{task_id}/plan")) == (404, "NOT_FOUND", [])
        assert refused(await door.http.get(f"{TASKS}/{UNKNOWN_ID}/plan")) == (404, "NOT_FOUND", [])


async def test_the_submitter_may_be_kept_from_approving() -> None:
    async with app_door() as door, door.agent(handlers=HANDLERS) as agent:
        task_id = await make_planned(door, agent, approval={"by_other": True, "timeout": "1h"})
        answer = await said(door, task_id, "approve", plan_sha256=PLAN_A.sha256)
        assert refused(answer) == (403, "FORBIDDEN", [])
        assert (await door.get(task_id))["approval"] == {"by_other": True, "timeout": "1h"}


@pytest.mark.parametrize(
    "fields, field",
    [
        ({"type": "echo", "approval": {"timeout": "1h"}}, "approval"),
        ({"type": PLAN_AND_APPLY, "approval": {"timeout": "999ms"}}, "approval.timeout"),
        ({"type": PLAN_AND_APPLY, "approval": {"timeout": "30d1ms"}}, "approval.timeout"),
        ({"type": PLAN_AND_APPLY, "approval": {"by": "me"}}, "approval.by"),
        ({"type": PLAN_AND_APPLY, "execution": "once"}, "execution"),
        ({"type": "apply", "execution": "replayable"}, "execution"),
        ({"type": "plan", "execution": "exclusive"}, "execution"),
    ],
)
async def test_what_a_task_cannot_say_of_its_plan_is_refused(fields: dict[str, Any], field: str) -> None:
    async with app_door() as door:
        assert refused(await door.http.post(TASKS, json=fields)) == (422, "INVALID", [field])


async def test_plans_are_listed_page_by_page() -> None:
    async with app_door() as door, door.agent(handlers=HANDLERS) as agent:
        ids = [await make_planned(door, agent) for _ in range(3)]
        await said(door, ids[1], "reject")
        await door.submit()
        page = (await door.http.get(PLANS, params={"page_size": 2})).json()
        rest = (await door.http.get(PLANS, params={"page_size": 2, "page_token": page["next_page_token"]})).json()
        assert [one["task_id"] for one in (*page["plans"], *rest["plans"])] == ids[::-1]
        assert rest["next_page_token"] == ""
        waiting = (await door.http.get(PLANS, params={"status": "plan_completed"})).json()["plans"]
        assert [one["task_id"] for one in waiting] == [ids[2], ids[0]]
        answer = await door.http.get(PLANS, params={"status": "sent", "page_token": page["next_page_token"]})
        assert refused(answer) == (422, "INVALID", ["page_token"])


async def test_an_agent_says_how_many_plans_it_makes() -> None:
    async with app_door() as door, door.agent(handlers=HANDLERS) as agent:
        await door.submit(type="plan")
        await agent.take()
        [shown] = (await door.http.get("/api/v1/agents")).json()["agents"]
        assert (shown["plan_limit"], shown["plan_running"], shown["apply_running"]) == (3, 1, 0)
