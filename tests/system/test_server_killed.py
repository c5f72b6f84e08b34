"""kill -9 of the server, at any moment: whatever it has accepted is still there, and goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.support.latch import Latch, lines_of
from tests.support.processes import Services
from tests.support.rest import Rest

COMMANDS = 50
SUBMISSIONS = 400
SUBMITTERS = 8

pytestmark = pytest.mark.slow


async def test_fifty_running_commands_go_on_and_deliver_and_none_is_started_twice(
    services: Services, latch: Latch, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    command = (
        f"echo start $NODELINK_TASK_ID >> {effects}; echo begun; read go < {latch.path}; "
        f"echo end $NODELINK_TASK_ID >> {effects}; echo done"
    )
    server = await services.server()
    await services.agent(server, slots=COMMANDS)
    async with Rest(server) as rest:
        await rest.online()
        task_ids = await rest.batch([{"type": "shell", "payload": {"command": command}}] * COMMANDS)
        await lines_of(effects, COMMANDS)

    await server.kill()
    latch.release(COMMANDS // 2)
    await lines_of(effects, COMMANDS + COMMANDS // 2)  # these end while there is no server
    server = await services.server(again=server)
    latch.release(COMMANDS - COMMANDS // 2)

    async with Rest(server) as rest:
        results = await rest.results(task_ids)
        outputs = await asyncio.gather(*map(rest.logs, task_ids))
    assert {(result["status"], result["exit_code"], result["attempt"]) for result in results} == {("completed", 0, 1)}
    assert set(outputs) == {b"begun\ndone\n"}
    expected = Counter(f"{what} {task_id}" for what in ("start", "end") for task_id in task_ids)
    assert Counter(effects.read_text().splitlines()) == expected


async def test_what_was_acknowledged_between_kills_is_there_once_and_ends(services: Services) -> None:
    server = await services.server()
    await services.agent(server, slots=16)
    accepted: dict[str, str] = {}
    marks = {SUBMISSIONS // 4: asyncio.Event(), SUBMISSIONS // 2: asyncio.Event()}
    numbers = iter(range(SUBMISSIONS))

    async def submit_all() -> None:
        async with httpx.AsyncClient(base_url=server.http, timeout=10) as http:
            for number in numbers:
                key = f"key-{number}"
                accepted[key] = await _insist(http, key)
                if len(accepted) in marks:
                    marks[len(accepted)].set()

    async with asyncio.timeout(50), asyncio.TaskGroup() as submitters:
        for _ in range(SUBMITTERS):
            submitters.create_task(submit_all())
        for reached in marks.values():
            await reached.wait()
            await server.kill()  # the other submitters are in the midst of it
            server = await services.server(again=server)

    async with Rest(server) as rest:
        await rest.all_ended()
        listed = (await rest.get("/tasks", page_size=1000))["tasks"]
    assert len(set(accepted.values())) == SUBMISSIONS
    assert {task["id"] for task in listed} == set(accepted.values())
    assert {task["status"] for task in listed} == {"completed"}


async def test_a_cancel_while_the_agent_is_out_of_reach_is_told_to_it_when_it_is_back(
    services: Services, latch: Latch
) -> None:
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        task_id = await rest.shell(f"echo up; read go < {latch.path}")
        await rest.printed(task_id, "up")
        agent.freeze()
        await server.kill()
    server = await services.server(again=server)
    async with Rest(server) as rest:
        answer = await rest.cancel(task_id)
        agent.thaw()
        result = await rest.result(task_id)

    assert answer["status"] == "cancelling"
    assert (result["status"], result["reason"]) == ("cancelled", "cancelled_by_caller")


async def _insist(http: httpx.AsyncClient, key: str) -> str:
    """Submit under a key until it is acknowledged."""
    while True:
        try:
            answer = await http.post("/api/v1/tasks", json={"type": "echo"}, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            await asyncio.sleep(0.05)  # nobody listens: as any client would, come again
            continue
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])
