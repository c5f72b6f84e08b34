"""Doubt over HTTP: locks, the exclusive class, what is shown of a task in doubt, and what people decide about it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from nodelink.task import Gone
from tests.support.doubts import NOBODY_SAW, exclusive, put_in_doubt, started, until_told
from tests.support.http_door import Door, app_door, http_door

TASKS = "/api/v1/tasks"
UNKNOWN_ID = "01900000-0000-7000-8000-00000000dead"


async def asked(door: Door, task_id: str, verb: str, **body: Any) -> httpx.Response:
    """The answer to a decision."""
    return await door.http.post(f"{TASKS}/{task_id}/{verb}", json=body)


def refused(answer: httpx.Response) -> tuple[int, str, list[str]]:
    """With what, and for which fields."""
    problem = answer.json()
    return answer.status_code, problem["code"], [wrong["field"] for wrong in problem["errors"]]


# --- locks ------------------------------------------------------------------------------------------------------------


async def test_of_two_tasks_with_one_lock_the_second_waits_and_says_why() -> None:
    async with app_door() as door, door.agent() as agent:
        first = await door.submit(lock="deploy")
        ref = (await agent.take()).ref
        second = await door.submit(lock="deploy")
        free = await door.submit(lock="another")

        assert (await agent.take()).ref.task_id == free["id"]
        shown = await door.get(second["id"])
        assert (shown["status"], shown["reason"], shown["lock"]) == ("pending", "lock", "deploy")
        agent.finish(ref)
        assert (await agent.take()).ref.task_id == second["id"]
        assert (await door.get(first["id"]))["lock"] == "deploy"


async def test_an_exclusive_task_has_a_lock_of_its_own_unless_it_names_one() -> None:
    async with app_door() as door:
        own, named = await door.submit(**exclusive()), await door.submit(**exclusive(lock="deploy"))
        plain = await door.submit()

        assert (own["execution"], own["lock"]) == ("exclusive", f"task:{own['id']}")
        assert (named["execution"], named["lock"]) == ("exclusive", "deploy")
        assert (plain["execution"], plain["lock"]) == ("replayable", None)


async def test_a_command_takes_a_lock_and_any_class() -> None:
    async with app_door() as door:
        body = {"command": "true", "lock": "deploy", "execution": "exclusive"}
        answer = await door.http.post(f"{TASKS}/shell", json=body)
        assert (answer.status_code, answer.json()["lock"], answer.json()["execution"]) == (201, "deploy", "exclusive")


async def test_the_same_key_with_another_lock_is_another_request() -> None:
    async with app_door() as door:
        answers = [
            await door.http.post(TASKS, json={"type": "echo", "lock": lock}, headers={"Idempotency-Key": "k"})
            for lock in ("one", "one", "two")
        ]
        assert [answer.status_code for answer in answers] == [201, 201, 409]


# --- what is shown ----------------------------------------------------------------------------------------------------


async def test_a_task_that_waits_shows_no_contact_and_no_doubt() -> None:
    async with app_door() as door:
        shown = await door.submit()
        assert (shown["contact"], shown["last_contact"], shown["lease_until"]) == (None, None, None)
        assert (shown["may_have_run"], shown["late_results"], shown["remarks"]) == (False, [], [])


@pytest.mark.parametrize("execution", ["replayable", "once", "exclusive"])
async def test_a_task_with_an_agent_shows_the_contact_and_the_lease(execution: str) -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit(execution=execution))["id"]
        await started(door, agent, task_id)
        shown = await door.get(task_id)
        [listed] = (await door.http.get(TASKS)).json()["tasks"]

        assert (shown["contact"], shown["may_have_run"]) == ("connected", True)
        assert shown["lease_until"] > shown["started_at"]
        assert shown["last_contact"].endswith("Z")
        assert (listed["contact"], listed["may_have_run"]) == ("connected", True)


async def test_a_task_that_is_with_an_agent_at_once_shows_it_in_the_answer() -> None:
    async with app_door() as door, door.agent() as agent:
        await started(door, agent, (await door.submit())["id"])  # from here on the scheduler knows of the agent's room
        task = await door.submit()
        assert (task["status"], task["contact"], task["may_have_run"]) == ("sent", "connected", True)


async def test_a_task_whose_agent_has_gone_shows_that_the_contact_is_lost() -> None:
    async with app_door() as door:
        async with door.agent() as agent:
            task_id = (await door.submit())["id"]
            await started(door, agent, task_id)
        shown = await door.get(task_id)

        assert (shown["status"], shown["contact"], shown["may_have_run"]) == ("in_progress", "lost", True)
        assert shown["last_contact"] is not None


async def test_a_task_that_waits_again_may_have_run() -> None:
    async with app_door() as door, door.agent(slots=1) as agent:
        task_id = (await door.submit())["id"]
        ref = await started(door, agent, task_id)
        begun = (await door.get(task_id))["revision"]
        agent.say(ref, Gone(message=NOBODY_SAW))
        await until_told(door.manager, task_id, "task.pending", after=begun)
        shown = await door.get(task_id)

        [listed] = (await door.http.get(TASKS)).json()["tasks"]

        assert (shown["status"], shown["contact"], [attempt["state"] for attempt in shown["attempts"]]) == (
            "pending",
            None,
            ["lost"],
        )
        assert shown["may_have_run"] is listed["may_have_run"] is True


async def test_a_task_in_doubt_says_since_when_and_why() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit(**exclusive(lock="deploy")))["id"]
        await put_in_doubt(door, agent, task_id)
        shown = await door.get(task_id)

        assert (shown["status"], shown["reason"], shown["may_have_run"]) == ("unknown", "agent_lost", True)
        [remark] = shown["remarks"]
        assert (remark["kind"], remark["by"]) == ("unknown", None)
        assert remark["at"].endswith("Z")
        assert NOBODY_SAW in remark["message"]
        assert (await door.http.get(f"{TASKS}/{task_id}/result")).json()["code"] == "NOT_FINISHED"


async def test_the_result_of_a_task_of_which_agents_die_calls_it_poison() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        for _ in range(2):
            agent.say((await agent.take()).ref, Gone(message=NOBODY_SAW, agent_died=True))
        result = (await door.http.get(f"{TASKS}/{task_id}/result?wait=25s")).json()

        assert (result["status"], result["reason"], result["error"]["category"]) == ("failed", "poison", "poison")


# --- decisions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how, status", [("completed", "completed"), ("failed", "failed")])
async def test_a_person_says_how_a_task_in_doubt_ended(how: str, status: str) -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit(**exclusive(lock="deploy")))["id"]
        await put_in_doubt(door, agent, task_id)
        next_id = (await door.submit(**exclusive(lock="deploy")))["id"]
        answer = await asked(door, task_id, "resolve", **{"as": how}, reason="I looked")
        task = answer.json()

        assert (answer.status_code, task["status"], task["reason"]) == (200, status, "resolved")
        assert task["message"] == "I looked"
        last = task["remarks"][-1]
        assert (last["kind"], last["by"], last["message"]) == ("resolved", "local", "I looked")
        assert (await agent.take()).ref.task_id == next_id  # its lock is free
        assert (await door.http.get(f"{TASKS}/{task_id}/result")).json()["status"] == status


async def test_a_person_lets_a_task_in_doubt_run_again() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit(**exclusive()))["id"]
        await put_in_doubt(door, agent, task_id)
        answer = await asked(door, task_id, "resolve", **{"as": "rerun"}, reason="it was off")
        request = await agent.take()
        agent.finish(request.ref)
        await until_told(door.manager, task_id, "task.completed")
        shown = await door.get(task_id)

        assert (answer.status_code, answer.json()["may_have_run"]) == (200, True)
        assert (request.ref.task_id, request.ref.attempt) == (task_id, 2)
        assert [attempt["state"] for attempt in shown["attempts"]] == ["lost", "finished"]
        assert [remark["kind"] for remark in shown["remarks"]] == ["unknown", "rerun"]


async def test_what_an_agent_tells_too_late_is_kept_and_changes_nothing() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit(**exclusive()))["id"]
        ref = await put_in_doubt(door, agent, task_id)
        before = (await asked(door, task_id, "resolve", **{"as": "failed"}, reason="I looked")).json()
        agent.finish(ref, exit_code=0)
        behind = await started(door, agent, (await door.submit())["id"])
        agent.finish(behind)
        await until_told(door.manager, behind.task_id, "task.completed")
        after = await door.get(task_id)

        [told] = after["late_results"]
        assert (told["attempt"], told["agent_id"], told["outcome"], told["exit_code"]) == (1, "a1", "completed", 0)
        assert told["received_at"] >= before["finished_at"]
        assert {**after, "late_results": []} == before


async def test_a_running_task_is_given_up_and_its_agent_told_to_stop_it() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        ref = await started(door, agent, task_id)
        answer = await asked(door, task_id, "abandon", reason="the machine burnt")
        task = answer.json()

        assert (answer.status_code, task["status"], task["reason"]) == (200, "failed", "abandoned")
        assert (task["message"], task["may_have_run"]) == ("the machine burnt", True)
        [remark] = task["remarks"]
        assert (remark["kind"], remark["by"], remark["message"]) == ("abandoned", "local", "the machine burnt")
        assert (await agent.told_to_stop()).ref == ref


async def test_a_waiting_task_that_is_given_up_has_not_run() -> None:
    async with app_door() as door:
        task_id = (await door.submit(delay="1h"))["id"]
        task = (await asked(door, task_id, "abandon", reason="never mind")).json()

        assert (task["status"], task["reason"], task["may_have_run"]) == ("failed", "abandoned", False)


async def test_an_agent_that_is_not_cordoned_can_be_undrained_all_the_same() -> None:
    async with app_door() as door, door.agent():
        answer = await door.http.post("/api/v1/agents/a1/undrain")
        assert (answer.status_code, answer.json()["status"], answer.json()["cordon_reason"]) == (200, "online", None)


async def test_a_cordoned_agent_says_why_and_is_let_have_work_again() -> None:
    async with app_door() as door, door.agent() as agent:
        door.manager.agents.cordon("a1", "5 starts failed within 60s")
        [shown] = (await door.http.get("/api/v1/agents?status=cordoned")).json()["agents"]
        task_id = (await door.submit())["id"]
        waiting = await door.get(task_id)
        answer = await door.http.post("/api/v1/agents/a1/undrain", json={})

        assert (shown["id"], shown["cordon_reason"]) == ("a1", "5 starts failed within 60s")
        assert waiting["status"] == "pending"
        assert (answer.status_code, answer.json()["status"]) == (200, "online")
        assert (await agent.take()).ref.task_id == task_id


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb, body, status, code, fields",
    [
        ("abandon", {}, 422, "INVALID", ["reason"]),
        ("abandon", {"reason": ""}, 422, "INVALID", ["reason"]),
        ("abandon", {"reason": " \n"}, 422, "INVALID", ["reason"]),
        ("abandon", {"reason": "x" * 1_001}, 422, "INVALID", ["reason"]),
        ("abandon", {"reason": 7}, 422, "INVALID", ["reason"]),
        ("abandon", {"reason": "x", "by": "me"}, 422, "INVALID", ["by"]),
        ("resolve", {"as": "failed"}, 422, "INVALID", ["reason"]),
        ("resolve", {"as": "failed", "reason": ""}, 422, "INVALID", ["reason"]),
        ("resolve", {"as": "failed", "reason": "x" * 1_001}, 422, "INVALID", ["reason"]),
        ("resolve", {"reason": "x"}, 422, "INVALID", ["as"]),
        ("resolve", {"as": "lost", "reason": "x"}, 422, "INVALID", ["as"]),
        ("resolve", {"as": None, "reason": "x"}, 422, "INVALID", ["as"]),
        ("resolve", {"as": "failed", "reason": "x"}, 409, "CONFLICT", []),
    ],
)
async def test_a_wrong_decision_is_refused_by_name(
    verb: str, body: dict[str, Any], status: int, code: str, fields: list[str]
) -> None:
    async with app_door() as door:
        task_id = (await door.submit())["id"]
        assert refused(await asked(door, task_id, verb, **body)) == (status, code, fields)
        assert (await door.get(task_id))["status"] == "pending"


async def test_a_resolution_that_is_none_is_told_what_would_be_right() -> None:
    async with app_door() as door:
        problem = (await asked(door, UNKNOWN_ID, "resolve", **{"as": "lost"}, reason="x")).json()
        assert problem["detail"] == "as: must be one of 'completed', 'failed' or 'rerun'"


@pytest.mark.parametrize("verb, more", [("abandon", {}), ("resolve", {"as": "completed"})])
async def test_nothing_is_decided_about_what_has_ended_or_is_not_there(verb: str, more: dict[str, Any]) -> None:
    async with app_door() as door:
        task_id = (await door.submit())["id"]
        await door.http.post(f"{TASKS}/{task_id}/cancel")
        assert refused(await asked(door, task_id, verb, reason="x", **more)) == (409, "ALREADY_FINISHED", [])
        assert refused(await asked(door, UNKNOWN_ID, verb, reason="x", **more)) == (404, "NOT_FOUND", [])
        answer = await door.http.post(f"{TASKS}/{task_id}/{verb}?force=true", json={"reason": "x", **more})
        assert refused(answer) == (422, "INVALID", ["force"])
        assert (await door.http.post(f"{TASKS}/{task_id}/{verb}")).status_code == 422


async def test_an_undrain_has_nothing_to_say_and_needs_an_agent() -> None:
    async with app_door() as door, door.agent():
        assert refused(await door.http.post("/api/v1/agents/nobody/undrain")) == (404, "NOT_FOUND", [])
        wrong = await door.http.post("/api/v1/agents/a1/undrain", json={"why": "x"})
        assert refused(wrong) == (422, "INVALID", ["why"])
        assert (await door.http.get("/api/v1/agents/a1/undrain")).status_code == 405


async def test_the_doubts_of_a_task_are_told_as_events() -> None:
    async with http_door() as door, door.agent() as agent:
        task_id = (await door.submit(**exclusive()))["id"]
        await put_in_doubt(door, agent, task_id)
        await until_told(door.manager, task_id, "task.unknown")
        answer = await door.http.get("/api/v1/stats")
        assert answer.json()["now"]["live"] == {"unknown": 1}
