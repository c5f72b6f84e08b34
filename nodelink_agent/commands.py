"""The agent's side of the spawner: starts commands, stops them, and waits for their ends.

The spawner's process has to be started before gRPC is imported, hence `start_spawner` apart from `Commands`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from nodelink_agent.command import Command, CommandEnd, CommandSpec, OnOutput, SpawnerLost, StartFailed, fail
from nodelink_agent.processes import deliver, marks, snapshot, tree

READY_SECONDS = 10.0
LEAVE_SECONDS = 15.0
"""How long a spawner may take to kill what runs after its agent has gone."""

SWEEP_SECONDS = 0.05
KILL_SWEEPS = 100

_PACKAGES = Path(__file__).resolve().parent.parent
_BOOT = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module('nodelink_agent.spawner', {}, '__main__')"
)


@dataclass(frozen=True, slots=True)
class SpawnerProcess:
    """A spawner that was started, and the agent's end of the line to it."""

    process: subprocess.Popen[bytes]
    line: socket.socket


def start_spawner() -> SpawnerProcess:
    """Start the process that will start commands. To be called before gRPC is imported. OSError if it cannot start."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
            [sys.executable, "-I", "-S", "-c", _BOOT, str(_PACKAGES), str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd="/",
            start_new_session=True,  # what a terminal sends to its foreground group is for the agent to judge
        )
    return SpawnerProcess(process, ours)


class Commands:
    """The commands of one agent. Use as an async context: leaving it ends the spawner, and that every command."""

    def __init__(self, spawner: SpawnerProcess) -> None:
        self.broken = asyncio.Event()
        """Set when the spawner is gone: no command can be started any more, and the agent should not go on."""
        self._spawner = spawner
        self._transport: asyncio.Transport | None = None
        self._containment = ""
        self._ready = asyncio.Event()
        self._specs: dict[str, CommandSpec] = {}
        self._starting: dict[str, asyncio.Future[None]] = {}
        self._running: dict[str, Command] = {}

    @property
    def containment(self) -> str:
        """How the processes of a command are held together: `subreaper` or `process_group`."""
        return self._containment

    async def __aenter__(self) -> Commands:
        loop = asyncio.get_running_loop()
        lines = _Lines(self._heard, self._lost)
        self._transport, _ = await loop.create_connection(lambda: lines, sock=self._spawner.line)
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()
            self._check_alive()
        except BaseException:
            self._spawner.process.kill()
            await self._leave(self._transport)
            raise
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            await self._leave(self._transport)

    async def start(self, spec: CommandSpec, on_output: OnOutput) -> Command:
        """Start a command. StartFailed says why it could not be; SpawnerLost, that nothing can be started any more.

        `on_output` hears of each stream's growth, the latest state only. Cancelled: the command is killed.
        """
        self._check_alive()
        if spec.id in self._specs:
            raise ValueError(f"command {spec.id!r} runs already")
        command = Command(spec.id, self._send, on_output)
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._specs[spec.id], self._starting[spec.id], self._running[spec.id] = spec, started, command
        self._send(_start_order(spec))
        try:
            await asyncio.shield(started)
        except asyncio.CancelledError:
            command.stop(0)
            raise
        return command

    def _check_alive(self) -> None:
        if self.broken.is_set() or self._transport is None or self._transport.is_closing():
            raise SpawnerLost

    def _send(self, order: Mapping[str, object]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(json.dumps(order).encode() + b"\n")

    def _heard(self, words: Mapping[str, Any]) -> None:
        """One line of the spawner's."""
        match words["said"]:
            case "ready":
                self._containment = words["containment"]
                self._ready.set()
            case "started":
                self._starting.pop(words["id"]).set_result(None)
            case "refused":
                self._forget(words["id"])
                fail(self._starting.pop(words["id"]), StartFailed(words["message"], words["exit_code"]))
            case "output":
                self._running[words["id"]].printed(words["output"])
            case "ended":
                command = self._forget(words["id"])
                command.printed(words["output"])
                command.ended(CommandEnd(**{field.name: words[field.name] for field in fields(CommandEnd)}))

    def _forget(self, command_id: str) -> Command:
        del self._specs[command_id]
        return self._running.pop(command_id)

    def _lost(self) -> None:
        """The line is cut. What was under way ends as lost, so it must not go on either."""
        self.broken.set()
        self._ready.set()
        for started in self._starting.values():
            fail(started, SpawnerLost())
        for command in self._running.values():
            command.lost()
        self._starting.clear()
        self._running.clear()
        if self._specs:
            asyncio.get_running_loop().run_in_executor(None, _kill_marked, self._marks())

    async def _leave(self, transport: asyncio.Transport) -> None:
        """Cut the line, on which the spawner kills what runs and goes. If it had died, kill what it left."""
        transport.abort()
        await self.broken.wait()
        await asyncio.to_thread(_await_exit, self._spawner.process)
        for _ in range(KILL_SWEEPS):
            if not await asyncio.to_thread(_kill_marked, self._marks()):
                return
            await asyncio.sleep(SWEEP_SECONDS)

    def _marks(self) -> Sequence[frozenset[bytes]]:
        """What tells the processes of the commands that were lost."""
        return [marks(spec.env) for spec in self._specs.values()]


class _Lines(asyncio.Protocol):
    """Takes what arrives apart into lines."""

    def __init__(self, heard: Callable[[Mapping[str, Any]], None], lost: Callable[[], None]) -> None:
        self._heard = heard
        self._lost = lost
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._heard(json.loads(line))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()


def _start_order(spec: CommandSpec) -> Mapping[str, object]:
    return {
        "do": "start",
        "id": spec.id,
        "argv": list(spec.argv),
        "env": dict(spec.env),
        "cwd": spec.cwd,
        "directory": str(spec.directory.absolute()),
        "stdin": base64.b64encode(spec.stdin).decode(),
        "head": spec.head_bytes,
        "tail": spec.tail_bytes,
    }


def _await_exit(process: subprocess.Popen[bytes]) -> None:
    """Wait until the spawner has killed what ran, and has gone."""
    try:
        process.wait(LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _kill_marked(attempts: Sequence[frozenset[bytes]]) -> bool:
    """Kill what runs of some attempts, known by their environment alone. Whether anything did."""
    table = snapshot() if attempts else {}
    living = [process for marked in attempts for process in tree(table, None, marked)]
    for process in living:
        deliver(process, signal.SIGKILL)
    return bool(living)
