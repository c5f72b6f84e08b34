"""A command that gives no sign of life is stopped, also while its agent is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.latch import Latch, lines_of
from tests.support.processes import House, Services, gone
from tests.support.rest import Rest

pytestmark = pytest.mark.slow


async def test_a_command_that_prints_nothing_for_too_long_has_timed_out(house: House) -> None:
    async with Rest(house.server) as rest:
        task_id = await rest.shell("echo up; exec sleep 1000", heartbeat_timeout="1s", timeout="1h")
        result = await rest.result(task_id)
        task = await rest.get(f"/tasks/{task_id}")

    assert (result["status"], result["reason"]) == ("timeout", "heartbeat_timeout")
    assert result["error"]["category"] == "timeout"
    assert result["error"]["message"] == "the command was stopped: no sign of life came for 1 s"
    assert task["heartbeat_timeout"] == "1s"


async def test_silence_is_a_timeout_for_a_retry(house: House, tmp_path: Path) -> None:
    script = f"echo x >> {tmp_path}/tries; [ $(wc -l < {tmp_path}/tries) -ge 2 ] || exec sleep 1000"
    async with Rest(house.server) as rest:
        policy = {"max_attempts": 2, "initial": "0s", "on": ["timeout"]}
        task_id = await rest.shell(script, heartbeat_timeout="1s", retry=policy)
        result = await rest.result(task_id)
        first, _ = (await rest.get(f"/tasks/{task_id}"))["attempts"]

    assert (result["status"], result["attempt"]) == ("completed", 2)
    assert (first["state"], first["reason"]) == ("timeout", "heartbeat_timeout")


async def test_silence_ends_while_the_agent_is_away_and_its_next_process_tells(
    services: Services, latch: Latch, tmp_path: Path
) -> None:
    server = await services.server()
    agent = await services.agent(server)
    pids = tmp_path / "pids"
    async with Rest(server) as rest:
        await rest.online()
        script = f"echo $$ >> {pids}; while read go < {latch.path}; do echo alive; done"
        task_id = await rest.shell(script, heartbeat_timeout="3s")
        [pid] = await lines_of(pids, 1)
        latch.release(1)
        await rest.printed(task_id, "alive")
        await agent.kill()
        await gone(int(pid))
        await services.agent(server)
        result = await rest.result(task_id)

    assert (result["status"], result["reason"]) == ("timeout", "heartbeat_timeout")
    assert "no sign of life came for 3 s" in result["error"]["message"]
