"""Drains over HTTP: an agent that is to be empty, what is shown of it, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from nodelink.task import Outcome, Reason
from nodelink_server.web.times import parse_moment
from tests.support.doubts import started, until_told
from tests.support.http_door import Door, app_door, http_door

DRAIN = "/api/v1/agents/a1/drain"


async def _shown(door: Door) -> dict[str, Any]:
    answer = await door.http.get("/api/v1/agents/a1")
    return dict(answer.json())


async def test_a_drained_agent_shows_since_when_until_when_and_why() -> None:
    async with app_door() as door, door.agent() as agent:
        before = await _shown(door)
        task_id = (await door.submit())["id"]
        await started(door, agent, task_id)

        answer = await door.http.post(DRAIN, json={"note": "a new disk", "deadline": "10m"})
        shown = await _shown(door)
        waiting = await door.submit()
        why = (await door.http.get("/api/v1/agents/a1/why")).json()
        lifted = (await door.http.post("/api/v1/agents/a1/undrain")).json()

        assert (before["drained_at"], before["drain_deadline"], before["drain_note"]) == (None, None, None)
        assert answer.status_code == 200
        assert (shown["status"], shown["drain_note"], shown["free_slots"]) == ("draining", "a new disk", 0)
        assert parse_moment(shown["drain_deadline"]) - parse_moment(shown["drained_at"]) in range(599_000, 700_000)
        assert why["summary"].startswith("is given nothing: is drained since 2")
        assert "(a new disk); what still runs there is stopped in 10m" in why["summary"]
        assert (lifted["status"], lifted["drained_at"], lifted["drain_note"]) == ("online", None, None)
        assert (await agent.take()).ref.task_id == waiting["id"]


async def test_without_a_body_it_has_neither_a_note_nor_a_deadline() -> None:
    async with app_door() as door, door.agent():
        for said in (await door.http.post(DRAIN), await door.http.post(DRAIN, json={"deadline": None})):
            shown = said.json()
            assert (shown["status"], shown["drain_deadline"], shown["drain_note"]) == ("cordoned", None, None)


async def test_what_was_stopped_for_it_says_so() -> None:
    async with http_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        ref = await started(door, agent, task_id)
        await door.http.post(DRAIN, json={"deadline": "0s"})
        assert (await agent.told_to_stop()).reason is Reason.DRAINED
        agent.finish(ref, outcome=Outcome.CANCELLED, reason=Reason.DRAINED, signal=15)
        await until_told(door.manager, task_id, "task.pending")

        shown = await door.get(task_id)
        why = (await door.http.get(f"/api/v1/tasks/{task_id}/why")).json()
        once = (await door.submit(execution="once"))["id"]

        [attempt] = shown["attempts"]
        assert (shown["status"], shown["failures"], attempt["state"]) == ("pending", 0, "drained")
        assert (attempt["reason"], attempt["signal"]) == ("drained", 15)
        assert why["summary"] == "every agent that could run it is drained"
        assert why["agents"][0]["conditions"][-1]["condition"] == "drain"
        assert why["remedies"] == ["nodelink agents undrain a1"]
        assert (await door.get(once))["status"] == "pending"


async def test_a_task_that_runs_on_a_drained_agent_says_so_when_asked_why() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        await started(door, agent, task_id)
        await door.http.post(DRAIN, json={"note": "a new disk", "deadline": "0s"})
        why = (await door.http.get(f"/api/v1/tasks/{task_id}/why")).json()
        assert "which is connected and is drained since 2" in why["summary"]
        assert why["summary"].endswith("(a new disk); what still runs there is being stopped")


async def test_an_agent_that_is_away_is_drained_all_the_same_and_says_why() -> None:
    async with app_door() as door:
        async with door.agent():
            pass
        await door.http.post(DRAIN, json={"note": "a new disk"})
        shown, why = await _shown(door), (await door.http.get("/api/v1/agents/a1/why")).json()
        assert (shown["status"], shown["drain_note"]) == ("offline", "a new disk")
        assert [one["condition"] for one in why["conditions"] if not one["holds"]] == ["connected", "drain"]


@pytest.mark.parametrize(
    "body, field",
    [
        ({"note": "x" * 1_001}, "note"),
        ({"note": None}, "note"),
        ({"deadline": "8d"}, "deadline"),
        ({"deadline": "-1s"}, "deadline"),
        ({"deadline": 600}, "deadline"),
        ({"force": True}, "force"),
    ],
)
async def test_a_wrong_drain_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    async with app_door() as door, door.agent():
        problem = (await door.http.post(DRAIN, json=body)).json()
        assert (problem["status"], problem["code"]) == (422, "INVALID")
        assert [wrong["field"] for wrong in problem["errors"]] == [field]
        assert (await _shown(door))["status"] == "online"


async def test_a_drain_needs_an_agent() -> None:
    async with app_door() as door:
        assert (await door.http.post("/api/v1/agents/nobody/drain")).json()["code"] == "NOT_FOUND"
        assert (await door.http.get(DRAIN)).status_code == 405
