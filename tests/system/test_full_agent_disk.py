"""An agent whose disk is full: what ended is told all the same, nothing new begins, and room makes all well again."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.support.latch import Latch, lines_of
from tests.support.processes import Services, asked_until
from tests.support.rest import Json, Rest

SIZE = "6m"
RESERVE = ("--result-reserve", "1")
AGENT = "agent"
CODE = 3
RUNNING = 48  # the ends of so many do not fit into what is left of a file's last block
MANY = 99  # nor do the starts of so many
CLASSES = ("once", "replayable", "exclusive")
COMMAND = (
    "echo start $NODELINK_TASK_ID >> {effects}; read go < {latch}; echo end $NODELINK_TASK_ID >> {effects}; exit {code}"
)
LATE = "echo late $NODELINK_TASK_ID >> {effects}"
HEARTBEAT = ("--heartbeat", "500ms")

pytestmark = [pytest.mark.slow, pytest.mark.tmpfs, pytest.mark.timeout(400)]


@pytest.fixture
async def small_disk(services: Services, tmp_path: Path) -> AsyncIterator[Path]:
    """The agent's directory, which takes no more than a few mebibytes."""
    directory = tmp_path / "services" / AGENT
    directory.mkdir(parents=True)
    await _run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(directory))
    yield directory
    await _run("umount", "--lazy", str(directory))


async def test_results_are_told_from_a_full_disk_and_new_work_waits_until_there_is_room(
    services: Services, small_disk: Path, latch: Latch, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    command = COMMAND.format(effects=effects, latch=latch.path, code=CODE)
    server = await services.server(*HEARTBEAT)
    await services.agent(server, *RESERVE, name=AGENT, slots=RUNNING)
    async with Rest(server) as rest:
        await rest.online(AGENT)
        running = await rest.batch([{"type": "shell", "payload": {"command": command}}] * RUNNING)
        await lines_of(effects, len(running))
        ballast = small_disk / "ballast"
        _fill(ballast)
        latch.release(len(running))
        results = await rest.results(running)
        await services.said("disk_full_reserve_used")

        late = [await rest.shell(LATE.format(effects=effects)) for _ in range(2)]
        await beats(rest, 3)
        waiting = [await rest.get(f"/tasks/{task_id}") for task_id in late]
        has_begun = "late" in effects.read_text()

        ballast.unlink()
        afterwards = await rest.results(late)

    assert {(result["status"], result["exit_code"], result["attempt"]) for result in results} == {("failed", CODE, 1)}
    assert [task["status"] for task in waiting] == ["pending"] * len(late)
    assert not has_begun
    assert [(result["status"], result["attempt"]) for result in afterwards] == [("completed", 1)] * len(late)
    expected = [f"{what} {task_id}" for what in ("start", "end") for task_id in running]
    assert Counter(effects.read_text().splitlines()) == Counter([*expected, *(f"late {task_id}" for task_id in late)])


async def test_what_a_full_disk_cannot_take_waits_and_is_done_once_when_there_is_room(
    services: Services, small_disk: Path, tmp_path: Path
) -> None:
    """The agent does not know yet that its disk is full: it finds out while it is given work. A command of which its
    spawner could not write down that it begins has failed to start, and is tried again.
    """
    effects = tmp_path / "effects"
    command = LATE.format(effects=effects)
    server = await services.server(*HEARTBEAT)
    await services.agent(server, *RESERVE, name=AGENT, slots=MANY)
    async with Rest(server) as rest:
        await rest.online(AGENT)
        ballast = small_disk / "ballast"
        _fill(ballast)
        again = {"max_attempts": 5, "initial": "100ms"}
        wanted = [
            {"type": "shell", "payload": {"command": command}, "execution": name, "retry": again} for name in CLASSES
        ]
        task_ids = await rest.batch(wanted * (MANY // len(CLASSES)))
        await services.said("journal_not_written")
        await beats(rest, 3)
        meanwhile = await asked_until(partial(_settled, rest, task_ids), "every task done, or waiting again")
        begun = effects.read_text().splitlines() if effects.exists() else []
        ballast.unlink()
        results = await rest.results(task_ids)

    assert meanwhile["pending"] > 0
    assert len(begun) == meanwhile["completed"]
    assert {result["status"] for result in results} == {"completed"}
    assert Counter(effects.read_text().splitlines()) == Counter(f"late {task_id}" for task_id in task_ids)


async def test_an_agent_killed_on_a_full_disk_tells_its_results_when_it_is_started_where_there_is_room(
    services: Services, small_disk: Path, latch: Latch, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    command = "echo begun; " + COMMAND.format(effects=effects, latch=latch.path, code=CODE)
    server = await services.server(*HEARTBEAT)
    agent = await services.agent(server, *RESERVE, name=AGENT)
    async with Rest(server) as rest:
        await rest.online(AGENT)
        task_id = await rest.shell(command)
        await rest.printed(task_id, "begun")
        ballast = small_disk / "ballast"
        _fill(ballast)
        await agent.kill()
        latch.release(1)
        await lines_of(effects, 2)
        ballast.unlink()
        await services.agent(server, *RESERVE, name=AGENT)
        result = await rest.result(task_id)
        logs = await rest.logs(task_id)

    assert (result["status"], result["exit_code"], result["attempt"]) == ("failed", CODE, 1)
    assert logs == b"begun\n"
    assert effects.read_text().splitlines() == [f"start {task_id}", f"end {task_id}"]


async def beats(rest: Rest, count: int) -> None:
    """Wait until the agent has been heard of so many times more."""
    seen: set[str] = set()

    async def look() -> Json | None:
        [agent] = (await rest.get("/agents"))["agents"]
        seen.add(agent["last_heartbeat_at"])
        return agent if len(seen) > count else None

    await asked_until(look, f"{count} heartbeats")


def _fill(path: Path) -> None:
    """Leave no room on a disk."""
    path.write_bytes(bytes(shutil.disk_usage(path.parent).free))


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    async with asyncio.timeout(60):
        assert await process.wait() == 0


async def _settled(rest: Rest, task_ids: Sequence[str]) -> Counter[str] | None:
    """How many tasks have which status, once each is over or waits."""
    statuses = Counter([(await rest.get(f"/tasks/{task_id}"))["status"] for task_id in task_ids])
    return statuses if set(statuses) <= {"pending", "scheduled", "completed"} else None
