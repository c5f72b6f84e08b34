"""An agent that ends while its commands run, by kill -9 or SIGTERM: the next one takes them up, and each runs once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.support.latch import Latch, lines_of
from tests.support.processes import Agent, Services, asked_until, gone, is_alive
from tests.support.rest import Json, Rest

COMMAND = "echo start $$ >> {effects}; echo begun; read go < {latch}; echo done; echo end $$ >> {effects}; exit {code}"
CODE = 3
TIMEOUT = "4s"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


async def end_of(agent: Agent, *, killed: bool) -> None:
    """The end of an agent that leaves its commands behind."""
    if killed:
        await agent.kill()
        return
    agent.terminate()
    assert await agent.ended() == 0


def pid_in(line: str) -> int:
    """Whose line of effects it is."""
    return int(line.split()[1])


async def in_progress(rest: Rest, task_id: str) -> Json | None:
    """A task, if its agent is there and runs it."""
    task = await rest.get(f"/tasks/{task_id}")
    return task if task["status"] == "in_progress" and task["contact"] == "connected" else None


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "told_to_stop"])
async def test_a_command_outlives_its_agent_and_the_next_one_tells_all_that_it_did(
    services: Services, latch: Latch, tmp_path: Path, killed: bool
) -> None:
    effects = tmp_path / "effects"
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        task_id = await rest.shell(COMMAND.format(effects=effects, latch=latch.path, code=0))
        await rest.printed(task_id, "begun")
        await end_of(agent, killed=killed)
        [started] = await lines_of(effects, 1)
        lives_on = is_alive(pid_in(started))
        await services.agent(server)
        await rest.online()
        latch.release(1)
        result = await rest.result(task_id)
        logs = await rest.logs(task_id)

    assert lives_on
    assert (result["status"], result["exit_code"], result["attempt"]) == ("completed", 0, 1)
    assert logs == b"begun\ndone\n"
    assert effects.read_text().splitlines() == [started, started.replace("start", "end")]


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "told_to_stop"])
async def test_how_a_command_ended_while_there_was_no_agent_is_told_by_the_next_one(
    services: Services, latch: Latch, tmp_path: Path, killed: bool
) -> None:
    effects = tmp_path / "effects"
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        task_id = await rest.shell(COMMAND.format(effects=effects, latch=latch.path, code=CODE))
        await rest.printed(task_id, "begun")
        await end_of(agent, killed=killed)
        latch.release(1)
        started, ended = await lines_of(effects, 2)
        await gone(pid_in(started), agent.spawner)  # nothing is left of it but what is written down
        await services.agent(server)
        result = await rest.result(task_id)
        logs = await rest.logs(task_id)

    assert (result["status"], result["reason"], result["exit_code"]) == ("failed", "exit_code", CODE)
    assert (result["attempt"], logs) == (1, b"begun\ndone\n")
    assert effects.read_text().splitlines() == [started, ended]


async def test_each_agent_of_a_row_takes_up_what_all_before_it_have_left(
    services: Services, latch: Latch, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    command = COMMAND.format(effects=effects, latch=latch.path, code=0)
    server = await services.server()
    task_ids, spawners = [], []
    async with Rest(server) as rest:
        for number in range(3):
            agent = await services.agent(server, slots=3)
            spawners.append(agent.spawner)
            task_ids.append(await rest.shell(command))
            await lines_of(effects, number + 1)
            await agent.kill()
        alive = list(map(is_alive, spawners))
        await services.agent(server, slots=3)
        latch.release(3)
        results = await rest.results(task_ids)
        outputs = [await rest.logs(task_id) for task_id in task_ids]
    await gone(*spawners)  # nothing is left for them to hold

    assert alive == [True] * 3
    assert [(result["status"], result["attempt"]) for result in results] == [("completed", 1)] * 3
    assert outputs == [b"begun\ndone\n"] * 3
    words = [line.split() for line in effects.read_text().splitlines()]
    for what in ("start", "end"):
        pids = [pid for word, pid in words if word == what]
        assert len(pids) == len(set(pids)) == 3


async def test_a_cancel_given_while_there_is_no_agent_is_obeyed_by_the_next_one(
    services: Services, latch: Latch, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        task_id = await rest.shell(COMMAND.format(effects=effects, latch=latch.path, code=0))
        await rest.printed(task_id, "begun")
        await agent.kill()
        [started] = await lines_of(effects, 1)
        asked = await rest.cancel(task_id)
        lives_on = is_alive(pid_in(started))
        await services.agent(server)
        result = await rest.result(task_id)
    left = is_alive(pid_in(started))

    assert (asked["status"], lives_on, left) == ("cancelling", True, False)
    assert (result["status"], result["reason"], result["attempt"]) == ("cancelled", "cancelled_by_caller", 1)
    assert effects.read_text().splitlines() == [started]


async def test_a_run_timeout_is_kept_while_there_is_no_agent(services: Services, latch: Latch, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        command = COMMAND.format(effects=effects, latch=latch.path, code=0)
        task_id = await rest.shell(command, timeout=TIMEOUT)
        [started] = await lines_of(effects, 1)
        await agent.kill()
        lives_on = is_alive(pid_in(started))
        await gone(pid_in(started), agent.spawner)
        await services.agent(server)
        result = await rest.result(task_id)
        logs = await rest.logs(task_id)

    assert lives_on
    assert (result["status"], result["reason"], result["attempt"]) == ("timeout", "run_timeout", 1)
    assert logs == b"begun\n"
    assert effects.read_text().splitlines() == [started]


async def test_output_of_the_time_without_an_agent_is_neither_lost_nor_doubled(
    services: Services, latch: Latch, tmp_path: Path
) -> None:
    """More than the spawner could keep in memory or in a pipe, before, between and after."""
    effects = tmp_path / "effects"
    part = "i=0; while [ $i -lt 5000 ]; do echo {word} $i of a long story; i=$((i+1)); done; echo {word} >> {effects}; "
    wait = f"read go < {latch.path}; "
    words = ("before", "between", "after")
    command = wait.join(part.format(word=word, effects=effects) for word in words)
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        task_id = await rest.shell(command)
        await lines_of(effects, 1)
        await agent.kill()
        latch.release(1)
        await lines_of(effects, 2)
        await services.agent(server)
        await asked_until(partial(in_progress, rest, task_id), "taken up")
        latch.release(1)
        result = await rest.result(task_id)
        logs = await rest.logs(task_id)

    assert (result["status"], result["attempt"]) == ("completed", 1)
    assert logs.decode().splitlines() == [f"{word} {n} of a long story" for word in words for n in range(5000)]
