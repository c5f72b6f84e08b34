"""Which tasks, agents and sessions a list has, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.http_door import Door, app_door

TASKS = "/api/v1/tasks"
AGENTS = "/api/v1/agents"


@asynccontextmanager
async def labelled_tasks() -> AsyncIterator[tuple[Door, dict[str, str]]]:
    """Three tasks by the names of their teams, and a server that has them."""
    async with app_door() as door:
        ids = {
            "blue": (await door.submit(metadata={"team": "blue", "env": "prod"}))["id"],
            "red": (await door.submit(metadata={"team": "red", "env": "prod", "eq": "a=b"}, pool="other"))["id"],
            "none": (await door.submit())["id"],
        }
        yield door, ids


async def names(door: Door, ids: dict[str, str], query: str) -> set[str]:
    """Which of the tasks a list has."""
    answer = await door.http.get(f"{TASKS}?{query}")
    assert answer.status_code == 200, answer.text
    listed = {task["id"] for task in answer.json()["tasks"]}
    return {name for name, task_id in ids.items() if task_id in listed}


@pytest.mark.parametrize(
    "query, found",
    [
        ("label=team=blue", {"blue"}),
        ("label=env=prod", {"blue", "red"}),
        ("label=env=prod&label=team=red", {"red"}),
        ("label=team=blue&label=team=red", set()),
        ("label=eq=a=b", {"red"}),
        ("label=team=", set()),
        ("label=env=prod&pool=other", {"red"}),
        ("q=team%3Dblue", {"blue"}),
        ("q=echo", {"blue", "red", "none"}),
        ("q=shell", set()),
        ("q=", {"blue", "red", "none"}),
    ],
)
async def test_tasks_are_found_by_what_their_submitters_wrote(query: str, found: set[str]) -> None:
    async with labelled_tasks() as (door, ids):
        assert await names(door, ids, query) == found


async def test_a_task_is_found_by_the_beginning_of_its_id() -> None:
    async with labelled_tasks() as (door, ids):
        assert await names(door, ids, f"q={ids['red']}") == {"red"}
        assert await names(door, ids, f"q={ids['red'][:20]}") == {"blue", "red", "none"}


async def test_a_page_token_belongs_to_its_labels_and_its_search() -> None:
    async with labelled_tasks() as (door, _):
        token = (await door.http.get(f"{TASKS}?label=env=prod&page_size=1")).json()["next_page_token"]
        assert token
        for other in ("label=team=red", "q=echo", ""):
            answer = await door.http.get(f"{TASKS}?{other}&page_size=1&page_token={token}")
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "page_token")
        again = await door.http.get(f"{TASKS}?label=env=prod&page_size=1&page_token={token}")
        assert again.status_code == 200


@pytest.mark.parametrize(
    "query, found",
    [
        ("", ["a1", "a2"]),
        ("status=online", ["a1", "a2"]),
        ("status=offline&status=draining", []),
        ("status=cordoned", []),
        ("pool=blue", ["a2"]),
        ("label=zone=z1", ["a1", "a2"]),
        ("label=zone=z1&label=disk=ssd", ["a2"]),
        ("label=disk=", []),
        ("label=zone=z1&pool=default&status=online", ["a1"]),
    ],
)
async def test_agents_are_found_by_status_pool_and_labels(query: str, found: list[str]) -> None:
    async with (
        app_door() as door,
        door.agent(),
        door.agent(agent_id="a2", pool="blue", labels={"zone": "z1", "disk": "ssd"}),
    ):
        answer = await door.http.get(f"{AGENTS}?{query}")
        assert [agent["id"] for agent in answer.json()["agents"]] == found


async def test_one_agent_is_shown_with_what_it_is() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        await agent.take()
        shown: dict[str, Any] = (await door.http.get(f"{AGENTS}/a1")).json()
        assert (shown["name"], shown["status"], shown["labels"]) == ("agent a1", "online", {"zone": "z1"})
        assert (shown["slots"], shown["free_slots"], shown["current_tasks"]) == (4, 3, [task_id])
        assert (shown["used_slots"], shown["resources"], shown["type_limits"]) == (1, {}, {})


async def test_an_agent_is_shown_with_what_it_has_and_what_of_it_is_taken() -> None:
    has = {"cpu": 4_000, "memory": 8 * 1024**3 * 1000, "gpu": 1_000}
    async with app_door() as door, door.agent(resources=has, type_limits={"shell": 2}) as agent:
        await door.submit(slots=3, resources={"cpu": "500m", "memory": "512MiB"})
        await agent.take()
        shown: dict[str, Any] = (await door.http.get(f"{AGENTS}/a1")).json()
        assert (shown["slots"], shown["used_slots"], shown["free_slots"]) == (4, 3, 1)
        assert shown["resources"] == {
            "cpu": {"total": 4, "used": 0.5},
            "memory": {"total": 8 * 1024**3, "used": 512 * 1024**2},
            "gpu": {"total": 1, "used": 0},
        }
        assert shown["type_limits"] == {"shell": 2}


async def test_the_tasks_of_an_agent_are_those_of_its_attempts() -> None:
    async with app_door() as door, door.agent(slots=2) as agent:
        ids = [(await door.submit(metadata={"n": str(number)}))["id"] for number in range(3)]
        for _ in range(2):
            await agent.take()
        path = f"{AGENTS}/a1/tasks"
        page = (await door.http.get(f"{path}?page_size=1")).json()
        rest = (await door.http.get(f"{path}?page_size=1&page_token={page['next_page_token']}")).json()
        assert [task["id"] for task in (*page["tasks"], *rest["tasks"])] == [ids[1], ids[0]]
        assert [task["id"] for task in (await door.http.get(f"{path}?label=n=0")).json()["tasks"]] == [ids[0]]
        assert (await door.http.get(f"{path}?status=failed")).json()["tasks"] == []


async def test_the_sessions_of_an_agent_are_its_connections_newest_first() -> None:
    async with app_door() as door:
        for session in (1, 2, 3):
            async with door.agent(session=session):
                pass
        path = f"{AGENTS}/a1/sessions"
        whole = (await door.http.get(path)).json()
        assert [session["number"] for session in whole["sessions"]] == [3, 2, 1]
        assert whole["next_page_token"] == ""
        assert {session["software_version"] for session in whole["sessions"]} == {"0.1.0"}
        first = whole["sessions"][-1]
        assert first["reason"] == "goodbye"
        assert first["connected_at"] <= first["disconnected_at"]


async def test_sessions_are_read_page_by_page() -> None:
    async with app_door() as door:
        for session in (1, 2, 3):
            async with door.agent(session=session):
                pass
        numbers, token = [], ""
        for _ in range(2):
            page = (await door.http.get(f"{AGENTS}/a1/sessions?page_size=2&page_token={token}")).json()
            numbers += [session["number"] for session in page["sessions"]]
            token = page["next_page_token"]
        assert (numbers, token) == ([3, 2, 1], "")


async def test_a_session_that_goes_on_has_no_end() -> None:
    async with app_door() as door, door.agent():
        [session] = (await door.http.get(f"{AGENTS}/a1/sessions")).json()["sessions"]
        assert (session["disconnected_at"], session["reason"]) == (None, "")


@pytest.mark.parametrize("path", ["", "/tasks", "/sessions"])
async def test_an_agent_that_nobody_knows_has_nothing(path: str) -> None:
    async with app_door() as door:
        answer = await door.http.get(f"{AGENTS}/nobody{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


async def test_the_sessions_of_one_agent_have_no_pages_of_another() -> None:
    async with app_door() as door, door.agent(agent_id="a2"):
        for session in (1, 2):
            async with door.agent(session=session):
                pass
        token = (await door.http.get(f"{AGENTS}/a1/sessions?page_size=1")).json()["next_page_token"]
        answer = await door.http.get(f"{AGENTS}/a2/sessions?page_token={token}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "page_token")
