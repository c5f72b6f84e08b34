"""A small process beside the agent that starts its commands and holds their output: one loop in one thread.

It talks to the agent in lines of JSON and never waits for it: what it has to say of a command's output is only the
latest. It outlives its agent: what runs goes on, within its limits, and what has ended is kept until an agent says that
it needs to be kept no longer. A later agent finds it through its directory. It ends when it has no agent, nothing runs,
and every end is on the disk. Standard library only, and no gRPC: starting processes beside gRPC's threads is not safe.

From the agent: {"do": "start" | "stop" | "extend" | "limit" | "forget" | "end", ...}.
To the agent: {"said": "ready" | "started" | "refused" | "output" | "ended" | "replaced", ...}.
"""

from __future__ import annotations

import base64
import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodelink.failpoints import arm, hit
from nodelink_agent.agent_line import AgentLine
from nodelink_agent.boottime import boot_id, boottime
from nodelink_agent.launch import Launched, Launcher, LaunchRefused, Order
from nodelink_agent.processes import Table, become_subreaper, children, deliver, descendants, moments, snapshot, started
from nodelink_agent.spawned import NEVER, READ_BYTES, SWEEP_SECONDS, Ended, Spawned, Surroundings, Wanting
from nodelink_agent.spawner_home import close_door, is_ours, open_door
from nodelink_agent.spawner_journal import SpawnerJournal

PROTOCOL = 1
SUBREAPER = "subreaper"
PROCESS_GROUP = "process_group"
NOTICE_SECONDS = 0.01
"""At most so often is the growth of output told."""

ORDERS_A_ROUND = 16
LOOK_SECONDS = 1.0
"""So often are limits looked at, for the machine may have slept, and is a disk asked that took nothing."""

LAST_KILL_SECONDS = 10.0


class Spawner:
    """The commands of one agent after the other, and the line to the one that is there."""

    def __init__(self, home: Path, first_agent: socket.socket, *, subreaper: bool) -> None:
        self._home = home
        self._containment = SUBREAPER if subreaper else PROCESS_GROUP
        self._launcher = Launcher()
        self._selector = selectors.DefaultSelector()
        self._commands: dict[str, Spawned] = {}
        self._ended: dict[str, Ended] = {}  # whose ends no agent has confirmed
        self._untold: list[Ended] = []
        self._line: AgentLine | None = None
        self._notices_at = 0.0
        self._sync_at = 0.0  # once a disk has taken nothing, not before
        self._ending = False
        self._table: Table | None = None
        self._had_orphans: tuple[float, bool] | None = None  # this round: when that was looked for, and what was found
        self._wanting = Wanting()
        self._around = Surroundings(
            self._selector, time.monotonic, boottime, self._has_orphans, self._processes, self._wanting
        )
        me = os.getpid()
        self._journal = SpawnerJournal(home, {"boot_id": boot_id(), "pid": me, "started": started(me)})
        self._door = open_door(home)
        self._selector.register(self._door, selectors.EVENT_READ, self._answer_door)
        self._watch_children()
        self._greet(first_agent)

    def run(self) -> None:
        """Serve until nobody and nothing needs this process, then leave nothing behind."""
        while not self._is_done():
            self._round()
        self._leave()

    def _is_done(self) -> bool:
        if self._commands:
            return False
        return self._ending or (self._line is None and self._journal.is_durable)

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
        if self._line is not None:
            self._obey(self._line)
        for command in list(self._wanting.limited):
            command.enforce()
        now = time.monotonic()
        for command in [command for command in self._wanting.due if command.due <= now]:
            self._tick(command)
        self._table = self._had_orphans = None
        self._settle(now)
        self._speak(now)

    def _timeout(self) -> float | None:
        if self._line is not None and self._line.has_order:
            return 0.0
        now = time.monotonic()
        ticks = [command.due for command in self._wanting.due]
        due = min(ticks + [command.silent_until for command in self._wanting.limited], default=NEVER)
        limit = min((command.limits.next for command in self._wanting.limited), default=NEVER)
        if limit != NEVER:
            due = min(due, now + min(LOOK_SECONDS, limit - boottime()))
        if not self._journal.is_durable:
            due = min(due, self._sync_at)
        if self._line is not None and self._line.is_clear and self._wanting.grown:
            due = min(due, self._notices_at)
        return None if due == NEVER else max(0.0, due - now)

    # who is served

    def _answer_door(self) -> None:
        """Another agent has come: the one before is heard out, and the list that the new one gets is the truth."""
        try:
            caller, _ = self._door.accept()
        except OSError:
            return
        if not is_ours(caller) or self._ending:
            caller.close()
            return
        if self._line is not None:
            self._line.replace()
            self._obey(self._line)
        hit("spawner.adopted")
        self._greet(caller)

    def _greet(self, caller: socket.socket) -> None:
        self._line = AgentLine(caller, self._selector)
        running = [
            {"id": command.id, "pid": command.pid, "output": command.extents(), "ended": None}
            for command in self._commands.values()
        ]
        ended = [
            {"id": ended.id, "pid": ended.pid, "output": ended.output, "ended": ended.words()}
            for ended in self._ended.values()
        ]
        self._line.say("ready", protocol=PROTOCOL, containment=self._containment, commands=running + ended)
        self._line.send()

    def _hang_up(self, line: AgentLine) -> None:
        """Go on alone."""
        line.close()
        self._line = None
        _let_go_of_stderr()

    # what the agent asks for

    def _obey(self, line: AgentLine) -> None:
        """Carry out a few orders; all that had arrived if the agent has gone."""
        limit = sys.maxsize if line.is_cut else ORDERS_A_ROUND
        try:
            while limit and (order := line.order()) is not None:
                self._carry_out(line, order)
                limit -= 1
        except (ValueError, KeyError, TypeError):  # not our language: whoever it is, nothing may run into harm by it
            line.is_cut = True
            sys.stderr.write("nodelink spawner: an order could not be read, so the line is cut\n")
        if line.is_cut:
            self._hang_up(line)

    def _carry_out(self, line: AgentLine, order: Mapping[str, Any]) -> None:
        match order["do"]:
            case "start":
                hit("spawner.order.read")
                self._start(line, _order(order))
            case "stop" | "limit":
                if order["id"] in self._commands:
                    _steer(self._commands[order["id"]], order)
            case "extend":
                for command_id in order["until"].keys() & self._commands.keys():
                    self._commands[command_id].limits.extend(order["until"][command_id])
            case "forget":
                if self._ended.pop(order["id"], None) is not None:
                    self._journal.forget(order["id"])
            case "end":
                self._ending = True
                for command in self._commands.values():
                    command.stop(0, order.get("reason", ""))

    def _start(self, line: AgentLine, order: Order) -> None:
        try:
            if self._ending or order.id in self._commands or order.id in self._ended:
                raise LaunchRefused(f"the spawner ends, or a command {order.id!r} is there already")
            launched = self._launch(order)
        except LaunchRefused as refusal:
            line.say("refused", id=order.id, exit_code=refusal.exit_code, message=str(refusal))
            return
        self._commands[order.id] = Spawned(order, launched, self._around)
        line.say("started", id=order.id, pid=launched.pid)

    def _launch(self, order: Order) -> Launched:
        """Launch a command, written down before and after. LaunchRefused: it did not begin."""
        try:
            self._journal.ordered(order.id, order.directory)
        except OSError as error:
            raise LaunchRefused(f"that it begins cannot be written down: {error.strerror}") from error
        hit("spawner.launch.before")
        since = boottime()
        try:
            launched = self._launcher.launch(order)
        except LaunchRefused:
            self._journal.refused(order.id)
            raise
        # The system would tell the moment of its start, but takes half a millisecond while a program is being loaded.
        hit("spawner.launch.after")
        self._journal.launched(order.id, launched.pid, moments(since, boottime()))
        hit("spawner.launch.written")
        return launched

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
        now = time.monotonic()
        found = self._wait_for_orphans()
        self._had_orphans = (now, found)
        return found

    def _wait_for_orphans(self) -> bool:
        leaders = {command.pid for command in self._commands.values()}
        while True:
            orphans = [pid for pid in children() if pid not in leaders]
            reaped = [pid for pid in orphans if _reaped(pid)]
            if not reaped:
                return bool(orphans)
            # those that exited may have left us children of their own: look again

    def _has_orphans(self, since: float) -> bool:
        """Whether there were any after this moment: who had exited before has left no others."""
        if self._containment != SUBREAPER:
            return True
        if self._had_orphans is not None and self._had_orphans[0] > since:
            return self._had_orphans[1]
        return self._reap_orphans()

    def _processes(self) -> Table:
        """The machine's processes, read at most once a round."""
        if self._table is None:
            self._table = snapshot()
        return self._table

    def _tick(self, command: Spawned) -> None:
        command.tick()
        if command.end is None:
            return
        hit("spawner.exit.seen")
        del self._commands[command.id]
        self._wanting.drop(command)
        ended = Ended(command.id, command.pid, command.end, command.extents())
        self._ended[ended.id] = ended
        self._untold.append(ended)
        self._journal.ended(ended.id, ended.end._asdict(), ended.output)
        if not self._commands and self._has_orphans(time.monotonic()):
            self._kill_descendants()

    def _settle(self, now: float) -> None:
        """Make the ends of this round durable, all at once, then tell them. A full disk keeps nobody from hearing."""
        if not self._untold and (self._journal.is_durable or now < self._sync_at):
            return
        self._sync_at = now + LOOK_SECONDS
        durable = self._journal.sync()
        if durable:
            hit("spawner.end.synced")
            for ended in self._ended.values():
                ended.durable = True
        if self._line is not None:
            for ended in self._untold:
                self._line.say("ended", id=ended.id, output=ended.output, **ended.words())
        self._untold.clear()

    def _kill_descendants(self) -> None:
        """Kill whatever lives below us. With no command left, it belongs to none that could still answer for it."""
        for process in descendants(snapshot(), os.getpid()):
            deliver(process, signal.SIGKILL)

    def _leave(self) -> None:
        """Nobody needs this process any more: end everything that came from it, and it."""
        close_door(self._home, self._door)
        if self._line is not None:
            self._line.farewell()
        limit = time.monotonic() + LAST_KILL_SECONDS
        while self._has_orphans(now := time.monotonic()) and now < limit:
            self._kill_descendants()
            self._selector.select(SWEEP_SECONDS)
        self._journal.close()

    def _speak(self, now: float) -> None:
        """Tell the agent the latest growth if its time has come, and send as much as it takes."""
        if self._line is None:
            return
        self._line.send()
        if self._line.is_clear and now >= self._notices_at:
            for command in self._wanting.grown:
                self._line.say("output", id=command.id, output=command.extents())
            if self._wanting.grown:
                self._wanting.grown.clear()
                self._notices_at = now + NOTICE_SECONDS
        self._line.send()


def _steer(command: Spawned, order: Mapping[str, Any]) -> None:
    """Carry out an order that is about one command."""
    if order["do"] == "stop":
        command.stop(order["grace"], order.get("reason", ""))
    else:
        command.extend(order["number"], order["run_until"], order["heartbeat"])


def _order(words: Mapping[str, Any]) -> Order:
    return Order(
        id=words["id"],
        argv=words["argv"],
        env=words["env"],
        cwd=words["cwd"],
        directory=words["directory"],
        stdin=base64.b64decode(words["stdin"]),
        head_bytes=words["head"],
        tail_bytes=words["tail"],
        timeout_seconds=words.get("timeout"),
        lease_until=words.get("lease"),
        heartbeat_seconds=words.get("heartbeat"),
    )


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


def _let_go_of_stderr() -> None:
    """It was the agent's, and somebody may wait for its end."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 2)
    os.close(null)


def main(home: Path, agent: int, lock: int) -> None:
    """Serve from a directory, beginning with the agent at the other end of an inherited socket.

    The lock is only held: that it is held tells others that this process lives.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal or an init system means the agent, and the agent tells us
    _hold_standard_files()
    for file in (agent, lock):
        os.set_inheritable(file, False)  # else every command would hold them, and nobody know that we are gone
    os.umask(0o077)
    os.chdir("/")
    arm(os.environ)
    try:
        spawner = Spawner(home, socket.socket(fileno=agent), subreaper=become_subreaper())
    except OSError as error:  # its journal cannot be begun: the disk is full
        sys.exit(f"nodelink-agent: the process that starts commands cannot begin: {error}")
    spawner.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
