"""Processes that help to measure: one says a line when something has happened, and is told to go on with a line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.processes import stop

LINE_BYTES = 64 << 20
"""What a helper has found may be long."""
SECONDS = 600.0
"""The longest that anything here takes; who is silent for longer is stuck."""


class Helper:
    """A process that helps, as whoever started it sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def tell(self, word: str) -> None:
        """Say a line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def hear(self) -> Any:
        """The next thing that it says. It may not end before."""
        assert self._process.stdout is not None
        async with asyncio.timeout(SECONDS):
            line = await self._process.stdout.readline()
        assert line, f"a helper has ended with {await self._process.wait()}"
        return json.loads(line)


@asynccontextmanager
async def helping(module: str, asked: Mapping[str, object]) -> AsyncIterator[Helper]:
    """A process of a module, which is asked for something; it is ended with this."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, json.dumps(asked)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
        start_new_session=True,
    )
    try:
        yield Helper(process)
    finally:
        await stop(process)


class Master:
    """Whoever started a helper, as the helper sees it."""

    def __init__(self) -> None:
        self.asked: Any = json.loads(sys.argv[1])

    def say(self, what: object) -> None:
        """Tell it something."""
        sys.stdout.write(f"{json.dumps(what)}\n")
        sys.stdout.flush()

    async def told(self) -> str:
        """The next line that it says; empty: it has nothing more to say."""
        line: str = await asyncio.to_thread(sys.stdin.readline)
        return line.strip()
