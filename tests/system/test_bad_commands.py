"""Commands that misbehave, through the whole path: what callers are told, and that nothing of it harms anybody."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.latch import Latch, lines_of
from tests.support.processes import House, gone, memory_of
from tests.support.rest import Rest

MIB = 1 << 20
GIB = 1 << 30
KEPT_BYTES = 64 * MIB
GAP = re.compile(rb"\n\[(\d+) bytes are missing here\]\n")

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def rest(house: House) -> AsyncIterator[Rest]:
    async with Rest(house.server) as rest:
        yield rest


@pytest.mark.parametrize(
    "command, code, reason",
    [
        (["no-such-program"], 127, "start_error"),
        (["/etc/passwd"], 126, "start_error"),
        (["/"], 126, "start_error"),
        ("no-such-program", 127, "exit_code"),
        ("exit 255", 255, "exit_code"),
    ],
)
async def test_a_command_that_cannot_be_run_has_the_code_that_a_shell_would_give(
    rest: Rest, command: str | list[str], code: int, reason: str
) -> None:
    result = await rest.result(await rest.shell(command))

    assert (result["status"], result["exit_code"], result["reason"]) == ("failed", code, reason)
    assert result["error"]["category"] == "exit_code"


async def test_a_directory_that_does_not_exist_is_said(rest: Rest) -> None:
    result = await rest.result(await rest.shell("pwd", cwd="/no/such/directory"))

    assert (result["status"], result["reason"]) == ("failed", "start_error")
    assert "/no/such/directory" in result["error"]["message"]


@pytest.mark.parametrize("name, number", [("KILL", 9), ("SEGV", 11), ("TERM", 15)])
async def test_a_command_that_is_killed_has_its_signal(rest: Rest, name: str, number: int) -> None:
    result = await rest.result(await rest.shell(f"kill -{name} $$"))

    assert (result["status"], result["reason"]) == ("failed", "signal")
    assert (result["exit_code"], result["signal"]) == (128 + number, number)
    assert result["error"]["category"] == "signal"


async def test_output_without_a_newline_is_there(rest: Rest) -> None:
    assert await rest.logs(await rest.shell("printf end")) == b"end"


async def test_bytes_that_are_no_text_come_back_as_they_were(rest: Rest) -> None:
    task_id = await rest.shell(r"printf '\377\376\000\200ok\303'")
    assert (await rest.result(task_id))["status"] == "completed"

    assert await rest.logs(task_id) == b"\xff\xfe\x00\x80ok\xc3"


async def test_a_command_that_closes_its_output_lives_on(rest: Rest, latch: Latch, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    task_id = await rest.shell(f"echo said; exec >&- 2>&-; echo closed >> {marks}; read go < {latch.path}; exit 9")
    await lines_of(marks, 1)
    await rest.heard(task_id, "task.started")
    assert (await rest.get(f"/tasks/{task_id}"))["status"] == "in_progress"
    latch.release(1)

    result = await rest.result(task_id)
    assert (result["exit_code"], await rest.logs(task_id)) == (9, b"said\n")


async def test_children_that_hold_the_pipe_do_not_hold_up_the_result(rest: Rest, latch: Latch, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    task_id = await rest.shell(f"(echo below; sh -c 'echo $$ >> {pids}; read go < {latch.path}') & wait $!; :")
    await lines_of(pids, 1)
    background = await rest.shell(f"sh -c 'echo $$ >> {pids}; echo left; read go < {latch.path}' & echo leader")
    result = await rest.result(background)
    left = [int(pid) for pid in await lines_of(pids, 2)][1]
    await gone(left)
    await rest.heard(task_id, "task.started")

    assert (result["status"], result["exit_code"]) == ("completed", 0)
    assert sorted((await rest.logs(background)).splitlines()) == [b"leader", b"left"]
    assert (await rest.get(f"/tasks/{task_id}"))["status"] == "in_progress"
    latch.release(1)
    assert (await rest.result(task_id))["status"] == "completed"


async def test_a_command_that_ignores_the_signal_is_killed_after_its_grace(rest: Rest) -> None:
    task_id = await rest.shell("trap '' TERM; echo up; while :; do sleep 60; done")
    await rest.printed(task_id, "up")
    await rest.cancel(task_id, grace="200ms", reason="enough")
    result = await rest.get(f"/tasks/{task_id}/result", wait="5s")

    assert (result["status"], result["reason"]) == ("cancelled", "cancelled_by_caller")
    assert result["signal"] == 9


async def test_a_command_that_runs_too_long_is_stopped(rest: Rest) -> None:
    result = await rest.result(await rest.shell("echo up; exec sleep 600", timeout="200ms"))

    assert (result["status"], result["reason"]) == ("timeout", "run_timeout")
    assert result["error"]["category"] == "timeout"


async def test_a_gigabyte_of_output_is_kept_at_both_ends_in_bounded_memory(house: House, rest: Rest) -> None:
    task_id = await rest.shell(f"echo first; head -c {GIB} /dev/zero; echo; echo last")
    result = await rest.result(task_id)
    text = await _whole_log(rest, task_id)
    head, gap, tail = GAP.split(text)

    assert (result["status"], result["exit_code"]) == ("completed", 0)
    assert len(head) + int(gap) + len(tail) == len(b"first\n") + GIB + len(b"\nlast\n")
    assert (head[:6], tail[-6:]) == (b"first\n", b"\nlast\n")
    assert KEPT_BYTES // 2 <= len(head) + len(tail) <= KEPT_BYTES + 8 * MIB
    assert house.server.memory("VmHWM") < 400 * MIB
    assert house.agent.memory("VmHWM") < 200 * MIB
    assert memory_of(house.agent.spawner, "VmHWM") < 64 * MIB


async def _whole_log(rest: Rest, task_id: str) -> bytes:
    """Read page by page until the log says that it is complete."""
    pages, offset, complete = [], "0", "false"
    while complete == "false":
        page = await rest.http.get(f"/api/v1/tasks/{task_id}/logs", params={"offset": offset})
        pages.append(page.content)
        offset, complete = page.headers["x-next-offset"], page.headers["x-log-complete"]
    return b"".join(pages)
