"""`nodelink dev` and `scripts/run` as a newcomer uses them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import Said, nodelink
from tests.support.processes import ROOT, environment, gone

STOP_SECONDS = 15.0
START_SECONDS = 60.0

pytestmark = pytest.mark.slow


@asynccontextmanager
async def group_of(*command: str, cwd: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command and all that it starts, in a process group of their own, as a terminal makes it."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def ended(process: asyncio.subprocess.Process, seconds: float) -> Said:
    """What a command left, at its end."""
    async with asyncio.timeout(seconds):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Said(process.returncode, out, err.decode())


async def test_dev_serves_what_it_prints_and_ctrl_c_stops_all_of_it(tmp_path: Path) -> None:
    ports = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
    async with group_of(str(ROOT / ".venv/bin/nodelink"), "dev", *ports, cwd=tmp_path) as dev:
        ready = await _line(dev, "nodelink is ready")
        addresses = json.loads((tmp_path / ".nodelink" / "addresses.json").read_text())
        async with httpx.AsyncClient(base_url=addresses["http"]) as http:
            task = (await http.post("/api/v1/tasks/shell", json={"command": "exit 6"})).json()
            result = (await http.get(f"/api/v1/tasks/{task['id']}/result", params={"wait": "20s"})).json()
        ran = await nodelink("run", "--", "sh", "-c", "echo $0", "hello", cwd=tmp_path)
        left = await nodelink("run", "--detach", "--", "sleep", "600", cwd=tmp_path)
        beside = await _scripts_run("sh", "-c", "echo out; echo err >&2; exit 7")
        os.killpg(dev.pid, signal.SIGINT)
        said = await ended(dev, STOP_SECONDS)
        await gone(addresses["pid"])

    assert addresses["grpc"] in ready
    assert addresses["http"] in ready
    assert (result["exit_code"], ran.out, left.code) == (6, b"hello\n", 0)
    assert (beside.code, beside.out, beside.err) == (7, b"out\n", "err\n")
    assert said.code == 0
    assert not (tmp_path / ".nodelink" / "addresses.json").exists()


async def test_ctrl_c_while_scripts_run_runs_a_command_cancels_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"trap 'echo bye; exit 3' TERM; echo $$ > {pid_file}; echo up; while :; do sleep 0.05; done"
    async with group_of(str(ROOT / "scripts/run"), "--", "sh", "-c", script, cwd=tmp_path) as run:
        assert run.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            assert await run.stdout.readline() == b"up\n"
        os.killpg(run.pid, signal.SIGINT)
        said = await ended(run, STOP_SECONDS)
        await gone(int(pid_file.read_text()))

    assert (said.code, said.out) == (130, b"bye\n")


async def _scripts_run(*command: str) -> Said:
    async with group_of(str(ROOT / "scripts/run"), "--", *command, cwd=Path("/")) as run:
        return await ended(run, START_SECONDS)


async def _line(process: asyncio.subprocess.Process, words: str) -> str:
    """The first line with these words."""
    assert process.stderr is not None
    seen = ""
    async with asyncio.timeout(START_SECONDS):
        while line := (await process.stderr.readline()).decode():
            if words in line:
                return line
            seen += line
    raise AssertionError(f"{words!r} was not said: {seen}")
