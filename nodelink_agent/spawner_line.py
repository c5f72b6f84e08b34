"""The agent's end of the line to one spawner: what that spawner holds, and the commands that were taken up of it."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodelink.failpoints import hit
from nodelink.task import LogStream
from nodelink_agent.command import (
    Command,
    CommandEnd,
    CommandSpec,
    OnOutput,
    SpawnerLost,
    StartFailed,
    fail,
    read_end,
    read_output,
)
from nodelink_agent.found import Exited, Found, NeverBegan, Remains, Running
from nodelink_agent.orders import Orders
from nodelink_agent.spawner_home import is_inhabited
from nodelink_agent.spool import Extent

LOOK_SECONDS = 0.01
DEATH_SECONDS = 5.0
"""After so long, a spawner that cut the line and lives is taken to serve another agent."""


@dataclass(slots=True)
class _Held:
    """A command as the spawner tells it."""

    pid: int
    output: Mapping[LogStream, Extent] = field(default_factory=dict)
    end: CommandEnd | None = None

    def found(self) -> Running | Exited:
        """The same for whoever asks what became of it."""
        return Running(self.pid, self.output) if self.end is None else Exited(self.end, self.output)


class SpawnerLine:
    """One spawner and its commands. `is_lost` once it tells nothing any more, though the line was not cut from here.

    `on_lost`: told of that; without it this is the spawner of an earlier agent, which is let go when it holds nothing.
    """

    def __init__(self, home: Path, on_lost: Callable[[], None] | None = None) -> None:
        self.home = home
        self.containment = ""
        self.is_lost = False
        self.is_replaced = False
        """Whether another agent has the line: what runs is that agent's."""
        self._on_lost = on_lost
        self._greeted = asyncio.Event()
        self._cut = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._orders = Orders(self._write)
        self._held: dict[str, _Held] = {}
        self._disowned: set[str] = set()
        self._starting: dict[str, asyncio.Future[None]] = {}
        self._commands: dict[str, Command] = {}
        self._remains: Remains | None = None
        self._mourning: asyncio.Task[None] | None = None
        self._hung_up = False

    @property
    def id(self) -> str:
        """The spawner's name."""
        return self.home.name

    @property
    def is_open(self) -> bool:
        """Whether orders arrive."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def holds_nothing(self) -> bool:
        """Whether the spawner may go as far as this agent is concerned."""
        return not self._held and not self._starting

    @property
    def runs_nothing(self) -> bool:
        """Whether the spawner goes by itself once the line is cut."""
        ends = [held.end for held in self._held.values()]
        return not self._starting and all(end is not None and end.durable for end in ends)

    async def open(self, line: socket.socket) -> bool:
        """Take the line up. False if the spawner has gone without a word."""
        loop = asyncio.get_running_loop()
        self._cut.clear()  # a line that was taken up before may have been cut without a word
        self._greeted.clear()
        self._orders.drop()
        lines = _Lines(self._heard, self._line_cut)
        self._transport, _ = await loop.create_connection(lambda: lines, sock=line)
        await self._greeted.wait()
        return not self._cut.is_set()

    async def start(self, spec: CommandSpec, on_output: OnOutput) -> Command:
        """Start a command: see `Commands.start`."""
        if not self.is_open:
            raise SpawnerLost
        if spec.id in self._commands or spec.id in self._held:
            raise ValueError(f"command {spec.id!r} runs already")
        command = Command(self.id, spec.id, self._orders.send, on_output)
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._starting[spec.id], self._commands[spec.id] = started, command
        hit("agent.order.before")
        self._orders.add(_start_order(spec))
        try:
            await started
        except asyncio.CancelledError:
            command.stop(0)
            raise
        return command

    def adopt(self, command_id: str, on_output: OnOutput) -> Command:
        """Take up a command that the spawner holds. ValueError: it holds none, or it was taken up before."""
        held = self._held.get(command_id)
        if held is None or command_id in self._commands:
            raise ValueError(f"command {command_id!r} is not there to be taken up")
        command = Command(self.id, command_id, self._orders.send, on_output)
        command.printed(held.output)
        if held.end is not None:
            command.ended(held.end)
        elif self.is_lost:
            command.lost()
        else:
            self._commands[command_id] = command
        return command

    def found(self, command_id: str) -> Found:
        """What became of a command: as the spawner tells, or, if it has died, as its journal does."""
        if self.is_lost and not self.is_replaced:
            if self._remains is None:
                self._remains = Remains(self.home)
            return self._remains.found(command_id)
        held = self._held.get(command_id)
        if held is not None:
            return held.found()
        return Running(None, {}) if self.is_replaced else NeverBegan()

    def extend(self, leases: Mapping[str, float]) -> None:
        """Tell the new ends of those leases that are this spawner's business."""
        until = {command_id: leases[command_id] for command_id in leases.keys() & self._held.keys()}
        if until:
            self._orders.send({"do": "extend", "until": until})

    def limit(self, command_id: str, *, number: int, run_until: float | None, heartbeat_seconds: float | None) -> None:
        """Tell other limits of a command, if it is this spawner's business: see `Commands.limit`."""
        if command_id in self._held or command_id in self._starting:
            words = {"number": number, "run_until": run_until, "heartbeat": heartbeat_seconds}
            self._orders.send({"do": "limit", "id": command_id, **words})

    def forget(self, command_id: str) -> bool:
        """Let the spawner forget an end. False if it is not here, or has not come."""
        held = self._held.get(command_id)
        if held is None or held.end is None:
            return False
        del self._held[command_id]
        self._orders.add({"do": "forget", "id": command_id})
        self.let_go()
        return True

    def disown(self, known: Collection[str]) -> None:
        """Let the spawner forget the ends of all but those, now or when they come: nobody else will."""
        self._disowned = self._held.keys() - known
        for command_id in self._disowned:
            self.forget(command_id)

    def let_go(self) -> None:
        """Cut the line to an earlier spawner that holds nothing: it is needed no longer."""
        if self._on_lost is None and self.holds_nothing:
            self.hang_up()

    def end(self) -> None:
        """Let the spawner end all its commands, and itself."""
        self._hung_up = True
        self._orders.send({"do": "end"})

    def hang_up(self) -> None:
        """Cut the line, once what was said is sent. What the spawner holds goes on without us."""
        self._hung_up = True
        self._orders.flush()
        if self._transport is not None:
            self._transport.close()

    async def wait_cut(self) -> None:
        """Wait until the line is cut, by whomever."""
        if self._transport is not None:
            await self._cut.wait()

    def abort(self) -> None:
        """Cut the line, whatever was not sent. Nobody waits for anything of it any more."""
        self._hung_up = True
        if self._transport is not None:
            self._transport.abort()
        if self._mourning is not None:
            self._mourning.cancel()
        self._fail_all()

    def _write(self, orders: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(orders)
        if self._starting:
            hit("agent.order.after")

    def _heard(self, words: Mapping[str, Any]) -> None:
        """One line of the spawner's."""
        match words["said"]:
            case "ready":
                self.containment = words["containment"]
                self._held = {told["id"]: _held(told) for told in words["commands"]}
                self._greeted.set()
            case "started":
                self._held[words["id"]] = _Held(words["pid"])
                started = self._starting.pop(words["id"])
                if not started.done():  # whoever waited may have been cancelled
                    started.set_result(None)
            case "refused":
                del self._commands[words["id"]]
                fail(self._starting.pop(words["id"]), StartFailed(words["message"], words["exit_code"]))
            case "output":
                self._grown(words)
            case "ended":
                self._grown(words)
                self._held[words["id"]].end = end = read_end(words)
                command = self._commands.pop(words["id"], None)
                if command is not None:
                    command.ended(end)
                if words["id"] in self._disowned:
                    self.forget(words["id"])
            case "replaced":
                self.is_replaced = True

    def _grown(self, words: Mapping[str, Any]) -> None:
        output = read_output(words["output"])
        if not output:
            return
        held = self._held[words["id"]]
        held.output = {**held.output, **output}
        command = self._commands.get(words["id"])
        if command is not None:
            command.printed(output)

    def _line_cut(self) -> None:
        was_greeted = self._greeted.is_set()
        self._cut.set()
        self._greeted.set()
        if self._hung_up or not was_greeted:
            self._fail_all()
        else:
            self._mourning = asyncio.get_running_loop().create_task(self._mourn(), name="spawner's death")

    async def _mourn(self) -> None:
        """Make sure that the spawner is dead, or not ours any more, before anybody hears that it is lost."""
        try:
            async with asyncio.timeout(DEATH_SECONDS):
                if not self.is_replaced:
                    await deserted(self.home)
        except TimeoutError:
            self.is_replaced = True
        self.is_lost = True
        self._fail_all()
        if self._on_lost is not None:
            self._on_lost()

    def _fail_all(self) -> None:
        for started in self._starting.values():
            fail(started, SpawnerLost())
        for command in self._commands.values():
            command.lost()
        self._starting.clear()
        self._commands.clear()


async def deserted(home: Path) -> None:
    """Wait until the spawner of a directory has gone."""
    while is_inhabited(home):  # noqa: ASYNC110 - a lock tells nobody that it is free
        await asyncio.sleep(LOOK_SECONDS)


class _Lines(asyncio.Protocol):
    """Takes what arrives apart into lines."""

    def __init__(self, heard: Callable[[Mapping[str, Any]], None], cut: Callable[[], None]) -> None:
        self._heard = heard
        self._cut = cut
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if newline:  # what has come together is read as one list: that takes much less than line by line
            for words in json.loads(b"[" + whole.replace(b"\n", b",") + b"]"):
                self._heard(words)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cut()


def _held(told: Mapping[str, Any]) -> _Held:
    end = told["ended"]
    return _Held(told["pid"], read_output(told["output"]), None if end is None else read_end(end))


def _start_order(spec: CommandSpec) -> Mapping[str, object]:
    return {
        "do": "start",
        "id": spec.id,
        "argv": list(spec.argv),
        "env": dict(spec.env),
        "cwd": spec.cwd,
        "directory": spec.directory,
        "stdin": base64.b64encode(spec.stdin).decode(),
        "head": spec.head_bytes,
        "tail": spec.tail_bytes,
        "timeout": spec.timeout_seconds,
        "lease": spec.lease_until,
        "heartbeat": spec.heartbeat_seconds,
    }
