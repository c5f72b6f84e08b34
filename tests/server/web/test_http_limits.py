"""Limits over HTTP: what operators see of them, and set."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from nodelink_server.core.assembly import Options
from tests.support.http_door import Door, app_door, http_door

LIMITS = "/api/v1/limits"
TASKS = "/api/v1/tasks"
AGENT_ID = "019a7b1c-5e2f-7c3a-9d41-6b8e2f0a1c57"


def refused(answer: httpx.Response) -> tuple[int, str, list[str]]:
    """With what, and for which fields."""
    problem = answer.json()
    return answer.status_code, problem["code"], [wrong["field"] for wrong in problem["errors"]]


async def put(door: Door, name: str, most: Any) -> httpx.Response:
    return await door.http.put(f"{LIMITS}/{quote(name, safe=':')}", json={"most": most})


async def listed(door: Door, **parameters: str) -> Any:
    return (await door.http.get(LIMITS, params=parameters)).json()


async def test_a_limit_is_set_shown_and_removed() -> None:
    async with app_door() as door:
        assert await listed(door) == {"limits": [], "total": 0}

        answer = await put(door, "pool:default", 0)

        limit = {"name": "pool:default", "most": 0, "settings_most": None, "taken": 0, "holders": []}
        limit |= {"waiting": [], "waiting_more": 0}
        assert (answer.status_code, answer.json()) == (200, limit)
        assert await listed(door) == {"limits": [limit], "total": 1}
        waiting = await door.submit()
        assert (await door.get(waiting["id"]))["status"] == "pending"
        removed = await door.http.delete(f"{LIMITS}/pool:default")
        assert (removed.status_code, removed.json()) == (200, {**limit, "most": None})
        assert await listed(door) == {"limits": [], "total": 0}
        assert await listed(door, name="pool:default") == {"limits": [removed.json()], "total": 1}


async def test_who_waits_for_a_limit_says_so_and_goes_on_when_it_is_raised() -> None:
    async with app_door() as door, door.agent() as agent:
        await put(door, "type:echo", 1)
        first, second = await door.submit(), await door.submit()
        assert (await agent.take()).ref.task_id == first["id"]
        shown = await door.get(second["id"])
        [limit] = (await listed(door))["limits"]
        waiter = {"task_id": second["id"], "priority": 50, "since": shown["created_at"]}
        assert (limit["waiting"], limit["waiting_more"]) == ([waiter], 0)
        assert shown["in_force"] == [{"name": "type:echo", "most": 1, "taken": 1}]
        assert (first["in_force"], second["in_force"]) == ([], [])
        assert (shown["status"], shown["reason"]) == ("pending", "limit")
        assert "type:echo" in shown["message"]

        await put(door, "type:echo", 2.0)
        assert (await agent.take()).ref.task_id == second["id"]


async def test_who_has_a_place_is_shown_with_its_agent() -> None:
    async with app_door() as door, door.agent() as agent:
        task = await door.submit(lock="db")
        await agent.take()
        [limit] = (await listed(door))["limits"]
        assert (limit["name"], limit["most"], limit["taken"]) == ("key:db", None, 1)
        [holder] = limit["holders"]
        assert (holder["task_id"], holder["agent_id"]) == (task["id"], "a1")
        assert holder["since"] == (await door.get(task["id"]))["sent_at"]


async def test_the_cap_of_the_settings_is_shown() -> None:
    async with http_door(options=Options(max_running=5)) as door:
        [limit] = (await listed(door))["limits"]
        assert (limit["name"], limit["most"], limit["settings_most"]) == ("running", 5, 5)
        assert (await put(door, "running", 9)).json()["most"] == 5


@pytest.mark.parametrize(
    "name", ["running", f"agent:{AGENT_ID}", "workspace:site", "key:a/b ?#é%:c", "key:..", "key:/"]
)
async def test_any_name_can_be_in_a_path(name: str) -> None:
    async with app_door() as door:
        assert (await put(door, name, 3)).json()["name"] == name
        assert [one["name"] for one in (await listed(door))["limits"]] == [name]
        assert (await door.http.delete(f"{LIMITS}/{quote(name, safe='')}")).json()["most"] is None
        assert (await listed(door))["limits"] == []


@pytest.mark.parametrize("name", ["nonsense", "pool:", "pool:a b", "agent:a1", "rate:mail", "key:" + "x" * 201])
async def test_a_name_that_is_none_is_refused(name: str) -> None:
    async with app_door() as door:
        assert refused(await put(door, name, 3)) == (422, "INVALID", ["name"])
        assert refused(await door.http.delete(f"{LIMITS}/{quote(name)}")) == (422, "INVALID", ["name"])
        assert refused(await door.http.get(LIMITS, params={"name": name})) == (422, "INVALID", ["name"])


@pytest.mark.parametrize("most", [-1, 1_000_001, 1.5, True, "5", None, 10**30])
async def test_a_number_that_is_none_is_refused(most: Any) -> None:
    async with app_door() as door:
        assert refused(await put(door, "running", most)) == (422, "INVALID", ["most"])
        assert (await listed(door))["limits"] == []


@pytest.mark.parametrize("body, field", [({}, "most"), ({"most": 1, "least": 0}, "least")])
async def test_a_body_says_how_many_and_nothing_else(body: dict[str, int], field: str) -> None:
    async with app_door() as door:
        assert refused(await door.http.put(f"{LIMITS}/running", json=body)) == (422, "INVALID", [field])


async def test_there_is_nothing_to_get_below_the_list() -> None:
    async with app_door() as door:
        answer = await door.http.get(f"{LIMITS}/running")
        assert answer.status_code == 405
        assert "PUT" in answer.headers["allow"]
