"""A service as a child process: started, watched, and stopped within a bound."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import IO, Any, TypeVar

from nodelink.cli.background import background
from nodelink.cli.output import say

STOP_SECONDS = 20.0
"""From the request to stop to the kill."""

_Result = TypeVar("_Result")


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


async def while_alive(work: Coroutine[Any, Any, _Result], *children: Child) -> _Result:
    """The result of some work. Raises `ChildEnded` if a child dies meanwhile."""
    async with background(work) as working, background(_first_end(children)) as death:
        await asyncio.wait({working, death}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise await death
        return await working


async def _first_end(children: Sequence[Child]) -> ChildEnded:
    ends = [asyncio.ensure_future(one.ended()) for one in children]
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return await done.pop()
    finally:
        for end in ends:
            end.cancel()
