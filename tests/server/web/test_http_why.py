"""Why over HTTP: real situations, and whether the answer names their true cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nodelink.durations import parse_duration
from nodelink.task import Execution, Outcome
from tests.support.doubts import exclusive, put_in_doubt, started, until_told
from tests.support.http_door import Door, ManualAgent, app_door, http_door

ONLY_SHELL: Mapping[str, Execution] = {"shell": Execution.ONCE}
UNKNOWN_ID = "01900000-0000-7000-8000-00000000dead"
SCHEDULER_RUNS = {"condition": "scheduler", "holds": True, "message": ""}


async def why(door: Door, task_id: str) -> dict[str, Any]:
    """Why a task stands where it stands."""
    answer = await door.http.get(f"/api/v1/tasks/{task_id}/why")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def why_agent(door: Door, agent_id: str) -> dict[str, Any]:
    """Why an agent has the work that it has."""
    answer = await door.http.get(f"/api/v1/agents/{agent_id}/why")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def failing(shown: dict[str, Any]) -> list[tuple[str, str]]:
    """The conditions that do not hold, and what is said about them."""
    return [(one["condition"], one["message"]) for one in shown["conditions"] if not one["holds"]]


async def ended(door: Door, agent: ManualAgent) -> str:
    """The id of a task that has run to its end."""
    task_id = str((await door.submit())["id"])
    ref = await started(door, agent, task_id)
    agent.finish(ref, run_seconds=8.0)
    await until_told(door.manager, task_id, "task.completed")
    return task_id


# --- a task that waits for an agent -----------------------------------------------------------------------------------


async def test_where_nobody_was_ever_connected_the_pool_is_named() -> None:
    async with app_door() as door, door.agent():
        task_id = (await door.submit(pool="gpu"))["id"]
        told = await why(door, task_id)

    assert (told["task_id"], told["status"], told["reason"]) == (task_id, "pending", "agent")
    assert told["summary"] == "no agent of pool 'gpu' was ever connected"
    assert told["conditions"] == [SCHEDULER_RUNS]
    [agent] = told["agents"]
    assert (agent["agent_id"], agent["name"], agent["fits"]) == ("a1", "agent a1", False)
    assert failing(agent) == [("pool", "is of pool 'default'")]
    assert (told["agents_total"], told["ruled_out"]) == (1, {"pool": 1})
    assert (told["ahead"], told["starts_in"]) == (0, None)
    assert told["remedies"] == ["an agent of pool 'gpu' that handles 'echo'"]


async def test_without_any_agent_none_is_shown() -> None:
    async with app_door() as door:
        told = await why(door, (await door.submit())["id"])

    assert told["summary"] == "no agent of pool 'default' was ever connected"
    assert (told["agents"], told["agents_total"], told["ruled_out"]) == ([], 0, {})
    assert told["remedies"] == ["an agent of pool 'default' that handles 'echo'"]


async def test_an_agent_without_the_type_is_ruled_out_by_it() -> None:
    async with app_door() as door, door.agent(handlers=ONLY_SHELL):
        told = await why(door, (await door.submit())["id"])

    assert told["summary"] == "no agent of pool 'default' handles 'echo'"
    assert failing(told["agents"][0]) == [("type", "handles no 'echo'")]
    assert told["ruled_out"] == {"type": 1}
    assert told["remedies"] == ["an agent of pool 'default' that handles 'echo'"]


async def test_an_agent_that_has_gone_is_waited_for() -> None:
    async with app_door() as door:
        async with door.agent():
            pass
        told = await why(door, (await door.submit())["id"])

    assert told["summary"] == "no agent that could run it is connected"
    assert failing(told["agents"][0]) == [("connected", "is not connected")]
    assert told["remedies"] == ["the return of an agent that could run it"]


async def test_while_all_slots_are_taken_it_is_told_how_many_go_before() -> None:
    async with app_door() as door, door.agent(slots=1) as agent:
        await started(door, agent, (await door.submit())["id"])
        first, second = (await door.submit())["id"], (await door.submit())["id"]
        urgent = (await door.submit(priority="HIGH"))["id"]
        told = [await why(door, task_id) for task_id in (urgent, first, second)]

    assert [one["ahead"] for one in told] == [0, 1, 2]
    assert told[0]["summary"] == "waits for a free slot"
    assert told[2]["summary"] == "waits for a free slot, behind 2 other(s)"
    assert failing(told[0]["agents"][0]) == [("slots", "its 1 slot(s) are taken")]
    assert told[0]["starts_in"] is None  # no such task has run yet
    assert told[0]["remedies"] == ["a slot that becomes free, more slots, or another agent of its pool"]


async def test_once_such_tasks_have_run_it_is_told_about_how_long_the_wait_is() -> None:
    async with app_door() as door, door.agent(slots=1) as agent:
        await ended(door, agent)
        await started(door, agent, (await door.submit())["id"])
        first, second = (await door.submit())["id"], (await door.submit())["id"]
        waits = [parse_duration((await why(door, task_id))["starts_in"]) for task_id in (first, second)]

    assert 0 < waits[0] < waits[1]


async def test_a_cordoned_agent_is_named_with_what_lets_it_work_again() -> None:
    async with app_door() as door, door.agent():
        door.manager.agents.cordon("a1", "5 starts failed within 60s")
        told = await why(door, (await door.submit())["id"])

    assert told["summary"] == "every agent that could run it is cordoned"
    assert failing(told["agents"][0]) == [("cordon", "is cordoned: 5 starts failed within 60s")]
    assert told["remedies"] == ["nodelink agents undrain a1"]


async def test_a_draining_agent_takes_no_more() -> None:
    async with app_door() as door, door.agent() as agent:
        agent.session.heartbeat(1, load=0.0, draining=True, running=())
        told = await why(door, (await door.submit())["id"])

    assert told["summary"] == "every agent that could run it is draining"
    assert failing(told["agents"][0]) == [("drain", "is draining")]


async def test_of_several_agents_the_closest_comes_first_and_gives_the_cause() -> None:
    async with (
        app_door() as door,
        door.agent(agent_id="far", pool="other"),
        door.agent(agent_id="near", slots=1) as near,
    ):
        await started(door, near, (await door.submit())["id"])
        told = await why(door, (await door.submit())["id"])

    assert [(one["agent_id"], one["conditions"][-1]["condition"]) for one in told["agents"]] == [
        ("near", "slots"),
        ("far", "pool"),
    ]
    assert told["ruled_out"] == {"pool": 1, "slots": 1}
    assert told["summary"] == "waits for a free slot"


# --- a task that waits for something else -----------------------------------------------------------------------------


async def test_a_lock_is_named_with_the_task_that_holds_it() -> None:
    async with app_door() as door, door.agent() as agent:
        holder = (await door.submit(lock="deploy"))["id"]
        await started(door, agent, holder)
        told = await why(door, (await door.submit(lock="deploy"))["id"])

    assert told["summary"] == f"waits: lock 'deploy' is held by task {holder}"
    assert failing(told) == [("lock", f"lock 'deploy' is held by task {holder}")]
    assert told["agents"][0]["fits"] is True
    assert told["remedies"] == ["the end of the task that holds lock 'deploy'"]


async def test_a_task_of_the_future_is_not_due() -> None:
    async with app_door() as door, door.agent():
        told = await why(door, (await door.submit(delay="1h"))["id"])

    [(condition, message)] = failing(told)
    assert (told["status"], condition) == ("scheduled", "time")
    assert told["summary"] == message
    assert message.startswith("is due in 3")
    assert (told["agents"], told["ahead"], told["remedies"]) == ([], None, [])


async def test_a_task_between_two_tries_says_how_the_last_one_failed() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit(retry={"initial": "1h", "max": "1h"}))["id"]
        ref = await started(door, agent, task_id)
        agent.finish(ref, outcome=Outcome.FAILED, exit_code=3)
        await until_told(door.manager, task_id, "task.retrying")
        told = await why(door, task_id)

    assert (told["status"], told["reason"]) == ("scheduled", "retry")
    assert told["summary"].startswith("waits for its next try: ")
    assert [one["condition"] for one in told["conditions"]] == ["time"]


# --- a task that waits for nothing ------------------------------------------------------------------------------------


async def test_a_running_task_is_told_with_its_agent_and_whether_that_is_there() -> None:
    async with app_door() as door:
        async with door.agent() as agent:
            task_id = (await door.submit())["id"]
            await started(door, agent, task_id)
            runs = await why(door, task_id)
        away = await why(door, task_id)

    assert (runs["status"], runs["summary"]) == ("in_progress", "runs on agent a1, attempt 1, which is connected")
    assert away["summary"] == "runs on agent a1, attempt 1, which is out of contact"
    assert (runs["conditions"], runs["agents"], runs["ahead"], runs["remedies"]) == ([], [], None, [])


async def test_a_task_that_has_ended_is_told_with_its_end() -> None:
    async with app_door() as door, door.agent() as agent:
        completed = await why(door, await ended(door, agent))
        cancelled_id = (await door.submit(delay="1h"))["id"]
        await door.http.post(f"/api/v1/tasks/{cancelled_id}/cancel", json={"reason": "not needed"})
        cancelled = await why(door, cancelled_id)

    assert completed["summary"] == "has ended: completed"
    assert cancelled["summary"] == "has ended: cancelled (cancelled_by_caller): not needed"
    assert (completed["conditions"], completed["remedies"]) == ([], [])


async def test_a_task_in_doubt_says_who_can_end_the_doubt() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit(**exclusive()))["id"]
        await put_in_doubt(door, agent, task_id)
        told = await why(door, task_id)

    assert told["summary"].startswith("is in doubt on agent a1, attempt 1: ")
    assert f"nodelink tasks resolve {task_id}" in told["remedies"][0]


NEEDS = [
    ({"agent_id": UNKNOWN_ID}, "agent", "is not the agent that was asked for"),
    ({"labels": "disk=nvme"}, "labels", "its labels do not match disk=nvme"),
    ({"slots": 5}, "size", "has 4 slot(s), and 5 are needed"),
    ({"resources": {"gpu": 2}}, "resources", "has not so much gpu"),
    ({"resources": {"gpu": 1}}, "resources_free", "has not so much gpu left"),
    ({}, "type_limit", "runs as many 'echo' as it may"),
]


@pytest.mark.parametrize("needs, condition, message", NEEDS)
async def test_an_agent_that_has_not_what_a_task_needs_says_what_it_lacks(
    needs: dict[str, Any], condition: str, message: str
) -> None:
    limits = {"echo": 1} if condition == "type_limit" else {}
    async with app_door() as door, door.agent(resources={"gpu": 1_000}, type_limits=limits) as agent:
        await started(door, agent, (await door.submit(resources={"gpu": 1}))["id"])
        told = await why(door, (await door.submit(**needs))["id"])

    assert failing(told["agents"][0]) == [(condition, message)]
    assert told["ruled_out"] == {condition: 1}


async def test_a_limit_that_is_reached_is_named() -> None:
    async with app_door() as door, door.agent():
        await door.http.put("/api/v1/limits/key:press", json={"most": 0})
        told = await why(door, (await door.submit(limits={"press": 2}))["id"])

    assert told["reason"] == "limit"
    assert [condition for condition, _ in failing(told)] == ["limit"]
    assert told["remedies"] == ["the end of a task that has a place, or a higher limit"]


# --- an agent ---------------------------------------------------------------------------------------------------------


async def test_an_agent_for_which_nothing_waits_says_what_it_could_run() -> None:
    async with app_door() as door, door.agent():
        told = await why_agent(door, "a1")

    assert (told["agent_id"], told["waiting"]) == ("a1", 0)
    assert told["summary"] == "nothing waits that it could run (pool 'default', types echo, shell)"
    assert failing(told) == []
    assert told["conditions"][0] == SCHEDULER_RUNS


async def test_a_full_agent_says_how_much_waits_for_it() -> None:
    async with app_door() as door, door.agent(slots=1) as agent:
        await started(door, agent, (await door.submit())["id"])
        await door.submit()
        await door.submit()
        told = await why_agent(door, "a1")

    assert told["summary"] == "is given nothing: its 1 slot(s) are taken"
    assert (failing(told), told["waiting"]) == ([("slots", "its 1 slot(s) are taken")], 2)


async def test_an_agent_that_is_cordoned_or_away_is_given_nothing() -> None:
    async with app_door() as door:
        async with door.agent():
            door.manager.agents.cordon("a1", "its disk is full")
            cordoned = await why_agent(door, "a1")
        away = await why_agent(door, "a1")

    assert cordoned["summary"] == "is given nothing: is cordoned: its disk is full"
    assert away["summary"] == "is given nothing: is not connected"
    assert failing(away) == [("connected", "is not connected")]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"tasks/{UNKNOWN_ID}/why", "agents/nobody/why"])
async def test_what_is_not_known_is_not_found(path: str) -> None:
    async with app_door() as door:
        answer = await door.http.get(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", [f"tasks/{UNKNOWN_ID}/why", "agents/nobody/why"])
async def test_why_takes_no_parameters_and_is_only_read(path: str) -> None:
    async with http_door() as door:
        wrong = await door.http.get(f"/api/v1/{path}?verbose=true")
        posted = await door.http.post(f"/api/v1/{path}")

    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "verbose")
    assert posted.status_code == 405
