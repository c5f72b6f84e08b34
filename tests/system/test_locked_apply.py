"""An exclusive task whose end nobody sees: it is unknown and keeps its lock until its agent or a person tells."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.command_line import nodelink
from tests.support.latch import Latch, lines_of
from tests.support.processes import Agent, Server, Services, asked_until, gone, is_alive
from tests.support.rest import Json, Rest

LOCK = "the plant"
COMMAND = "echo start $$ $NODELINK_TASK_ID >> {effects}; read go < {latch}; echo end $$ $NODELINK_TASK_ID >> {effects}"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Plant:
    """What the tasks of one test change: a file, in which each says that it begins and that it ends."""

    def __init__(self, directory: Path, latch: Latch) -> None:
        self._effects = directory / "effects"
        self._command = COMMAND.format(effects=self._effects, latch=latch.path)

    async def apply(self, rest: Rest) -> str:
        """Submit a change that may be made by one at a time."""
        return await rest.shell(self._command, execution="exclusive", lock=LOCK)

    async def begun(self, count: int) -> int:
        """The process of the latest change, as soon as so many have begun."""
        lines = [line for line in await lines_of(self._effects, count) if line.startswith("start")]
        return int(lines[-1].split()[1])

    def history(self) -> list[tuple[str, str]]:
        """What was done, in its order: the word, and whose it is."""
        words = [line.split() for line in self._effects.read_text().splitlines()]
        return [(what, task_id) for what, _, task_id in words]


@pytest.fixture
def plant(tmp_path: Path, latch: Latch) -> Plant:
    """What is changed by the tasks of this test."""
    return Plant(tmp_path, latch)


async def crash(agent: Agent, *commands: int) -> None:
    """The end of the agent, of its spawner and of these commands, as near to one moment as it can be."""
    await agent.kill()
    agent.kill_spawner()
    for command in commands:
        os.killpg(command, signal.SIGKILL)
    await gone(agent.spawner, *commands)


async def having(rest: Rest, task_id: str, status: str, reason: str | None = None) -> Json:
    """A task, as soon as it stands so."""

    async def look() -> Json | None:
        task = await rest.get(f"/tasks/{task_id}")
        return task if task["status"] == status and reason in (None, task["reason"]) else None

    return await asked_until(look, f"task {status} {reason or ''}")


async def resolve(server: Server, cwd: Path, task_id: str, resolution: str) -> int:
    """What a person says, as people say it."""
    words = ("--as", resolution, "--reason", "I have looked", "--yes", "--server", server.grpc)
    return (await nodelink("tasks", "resolve", task_id, *words, cwd=cwd)).code


@pytest.mark.parametrize(
    "resolution, status", [("completed", "completed"), ("failed", "failed"), ("rerun", "completed")]
)
async def test_what_died_unseen_holds_its_lock_until_a_person_says_what_became_of_it(
    services: Services, latch: Latch, plant: Plant, tmp_path: Path, resolution: str, status: str
) -> None:
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        first = await plant.apply(rest)
        command = await plant.begun(1)
        second = await plant.apply(rest)
        await having(rest, second, "pending", "lock")
        await crash(agent, command)
        await services.agent(server)
        await having(rest, first, "unknown", "agent_lost")
        await rest.result(await rest.submit("echo"))  # the agent takes work, and so would the second have begun
        kept_out = await rest.get(f"/tasks/{second}")
        begun = plant.history()
        code = await resolve(server, tmp_path, first, resolution)
        latch.release(2)
        results = await rest.results([first, second])
        told = await rest.get(f"/tasks/{first}")

    runs = [first, second] if resolution == "rerun" else [second]
    assert code == 0
    assert (kept_out["status"], kept_out["reason"], begun) == ("pending", "lock", [("start", first)])
    assert [result["status"] for result in results] == [status, "completed"]
    assert [remark["kind"] for remark in told["remarks"]] == [
        "unknown",
        "rerun" if resolution == "rerun" else "resolved",
    ]
    assert plant.history()[1:] == [(what, task_id) for task_id in runs for what in ("start", "end")]


@pytest.mark.parametrize("agent_too", [True, False], ids=["with_the_agent", "the_spawner_alone"])
async def test_an_exclusive_command_whose_spawner_died_is_left_to_end_by_itself(
    services: Services, latch: Latch, plant: Plant, tmp_path: Path, agent_too: bool
) -> None:
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        first = await plant.apply(rest)
        command = await plant.begun(1)
        second = await plant.apply(rest)
        if agent_too:
            await crash(agent)
        else:
            agent.kill_spawner()
            await agent.ended()
        await services.agent(server)
        await rest.online()
        await rest.result(await rest.shell("true"))  # the agent has looked at what is left, and works
        meanwhile = await rest.get(f"/tasks/{first}")
        lives_on = is_alive(command)
        latch.release(1)
        await gone(command)
        await having(rest, first, "unknown", "agent_lost")
        kept_out = await rest.get(f"/tasks/{second}")
        assert await resolve(server, tmp_path, first, "completed") == 0
        latch.release(1)
        result = await rest.result(second)

    assert lives_on
    assert meanwhile["status"] in {"in_progress", "unknown"}
    assert (kept_out["status"], kept_out["reason"]) == ("pending", "lock")
    assert result["status"] == "completed"
    assert plant.history() == [(what, task_id) for task_id in (first, second) for what in ("start", "end")]


async def test_a_silent_agents_task_is_unknown_and_in_progress_again_when_it_is_heard_of(
    services: Services, latch: Latch, plant: Plant
) -> None:
    quick = ("--heartbeat", "500ms", "--start-lease", "2s", "--unknown-after", "3s")
    server = await services.server(*quick, "--outage-grace", "0s", "--silence-brake", "0s")
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        first = await plant.apply(rest)
        await plant.begun(1)
        second = await plant.apply(rest)
        agent.freeze()
        await having(rest, first, "unknown", "agent_lost")
        kept_out = await rest.get(f"/tasks/{second}")
        agent.thaw()
        await having(rest, first, "in_progress")
        latch.release(2)
        results = await rest.results([first, second])
        told = await rest.get(f"/tasks/{first}")

    assert kept_out["status"] == "pending"
    assert [(result["status"], result["attempt"]) for result in results] == [("completed", 1)] * 2
    assert [remark["kind"] for remark in told["remarks"]] == ["unknown", "recovered"]
    assert plant.history() == [(what, task_id) for task_id in (first, second) for what in ("start", "end")]
