"""A service as a child process: started, watched, and stopped within a bound."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import IO

from nodelink.cli.output import say

STOP_SECONDS = 20.0
"""From the request to stop to the kill."""


class ChildEnded(Exception):
    """A service has ended although nobody asked it to."""

    def __init__(self, name: str, code: int) -> None:
        how = f"with code {code}" if code >= 0 else f"by signal {-code}"
        super().__init__(f"the {name} ended {how}")
        self.code = code


class Child:
    """A running service."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    async def ended(self) -> ChildEnded:
        """Wait for its end."""
        return ChildEnded(self.name, await self._process.wait())

    async def stop(self) -> None:
        """Ask it to stop, and kill it if it does not."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            say(f"the {self.name} did not stop within {STOP_SECONDS:.0f}s and is killed")
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def child(
    name: str, command: Sequence[str], *, environment: Mapping[str, str], log: IO[bytes] | None
) -> AsyncIterator[Child]:
    """A service for as long as the context lasts. Its output goes to `log`; None: to our own."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT if log else None,
        env=environment,
        start_new_session=True,  # a Ctrl-C is for us alone: we stop our children in order
    )
    running = Child(name, process)
    try:
        yield running
    finally:
        await running.stop()
