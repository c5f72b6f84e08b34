"""The agent's side of the spawners: starts commands, takes up those of earlier agents, and tells what became of each.

Each agent begins with a spawner of its own, whose process has to be started before gRPC is imported, hence
`start_spawner` apart from `Commands`. Spawners of earlier agents that live are met, those that have died are read.
Nothing is killed here that was not asked for: what a dead spawner left is `orphans`' business.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import structlog

from nodelink_agent.command import Command, CommandSpec, OnOutput, SpawnerLost
from nodelink_agent.found import Exited, Found, Remains, Vanished
from nodelink_agent.spawner_home import is_inhabited, knock, make_home
from nodelink_agent.spawner_line import SpawnerLine, deserted

READY_SECONDS = 10.0
LEAVE_SECONDS = 15.0
"""How long a spawner may take to kill what runs and to go."""

LOOK_SECONDS = 0.02
DAMAGED = ".damaged"

_PACKAGES = Path(__file__).resolve().parent.parent
_BOOT = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module('nodelink_agent.spawner', {}, '__main__')"
)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SpawnerProcess:
    """A spawner that was started, and the agent's end of the line to it."""

    directory: Path
    process: subprocess.Popen[bytes]
    line: socket.socket

    @property
    def id(self) -> str:
        """Its name: an agent's journal says by it who holds an attempt."""
        return self.directory.name


def start_spawner(directory: Path) -> SpawnerProcess:
    """Start the process that will start commands, with a place of its own in the agent's directory.

    To be called before gRPC is imported. OSError if it cannot be started.
    """
    home, lock = make_home(directory)
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
            [sys.executable, "-I", "-S", "-c", _BOOT, str(_PACKAGES), str(home), str(theirs.fileno()), str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), lock],
            cwd="/",
            start_new_session=True,  # what a terminal sends to its foreground group is for the agent to judge
        )
    finally:
        theirs.close()
        os.close(lock)
    return SpawnerProcess(home, process, ours)


def earlier_spawners(spawner: SpawnerProcess) -> Sequence[Path]:
    """The directories of the spawners of earlier agents, living or dead."""
    homes = (home for home in spawner.directory.parent.iterdir() if home.is_dir() and home.suffix != DAMAGED)
    return sorted(home for home in homes if home != spawner.directory)


class Commands:
    """The commands of one agent and of those before it. Use as an async context.

    Leaving it cuts the lines, and what runs goes on; `leave(stop=True)` before that ends every command.
    """

    def __init__(self, spawner: SpawnerProcess, *, earlier: Sequence[Path] = ()) -> None:
        self.broken = asyncio.Event()
        """Set when our own spawner is gone: no command can be started any more, and the agent should not go on."""
        self._spawner = spawner
        self._earlier = earlier
        self._own = SpawnerLine(spawner.directory, self.broken.set)
        self._lines = {spawner.id: self._own}
        self._remains: dict[str, Remains] = {}
        self._has_left = False

    @property
    def spawner_id(self) -> str:
        """The name of the spawner that holds what is started here."""
        return self._spawner.id

    @property
    def containment(self) -> str:
        """How the processes of a command are held together: `subreaper` or `process_group`."""
        return self._own.containment

    @property
    def replaced(self) -> bool:
        """Whether another agent has our spawner: its commands are that agent's now."""
        return self._own.is_replaced

    async def __aenter__(self) -> Commands:
        try:
            async with asyncio.timeout(READY_SECONDS):
                if not await self._own.open(self._spawner.line):
                    raise SpawnerLost
                for home in self._earlier:
                    await self._meet(home)
        except BaseException as error:
            self._spawner.process.kill()  # nothing was started there
            await self._part(list(self._lines.values()), wait=True)
            if isinstance(error, TimeoutError):
                raise SpawnerLost("a spawner lives and does not answer") from error
            raise
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.leave(stop=False)

    async def start(self, spec: CommandSpec, on_output: OnOutput) -> Command:
        """Start a command. StartFailed says why it could not be; SpawnerLost, that nothing can be started any more.

        `on_output` hears of each stream's growth, the latest state only. Cancelled: the command is killed.
        """
        return await self._own.start(spec, on_output)

    def found(self, spawner_id: str, command_id: str) -> Found:
        """What became of a command, by the name of the spawner that it was, or was to be, given to."""
        line = self._lines.get(spawner_id)
        if line is not None:
            return line.found(command_id)
        remains = self._remains.get(spawner_id)
        return Vanished("") if remains is None else remains.found(command_id)

    def adopt(self, spawner_id: str, command_id: str, on_output: OnOutput) -> Command:
        """Take up a command that was found Running or Exited, once; what it has printed is told at once.

        ValueError: it was found otherwise, or was taken up before.
        """
        line = self._lines.get(spawner_id)
        if line is not None and not line.is_lost:
            return line.adopt(command_id, on_output)
        found = self.found(spawner_id, command_id)
        if not isinstance(found, Exited):
            raise ValueError(f"command {command_id!r} is not there to be taken up")
        command = Command(spawner_id, command_id, lambda _order: None, on_output)
        command.printed(found.output)
        command.ended(found.end)
        return command

    def extend(self, leases: Mapping[str, float]) -> None:
        """Move the ends of leases, by boottime. None is shortened, and a command without one gets none."""
        for line in self._lines.values():
            line.extend(leases)

    def limit(self, command_id: str, *, number: int, run_until: float | None, heartbeat_seconds: float | None) -> None:
        """Let a command run until another moment, by boottime, and print nothing for so long; None: as before.

        Each extension of a command has its number, and counts once, however often it is told; 0: it counts anyhow.
        """
        for line in self._lines.values():
            line.limit(command_id, number=number, run_until=run_until, heartbeat_seconds=heartbeat_seconds)

    def forget(self, command_id: str) -> None:
        """A command's end needs to be kept no longer. Before its end nothing happens."""
        for line in self._lines.values():
            line.forget(command_id)

    def disown(self, known: Collection[str]) -> None:
        """What earlier agents had started, and nobody knows of any more, is let go of. `known`: the ids of the rest.

        An agent may die when it has forgotten an attempt and its spawner has not been told yet.
        """
        for line in self._lines.values():
            line.disown(known)

    def prune(self, keep: Collection[str]) -> None:
        """Remove what dead spawners left, but for those named. What the disk had damaged is put aside, not removed."""
        for home in earlier_spawners(self._spawner):
            if home.name in keep or is_inhabited(home):
                continue
            remains = self._remains.pop(home.name, None) or Remains(home)
            self._lines.pop(home.name, None)
            if remains.is_damaged:
                home.rename(home.with_suffix(DAMAGED))
            else:
                shutil.rmtree(home, onerror=lambda _, path, error: _log.warning("not_removed", path=path, error=error))

    async def leave(self, *, stop: bool) -> None:
        """Cut the lines. `stop`: end every command before, and wait until the spawners have gone.

        Without it what runs goes on, and only spawners of which nothing runs are waited for.
        """
        if self._has_left:
            return
        self._has_left = True
        lines = list(self._lines.values())
        going = [line for line in lines if (stop or line.runs_nothing) and not line.is_replaced]
        for line in lines:
            if stop:
                line.end()
            else:
                line.hang_up()
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                for line in lines:
                    await line.wait_cut()
                for line in going:
                    await deserted(line.home)
        except TimeoutError:
            _log.warning("spawner_stays", spawners=[line.id for line in going if is_inhabited(line.home)])
            if stop and not self.replaced:
                self._spawner.process.kill()
        finally:
            is_over = (stop and not self.replaced) or not is_inhabited(self._own.home)
            await self._part(lines, wait=is_over)

    async def _meet(self, home: Path) -> None:
        """Get the line of an earlier spawner, or read what it left. It may be about to go."""
        self._lines[home.name] = line = SpawnerLine(home)
        while is_inhabited(home):
            caller = knock(home)
            if caller is not None and await line.open(caller):
                line.let_go()
                return
            await asyncio.sleep(LOOK_SECONDS)
        del self._lines[home.name]
        self._remains[home.name] = Remains(home)

    async def _part(self, lines: Sequence[SpawnerLine], *, wait: bool) -> None:
        """Leave no line open, and nobody without one who waits for the end of our own spawner's process."""
        for line in lines:
            line.abort()
        if wait:
            await asyncio.to_thread(self._spawner.process.wait)
        else:
            threading.Thread(target=self._spawner.process.wait, daemon=True, name="spawner's end").start()
