"""Many tasks at once over HTTP: what selects them, what is told, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from nodelink.task import TaskStatus
from nodelink_server.core import bulk
from nodelink_server.core.bulk import MOST_IDS
from tests.support.http_door import Door, app_door

BULK = "/api/v1/tasks/bulk"
NO_ID = "01900000-0000-7000-8000-00000000dead"


async def do(door: Door, action: str, filter: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What comes of one call."""
    answer = await door.http.post(BULK, json={"action": action, "filter": filter, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refused(answer: httpx.Response) -> tuple[int, str, list[str]]:
    """With what, and for which fields."""
    problem = answer.json()
    return answer.status_code, problem["code"], [wrong["field"] for wrong in problem["errors"]]


async def test_tasks_are_stopped_by_a_filter() -> None:
    async with app_door() as door:
        red = (await door.submit(metadata={"team": "red"}))["id"]
        blue = (await door.submit())["id"]

        tried = await do(door, "cancel", {"label": ["team=red"]}, dry_run=True)
        done = await do(door, "cancel", {"label": ["team=red"], "type": "echo"}, reason="not needed", grace="1s")
        named = await do(door, "cancel", {"ids": [red, NO_ID]})

        assert tried == {"matched": 1, "done": 1, "skipped": {}, "ids": [red], "more": False, "next_page_token": ""}
        assert done == tried
        assert (named["matched"], named["done"], named["skipped"]) == (1, 0, {"already finished": 1})
        assert ((await door.get(red))["status"], (await door.get(red))["message"]) == ("cancelled", "not needed")
        assert (await door.get(blue))["status"] == "pending"


@pytest.mark.parametrize(
    "filter",
    [
        {"status": ["pending", "sent"]},
        {"type": "echo"},
        {"pool": "default"},
        {"label": ["team=red"]},
        {"created_after": "2026-01-31T09:30:00Z"},
        {"created_before": "2999-01-31T09:30:00Z"},
        {"q": "team=red"},
    ],
)
async def test_any_one_filter_is_enough(filter: dict[str, Any]) -> None:
    async with app_door() as door:
        task_id = (await door.submit(metadata={"team": "red"}))["id"]
        assert (await do(door, "cancel", filter))["ids"] == [task_id]


async def test_the_tasks_of_a_workspace_are_selected() -> None:
    async with app_door() as door:
        await door.http.post("/api/v1/workspaces", json={"name": "site"})
        await door.submit()
        task_id = (await door.submit(workspace="site"))["id"]
        assert (await do(door, "cancel", {"workspace": "sit"}))["matched"] == 0
        assert (await do(door, "cancel", {"workspace": "site"}))["ids"] == [task_id]


async def test_the_tasks_of_an_agent_are_selected() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        await agent.take()
        assert (await do(door, "cancel", {"agent_id": "a2"}))["matched"] == 0
        assert (await do(door, "cancel", {"agent_id": "a1"}))["ids"] == [task_id]


@pytest.mark.parametrize("priority, number", [(90, 90), ("high", 75), (100.0, 100)])
async def test_tasks_get_another_priority(priority: object, number: int) -> None:
    async with app_door() as door:
        task_id = (await door.submit(priority=10))["id"]
        done = await do(door, "set_priority", {"ids": [task_id]}, priority=priority, reason="soon")
        shown = await door.get(task_id)
        [remark] = shown["remarks"]
        assert (done["done"], shown["priority"], shown["status"]) == (1, number, "pending")
        assert (remark["kind"], remark["by"]) == ("reprioritized", "local")
        assert remark["message"] == f"from 10 to {number}: soon"


async def test_tasks_are_run_again() -> None:
    async with app_door() as door:
        task_id = (await door.submit(payload={"n": 1}))["id"]
        await door.http.post(f"/api/v1/tasks/{task_id}/abandon", json={"reason": "a test"})
        done = await do(door, "retry", {"status": ["failed"]})
        [again] = done["ids"]
        shown = await door.get(again)
        assert (shown["retry_of"], shown["payload"]) == (task_id, {"n": 1})


async def test_one_call_goes_so_far_and_its_token_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_TASKS", 1)
    monkeypatch.setattr(bulk, "MOST_PER_COMMIT", 1)
    async with app_door() as door:
        ids = [(await door.submit())["id"] for _ in range(2)]
        first = await do(door, "set_priority", {"type": "echo"}, priority=90)
        token = first["next_page_token"]
        body = {"action": "cancel", "filter": {"type": "shell"}, "page_token": token}
        assert refused(await door.http.post(BULK, json=body)) == (422, "INVALID", ["page_token"])
        body["filter"] = {"type": "echo", "ids": ids}
        assert refused(await door.http.post(BULK, json=body)) == (422, "INVALID", ["page_token"])
        rest = await do(door, "set_priority", {"type": "echo"}, priority=90, page_token=token)

    assert (first["ids"], first["more"]) == (ids[1:], True)
    assert (rest["ids"], rest["more"], rest["next_page_token"]) == (ids[:1], False, "")


CANCEL = {"action": "cancel", "filter": {"type": "echo"}}


@pytest.mark.parametrize(
    "body, fields",
    [
        ({"action": "cancel"}, ["filter"]),
        ({"action": "cancel", "filter": {}}, ["filter"]),
        ({"action": "cancel", "filter": None}, ["filter"]),
        ({"action": "cancel", "filter": {"status": []}}, ["filter.status"]),
        ({"action": "cancel", "filter": {"status": ["done"]}}, ["filter.status"]),
        ({"action": "cancel", "filter": {"status": "failed"}}, ["filter.status"]),
        ({"action": "cancel", "filter": {"type": ""}}, ["filter.type"]),
        ({"action": "cancel", "filter": {"pool": None}}, ["filter.pool"]),
        ({"action": "cancel", "filter": {"label": ["team"]}}, ["filter.label"]),
        ({"action": "cancel", "filter": {"label": ["a=b"] * 11}}, ["filter.label"]),
        ({"action": "cancel", "filter": {"created_before": None}}, ["filter.created_before"]),
        ({"action": "cancel", "filter": {"created_before": "yesterday"}}, ["filter.created_before"]),
        ({"action": "cancel", "filter": {"q": ""}}, ["filter.q"]),
        ({"action": "cancel", "filter": {"q": "a b"}}, ["filter.q"]),
        ({"action": "cancel", "filter": {"ids": []}}, ["filter.ids"]),
        ({"action": "cancel", "filter": {"ids": [""]}}, ["filter.ids"]),
        ({"action": "cancel", "filter": {"workspace": ""}}, ["filter.workspace"]),
        ({"action": "cancel", "filter": {"type": "a\0b"}}, ["filter.type"]),
        ({"action": "cancel", "filter": {"label": ["a=\0"]}}, ["filter.label"]),
        ({"action": "cancel", "filter": {"q": "a=\0"}}, ["filter.q"]),
        ({"action": "cancel", "filter": {"ids": ["a", "\0"]}}, ["filter.ids"]),
        ({"action": "cancel", "filter": {"lock": "w"}}, ["filter.lock"]),
        ({"action": "delete", "filter": {"type": "echo"}}, ["action"]),
        ({"filter": {"type": "echo"}}, ["action"]),
        ({**CANCEL, "reason": "x" * 1_001}, ["reason"]),
        ({**CANCEL, "grace": "2h"}, ["grace"]),
        ({**CANCEL, "priority": 50}, ["priority"]),
        ({**CANCEL, "dry_run": "yes"}, ["dry_run"]),
        ({**CANCEL, "force": True}, ["force"]),
        ({**CANCEL, "action": "retry", "grace": "1s"}, ["grace"]),
        ({**CANCEL, "action": "retry", "reason": "x"}, ["reason"]),
        ({**CANCEL, "action": "set_priority"}, ["priority"]),
        ({**CANCEL, "action": "set_priority", "priority": 0}, ["priority"]),
        ({**CANCEL, "action": "set_priority", "priority": 101}, ["priority"]),
        ({**CANCEL, "action": "set_priority", "priority": "urgent"}, ["priority"]),
    ],
)
async def test_a_wrong_order_is_refused_by_name(body: dict[str, Any], fields: list[str]) -> None:
    async with app_door() as door:
        task_id = (await door.submit())["id"]
        assert refused(await door.http.post(BULK, json=body)) == (422, "INVALID", fields)
        assert (await door.get(task_id))["status"] == TaskStatus.PENDING


async def test_so_many_tasks_may_be_named_and_not_one_more() -> None:
    async with app_door() as door:
        names = [f"t{number}" for number in range(MOST_IDS + 1)]
        assert (await do(door, "cancel", {"ids": names[1:]}))["matched"] == 0
        past = await door.http.post(BULK, json={"action": "cancel", "filter": {"ids": names}})
        assert refused(past) == (413, "TOO_LARGE", ["filter.ids"])


async def test_it_is_a_post_and_takes_no_parameters() -> None:
    async with app_door() as door:
        assert refused(await door.http.post(f"{BULK}?force=true", json=CANCEL)) == (422, "INVALID", ["force"])
        assert (await door.http.post(BULK)).status_code == 422


async def test_under_the_same_key_it_is_done_once() -> None:
    async with app_door() as door:
        await door.submit()
        order = {"action": "cancel", "filter": {"type": "echo"}}
        named = {"Idempotency-Key": "release 7"}
        first = await door.http.post(BULK, json=order, headers=named)
        later = (await door.submit())["id"]
        again = await door.http.post(BULK, json=order, headers=named)
        other = await door.http.post(BULK, json={**order, "reason": "other"}, headers=named)

        assert (again.status_code, again.json(), first.json()["done"]) == (200, first.json(), 1)
        assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
        assert refused(other) == (409, "IDEMPOTENCY_CONFLICT", [])
        assert (await door.get(later))["status"] == "pending"
        for wrong in ("", "x" * 256):
            answer = await door.http.post(BULK, json=order, headers={"Idempotency-Key": wrong})
            assert answer.status_code == 422
