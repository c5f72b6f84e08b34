"""Processes that a measurement starts: each in a group of its own, ended when it is over, also on Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from benchmarks.measurement import CannotMeasure

STOP_SECONDS = 15.0
START_SECONDS = 30.0
POLL_SECONDS = 0.02
LAST_WORDS = 300


@asynccontextmanager
async def running(
    command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with what it prints in a file. At the end it is asked to stop, and its whole group is killed."""
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            start_new_session=True,  # Ctrl-C in a terminal reaches us alone, and we end it
        )
    try:
        yield process
    finally:
        await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ask it to stop, and kill what is left of its group."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def listening(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until somebody listens on a port of loopback. CannotMeasure if the process ends before."""
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await _answers(port):
                if process.returncode is not None:
                    raise CannotMeasure(f"it ended at once: {last_words(log)}")
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise CannotMeasure(f"it did not listen within {START_SECONDS:.0f} s: {last_words(log)}") from None


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def free_port() -> int:
    """A port of loopback that nobody has just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def last_words(log: Path) -> str:
    """The end of what a process has printed, in one line."""
    return " ".join(log.read_text(errors="replace")[-LAST_WORDS:].split())
