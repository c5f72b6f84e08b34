"""Why on the command line: what people read first, what programs read, and what is not known."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
import yaml

from nodelink.cli.why import text_of_agent_why, text_of_task_why
from nodelink.cli.why_forms import agent_why_form, task_why_form
from nodelink.client import AgentConditions, AgentWhy, Condition, TaskWhy
from nodelink.task import TaskStatus
from nodelink_server.web.app import create_app
from tests.support.cli_shell import Shell
from tests.support.doubts import started
from tests.support.grpc_door import GrpcDoor, grpc_door

RUNS = Condition("scheduler", True)


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path) -> Shell:
    return Shell(tmp_path, str(door.address))


def a_wait(**more: Any) -> TaskWhy:
    """A task that waits, as the client has it."""
    fields: dict[str, Any] = {"task_id": "t1", "status": TaskStatus.PENDING, "reason": "agent", "summary": "it waits"}
    return TaskWhy(**{**fields, **more})


def shown(why: TaskWhy) -> str:
    """The answer as people read it."""
    return click.unstyle(text_of_task_why(task_why_form(why), "table"))


def test_people_read_the_summary_then_the_conditions_then_the_agents_then_the_remedies() -> None:
    fits = AgentConditions(agent_id="a1", name="build-1", fits=True, conditions=(Condition("pool", True),))
    full = (Condition("pool", True), Condition("slots", False, "its 2 slot(s) are taken"))
    agents = (fits, AgentConditions(agent_id="a2", name="build-22", fits=False, conditions=full))
    held = Condition("lock", False, "lock 'deploy' is held by task t0")
    why = a_wait(
        conditions=(RUNS, held),
        agents=agents,
        agents_total=2,
        ahead=3,
        starts_in=12.5,
        remedies=("one thing", "another"),
    )

    assert shown(why).splitlines() == [
        "summary     it waits",
        "task_id     t1",
        "status      pending (agent)",
        "conditions  scheduler holds",
        "            lock does not hold: lock 'deploy' is held by task t0",
        "ahead       3",
        "starts_in   about 12s",
        "",
        "AGENT     ID  FITS  FAILS  BECAUSE",
        "build-1   a1  yes",
        "build-22  a2  no    slots  its 2 slot(s) are taken",
        "",
        "remedies  one thing",
        "          another",
    ]


def test_what_there_is_nothing_to_say_about_is_left_out() -> None:
    why = a_wait(status=TaskStatus.COMPLETED, reason="", summary="has ended: completed")

    assert shown(why).splitlines() == ["summary  has ended: completed", "task_id  t1", "status   completed"]


def test_where_not_all_agents_are_shown_it_is_told_what_ruled_the_others_out() -> None:
    agent = AgentConditions(agent_id="a1", name="build-1", fits=False, conditions=(Condition("pool", False, "other"),))
    text = shown(a_wait(agents=(agent,), agents_total=500, ruled_out={"pool": 500}))

    assert text.splitlines()[-2:] == ["agents_total  500", 'ruled_out     {"pool": 500}']


def test_an_agent_is_told_with_each_of_its_conditions() -> None:
    why = AgentWhy(agent_id="a1", summary="is idle", conditions=(RUNS, Condition("drain", False, "is draining")))

    assert click.unstyle(text_of_agent_why(agent_why_form(why), "table")).splitlines() == [
        "summary     is idle",
        "agent_id    a1",
        "conditions  scheduler holds",
        "            drain does not hold: is draining",
        "waiting     0",
    ]


async def test_the_forms_for_programs_are_those_of_the_http_interface(door: GrpcDoor, shell: Shell) -> None:
    app = create_app(door.manager, version="1.2.3")
    async with (
        door.agent(slots=1) as agent,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as http,
    ):
        await started(door, agent, await door.submit())
        task_id = await door.submit()
        of_task = (await http.get(f"/api/v1/tasks/{task_id}/why")).json()
        of_agent = (await http.get("/api/v1/agents/a1/why")).json()
        as_json = await shell("tasks", "why", task_id, "-o", "json")
        as_yaml = await shell("tasks", "why", task_id, "-o", "yaml")
        as_line = await shell("agents", "why", "agent a1", "-o", "ndjson")

    assert json.loads(as_json.out) == yaml.safe_load(as_yaml.out) == of_task
    assert (json.loads(as_line.out), as_line.out.count(b"\n")) == (of_agent, 1)


async def test_people_are_told_and_ids_are_printed(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent():
        task_id = await door.submit(pool="gpu")
        card = (await shell("tasks", "why", task_id)).out.decode()
        ids = [(await shell(*words, "-o", "id")).out for words in (("tasks", "why", task_id), ("agents", "why", "a1"))]

    assert card.startswith("summary     no agent of pool 'gpu' was ever connected\n")
    assert card.endswith("remedies  an agent of pool 'gpu' that handles 'echo'\n")
    assert ids == [f"{task_id}\n".encode(), b"a1\n"]


@pytest.mark.parametrize("words", [("tasks", "why", "01900000-0000-7000-8000-00000000dead"), ("agents", "why", "x")])
async def test_what_is_not_known_is_not_found(shell: Shell, words: tuple[str, ...]) -> None:
    said = await shell(*words)

    assert (said.code, said.out) == (4, b"")
    assert said.err.startswith("error: ")
