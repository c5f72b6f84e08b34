"""Running commands get other limits: they ask for them themselves, or somebody asks while their agent is away."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.latch import lines_of
from tests.support.processes import House, Services
from tests.support.rest import Rest

pytestmark = pytest.mark.slow

EXTEND = f'{sys.executable} -m nodelink.cli tasks extend "$NODELINK_TASK_ID"'


async def test_a_command_gives_itself_more_time(house: House) -> None:
    async with Rest(house.server) as rest:
        task_id = await rest.shell(f"{EXTEND} --timeout 1h -o id && sleep 9 && echo done", timeout="8s")
        result = await rest.result(task_id)
        output = await rest.logs(task_id)
        [remark] = (await rest.get(f"/tasks/{task_id}"))["remarks"]

    assert (result["status"], output) == ("completed", f"{task_id}\ndone\n".encode())
    assert (remark["kind"], remark["by"], remark["message"]) == ("extended", "local", "timeout 1h")


async def test_a_command_gives_itself_less_time(house: House) -> None:
    async with Rest(house.server) as rest:
        task_id = await rest.shell(f"{EXTEND} --timeout 100ms && exec sleep 1000", timeout="1h")
        result = await rest.result(task_id)

    assert (result["status"], result["reason"]) == ("timeout", "run_timeout")


async def test_the_time_in_all_is_another(house: House) -> None:
    async with Rest(house.server) as rest:
        task_id = await rest.shell("echo up; exec sleep 1000", total_timeout="1h")
        await rest.printed(task_id, "up")
        await rest.post(f"/tasks/{task_id}/extend", {"total_timeout": "100ms"}, 200)
        result = await rest.result(task_id)

    assert (result["status"], result["reason"]) == ("timeout", "total_timeout")


async def test_what_is_asked_for_while_the_agent_is_away_reaches_the_command(
    services: Services, tmp_path: Path
) -> None:
    server = await services.server()
    agent = await services.agent(server)
    pids = tmp_path / "pids"
    async with Rest(server) as rest:
        await rest.online()
        task_id = await rest.shell(f"echo $$ >> {pids}; exec sleep 1000", timeout="1h")
        await lines_of(pids, 1)
        await rest.heard(task_id, "task.started")
        await agent.kill()
        await rest.post(f"/tasks/{task_id}/extend", {"heartbeat_timeout": "1s"}, 200)
        await server.kill()
        server = await services.server(again=server)
    async with Rest(server) as rest:
        await services.agent(server)
        result = await rest.result(task_id)

    assert (result["status"], result["reason"]) == ("timeout", "heartbeat_timeout")
