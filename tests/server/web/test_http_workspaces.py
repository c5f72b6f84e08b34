"""Workspaces over HTTP, and the tasks that name them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from nodelink_server.core.workspaces import MOST_WORKSPACES
from tests.support.http_door import Door, app_door

WORKSPACES = "/api/v1/workspaces"
TASKS = "/api/v1/tasks"


def refused(answer: httpx.Response) -> tuple[int, str, list[str]]:
    """With what, and for which fields."""
    problem = answer.json()
    return answer.status_code, problem["code"], [wrong["field"] for wrong in problem["errors"]]


async def make(door: Door, name: str = "site", **fields: Any) -> httpx.Response:
    return await door.http.post(WORKSPACES, json={"name": name, **fields})


async def test_a_workspace_is_made_shown_listed_changed_and_removed() -> None:
    async with app_door() as door:
        answer = await make(door, pool="web", mode="local")
        made = answer.json()
        assert (answer.status_code, answer.headers["location"]) == (201, f"{WORKSPACES}/site")
        assert (made["name"], made["pool"], made["mode"]) == ("site", "web", "local")
        assert (await door.http.get(answer.headers["location"])).json() == made
        await make(door, "lab")
        listed = (await door.http.get(WORKSPACES)).json()
        assert [one["name"] for one in listed["workspaces"]] == ["lab", "site"]

        changed = (await door.http.put(f"{WORKSPACES}/site", json={"pool": "p", "mode": "agent"})).json()
        assert changed == {**made, "pool": "p", "mode": "agent"}
        removed = await door.http.delete(f"{WORKSPACES}/site")
        assert (removed.status_code, removed.json()) == (200, changed)
        assert (await door.http.get(f"{WORKSPACES}/site")).status_code == 404


async def test_a_workspace_is_by_default_on_any_agent_of_the_default_pool() -> None:
    async with app_door() as door:
        made = (await make(door)).json()
        assert (made["pool"], made["mode"]) == ("default", "agent")
        await door.http.put(f"{WORKSPACES}/site", json={"pool": "p", "mode": "local"})
        assert (await door.http.put(f"{WORKSPACES}/site", json={})).json() == made


async def test_a_workspace_gives_its_tasks_a_class() -> None:
    async with app_door() as door:
        made = (await make(door, execution="once")).json()
        [one, other] = [
            (await door.http.post(TASKS, json={"type": "echo", "workspace": "site", **given})).json()
            for given in ({}, {"execution": "replayable"})
        ]
        assert (made["execution"], one["execution"], other["execution"]) == ("once", "once", "replayable")
        changed = (await door.http.put(f"{WORKSPACES}/site", json={})).json()
        assert changed["execution"] is None


@pytest.mark.parametrize(
    "body, status, code, fields",
    [
        ({}, 422, "INVALID", ["name"]),
        ({"name": "a b"}, 422, "INVALID", ["name"]),
        ({"name": "x" * 64}, 422, "INVALID", ["name"]),
        ({"name": 5}, 422, "INVALID", ["name"]),
        ({"name": "site", "pool": ""}, 422, "INVALID", ["pool"]),
        ({"name": "site", "mode": "docker"}, 422, "INVALID", ["mode"]),
        ({"name": "site", "mode": "kubernetes"}, 422, "NOT_BUILT", ["mode"]),
        ({"name": "site", "execution": "twice"}, 422, "INVALID", ["execution"]),
        ({"name": "site", "colour": "red"}, 422, "INVALID", ["colour"]),
    ],
)
async def test_a_wrong_field_is_named(body: dict[str, Any], status: int, code: str, fields: list[str]) -> None:
    async with app_door() as door:
        assert refused(await door.http.post(WORKSPACES, json=body)) == (status, code, fields)
        assert (await door.http.get(WORKSPACES)).json() == {"workspaces": []}


async def test_the_name_of_a_workspace_stays() -> None:
    async with app_door() as door:
        await make(door)
        answer = await door.http.put(f"{WORKSPACES}/site", json={"name": "lab"})
        assert refused(answer) == (422, "INVALID", ["name"])


async def test_of_one_name_there_is_one_and_what_is_not_there_is_not_found() -> None:
    async with app_door() as door:
        await make(door)
        assert refused(await make(door)) == (409, "CONFLICT", [])
        assert refused(await door.http.get(f"{WORKSPACES}/lab")) == (404, "NOT_FOUND", [])
        assert refused(await door.http.put(f"{WORKSPACES}/lab", json={})) == (404, "NOT_FOUND", [])
        assert refused(await door.http.delete(f"{WORKSPACES}/lab")) == (404, "NOT_FOUND", [])


async def test_there_are_at_most_so_many() -> None:
    async with app_door() as door:
        for number in range(MOST_WORKSPACES):
            await door.manager.workspaces.create(f"w{number}", pool="default", mode="agent")
        assert refused(await make(door)) == (422, "INVALID", ["name"])


async def test_a_task_runs_where_its_workspace_says_which_stays_while_it_lives() -> None:
    async with app_door() as door:
        assert refused(await door.http.post(TASKS, json={"type": "echo", "workspace": "site"})) == (
            422,
            "INVALID",
            ["workspace"],
        )
        await make(door, pool="web")
        task, _ = await door.submit(workspace="site"), await door.submit()
        assert (task["workspace"], task["pool"]) == ("site", "web")
        other = {"type": "echo", "workspace": "site", "pool": "other"}
        assert refused(await door.http.post(TASKS, json=other)) == (422, "INVALID", ["pool"])
        assert refused(await door.http.delete(f"{WORKSPACES}/site")) == (409, "CONFLICT", [])

        await door.http.post(f"{TASKS}/{task['id']}/cancel", json={})
        assert (await door.http.delete(f"{WORKSPACES}/site")).status_code == 200


async def test_the_tasks_of_a_workspace_are_listed_page_by_page() -> None:
    async with app_door() as door:
        await make(door)
        ids = [(await door.submit(workspace="site"))["id"] for _ in range(3)]
        await door.submit()
        first = (await door.http.get(TASKS, params={"workspace": "site", "page_size": 2})).json()
        assert [task["id"] for task in first["tasks"]] == [ids[2], ids[1]]

        token = first["next_page_token"]
        answer = await door.http.get(TASKS, params={"workspace": "site", "page_size": 2, "page_token": token})
        assert [task["id"] for task in answer.json()["tasks"]] == [ids[0]]
        assert refused(await door.http.get(TASKS, params={"page_token": token})) == (422, "INVALID", ["page_token"])
        assert refused(await door.http.get(TASKS, params={"workspace": ""})) == (422, "INVALID", ["workspace"])
        assert (await door.http.get(TASKS, params={"workspace": "nobody"})).json()["tasks"] == []


@pytest.mark.parametrize("method, path", [("PUT", WORKSPACES), ("POST", f"{WORKSPACES}/site")])
async def test_a_method_that_a_path_has_not_is_refused(method: str, path: str) -> None:
    async with app_door() as door:
        assert (await door.http.request(method, path)).status_code == 405
