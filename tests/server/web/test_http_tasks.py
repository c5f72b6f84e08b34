"""Tasks over HTTP: submit, look, wait, cancel."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from nodelink.task import ErrorCategory, Outcome, Progress, Reason, TaskError
from tests.support.http_door import app_door, http_door, listening, raw_request, until


async def test_an_accepted_task_is_answered_with_201_and_where_it_is() -> None:
    async with app_door() as door:
        answer = await door.http.post("/api/v1/tasks", json={"type": "echo", "payload": {"a": [1, "é"]}})
        task = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/api/v1/tasks/{task['id']}"
        assert (task["status"], task["reason"], task["payload"]) == ("pending", "agent", {"a": [1, "é"]})
        assert (await door.http.get(answer.headers["location"])).json()["id"] == task["id"]


async def test_every_field_that_was_given_is_shown_again() -> None:
    async with app_door() as door:
        given = {
            "pool": "blue",
            "priority": "HIGH",
            "timeout": "1h30m",
            "queue_timeout": "500ms",
            "start_timeout": "2s",
            "total_timeout": "1d",
            "scheduled_at": "2099-01-31T09:30:00+01:00",
            "execution": "once",
            "lock": "deploy eu-1",
            "retry": {
                "max_attempts": 5,
                "initial": "0s",
                "max": "1d",
                "multiplier": 1.5,
                "on": ["signal"],
            },
            "metadata": {"ticket": "4711"},
        }
        shown = await door.get((await door.submit(**given))["id"])
        expected = given | {"priority": 75, "scheduled_at": "2099-01-31T08:30:00.000Z", "status": "scheduled"}
        assert {name: shown[name] for name in expected} == expected
        assert shown["attempts"] == []
        assert shown["workspace"] is shown["labels"] is shown["retry_at"] is None


async def test_a_waiting_task_says_why_it_waits() -> None:
    async with app_door() as door:
        shown = await door.get((await door.submit(pool="empty"))["id"])
        assert shown["reason"] == "agent"
        assert "empty" in shown["message"]


async def test_a_waiting_task_tells_how_the_tries_to_give_it_to_an_agent_stand() -> None:
    async with app_door() as door, door.agent(slots=1) as agent:
        given, behind, later = [(await door.submit(**fields))["id"] for fields in ({}, {}, {"delay": "1h"})]
        await agent.take()
        shown = await door.get(behind)
        listed = (await door.http.get("/api/v1/tasks")).json()["tasks"]
        elsewhere = await door.get((await door.submit(pool="empty"))["id"])

        tries, next_at = shown["assignment"]["tries"], datetime.fromisoformat(shown["assignment"]["next_at"])
        assert shown["assignment"].keys() == {"tries", "next_at", "reason"}
        assert next_at - datetime.fromisoformat(shown["created_at"]) == tries * timedelta(seconds=10)
        assert (shown["assignment"]["reason"], elsewhere["assignment"]["reason"]) == ("none_free", "no_pool")
        assert {task["id"]: task["assignment"] is None for task in listed} == {given: True, behind: False, later: True}


async def test_a_running_task_shows_its_attempt_and_its_progress() -> None:
    async with http_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        request = await agent.take()
        async with listening(door.http, f"/api/v1/tasks/{task_id}/events") as events:
            agent.start(request.ref)
            agent.say(request.ref, Progress(fraction=0.5, message="half"))
            await until(events, "task.progress")
        shown = await door.get(task_id)
        assert (shown["status"], shown["agent_id"], shown["attempt"]) == ("in_progress", "a1", 1)
        assert shown["progress"] == {"fraction": 0.5, "message": "half"}
        assert shown["attempts"][0]["state"] == "started"
        assert shown["attempts"][0]["containment"] == "process_group"
        assert shown["last_contact"].endswith("Z")


async def test_a_shell_task_is_a_task_of_the_type_shell() -> None:
    async with app_door() as door:
        body = {"command": ["ls", "-l"], "env": {"A": "1"}, "cwd": "/tmp", "priority": 7}
        answer = await door.http.post("/api/v1/tasks/shell", json=body)
        task = answer.json()
        assert (answer.status_code, task["type"], task["priority"]) == (201, "shell", 7)
        assert task["payload"] == {"command": ["ls", "-l"], "env": {"A": "1"}, "cwd": "/tmp"}


async def test_the_same_key_and_body_give_the_same_task() -> None:
    async with app_door() as door:
        first, second = [
            await door.http.post(
                "/api/v1/tasks", json={"type": "echo", "payload": 1}, headers={"Idempotency-Key": "k1"}
            )
            for _ in range(2)
        ]
        assert first.json()["id"] == second.json()["id"]
        assert "idempotency-replayed" not in first.headers
        assert (second.status_code, second.headers["idempotency-replayed"]) == (201, "true")


async def test_the_same_key_with_another_body_is_a_conflict() -> None:
    async with app_door() as door:
        first, second = [
            await door.http.post(
                "/api/v1/tasks", json={"type": "echo", "payload": payload}, headers={"Idempotency-Key": "k1"}
            )
            for payload in (1, 2)
        ]
        assert (first.status_code, second.status_code) == (201, 409)
        assert second.json()["code"] == "IDEMPOTENCY_CONFLICT"


async def test_each_task_of_a_batch_is_judged_by_itself() -> None:
    async with app_door() as door:
        items = [
            {"type": "echo", "payload": 1},
            {"type": "nonsense"},
            {"type": "echo", "timeout": "-1s"},
            {"type": "echo", "depends_on": []},
            7,
            {"type": "shell", "payload": {"command": "true"}},
        ]
        answer = await door.http.post("/api/v1/tasks/batch", json={"tasks": items})
        outcomes = answer.json()["outcomes"]
        assert answer.status_code == 200
        assert [outcome["error"] and outcome["error"]["code"] for outcome in outcomes] == [
            None,
            "INVALID",
            "INVALID",
            "NOT_BUILT",
            "INVALID",
            None,
        ]
        assert [bool(outcome["task_id"]) for outcome in outcomes] == [True, False, False, False, False, True]
        assert outcomes[2]["error"]["errors"][0]["field"] == "timeout"


async def test_a_batch_derives_keys_from_its_header_unless_items_have_their_own() -> None:
    async with app_door() as door:
        items = [{"type": "echo", "payload": 0}, {"type": "echo", "payload": 1, "idempotency_key": "own"}]
        first, second = [
            await door.http.post("/api/v1/tasks/batch", json={"tasks": items}, headers={"Idempotency-Key": "b"})
            for _ in range(2)
        ]
        again = [outcome["task_id"] for outcome in second.json()["outcomes"]]
        assert again == [outcome["task_id"] for outcome in first.json()["outcomes"]]
        assert all(outcome["replayed"] for outcome in second.json()["outcomes"])
        for key, task_id in (("b#0", again[0]), ("own", again[1])):
            payload = again.index(task_id)
            answer = await door.http.post(
                "/api/v1/tasks", json={"type": "echo", "payload": payload}, headers={"Idempotency-Key": key}
            )
            assert answer.json()["id"] == task_id


async def test_a_list_is_read_page_by_page_newest_first() -> None:
    async with app_door() as door:
        ids = [(await door.submit(pool=pool))["id"] for pool in ("p", "q", "p", "p", "p")]
        ids.reverse()
        first = (await door.http.get("/api/v1/tasks?pool=p&page_size=3")).json()
        token = first["next_page_token"]
        second = (await door.http.get(f"/api/v1/tasks?pool=p&page_size=3&page_token={token}")).json()
        listed = [task["id"] for page in (first, second) for task in page["tasks"]]
        assert listed == [ids[0], ids[1], ids[2], ids[4]]
        assert second["next_page_token"] == ""


async def test_a_list_filters_by_status_type_agent_and_time() -> None:
    async with app_door() as door, door.agent(slots=1) as agent:
        running = await door.submit()
        await agent.take()
        waiting = await door.submit()
        later = await door.submit(delay="1h")

        async def listed(query: str) -> list[str]:
            answer = await door.http.get(f"/api/v1/tasks?{query}")
            assert answer.status_code == 200, answer.text
            return [task["id"] for task in answer.json()["tasks"]]

        assert await listed("status=pending&status=scheduled") == [later["id"], waiting["id"]]
        assert await listed("agent_id=a1") == [running["id"]]
        assert await listed("type=shell") == []
        assert await listed(f"created_before={running['created_at']}") == []
        assert len(await listed("created_after=2000-01-01T00:00:00Z&type=echo")) == 3
        assert await listed("created_after=2099-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "how, expected",
    [
        (
            {"output": b'{"exit_code":0}', "exit_code": 0, "run_seconds": 1.5, "cpu_seconds": 0.5, "max_rss_bytes": 9},
            {"status": "completed", "exit_code": 0, "output": {"exit_code": 0}, "error": None},
        ),
        (
            {
                "outcome": Outcome.FAILED,
                "reason": Reason.EXIT_CODE,
                "exit_code": 3,
                "error": TaskError(ErrorCategory.EXIT_CODE, "exit code 3"),
            },
            {"status": "failed", "exit_code": 3, "error": {"category": "exit_code", "message": "exit code 3"}},
        ),
        (
            {
                "outcome": Outcome.FAILED,
                "reason": Reason.SIGNAL,
                "exit_code": 137,
                "signal": 9,
                "error": TaskError(ErrorCategory.SIGNAL, "killed"),
            },
            {"status": "failed", "reason": "signal", "exit_code": 137, "signal": 9},
        ),
    ],
)
async def test_a_result_tells_how_the_task_ended(how: dict[str, Any], expected: dict[str, Any]) -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit(metadata={"k": "v"}))["id"]
        ref = (await agent.take()).ref
        agent.start(ref)
        agent.finish(ref, **how)
        answer = await door.http.get(f"/api/v1/tasks/{task_id}/result?wait=10s")
        result = answer.json()
        assert answer.status_code == 200
        assert {name: result[name] for name in expected} == expected
        assert (result["task_id"], result["attempt"], result["metadata"]) == (task_id, 1, {"k": "v"})
        assert result["metrics"]["run_seconds"] == how.get("run_seconds", 0)
        assert result["started_at"] <= result["completed_at"]
        assert (await door.get(task_id))["attempts"][0]["state"] == "finished"


@pytest.mark.parametrize("output", [b"\xff\xfe", b"[NaN]", b'"\\ud800"', b"[" * 1000 + b"]" * 1000, b"{"])
async def test_an_output_that_is_no_honest_json_is_shown_as_text(output: bytes) -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        agent.finish((await agent.take()).ref, output=output)
        answer = await door.http.get(f"/api/v1/tasks/{task_id}/result?wait=10s")
        assert answer.status_code == 200
        assert answer.json()["output"] == output.decode(errors="replace")


async def test_a_result_is_refused_while_the_task_runs() -> None:
    async with app_door() as door:
        task_id = (await door.submit())["id"]
        for query in ("", "?wait=1ms"):
            answer = await door.http.get(f"/api/v1/tasks/{task_id}/result{query}")
            assert (answer.status_code, answer.json()["code"]) == (409, "NOT_FINISHED")


async def test_a_long_poll_answers_when_the_task_ends() -> None:
    async with http_door() as door, door.agent() as agent, asyncio.TaskGroup() as group:
        task_id = (await door.submit())["id"]
        poll = group.create_task(door.http.get(f"/api/v1/tasks/{task_id}/result?wait=5m"))
        agent.finish((await agent.take()).ref, output=b"7")
        async with asyncio.timeout(10):
            assert (await poll).json()["output"] == 7


async def test_a_long_poll_ends_with_the_server() -> None:
    async with asyncio.timeout(10):
        async with http_door() as door:
            task_id = (await door.submit())["id"]
            reader, writer = await raw_request(door.address, f"/api/v1/tasks/{task_id}/result?wait=5m")
            await door.get(task_id)  # by now the poll has been taken in as well
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 409")
    assert b"NOT_FINISHED" in answer


async def test_a_task_that_never_started_is_cancelled_at_once() -> None:
    async with app_door() as door:
        task_id = (await door.submit())["id"]
        answer = await door.http.post(f"/api/v1/tasks/{task_id}/cancel", json={"reason": "not needed"})
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["reason"]) == ("cancelled", "cancelled_by_caller")
        assert answer.json()["message"] == "not needed"
        result = (await door.http.get(f"/api/v1/tasks/{task_id}/result")).json()
        assert (result["status"], result["attempt"], result["error"]) == ("cancelled", 0, None)


async def test_a_running_task_is_cancelled_when_its_agent_confirms_it() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        ref = (await agent.take()).ref
        agent.start(ref)
        answer = await door.http.post(f"/api/v1/tasks/{task_id}/cancel", json={"grace": "3s"})
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
        assert (await agent.told_to_stop()).grace_ms == 3_000
        agent.finish(ref, outcome=Outcome.CANCELLED)
        result = (await door.http.get(f"/api/v1/tasks/{task_id}/result?wait=10s")).json()
        assert (result["status"], result["reason"]) == ("cancelled", "cancelled_by_caller")


async def test_a_cancel_needs_no_body() -> None:
    async with app_door() as door:
        task_id = (await door.submit())["id"]
        assert (await door.http.post(f"/api/v1/tasks/{task_id}/cancel")).status_code == 200


async def test_a_finished_task_cannot_be_cancelled() -> None:
    async with app_door() as door:
        task_id = (await door.submit())["id"]
        await door.http.post(f"/api/v1/tasks/{task_id}/cancel")
        answer = await door.http.post(f"/api/v1/tasks/{task_id}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (409, "ALREADY_FINISHED")


async def test_agents_are_listed_with_what_they_hold() -> None:
    async with app_door() as door, door.agent(agent_id="a1", slots=3) as agent, door.agent(agent_id="a2", pool="q"):
        task_id = (await door.submit())["id"]
        await agent.take()
        agents = (await door.http.get("/api/v1/agents")).json()["agents"]
        assert [one["id"] for one in agents] == ["a1", "a2"]
        assert (agents[0]["current_tasks"], agents[0]["slots"], agents[0]["free_slots"]) == ([task_id], 3, 2)
        assert (agents[0]["status"], agents[0]["labels"]) == ("online", {"zone": "z1"})
        chosen = (await door.http.get("/api/v1/agents?pool=q&status=online")).json()["agents"]
        assert [one["id"] for one in chosen] == ["a2"]
        assert (await door.http.get("/api/v1/agents/a2")).json()["pool"] == "q"
