"""One command's end step by step: a real process, a clock that is moved, and a process that only the table knows."""

from __future__ import annotations

import os
import resource
import selectors
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodelink_agent.launch import Launcher, Order
from nodelink_agent.limits import LEASE_GRACE, TIMEOUT_GRACE
from nodelink_agent.processes import Process, Table, snapshot
from nodelink_agent.spawned import (
    DRAIN_SECONDS,
    GIVE_UP_SECONDS,
    NEVER,
    SWEEP_SECONDS,
    End,
    Spawned,
    Surroundings,
    Wanting,
)
from nodelink_agent.spool import Extent
from tests.support.commands import sh

NOBODY = 2**22 + 1
"""A number that no process ever has."""


class Stage:
    """Where a command runs: time, the selector of its pipes, and what the table of processes says beside the truth."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self.now = 0.0
        self.boottime = 0.0
        self.unkillable: Process | None = None
        self.wanting = Wanting()
        self.asked_since: list[float] = []
        self._launcher = launcher
        self._folder = folder
        self._selector = selectors.DefaultSelector()

    def start(
        self,
        script: str,
        *,
        timeout_seconds: float | None = None,
        lease_until: float | None = None,
        heartbeat_seconds: float | None = None,
    ) -> Spawned:
        order = Order(
            id="1",
            argv=sh(script),
            env={"PATH": os.environ["PATH"]},
            cwd="/",
            directory=str(self._folder),
            stdin=b"",
            head_bytes=1000,
            tail_bytes=1000,
            timeout_seconds=timeout_seconds,
            lease_until=lease_until,
            heartbeat_seconds=heartbeat_seconds,
        )
        around = Surroundings(
            self._selector,
            lambda: self.now,
            lambda: self.boottime,
            self._orphans,
            self._table,
            self.wanting,
        )
        return Spawned(order, self._launcher.launch(order), around)

    def haunt(self, command: Spawned) -> None:
        """From now on a process that no signal reaches belongs to the command."""
        self.unkillable = Process(NOBODY, 1, command.pid, command.pid, started=1, dead=False)

    def read_pipes(self) -> None:
        """Read until the pipes have ended."""
        while self._selector.get_map():
            for key, _ in self._selector.select(20):
                key.data()

    def read_until(self, command: Spawned, length: int) -> None:
        """Read until so much has been printed."""
        while command.extents().get("stdout", Extent()).total < length:
            for key, _ in self._selector.select(20):
                key.data()

    def tick(self, command: Spawned, at: float) -> None:
        self.now = at
        command.tick()

    def _orphans(self, since: float) -> bool:
        self.asked_since.append(since)
        return self.unkillable is not None

    def _table(self) -> Table:
        table = dict(snapshot())
        if self.unkillable is not None:
            table[NOBODY] = self.unkillable
        return table


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    """Launching changes the directory and the limits of the process, as it may in the spawner."""
    home, limit = Path.cwd(), resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Launcher()
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    os.chdir(home)


@pytest.fixture
def stage(launcher: Launcher, tmp_path: Path) -> Stage:
    return Stage(launcher, tmp_path)


def wait_for_exit(command: Spawned) -> None:
    """Wait until the leader has exited; it stays to be waited for."""
    os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)


def test_a_running_command_has_nothing_due(stage: Stage) -> None:
    command = stage.start("exec sleep 1000")
    stage.tick(command, 1)
    assert command.due == NEVER
    command.stop(0)
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 1)
    assert command.end is not None


def test_nobody_looks_after_a_command_that_needs_nothing(stage: Stage) -> None:
    command = stage.start("exec sleep 1000")
    wanting = stage.wanting
    assert (wanting.due, wanting.limited, wanting.grown) == (set(), set(), {})
    command.stop(0)
    assert wanting.due == {command}
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 1)
    assert command.end is not None
    assert not wanting.due


def test_who_prints_is_noted_until_that_is_told(stage: Stage) -> None:
    command = stage.start("echo up")
    stage.read_until(command, len("up\n"))
    assert list(stage.wanting.grown) == [command]
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 1)
    stage.wanting.drop(command)
    assert not stage.wanting.grown


def test_who_is_given_a_limit_later_is_looked_after(stage: Stage) -> None:
    command = stage.start("exec sleep 1000")
    assert not stage.wanting.limited
    command.extend(1, 5.0, None)
    assert stage.wanting.limited == {command}
    stage.boottime = 6.0
    command.enforce()
    stage.now = TIMEOUT_GRACE
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, TIMEOUT_GRACE)
    assert command.end is not None
    assert command.end.stop_reason == "run_timeout"


def test_who_has_left_nobody_is_asked_about_after_its_exit(stage: Stage) -> None:
    command = stage.start("exit 0")
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 4)
    assert command.end is not None
    assert stage.asked_since == [4.0]


def test_only_a_stream_that_has_printed_something_is_told(stage: Stage) -> None:
    command = stage.start("echo text >&2")
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 1)
    assert command.extents() == {"stderr": Extent(5, 5, 5)}


def test_it_ends_at_once_when_leader_and_pipes_have(stage: Stage) -> None:
    command = stage.start("echo text; exit 3")
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 1)
    assert command.end is not None
    assert (command.end.exit_code, command.end.tree_gone) == (3, True)
    assert command.extents()["stdout"].total == 5


def test_pipes_that_nobody_of_the_tree_holds_are_given_two_seconds(stage: Stage) -> None:
    command = stage.start("exit 0")
    wait_for_exit(command)
    stage.tick(command, 1)
    assert (command.due, command.end) == (1 + DRAIN_SECONDS, None)
    stage.tick(command, 1 + DRAIN_SECONDS)
    assert command.end is not None
    assert command.end.tree_gone


def test_the_kill_waits_for_the_grace(stage: Stage) -> None:
    command = stage.start("trap '' TERM; echo up; while :; do sleep 1; done")
    stage.read_until(command, len("up\n"))
    stage.now = 1
    command.stop(10)
    stage.tick(command, 10)
    assert (command.due, command.end) == (11, None)
    stage.tick(command, 11)
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 11)
    assert command.end is not None
    assert (command.end.signal, command.end.signalled_alive) == (9, True)


def test_what_cannot_be_killed_is_given_up_and_told(stage: Stage) -> None:
    command = stage.start("exit 0")
    wait_for_exit(command)
    stage.read_pipes()
    stage.haunt(command)

    stage.tick(command, 1)
    assert command.due == 1 + SWEEP_SECONDS
    stage.tick(command, 1 + GIVE_UP_SECONDS)

    assert command.end is not None
    assert _outline(command.end) == (0, False, False, 1)


def test_a_stop_that_finds_only_what_was_left_counts_as_given_in_time(stage: Stage) -> None:
    command = stage.start("exit 0")
    wait_for_exit(command)
    stage.haunt(command)
    command.stop(0)
    stage.read_pipes()
    stage.tick(command, 0)
    stage.tick(command, GIVE_UP_SECONDS)
    assert command.end is not None
    assert _outline(command.end) == (0, True, False, 1)


def test_a_stop_that_finds_nothing_alive_was_not_given_in_time(stage: Stage) -> None:
    command = stage.start("exit 0")
    wait_for_exit(command)
    command.stop(0)
    stage.read_pipes()
    stage.tick(command, 0)
    assert command.end is not None
    assert _outline(command.end) == (0, False, True, 0)


def test_a_stop_comes_too_late_once_the_rest_is_being_killed(stage: Stage) -> None:
    command = stage.start("exit 0")
    wait_for_exit(command)
    stage.read_pipes()
    stage.haunt(command)
    stage.tick(command, 1)
    command.stop(0)
    stage.tick(command, 1 + GIVE_UP_SECONDS)
    assert command.end is not None
    assert not command.end.signalled_alive


def test_a_limit_that_passes_stops_it_and_is_the_reason(stage: Stage) -> None:
    command = stage.start("trap '' TERM; echo up; while :; do sleep 1; done", timeout_seconds=3600, lease_until=100)
    stage.read_until(command, len("up\n"))
    stage.now, stage.boottime = 1, 99.9
    command.enforce()
    assert command.due == NEVER
    stage.boottime = 5000  # the machine has slept, and its other clock stood still
    command.enforce()
    command.stop(3600, "later")
    stage.tick(command, 1)
    assert command.due == 1 + LEASE_GRACE
    stage.tick(command, 1 + LEASE_GRACE)
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 4)
    assert command.end is not None
    assert (command.end.signal, command.end.stop_reason) == (9, "lease_expired")


def test_a_command_that_prints_nothing_for_too_long_is_stopped(stage: Stage) -> None:
    command = stage.start("echo up; exec sleep 1000", heartbeat_seconds=30)
    stage.now = 20
    stage.read_until(command, len("up\n"))
    stage.now, stage.boottime = 49, 10_000  # the machine has slept: nobody could print
    command.enforce()
    assert (command.due, command.silent_until) == (NEVER, 50)
    stage.now = 50
    command.enforce()
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 51)
    assert command.end is not None
    assert (command.end.stop_reason, command.end.silent_seconds) == ("heartbeat_timeout", 30)
    assert command.end.signalled_alive


def test_who_has_exited_needs_to_print_nothing_more(stage: Stage) -> None:
    command = stage.start("exit 3", heartbeat_seconds=30)
    wait_for_exit(command)
    command.look()
    assert command.silent_until == NEVER
    stage.now = 1_000
    command.enforce()
    stage.read_pipes()
    stage.tick(command, 1_000)
    assert command.end is not None
    assert (command.end.exit_code, command.end.stop_reason) == (3, "")


def test_a_stop_that_came_before_the_silence_is_the_reason(stage: Stage) -> None:
    command = stage.start("trap '' TERM; echo up; while :; do sleep 1; done", heartbeat_seconds=30)
    stage.read_until(command, len("up\n"))
    command.stop(3600, "cancelled_by_caller")
    stage.now = 31
    command.enforce()
    stage.tick(command, 31 + TIMEOUT_GRACE)
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 60)
    assert command.end is not None
    assert (command.end.stop_reason, command.end.silent_seconds) == ("cancelled_by_caller", 0)


def test_an_extension_counts_once_by_its_number(stage: Stage) -> None:
    command = stage.start("exec sleep 1000", timeout_seconds=100, heartbeat_seconds=100)
    command.extend(1, 500.0, None)
    assert (command.limits.next, command.silent_until) == (500, 100)
    stage.now = 50
    command.extend(2, None, 300.0)
    assert (command.limits.next, command.silent_until) == (500, 350)
    command.extend(2, 900.0, 900.0)
    command.extend(1, 900.0, 900.0)
    assert (command.limits.next, command.silent_until) == (500, 350)
    command.extend(0, 60.0, 10.0)
    assert (command.limits.next, command.silent_until) == (60, 60)
    command.stop(0)
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 60)


def test_the_first_reason_counts(stage: Stage) -> None:
    command = stage.start("exec sleep 1000")
    command.stop(10)
    command.stop(10, "first")
    command.stop(0, "second")
    wait_for_exit(command)
    stage.read_pipes()
    stage.tick(command, 0)
    assert command.end is not None
    assert command.end.stop_reason == "first"


def _outline(end: End) -> tuple[int | None, bool, bool, int]:
    return end.exit_code, end.signalled_alive, end.tree_gone, end.leftovers
