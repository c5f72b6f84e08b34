"""Processes that stand still for longer than silence is borne, and go on: nothing runs twice, and everything ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.effects import Effects
from tests.support.latch import Latch, lines_of
from tests.support.processes import Agent, Server, Services, asked_until, is_alive
from tests.support.rest import Json, Rest

HEARTBEAT = ("--heartbeat", "500ms")
PAUSE_SECONDS = 4.0  # silent for three heartbeats, an agent is unreachable
QUICK = ("--heartbeat", "500ms", "--lease", "10s", "--outage-grace", "0s", "--silence-brake", "0s")
LONG_TICKS = 600  # a minute: it does not end before it is killed
CLASSES = ("replayable", "once", "exclusive")
COMMAND = (
    "echo start $NODELINK_TASK_ID >> {effects}; echo begun; read go < {latch}; "
    "echo end $NODELINK_TASK_ID >> {effects}; echo done"
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@asynccontextmanager
async def paused(pid: int) -> AsyncIterator[None]:
    """A process that stands still for so long, and for as long as this lasts if that is longer."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        await asyncio.sleep(PAUSE_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


def pid_of_server(server: Server, _agent: Agent) -> int:
    """The server's process."""
    return server.pid


def pid_of_agent(_server: Server, agent: Agent) -> int:
    """The agent's process."""
    return agent.pid


def pid_of_spawner(_server: Server, agent: Agent) -> int:
    """The process of the agent's commands."""
    return agent.spawner


@pytest.mark.parametrize("who", [pid_of_server, pid_of_agent, pid_of_spawner])
async def test_a_pause_of_any_process_makes_nothing_run_twice_and_everything_ends(
    services: Services, latch: Latch, tmp_path: Path, who: Callable[[Server, Agent], int]
) -> None:
    """Of each class some end while it stands still, and some when it goes on."""
    effects = tmp_path / "effects"
    command = COMMAND.format(effects=effects, latch=latch.path)
    server = await services.server(*HEARTBEAT)
    agent = await services.agent(server, slots=2 * len(CLASSES))
    async with Rest(server) as rest:
        await rest.online()
        task_ids = [await rest.shell(command, execution=execution) for execution in 2 * CLASSES]
        await lines_of(effects, len(task_ids))
        async with paused(who(server, agent)):
            latch.release(len(CLASSES))
            await lines_of(effects, len(task_ids) + len(CLASSES))
        latch.release(len(CLASSES))
        results = await rest.results(task_ids)
        outputs = [await rest.logs(task_id) for task_id in task_ids]
        more = await rest.result(await rest.shell("echo more"))

    assert [(result["status"], result["attempt"]) for result in results] == [("completed", 1)] * len(task_ids)
    assert outputs == [b"begun\ndone\n"] * len(task_ids)
    expected = Counter(f"{what} {task_id}" for what in ("start", "end") for task_id in task_ids)
    assert Counter(effects.read_text().splitlines()) == expected
    assert more["status"] == "completed"


async def test_what_is_handed_to_an_agent_that_stands_still_runs_once(services: Services, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    server = await services.server(*HEARTBEAT)
    agent = await services.agent(server, slots=2 * len(CLASSES))
    async with Rest(server) as rest:
        await rest.online()
        async with paused(agent.pid):
            task_ids = [
                await rest.shell(f"echo $NODELINK_TASK_ID >> {effects}", execution=execution)
                for execution in 2 * CLASSES
            ]
        results = await rest.results(task_ids)

    assert {result["status"] for result in results} == {"completed"}
    assert Counter(effects.read_text().splitlines()) == Counter(task_ids)


@pytest.mark.parametrize("words", [[], ["sh", "-c", "trap '' TERM; exec \"$@\"", "sh"]], ids=["obeys", "ignores_TERM"])
async def test_a_command_whose_agent_stands_still_is_gone_before_its_task_runs_again(
    services: Services, tmp_path: Path, words: list[str]
) -> None:
    """The agent cannot keep the lease, so its spawner has to."""
    effects = Effects(tmp_path / "effects")
    effects.prepare()
    server = await services.server(*QUICK)
    first = await services.agent(server, name="first", slots=1)
    async with Rest(server) as rest:
        await rest.online("first")
        command = [*words, *effects.command("job", ticks=LONG_TICKS, code=0)]
        task_id = await rest.shell(command, execution="replayable")
        await rest.printed(task_id, "line 0")
        await services.agent(server, name="second", slots=1)
        await rest.online("second")
        first.freeze()
        await attempt_of(rest, task_id, 2)
        await asked_until(lambda: two_starts(effects), "run again")
        alive = is_alive(effects.read()[0].pid)
        before, after = effects.read()
        first.thaw()
        await rest.cancel(task_id, grace="0s")
        result = await rest.result(task_id)
        await rest.online("first")
    starts = effects.read()

    assert not alive
    assert before.code is None
    assert before.last_at < after.began_at
    assert (result["status"], result["attempt"]) == ("cancelled", 2)
    assert [start.ref.attempt for start in starts] == [1, 2]


async def two_starts(effects: Effects) -> bool | None:
    """Whether it has begun twice."""
    return len(effects.read()) == 2 or None


async def attempt_of(rest: Rest, task_id: str, number: int) -> Json:
    """A task, as soon as its attempt of this number runs."""

    async def look() -> Json | None:
        task = await rest.get(f"/tasks/{task_id}")
        return task if task["attempt"] == number and task["status"] == "in_progress" else None

    return await asked_until(look, f"attempt {number}")
