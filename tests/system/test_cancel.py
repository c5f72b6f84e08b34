"""Cancel, whenever it comes: nothing is called cancelled that still lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.latch import Latch, lines_of
from tests.support.processes import House, is_alive
from tests.support.rest import Rest

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def rest(house: House) -> AsyncIterator[Rest]:
    async with Rest(house.server) as rest:
        yield rest


async def test_a_task_that_waits_is_cancelled_at_once(rest: Rest) -> None:
    waiting = await rest.submit("echo", pool="elsewhere")
    delayed = await rest.submit("echo", delay="1h")
    answers = [await rest.cancel(task_id, 200, reason="not needed") for task_id in (waiting, delayed)]
    results = await rest.results([waiting, delayed])

    assert {(task["status"], task["reason"]) for task in answers} == {("cancelled", "cancelled_by_caller")}
    assert {(result["status"], result["attempt"]) for result in results} == {("cancelled", 0)}


async def test_a_running_command_is_asked_first_and_its_last_words_are_kept(rest: Rest, latch: Latch) -> None:
    task_id = await rest.shell(f"trap 'echo bye; exit 5' TERM; echo up; while :; do read go < {latch.path}; done")
    await rest.printed(task_id, "up")
    first = await rest.cancel(task_id, reason="no more")
    result = await rest.result(task_id)

    assert first["status"] == "cancelling"
    assert (result["status"], result["exit_code"]) == ("cancelled", 5)
    assert await rest.logs(task_id) == b"up\nbye\n"


async def test_asking_twice_changes_nothing_and_asking_too_late_is_a_conflict(rest: Rest, latch: Latch) -> None:
    task_id = await rest.shell(f"trap 'read go < {latch.path}; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    await rest.printed(task_id, "up")
    answers = await asyncio.gather(*(rest.cancel(task_id, grace="20s") for _ in range(3)))
    latch.release(1)
    result = await rest.result(task_id)
    late = await rest.cancel(task_id, 409)

    assert {task["status"] for task in answers} == {"cancelling"}
    assert len({task["revision"] for task in answers}) == 1
    assert result["status"] == "cancelled"
    assert late["code"] == "ALREADY_FINISHED"


async def test_an_unknown_task_cannot_be_cancelled(rest: Rest) -> None:
    assert (await rest.cancel("01890000-0000-7000-8000-000000000000", 404))["code"] == "NOT_FOUND"


async def test_nothing_of_a_cancelled_tree_is_left_and_its_neighbour_goes_on(
    rest: Rest, latch: Latch, tmp_path: Path
) -> None:
    pids, neighbours = tmp_path / "pids", tmp_path / "neighbours"
    program = tmp_path / "stubborn"
    program.write_text(f"#!/bin/sh\ntrap '' TERM HUP\necho $$ >> {pids}\nread go < {latch.path}\n")
    program.chmod(0o755)
    neighbour = await rest.shell(f"echo $$ >> {neighbours}; read go < {latch.path}")
    # Four that ignore the signal: a child, one of its own session, one without a parent in it, and the leader.
    task_id = await rest.shell(f"{program} & setsid {program} & (setsid {program} &) ; exec {program}")
    tree = [int(pid) for pid in await lines_of(pids, 4)]
    beside = [int(pid) for pid in await lines_of(neighbours, 1)]
    assert all(map(is_alive, tree))
    await rest.cancel(task_id, grace="300ms")
    result = await rest.result(task_id)

    assert result["status"] == "cancelled"
    assert not any(map(is_alive, tree))
    assert all(map(is_alive, beside))
    latch.release(1)
    assert (await rest.result(neighbour))["status"] == "completed"
