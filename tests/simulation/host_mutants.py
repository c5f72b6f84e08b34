"""Agents that stand on something rotten: a journal that is not synced, spawners that forget, a clock that sleeps."""

from __future__ import annotations

from typing import Any

from nodelink.task import AttemptRef, Finished, Gone, TaskResponse
from tests.simulation.doing import Doing
from tests.simulation.spawners import Spawner


def never_syncs_its_journal(host: Any) -> None:
    """What is written down is believed to be durable, and is lost with the power."""
    machine = host.machine
    machine.synced = lambda count: [machine.keep(ref) for ref, (_, end) in machine.disk.attempts().items() if end]


def remembers_more_than_it_knows(host: Any) -> None:
    """With a new disk, an agent claims to know all that ever was."""
    lose = host.machine.lose_disk

    def boast() -> None:
        lose()
        host.machine.disk.remembers_since = 1

    host.machine.lose_disk = boast


def forgets_every_earlier_life(host: Any) -> None:
    """A new process begins with an empty journal, and says so."""
    host.on_life = lambda life: _forget(host)


def _forget(host: Any) -> None:
    disk = host.machine.disk
    disk.journal.clear()
    disk.synced = 0
    disk.printed.clear()
    for spawner in disk.spawners.values():
        spawner.exits.clear()
    disk.remembers_since = disk.session + 1


def has_forgetful_spawners(host: Any) -> None:
    """A spawner knows nothing of what it runs when another agent asks."""
    host.on_spawner = _make_forgetful


def _make_forgetful(spawner: Spawner) -> None:
    spoiled: Any = spawner
    take_line = spoiled.take_line

    def take(line: Any) -> None:
        if spoiled.line is None and spoiled._holds:
            spoiled._holds.clear()
            spoiled._disk.ordered.clear()
        take_line(line)

    spoiled.take_line = take


def has_spawners_that_tell_ends_too_early(host: Any) -> None:
    """The end of a command is told before it is written down."""

    def hasty(spawner: Any) -> None:
        def ended(doing: Doing, finished: Finished) -> None:
            spawner._holds.pop(doing.ref, None)
            spawner._machine.keep(doing.ref)
            if spawner.line is not None:
                spawner.line.ended(doing, finished)

        spawner.ended = ended

    host.on_spawner = hasty


def gives_up_what_its_spawner_left(host: Any) -> None:
    """Commands without a spawner are said to be gone while they run."""

    def hasty(life: Any) -> None:
        execution = life.execution

        def give_up(ref: AttemptRef, doing: Doing | None, *, exclusive: bool) -> None:
            execution._spawned.pop(ref, None)
            execution._tell(TaskResponse(ref, Gone(message="its spawner died")))

        execution.await_orphan = give_up

    host.on_life = hasty


def has_a_clock_that_sleeps(host: Any) -> None:
    """Leases are counted by a clock that stands still while the machine is suspended."""
    machine = host.machine
    machine.now = lambda: machine.clock.monotonic() - machine.suspended
