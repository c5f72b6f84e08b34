"""An agent is to be empty: it gets nothing new, whoever starts again, and what it runs is stopped in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import nodelink
from tests.support.latch import lines_of
from tests.support.processes import WAIT_SECONDS, Server, Services, asked_until
from tests.support.rest import Json, Rest

pytestmark = pytest.mark.slow


async def test_a_drain_outlives_both_sides_and_ends_what_runs_there_when_its_time_is_up(
    services: Services, tmp_path: Path
) -> None:
    server, begun = await services.server(), tmp_path / "begun"
    agent = await services.agent(server)
    command = f"echo $NODELINK_ATTEMPT >> {begun}; exec sleep 1000"
    async with Rest(server) as rest:
        agent_id = (await rest.online())["id"]
        again = await rest.shell(command, execution="replayable")
        once = await rest.shell(command, execution="once")
        await lines_of(begun, 2)
        for task_id in (again, once):
            await rest.heard(task_id, "task.started")
        drained = await rest.post(f"/agents/{agent_id}/drain", {"note": "a new disk", "deadline": "1h"}, 200)
        waiting = await rest.shell("true")
        assert (drained["status"], set(drained["current_tasks"])) == ("draining", {again, once})

    await server.kill()
    await agent.kill()
    server = await services.server(again=server)
    await services.agent(server)
    async with Rest(server) as rest:
        shown = await _stands(rest, agent_id, "draining")
        assert (shown["drain_note"], set(shown["current_tasks"])) == ("a new disk", {again, once})
        why = await rest.get(f"/tasks/{waiting}/why")
        assert why["summary"] == "every agent that could run it is drained"

        await services.agent(server, name="other")
        other_id = (await rest.online("other"))["id"]
        assert (await rest.result(waiting))["status"] == "completed"
        assert (await rest.get(f"/tasks/{waiting}"))["agent_id"] == other_id
        assert (await rest.get(f"/tasks/{again}"))["status"] == "in_progress"

        await rest.post(f"/agents/{agent_id}/drain", {"deadline": "100ms"}, 200)
        ended = await rest.result(once)
        assert await lines_of(begun, 3) == ["1", "1", "2"]
        task = await rest.get(f"/tasks/{again}")
        assert (await _waited(server, tmp_path, "agent")).strip() == agent_id
        await rest.cancel(again)
        assert (await rest.result(again))["status"] == "cancelled"

    assert (ended["status"], ended["reason"]) == ("failed", "drained")
    first, second = task["attempts"]
    assert (first["state"], first["agent_id"], second["agent_id"]) == ("drained", agent_id, other_id)


async def test_an_empty_agent_stays_so_until_that_is_lifted(services: Services) -> None:
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        agent_id = (await rest.online())["id"]
        await rest.post(f"/agents/{agent_id}/drain", {"note": "a new disk"}, 200)
        waiting = await rest.submit("echo", 1)
    await agent.kill()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await _stands(rest, agent_id, "cordoned")
    await server.kill()
    server = await services.server(again=server)
    async with Rest(server) as rest:
        await _stands(rest, agent_id, "cordoned")
        assert (await rest.get(f"/tasks/{waiting}"))["status"] == "pending"
        await rest.post(f"/agents/{agent_id}/undrain", {}, 200)
        assert (await rest.result(waiting))["status"] == "completed"
        assert (await rest.online())["id"] == agent_id


async def _stands(rest: Rest, agent_id: str, status: str) -> Json:
    """An agent, as soon as it stands so."""

    async def shown() -> Json | None:
        agent = await rest.get(f"/agents/{agent_id}")
        return agent if agent["status"] == status else None

    return await asked_until(shown, f"the agent is {status}", WAIT_SECONDS, 0.1)


async def _waited(server: Server, directory: Path, name: str) -> str:
    """What `nodelink agents drain --wait` prints as soon as an agent is empty."""
    drain = ("agents", "drain", name, "--wait", "--timeout", f"{int(WAIT_SECONDS)}s", "-o", "id")
    said = await nodelink(*drain, cwd=directory, env={"NODELINK_SERVER": server.grpc})
    assert said.code == 0, said.err
    return said.out.decode()
