"""The end of an agent together with the process that holds its commands; and SIGTERM to one that leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.latch import Latch, lines_of
from tests.support.processes import Services, gone, is_alive
from tests.support.rest import Rest

# A leader, a child, and one that has left its parents and its session.
TREE = (
    "echo $$ >> {pids}; sh -c 'echo $$ >> {pids}; read go < {latch}' & "
    "(setsid sh -c 'echo $$ >> {pids}; read go < {latch}' &) ; read go < {latch}"
)

pytestmark = pytest.mark.slow


async def test_what_a_killed_agent_and_spawner_left_is_killed_by_the_next_and_each_task_follows_its_class(
    services: Services, latch: Latch, tmp_path: Path
) -> None:
    pids, runs = tmp_path / "pids", tmp_path / "runs"
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        once = await rest.shell(TREE.format(pids=pids, latch=latch.path))
        again = await rest.shell(f"echo $NODELINK_ATTEMPT >> {runs}; read go < {latch.path}", execution="replayable")
        tree = [int(line) for line in await lines_of(pids, 3)]
        await lines_of(runs, 1)
        assert all(map(is_alive, tree))

        await agent.kill()
        agent.kill_spawner()
        await gone(agent.spawner)
        waiting = await rest.echo(3)
        await services.agent(server)
        await gone(*tree)
        lost = await rest.result(once)
        task = await rest.get(f"/tasks/{once}")
        assert await lines_of(runs, 2) == ["1", "2"]
        latch.release(1)
        replayed = await rest.result(again)
        echoes = await rest.results(waiting)

    assert (lost["status"], lost["reason"], lost["error"]["category"]) == ("lost", "agent_lost", "infrastructure")
    assert task["may_have_run"]
    assert (replayed["status"], replayed["attempt"]) == ("completed", 2)
    assert {result["status"] for result in echoes} == {"completed"}


async def test_the_death_of_the_spawner_ends_the_agent_and_its_commands(
    services: Services, latch: Latch, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        task_id = await rest.shell(TREE.format(pids=pids, latch=latch.path))
        tree = [int(line) for line in await lines_of(pids, 3)]
        agent.kill_spawner()
        code = await agent.ended()
        await gone(*tree)
        await services.agent(server)
        result = await rest.result(task_id)

    assert code == 70
    assert result["status"] in {"failed", "lost"}
    assert result["error"]["category"] == "infrastructure"


async def test_an_agent_told_to_stop_finishes_what_it_runs_and_takes_no_more(services: Services, latch: Latch) -> None:
    server = await services.server()
    agent = await services.agent(server, "--on-stop", "stop", slots=2)
    async with Rest(server) as rest:
        await rest.online()
        running = await rest.shell(f"echo begun; read go < {latch.path}; echo ended")
        await rest.printed(running, "begun")
        agent.terminate()
        await services.said("agent_drains")
        latch.release(1)
        result = await rest.result(running)
        code = await agent.ended()
        left = (await rest.get("/agents"))["agents"]
        late = await rest.submit("echo")
        waiting = await rest.get(f"/tasks/{late}")
        logs = await rest.logs(running)

    assert (code, result["status"], logs) == (0, "completed", b"begun\nended\n")
    assert [agent["status"] for agent in left] == ["offline"]
    assert waiting["status"] == "pending"
