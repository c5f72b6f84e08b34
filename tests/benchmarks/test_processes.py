"""Processes of a measurement: waited for, told about when they fail, and ended with all that they started."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from benchmarks.measurement import CannotMeasure
from benchmarks.processes import free_port, last_words, listening, running

PARENT = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
signal.pause()
"""


async def test_what_a_process_has_started_ends_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running((sys.executable, "-c", PARENT), log=log) as process:
        while not (child := log.read_text().strip()):
            assert process.returncode is None
            await asyncio.sleep(0.01)

    assert process.returncode is not None
    async with asyncio.timeout(10):
        while _lives(int(child)):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)


async def test_a_listener_is_waited_for(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    code = "import signal, socket, sys\none = socket.create_server(('127.0.0.1', int(sys.argv[1])))\nsignal.pause()"
    async with running((sys.executable, "-c", code, str(port)), log=log) as process:
        await listening(port, process, log)

        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()


async def test_one_that_ends_instead_is_told_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "raise SystemExit('the port is\\n taken')"
    async with running((sys.executable, "-c", code), log=log) as process:
        with pytest.raises(CannotMeasure, match="it ended at once: the port is taken"):
            await listening(free_port(), process, log)


def test_last_words_are_the_end_in_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 1_000 + "\n  failed:\n no room\n")

    assert last_words(log).endswith("x failed: no room")
    assert len(last_words(log)) < 301


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z" and os.getpid() != pid
