"""A small process beside the agent that starts its commands and holds their output: one loop in one thread.

It talks to the agent in lines of JSON over an inherited socket and never waits for it: what it has to say of a
command's output is only the latest. It ends when the agent goes away, and then kills every command's tree first.
Standard library only, and no gRPC: starting processes beside gRPC's threads is not safe.

From the agent: {"do": "start" | "stop", "id", ...}.
To the agent: {"said": "ready" | "started" | "refused" | "output" | "ended", "id", ...}.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodelink_agent.launch import Launcher, LaunchRefused, Order
from nodelink_agent.processes import Table, become_subreaper, children, deliver, descendants, snapshot
from nodelink_agent.spawned import NEVER, READ_BYTES, SWEEP_SECONDS, Spawned, Surroundings

SUBREAPER = "subreaper"
PROCESS_GROUP = "process_group"
NOTICE_SECONDS = 0.01
"""At most so often is the growth of output told."""

ORDERS_A_ROUND = 16
LAST_KILL_SECONDS = 10.0


class Spawner:
    """The commands of one agent, and the line to it."""

    def __init__(self, control: socket.socket, *, subreaper: bool) -> None:
        self._control = control
        self._subreaper = subreaper
        self._launcher = Launcher()
        self._selector = selectors.DefaultSelector()
        self._commands: dict[str, Spawned] = {}
        self._heard = bytearray()
        self._lines: deque[bytes] = deque()  # a few for each command at most: growth is not among them
        self._sending = b""
        self._notices_at = 0.0
        self._agent_here = True
        self._table: Table | None = None
        self._around = Surroundings(self._selector, time.monotonic, self._has_orphans, self._processes)

    def run(self) -> None:
        """Serve until the agent goes away, then leave nothing behind."""
        self._control.setblocking(False)
        self._selector.register(self._control, selectors.EVENT_READ, self._hear)
        self._watch_children()
        self._say("ready", containment=SUBREAPER if self._subreaper else PROCESS_GROUP)
        self._speak()
        while self._agent_here:
            self._round()
        self._leave()

    def _watch_children(self) -> None:
        """Wake the loop when a child exits."""
        woken, wake = socket.socketpair()
        woken.setblocking(False)
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.detach(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._selector.register(woken, selectors.EVENT_READ, lambda: self._children_changed(woken))

    def _round(self) -> None:
        """Wait for something, deal with a bounded part of each thing that is ready, then say what is new."""
        for key, _ in self._selector.select(self._timeout()):
            key.data()
        self._obey()
        now = time.monotonic()
        for command in [c for c in self._commands.values() if c.due <= now]:
            self._tick(command)
        self._table = None
        self._speak()

    def _timeout(self) -> float | None:
        if b"\n" in self._heard:
            return 0.0
        due = min((command.due for command in self._commands.values()), default=NEVER)
        if not self._sending and any(command.grown for command in self._commands.values()):
            due = min(due, self._notices_at)
        return None if due == NEVER else max(0.0, due - time.monotonic())

    # what the agent asks for

    def _hear(self) -> None:
        try:
            data = self._control.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._heard += data
        else:
            self._agent_here = False
            self._heard.clear()  # nothing may start any more

    def _obey(self) -> None:
        for _ in range(ORDERS_A_ROUND):
            line, newline, rest = self._heard.partition(b"\n")
            if not newline:
                return
            self._heard = rest
            order = json.loads(line)
            if order["do"] == "start":
                self._start(_order(order))
            elif order["id"] in self._commands:
                self._commands[order["id"]].stop(order["grace"])

    def _start(self, order: Order) -> None:
        try:
            launched = self._launcher.launch(order)
        except LaunchRefused as refusal:
            self._say("refused", id=order.id, exit_code=refusal.exit_code, message=str(refusal))
            return
        self._commands[order.id] = Spawned(order, launched, self._around)
        self._say("started", id=order.id)

    # what the commands do

    def _children_changed(self, woken: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while woken.recv(READ_BYTES):
                pass
        for command in self._commands.values():
            command.look()
        if self._reap_orphans() and not self._commands:
            self._kill_descendants()

    def _reap_orphans(self) -> bool:
        """Wait for what was left to us and has exited. Whether anything of that kind is still alive."""
        leaders = {command.pid for command in self._commands.values()}
        while True:
            orphans = [pid for pid in children() if pid not in leaders]
            reaped = [pid for pid in orphans if _reaped(pid)]
            if not reaped:
                return bool(orphans)
            # those that exited may have left us children of their own: look again

    def _has_orphans(self) -> bool:
        return self._reap_orphans() if self._subreaper else True

    def _processes(self) -> Table:
        """The machine's processes, read at most once a round."""
        if self._table is None:
            self._table = snapshot()
        return self._table

    def _tick(self, command: Spawned) -> None:
        command.tick()
        if command.end is None:
            return
        del self._commands[command.id]
        self._say("ended", id=command.id, output=command.extents(), **command.end._asdict())
        if not self._commands and self._has_orphans():
            self._kill_descendants()

    def _kill_descendants(self) -> None:
        """Kill whatever lives below us. With no command left, it belongs to none that could still answer for it."""
        for process in descendants(snapshot(), os.getpid()):
            deliver(process, signal.SIGKILL)

    def _leave(self) -> None:
        """The agent is gone: end every command, then everything else that came from us."""
        self._selector.unregister(self._control)
        for command in self._commands.values():
            command.stop(0)
        limit = time.monotonic() + LAST_KILL_SECONDS
        while self._commands and time.monotonic() < limit:
            self._round()
        while self._has_orphans() and time.monotonic() < limit:
            self._kill_descendants()
            self._selector.select(SWEEP_SECONDS)

    # what the agent is told

    def _say(self, said: str, **words: object) -> None:
        self._lines.append(_line(said, words))

    def _speak(self) -> None:
        """Send as much as the agent takes now."""
        if not self._agent_here:
            self._lines.clear()
            return
        while self._sending or self._more_to_say():
            try:
                self._sending = self._sending[self._control.send(self._sending) :]
            except BlockingIOError:
                self._listen_for(selectors.EVENT_READ | selectors.EVENT_WRITE)
                return
            except OSError:
                self._agent_here = False
                return
        self._listen_for(selectors.EVENT_READ)

    def _more_to_say(self) -> bool:
        """Gather what is to be sent next: all lines, and the latest growth if its time has come."""
        now = time.monotonic()
        if now >= self._notices_at:
            grown = [command for command in self._commands.values() if command.grown]
            for command in grown:
                command.grown = False
                self._say("output", id=command.id, output=command.extents())
            if grown:
                self._notices_at = now + NOTICE_SECONDS
        self._sending = b"".join(self._lines)
        self._lines.clear()
        return bool(self._sending)

    def _listen_for(self, events: int) -> None:
        if self._selector.get_key(self._control).events != events:
            self._selector.modify(self._control, events, self._hear)


def _order(words: Mapping[str, Any]) -> Order:
    return Order(
        id=words["id"],
        argv=words["argv"],
        env=words["env"],
        cwd=words["cwd"],
        directory=Path(words["directory"]),
        stdin=base64.b64decode(words["stdin"]),
        head_bytes=words["head"],
        tail_bytes=words["tail"],
    )


def _line(said: str, words: Mapping[str, object]) -> bytes:
    return json.dumps({"said": said, **words}, separators=(",", ":")).encode() + b"\n"


def _reaped(child: int) -> bool:
    """Wait for a child if it has exited. Whether it had."""
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        return False


def _hold_standard_files() -> None:
    """Make sure that 0, 1 and 2 are open, so that no pipe of ours gets one of these numbers."""
    while (file := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(file)


def main(control: int) -> None:
    """Serve the agent at the other end of an inherited socket, given by its descriptor."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal or an init system means the agent, and the agent tells us
    _hold_standard_files()
    os.set_inheritable(control, False)  # else every command would hold the line, and nobody hear that it is cut
    os.umask(0o077)
    os.chdir("/")
    Spawner(socket.socket(fileno=control), subreaper=become_subreaper()).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
