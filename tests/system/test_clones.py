"""Two agents with one identity, from a copied data directory: one of them is refused, and people hear of it."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.support.latch import lines_of
from tests.support.processes import Services
from tests.support.rest import Rest, SentEvent

TASKS = 60
AT_A_TIME = 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


async def alarm(rest: Rest, listening: asyncio.Event) -> SentEvent:
    """The first alarm of any kind."""
    async with rest.events() as events, aclosing(events):
        listening.set()
        async for event in events:
            if event.name == "alert.raised":
                return event
    raise AssertionError("the stream of events ended")


@pytest.mark.parametrize("at_work", [False, True], ids=["copied_at_rest", "copied_at_work"])
async def test_of_two_agents_with_one_identity_one_is_refused_and_nothing_runs_twice(
    services: Services, tmp_path: Path, at_work: bool
) -> None:
    server = await services.server()
    first = await services.agent(server, name="one", slots=AT_A_TIME)
    effects, listening = tmp_path / "effects", asyncio.Event()
    command = f"echo $NODELINK_TASK_ID >> {effects}; sleep 0.3"
    async with Rest(server) as rest:
        await rest.online("one")
        listener = asyncio.create_task(alarm(rest, listening))
        await listening.wait()
        if not at_work:
            first.terminate()
            await first.ended()
        task_ids = await rest.batch([{"type": "shell", "payload": {"command": command}}] * TASKS)
        if at_work:
            await lines_of(effects, AT_A_TIME)
        shutil.copytree(first.data_dir, first.data_dir.with_name("two"), ignore=_sockets)
        if not at_work:
            await services.agent(server, name="one", slots=AT_A_TIME)
        await services.agent(server, name="two", slots=AT_A_TIME)
        async with asyncio.timeout(60):
            told = await listener
        results = await rest.results(task_ids)

    assert told.data["alert"] == "agent_cloned"
    assert {result["status"] for result in results} <= {"completed", "lost"}
    started = effects.read_text().splitlines()
    assert len(started) == len(set(started))
    assert set(started) >= {result["task_id"] for result in results if result["status"] == "completed"}
    await services.said("server_refused_agent")


def _sockets(directory: str, names: list[str]) -> list[str]:
    """What of a directory cannot be copied, as no back-up copies it."""
    return [name for name in names if (Path(directory) / name).is_socket()]
