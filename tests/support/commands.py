"""Real commands under a real spawner, made small: start one, watch its output, ask whether a process lives."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from nodelink.task import LogStream
from nodelink_agent.command import Command, CommandEnd, CommandSpec
from nodelink_agent.commands import Commands, start_spawner
from nodelink_agent.processes import snapshot
from nodelink_agent.spool import HEAD_BYTES, TAIL_BYTES, Extent, Gap, SpoolReader

PATIENCE = 50.0
"""Seconds after which a test that waits has failed."""


class Watched:
    """One command and what it has printed so far."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.extents: dict[LogStream, Extent] = {}
        self._grown = asyncio.Event()
        self._command: Command | None = None

    @property
    def command(self) -> Command:
        assert self._command is not None
        return self._command

    async def start(self, commands: Commands, spec: CommandSpec) -> None:
        self._command = await commands.start(spec, self._note)

    async def end(self) -> CommandEnd:
        async with asyncio.timeout(PATIENCE):
            return await self.command.wait()

    async def line(self, stream: LogStream = LogStream.STDOUT) -> bytes:
        """The first whole line that it prints."""
        async with asyncio.timeout(PATIENCE):
            while b"\n" not in (text := self.text(stream)):
                self._grown.clear()
                await self._grown.wait()
        return text.partition(b"\n")[0]

    async def pids(self) -> list[int]:
        """The process numbers that its first line names."""
        return [int(word) for word in (await self.line()).split()]

    def extent(self, stream: LogStream = LogStream.STDOUT) -> Extent:
        return self.extents.get(stream, Extent())

    def text(self, stream: LogStream = LogStream.STDOUT) -> bytes:
        """What was kept of a stream. Only for one without a gap."""
        kept = [piece for piece in self.pieces(stream) if isinstance(piece, bytes)]
        return b"".join(kept)

    def pieces(self, stream: LogStream = LogStream.STDOUT) -> Iterator[bytes | Gap]:
        """A stream from its beginning to its end."""
        extent, offset = self.extent(stream), 0
        while offset < extent.total:
            piece = SpoolReader(self.directory, stream).read(offset, 1 << 20, extent)
            yield piece
            offset += piece.length if isinstance(piece, Gap) else len(piece)

    def _note(self, stream: LogStream, extent: Extent) -> None:
        self.extents[stream] = extent
        self._grown.set()


class Shop:
    """Starts commands, each with an identity and a directory of its own."""

    def __init__(self, commands: Commands, folder: Path, spawner_pid: int) -> None:
        self.commands = commands
        self.spawner_pid = spawner_pid
        self._folder = folder
        self._numbers = itertools.count(1)

    async def start(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: bytes = b"",
        head_bytes: int = HEAD_BYTES,
        tail_bytes: int = TAIL_BYTES,
    ) -> Watched:
        number = next(self._numbers)
        directory = self._folder / str(number)
        directory.mkdir()
        identity = {"NODELINK_TASK_ID": str(uuid.uuid4()), "NODELINK_FENCE": "1"}  # unlike any in another test run
        spec = CommandSpec(
            id=str(number),
            argv=argv,
            env={"PATH": os.environ["PATH"], **identity, **(env or {})},
            cwd=cwd,
            directory=directory,
            stdin=stdin,
            head_bytes=head_bytes,
            tail_bytes=tail_bytes,
        )
        watched = Watched(directory)
        async with asyncio.timeout(PATIENCE):
            await watched.start(self.commands, spec)
        return watched

    async def run(self, *argv: str, **options: object) -> tuple[Watched, CommandEnd]:
        """Start a command and wait for its end."""
        watched = await self.start(*argv, **options)  # type: ignore[arg-type]
        return watched, await watched.end()


@asynccontextmanager
async def open_shop(folder: Path) -> AsyncIterator[Shop]:
    """A spawner with nothing running. Leaving ends it."""
    spawner = start_spawner()
    async with Commands(spawner) as commands:
        yield Shop(commands, folder, spawner.process.pid)


def alive(pid: int) -> bool:
    """Whether a process is there and has not exited."""
    process = snapshot().get(pid)
    return process is not None and not process.dead


@contextmanager
def handle(pid: int) -> Iterator[int]:
    """A descriptor of a process, which becomes readable when it exits."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def exited(descriptor: int) -> None:
    """Wait until the process behind a descriptor has exited."""
    loop = asyncio.get_running_loop()
    seen = asyncio.Event()
    loop.add_reader(descriptor, seen.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await seen.wait()
    finally:
        loop.remove_reader(descriptor)


def sh(script: str) -> Sequence[str]:
    """A script as the argv of a shell."""
    return ["/bin/sh", "-c", script]
