"""One command as the agent sees it: what to start, that it runs, how it ended, and what may go wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from nodelink.errors import NodelinkError
from nodelink.task import LogStream
from nodelink.values import value
from nodelink_agent.spool import HEAD_BYTES, TAIL_BYTES, Extent

OnOutput = Callable[[LogStream, Extent], None]
Send = Callable[[Mapping[str, object]], None]


class SpawnerLost(NodelinkError):
    """The process that holds this agent's commands has died, or serves another. What they do now is not known."""


class StartFailed(NodelinkError):
    """The command could not be started. `exit_code` is what a shell would give: 126, 127, or None."""

    def __init__(self, message: str, exit_code: int | None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@value
class CommandSpec:
    """What to start. `directory` takes the output, and is made when there is some; it and `cwd` are absolute. `env` is
    all of the environment.

    The spawner stops it by itself when it has run for `timeout_seconds`, and when its lease is over; None: it has none.
    """

    id: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    directory: str
    stdin: bytes = b""
    head_bytes: int = HEAD_BYTES
    tail_bytes: int = TAIL_BYTES
    timeout_seconds: float | None = None
    lease_until: float | None = None
    """By boottime; `Commands.extend` moves it."""
    heartbeat_seconds: float | None = None
    """How long it may print nothing before the spawner stops it; None: for ever."""


@value
class CommandEnd:
    """How a command ended. Killed by a signal n: exit code 128 + n. None: its leader is still alive.

    `signalled_alive`: a stop was asked for while something of its tree was alive. `tree_gone`: nothing of it is left.
    `leftovers`: how many processes outlived the leader and were killed. `max_rss_bytes` is the leader's, and never less
    than the spawner's own few megabytes, because the system counts what a process was before it became its program.
    `stop_reason` is the first that was given, in time or not: `run_timeout`, `heartbeat_timeout`, `lease_expired`, or
    what a stop said. `silent_seconds`: how long it was allowed to print nothing, if it was stopped for that.
    `durable`: the spawner has it on its disk. If not, whoever hears of it is the only one to keep it.
    """

    exit_code: int | None
    signal: int | None
    cpu_seconds: float
    max_rss_bytes: int
    signalled_alive: bool
    tree_gone: bool
    leftovers: int
    stop_reason: str = ""
    durable: bool = True
    silent_seconds: float = 0.0


END_FIELDS = tuple(field.name for field in fields(CommandEnd))
"""All that an end tells."""


class Command:
    """A command that runs, or did. Its end arrives even if nobody waits for it."""

    def __init__(self, spawner_id: str, command_id: str, send: Send, on_output: OnOutput) -> None:
        self.id = command_id
        self.spawner_id = spawner_id
        self.output: Mapping[LogStream, Extent] = {}
        """How far its streams have come."""
        self._send = send
        self._on_output = on_output
        self._end: CommandEnd | None = None
        self._is_over = asyncio.Event()

    def stop(self, grace_seconds: float, reason: str = "") -> None:
        """Signal the whole tree, and kill it after the grace. A second stop can only shorten the grace.

        The end tells the first reason, whoever gave it and whoever hears it.
        """
        if not self._is_over.is_set():
            self._send({"do": "stop", "id": self.id, "grace": grace_seconds, "reason": reason})

    async def wait(self) -> CommandEnd:
        """How it ended. All its output has been reported by then.

        SpawnerLost: who held it has died, or is another agent's now. `Commands.found` tells what is known of it.
        """
        await self._is_over.wait()
        if self._end is None:
            raise SpawnerLost
        return self._end

    def printed(self, output: Mapping[LogStream, Extent]) -> None:
        """The spawner tells how far the streams have come, if anything was printed."""
        if not output:
            return
        self.output = {**self.output, **output}
        for stream, extent in output.items():
            self._on_output(stream, extent)

    def ended(self, end: CommandEnd) -> None:
        """The spawner tells how it ended."""
        self._end = end
        self._is_over.set()

    def lost(self) -> None:
        """The spawner tells nothing any more."""
        self._is_over.set()


def read_end(words: Mapping[str, Any]) -> CommandEnd:
    """An end in the words of a spawner, which may be older or newer than this agent."""
    return CommandEnd(**{name: words[name] for name in END_FIELDS if name in words})


def read_output(words: Mapping[str, Sequence[int]]) -> Mapping[LogStream, Extent]:
    """How far the streams have come, in the words of a spawner."""
    return {LogStream(stream): Extent(*extent) for stream, extent in words.items()}


def fail(future: asyncio.Future[Any], error: NodelinkError) -> None:
    """Set an error that nobody has to look at: whoever waited may have been cancelled, and the future with it."""
    if not future.done():
        future.set_exception(error)
        future.exception()
