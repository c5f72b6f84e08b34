"""The `nodelink` command as people run it: a process of its own, with what it wrote and how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a command left: its exit code, and what it wrote."""

    code: int
    out: bytes
    err: str


class Running:
    """A command that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._err = b""

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.signal(signal.SIGINT)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop_reading(self) -> None:
        """Close our end of its standard output."""
        transport = self._process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.close()

    async def says(self, words: str) -> str:
        """Read standard error up to a line with these words. Returns that line."""
        assert self._process.stderr is not None
        async with asyncio.timeout(WAIT_SECONDS):
            while line := await self._process.stderr.readline():
                self._err += line
                if words in line.decode():
                    return line.decode()
        raise AssertionError(f"{words!r} was not said: {self._err.decode()}")

    async def prints(self, words: str) -> str:
        """Read standard output up to a line with these words. Returns that line; it is not told again at the end."""
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            while line := await self._process.stdout.readline():
                if words in line.decode():
                    return line.decode()
        raise AssertionError(f"{words!r} was not printed")

    async def end(self) -> Said:
        """Wait for its end."""
        async with asyncio.timeout(WAIT_SECONDS):
            out, err = await self._process.communicate()
        assert self._process.returncode is not None
        return Said(self._process.returncode, out, (self._err + err).decode())


@asynccontextmanager
async def running(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> AsyncIterator[Running]:
    """`nodelink` with these arguments, killed at the end if it still runs."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NODELINK_", "PYTEST_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nodelink.cli",
        *arguments,
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), **(env or {})},
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if process.stdin is not None:
        process.stdin.write(stdin or b"")
        process.stdin.close()
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def nodelink(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> Said:
    """Run `nodelink` to its end."""
    async with running(*arguments, cwd=cwd, env=env, stdin=stdin) as command:
        return await command.end()
