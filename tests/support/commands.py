"""Real commands under a real spawner, made small: start one, watch its output, ask whether a process lives."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nodelink.task import LogStream
from nodelink_agent.command import Command, CommandEnd, CommandSpec
from nodelink_agent.commands import Commands, earlier_spawners, start_spawner
from nodelink_agent.processes import snapshot
from nodelink_agent.spool import HEAD_BYTES, TAIL_BYTES, Extent, Gap, SpoolReader

ROOT = Path(__file__).resolve().parents[2]
AGENT = "agent"
"""The agent's directory within a test's."""

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

    def adopt(self, commands: Commands, spawner_id: str, command_id: str) -> None:
        """Take up a command that an earlier agent had started."""
        self._command = commands.adopt(spawner_id, command_id, self._note)

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
        self.folder = folder
        self._numbers = itertools.count(1)

    async def start(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: bytes = b"",
        head_bytes: int = HEAD_BYTES,
        tail_bytes: int = TAIL_BYTES,
        timeout_seconds: float | None = None,
        lease_until: float | None = None,
        heartbeat_seconds: float | None = None,
    ) -> Watched:
        number = next(self._numbers)
        directory = self.folder / str(number)
        directory.mkdir()
        identity = {"NODELINK_TASK_ID": str(uuid.uuid4()), "NODELINK_FENCE": "1"}  # unlike any in another test run
        spec = CommandSpec(
            id=str(number),
            argv=argv,
            env={"PATH": os.environ["PATH"], **identity, **(env or {})},
            cwd=cwd,
            directory=str(directory),
            stdin=stdin,
            head_bytes=head_bytes,
            tail_bytes=tail_bytes,
            timeout_seconds=timeout_seconds,
            lease_until=lease_until,
            heartbeat_seconds=heartbeat_seconds,
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
async def open_commands(folder: Path) -> AsyncIterator[Commands]:
    """The commands of an agent that begins, beside those that the folder has from earlier. Leaving ends all of them."""
    spawner = start_spawner(folder / AGENT)
    async with Commands(spawner, earlier=earlier_spawners(spawner)) as commands:
        try:
            yield commands
        finally:
            await commands.leave(stop=True)


@asynccontextmanager
async def open_shop(folder: Path) -> AsyncIterator[Shop]:
    """A spawner with nothing running. Leaving ends it."""
    async with open_commands(folder) as commands:
        yield Shop(commands, folder, commands._spawner.process.pid)


@dataclass(frozen=True, slots=True)
class Departed:
    """An agent that was killed, and what it left: a spawner with command `1`, in the folder `1`."""

    spawner_pid: int
    spawner_id: str
    watched: Watched

    @property
    def home(self) -> Path:
        """The spawner's directory."""
        return self.watched.directory.parent / AGENT / "spawners" / self.spawner_id


_AGENT = """
import asyncio, json, sys
from pathlib import Path
from nodelink_agent.boottime import boottime
from tests.support.commands import open_shop

async def main(folder, argv, timeout, lease, heartbeat, run_until, stop):
    async with open_shop(Path(folder)) as shop:
        lease_until = None if lease is None else boottime() + lease
        limits = {"timeout_seconds": timeout, "lease_until": lease_until, "heartbeat_seconds": heartbeat}
        watched = await shop.start(*argv, **limits)
        if run_until is not None:
            shop.commands.limit("1", number=1, run_until=run_until, heartbeat_seconds=None)
        if stop:
            await watched.line()
            watched.command.stop(3600, stop)
        print(shop.spawner_pid, shop.commands.spawner_id, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(**json.loads(sys.argv[1])))
"""


async def leave_behind(
    folder: Path,
    *argv: str,
    timeout: float | None = None,
    lease: float | None = None,
    heartbeat: float | None = None,
    run_until: float | None = None,
    stop: str = "",
) -> Departed:
    """Let an agent start a command, stop it for a reason if one is given, and be killed.

    `run_until`: the end of its run, by boottime, that the agent gives it in the first extension.
    """
    limits = {"timeout": timeout, "lease": lease, "heartbeat": heartbeat, "run_until": run_until}
    words = {"folder": str(folder), "argv": argv, "stop": stop, **limits}
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _AGENT, json.dumps(words)), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert agent.stdout is not None
    async with asyncio.timeout(PATIENCE):
        pid, spawner_id = (await agent.stdout.readline()).decode().split()
    agent.kill()
    await agent.wait()
    return Departed(int(pid), spawner_id, Watched(folder / "1"))


class Gate:
    """Holds a script at `{gate}` until it is opened."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "gate"
        os.mkfifo(self._path)

    def __format__(self, _spec: str) -> str:
        return f"read go <{self._path}"

    async def open(self) -> None:
        """Let the script go on. Returns once it has come that far."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.to_thread(self._path.write_text, "go\n")

    def release(self) -> None:
        """Let go of a thread that waits for a script that never came."""
        os.close(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK))


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
