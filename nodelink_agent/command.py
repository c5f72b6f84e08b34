"""One command as the agent sees it: what to start, that it runs, how it ended, and what may go wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodelink.errors import NodelinkError
from nodelink.task import LogStream
from nodelink_agent.spool import HEAD_BYTES, TAIL_BYTES, Extent

OnOutput = Callable[[LogStream, Extent], None]


class SpawnerLost(NodelinkError):
    """The process that holds this agent's commands has died. What they do now is not known."""


class StartFailed(NodelinkError):
    """The command could not be started. `exit_code` is what a shell would give: 126, 127, or None."""

    def __init__(self, message: str, exit_code: int | None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """What to start. `directory` exists and takes the output; `cwd` is absolute; `env` is all of the environment."""

    id: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    directory: Path
    stdin: bytes = b""
    head_bytes: int = HEAD_BYTES
    tail_bytes: int = TAIL_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnd:
    """How a command ended. Killed by a signal n: exit code 128 + n. None: its leader is still alive.

    `signalled_alive`: a stop was asked for while something of its tree was alive. `tree_gone`: nothing of it is left.
    `leftovers`: how many processes outlived the leader and were killed. `max_rss_bytes` is the leader's, and never less
    than the spawner's own few megabytes, because the system counts what a process was before it became its program.
    """

    exit_code: int | None
    signal: int | None
    cpu_seconds: float
    max_rss_bytes: int
    signalled_alive: bool
    tree_gone: bool
    leftovers: int


class Command:
    """A command that was started. Its end arrives even if nobody waits for it."""

    def __init__(self, command_id: str, send: Callable[[Mapping[str, object]], None], on_output: OnOutput) -> None:
        self.id = command_id
        self._send = send
        self._on_output = on_output
        self._ended: asyncio.Future[CommandEnd] = asyncio.get_running_loop().create_future()

    def stop(self, grace_seconds: float) -> None:
        """Signal the whole tree, and kill it after the grace. A second stop can only shorten the grace."""
        if not self._ended.done():
            self._send({"do": "stop", "id": self.id, "grace": grace_seconds})

    async def wait(self) -> CommandEnd:
        """How it ended. SpawnerLost if that can no longer be known. All its output has been reported by then."""
        return await asyncio.shield(self._ended)

    def printed(self, output: Mapping[str, Sequence[int]]) -> None:
        """The spawner tells how far the streams have come."""
        for stream, extent in output.items():
            self._on_output(LogStream(stream), Extent(*extent))

    def ended(self, end: CommandEnd) -> None:
        """The spawner tells how it ended."""
        self._ended.set_result(end)

    def lost(self) -> None:
        """The spawner has died."""
        fail(self._ended, SpawnerLost())


def fail(future: asyncio.Future[Any], error: NodelinkError) -> None:
    """Set an error that nobody has to look at: whoever waited may have been cancelled."""
    future.set_exception(error)
    future.exception()
