"""SIGTERM of the server while commands run: it stops soon, and what they bring comes after the restart."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.latch import Latch
from tests.support.processes import Services
from tests.support.rest import Rest

STOP_SECONDS = 8.0

pytestmark = pytest.mark.slow


async def test_a_server_stops_at_once_though_commands_run_and_their_results_come_later(
    services: Services, latch: Latch
) -> None:
    server = await services.server()
    await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        task_ids = [await rest.shell(f"echo begun; read go < {latch.path}; echo ended") for _ in range(3)]
        await asyncio.gather(*(rest.printed(task_id, "begun") for task_id in task_ids))
        polling = asyncio.create_task(rest.http.get(f"/api/v1/tasks/{task_ids[0]}/result", params={"wait": "20s"}))
        following = asyncio.create_task(rest.logs(task_ids[0]))
        server.terminate()
        code = await server.ended(STOP_SECONDS)
        async with asyncio.timeout(STOP_SECONDS):
            polled, followed = await asyncio.gather(polling, following)

    assert (code, polled.status_code, followed) == (0, 409, b"begun\n")
    assert not (server.data_dir / "addresses.json").exists()
    latch.release(3)
    async with Rest(await services.server(again=server)) as rest:
        results = await rest.results(task_ids)
        logs = await asyncio.gather(*map(rest.logs, task_ids))
    assert {(result["status"], result["attempt"]) for result in results} == {("completed", 1)}
    assert set(logs) == {b"begun\nended\n"}


async def test_two_signals_stop_both_services_without_waiting(services: Services, latch: Latch) -> None:
    server = await services.server()
    agent = await services.agent(server, "--on-stop", "stop")
    async with Rest(server) as rest:
        await rest.online()
        task_id = await rest.shell(f"echo begun; read go < {latch.path}")
        await rest.printed(task_id, "begun")
    agent.terminate()
    await services.said("agent_drains")
    agent.terminate()
    assert await agent.ended(STOP_SECONDS) == 0
    server.terminate()
    assert await server.ended(STOP_SECONDS) == 0
