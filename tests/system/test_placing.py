"""Tasks that say where they run: real agents with labels, slots and resources, and a server that bounds what runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Services
from tests.support.rest import Rest

pytestmark = pytest.mark.slow

RULES = """
max_running = 1

[priority_rules]
"label:team=blue" = "HIGH"
"type:echo" = 20
"""


async def ran_on(rest: Rest, **fields: Any) -> str:
    """The name of the agent that has run a task with these fields."""
    task_id = await rest.submit("echo", 1, **fields)
    assert (await rest.result(task_id))["status"] == "completed"
    task = await rest.get(f"/tasks/{task_id}")
    return str((await rest.get(f"/agents/{task['agent_id']}"))["name"])


async def test_each_task_finds_the_agent_that_it_wants(services: Services) -> None:
    server = await services.server()
    async with Rest(server) as rest:
        await services.agent(server, "--labels", "zone=north,disk=ssd", name="north", slots=1)
        await services.agent(server, "--labels", "zone=south,spot=yes", name="south", slots=3)
        north, south = await rest.online("north"), await rest.online("south")

        assert await ran_on(rest, agent_id=north["id"]) == "north"
        assert await ran_on(rest, agent_id=south["id"]) == "south"
        assert await ran_on(rest, labels="zone=north") == "north"
        assert await ran_on(rest, labels={"zone": "south"}) == "south"
        assert await ran_on(rest, labels="zone,!disk") == "south"
        assert await ran_on(rest, labels="spot!=yes") == "north"
        assert await ran_on(rest, slots=3) == "south"
        assert await ran_on(rest, labels="zone=south", resources={"cpu": "1m", "memory": "1MiB"}) == "south"

        nowhere = await rest.submit("echo", 1, labels="zone=west")
        whole = await rest.submit("echo", 1, slots=4)
        much = await rest.submit("echo", 1, resources={"memory": "1T"})
        why = await rest.get(f"/tasks/{nowhere}/why")
        standing = [(await rest.get(f"/tasks/{task_id}"))["status"] for task_id in (nowhere, whole, much)]

    assert standing == ["pending"] * 3
    assert why["ruled_out"] == {"labels": 2}


async def test_the_rules_of_the_server_hold(services: Services, tmp_path: Path) -> None:
    file = tmp_path / "nodelink.toml"
    file.write_text(RULES)
    server = await services.server("--config", str(file))
    async with Rest(server) as rest:
        await services.agent(server, slots=5)
        await rest.online()
        running = await rest.shell("echo begun; sleep 60", metadata={"team": "blue"})
        await rest.printed(running, "begun")
        waiting = await rest.submit("echo", 1)
        asked = await rest.submit("echo", 1, priority=50, metadata={"team": "blue"})
        tasks = [await rest.get(f"/tasks/{task_id}") for task_id in (running, waiting, asked)]
        why = await rest.get(f"/tasks/{waiting}/why")
        await rest.cancel(running)
        results = await rest.results([waiting, asked])

    assert [task["priority"] for task in tasks] == [75, 20, 50]
    assert [task["status"] for task in tasks] == ["in_progress", "pending", "pending"]
    assert (why["reason"], [result["status"] for result in results]) == ("limit", ["completed"] * 2)
