"""One command that the spawner started: its pipes, its spools, its process tree, and how it ends.

A command ends in this order: its leader exits (by itself, or because it was stopped); its pipes are read until they
end, which those it left behind may put off for two seconds; what is left of its tree is killed; only then is its
leader waited for. Until that moment the leader's number can belong to nobody else, so its group may be signalled.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from nodelink_agent.launch import Launched, Order
from nodelink_agent.limits import HEARTBEAT_TIMEOUT, Limits, Silence
from nodelink_agent.processes import Process, Table, deliver, marks, tree
from nodelink_agent.spool import Extent, SpoolWriter

READ_BYTES = 64 * 1024
DRAIN_SECONDS = 2.0
"""How long those whom a leader left behind may hold its pipes."""

SWEEP_SECONDS = 0.05
GIVE_UP_SECONDS = 5.0
"""After so long of killing, what still lives is reported as left over."""

NEVER = float("inf")
_LAST_READS = 16  # a full pipe of the largest size a user may set


class End(NamedTuple):
    """How a command ended. `exit_code` and `signal` are None if its leader could not be killed."""

    exit_code: int | None
    signal: int | None
    cpu_seconds: float
    max_rss_bytes: int
    signalled_alive: bool
    tree_gone: bool
    leftovers: int
    stop_reason: str
    """The first that was given, whether or not it came in time: `signalled_alive` tells that."""
    silent_seconds: float = 0.0
    """How long it was allowed to print nothing, if it was stopped for that."""


@dataclass(slots=True)
class Ended:
    """What is kept of a command that is over."""

    id: str
    pid: int
    end: End
    output: Mapping[str, Extent]
    durable: bool = False
    """Whether the end would survive a power cut."""

    def words(self) -> Mapping[str, object]:
        """The end as it is told."""
        return {**self.end._asdict(), "durable": self.durable}


class Wanting:
    """The commands for which there is something to be done, so that nobody has to ask all of them."""

    def __init__(self) -> None:
        self.due: set[Spawned] = set()
        """Those that are to be ticked at some moment."""
        self.limited: set[Spawned] = set()
        """Those that some limit may stop."""
        self.grown: dict[Spawned, None] = {}
        """Those that have printed something since this was last emptied, the first of them first."""

    def drop(self, command: Spawned) -> None:
        """Nothing more is to be done for it."""
        self.due.discard(command)
        self.limited.discard(command)
        self.grown.pop(command, None)


class Surroundings(NamedTuple):
    """What a command asks of its spawner."""

    selector: selectors.BaseSelector
    now: Callable[[], float]
    boottime: Callable[[], float]
    orphans: Callable[[float], bool]
    """Whether anything but leaders was alive among the spawner's children after this moment, by `now`; True where that
    cannot be known."""
    processes: Callable[[], Table]
    wanting: Wanting


class Spawned:
    """A command from its start to its end. `tick` moves it on when `due` has come; `end` is set when all is over."""

    def __init__(self, order: Order, launched: Launched, around: Surroundings) -> None:
        self.id = order.id
        self.pid = launched.pid
        self.end: End | None = None
        self.limits = Limits(around.boottime(), order.timeout_seconds, order.lease_until)
        self._silence = Silence(around.now(), order.heartbeat_seconds)
        self._extension = 0  # the number of the last that came
        self._silent_seconds = 0.0
        self._around = around
        self._due = NEVER
        self._env = order.env
        self._pipes = {launched.stdout: "stdout", launched.stderr: "stderr"}
        self._spools = {
            stream: SpoolWriter(order.directory, stream, order.head_bytes, order.tail_bytes)
            for stream in self._pipes.values()
        }
        self._exited_at: float | None = None
        self._stopping = False
        self._stop_reason = ""
        self._kill_at = NEVER  # once it has been told to stop
        self._killing_since: float | None = None
        self._signalled_alive = False
        self._leftovers: set[tuple[int, int]] = set()
        for pipe in self._pipes:
            around.selector.register(pipe, selectors.EVENT_READ, partial(self._read, pipe))
        self._note_limits()

    @property
    def due(self) -> float:
        """When it is to be ticked."""
        return self._due

    @due.setter
    def due(self, moment: float) -> None:
        self._due = moment
        if moment == NEVER:
            self._around.wanting.due.discard(self)
        else:
            self._around.wanting.due.add(self)

    @property
    def silent_until(self) -> float:
        """When it has printed nothing for too long, by the clock of `due`. Who has exited needs to print no more."""
        return NEVER if self._exited_at is not None else self._silence.until

    def extents(self) -> Mapping[str, Extent]:
        """How far each stream has come that has printed something."""
        return {stream: spool.extent for stream, spool in self._spools.items() if spool.total}

    def look(self) -> None:
        """Some child has exited: see whether it was the leader, and whether that ends something."""
        if self._exited_at is None and has_exited(self.pid):
            self._exited_at = self._around.now()
        if self._exited_at is not None:
            self.due = self._around.now()

    def enforce(self) -> None:
        """Stop it if one of its limits has passed."""
        passed = self.limits.passed(self._around.boottime())
        if passed is None and self._exited_at is None:
            passed = self._silence.passed(self._around.now())
        if passed is None:
            return
        if passed.reason == HEARTBEAT_TIMEOUT and not self._stop_reason:
            self._silent_seconds = self._silence.most_seconds or 0.0
        self.stop(passed.grace_seconds, passed.reason)

    def extend(self, number: int, run_until: float | None, heartbeat_seconds: float | None) -> None:
        """Other limits; None: as before. `run_until` is by boottime.

        An extension counts once, by its number; 0: it counts anyhow.
        """
        if number and number <= self._extension:
            return
        self._extension = max(number, self._extension)
        if run_until is not None:
            self.limits.run(run_until)
        if heartbeat_seconds is not None:
            self._silence.allow(self._around.now(), heartbeat_seconds)
        self._note_limits()

    def stop(self, grace_seconds: float, reason: str = "") -> None:
        """Ask the whole tree to end, and kill it after the grace. A second stop can only shorten the grace.

        The end tells the reason that was given first.
        """
        if self._killing_since is not None:
            return
        now = self._around.now()
        self._stop_reason = self._stop_reason or reason
        if not self._stopping:
            self._stopping = True
            self._ask_to_end()
        self._kill_at = min(self._kill_at, now + grace_seconds)
        self.due = now

    def tick(self) -> None:
        """Do what is due, and say in `due` when to come back."""
        now = self._around.now()
        self.look()
        if self._exited_at is None:
            self._tick_alive(now)
        else:
            self._tick_exited(now, self._exited_at)

    def _tick_alive(self, now: float) -> None:
        if now < self._kill_at:
            self.due = self._kill_at
        else:
            self._kill(now, self._living())

    def _tick_exited(self, now: float, exited_at: float) -> None:
        living = self._living()
        drained_at = now if not self._pipes else exited_at + DRAIN_SECONDS
        if not living:
            self._wait_or_finish(now, drained_at)
            return
        kill_at = self._kill_at if self._stopping else drained_at
        if now >= kill_at:
            self._leftovers.update((process.pid, process.started) for process in living)
            self._kill(now, living)
        else:
            self.due = kill_at

    def _wait_or_finish(self, now: float, drained_at: float) -> None:
        """The tree is gone. Somebody outside of it may still hold the pipes."""
        if self._killing_since is not None or now >= drained_at:
            self._finish(tree_gone=True)
        else:
            self.due = drained_at

    def _kill(self, now: float, living: list[Process]) -> None:
        """One sweep; another is due soon, until nothing lives or it has gone on for too long."""
        if self._killing_since is None:
            self._killing_since = now
        if now >= self._killing_since + GIVE_UP_SECONDS:
            self._finish(tree_gone=False)
            return
        self._signal_tree(signal.SIGKILL, living)
        self.due = now + SWEEP_SECONDS

    def _note_limits(self) -> None:
        if self.limits.next != NEVER or self._silence.until != NEVER:
            self._around.wanting.limited.add(self)

    def _living(self) -> list[Process]:
        """What is alive of the tree. What it left behind became the spawner's children when its leader exited."""
        if self._exited_at is not None and not self._around.orphans(self._exited_at):
            return []
        return tree(self._around.processes(), self.pid, marks(self._env))

    def _ask_to_end(self) -> None:
        self.look()
        living = self._living()
        self._signalled_alive = bool(living)
        self._signal_tree(signal.SIGTERM, living)
        self._signal_tree(signal.SIGCONT, living)  # a suspended process hears nothing else

    def _signal_tree(self, number: int, living: list[Process]) -> None:
        """Signal the leader's group at once, so that a fork in between is reached too, then the rest one by one."""
        with contextlib.suppress(OSError):  # all exited, or of another user: the next sweep sees what still lives
            os.killpg(self.pid, number)
        for process in living:
            if process.group != self.pid:
                deliver(process, number)

    def _read(self, pipe: int) -> int:
        """Move what one pipe holds, a bounded part of it, to its spool; the number of bytes."""
        try:
            data = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            self._close(pipe)
            return 0
        self._spools[self._pipes[pipe]].append(data)
        self._silence.sign(self._around.now())
        self._around.wanting.grown[self] = None
        return len(data)

    def _close(self, pipe: int) -> None:
        self._around.selector.unregister(pipe)
        os.close(pipe)
        self._spools[self._pipes.pop(pipe)].close()
        if self._exited_at is not None:
            self.due = self._around.now()

    def _finish(self, *, tree_gone: bool) -> None:
        for pipe in list(self._pipes):
            for _ in range(_LAST_READS):
                if not self._read(pipe):
                    break
            if pipe in self._pipes:
                self._close(pipe)
        self.due = NEVER
        self.end = self._ended(tree_gone)

    def _ended(self, tree_gone: bool) -> End:
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if pid else None
        return End(
            exit_code=128 - code if code is not None and code < 0 else code,
            signal=-code if code is not None and code < 0 else None,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            max_rss_bytes=usage.ru_maxrss * 1024,
            signalled_alive=self._signalled_alive,
            tree_gone=tree_gone,
            leftovers=len(self._leftovers),
            stop_reason=self._stop_reason,
            silent_seconds=self._silent_seconds,
        )


def has_exited(pid: int) -> bool:
    """Whether a child has exited. It is not waited for, so its number stays taken."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
