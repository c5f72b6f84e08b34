"""What a spawner that was killed has left running: found again, and then killed or waited for.

An orphan is known by its leader (run of the machine, number and moment of its start), by the leader's session, by the
marks in its environment, and by descent from any of those. A number alone proves nothing: by now it may be another's.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence

from nodelink_agent.boottime import boot_id
from nodelink_agent.found import Vanished
from nodelink_agent.processes import MARKS, Process, Table, deliver, marks, snapshot, started, tree

SWEEP_SECONDS = 0.05
LOOK_SECONDS = 1.0
"""So often is looked for those whose end cannot be heard, for a spawner that lives, and killed again what does not die.
"""

EMPTY_LOOKS = 2
"""While a process starts a program, the kernel shows no environment: seen twice, nothing is there."""

_QUICK_SWEEPS = 100


async def clear_orphans(vanished: Vanished, *, task_id: str, fence: int, exclusive: bool) -> None:
    """Return when no process of a vanished command is left: killed, or of an exclusive one waited for.

    It may take for ever, of an exclusive command above all; cancelled, it leaves everything as it is. Nothing is
    touched while the spawner lives: then this agent was begun from a copy of another one's directory, on the same
    machine.
    """
    while vanished.keeper is not None and vanished.keeper.lives:  # noqa: ASYNC110 - nobody tells of its end
        await asyncio.sleep(LOOK_SECONDS)
    search = Search(vanished, task_id, fence)
    sweeps = empty = 0
    while empty < EMPTY_LOOKS:
        living = await asyncio.to_thread(search.living)
        empty = 0 if living else empty + 1
        sweeps += 1
        if exclusive and living:
            await _ends(living)
            continue
        for process in living:
            deliver(process, signal.SIGKILL)
        await asyncio.sleep(SWEEP_SECONDS if sweeps < _QUICK_SWEEPS else LOOK_SECONDS)


class Search:
    """Finds what lives of one vanished command, as often as asked."""

    def __init__(self, vanished: Vanished, task_id: str, fence: int) -> None:
        self._leader = vanished.pid if vanished.boot_id and vanished.boot_id == boot_id() else None
        self._started = vanished.started
        self._marks = marks(dict(zip(MARKS, (task_id, str(fence)), strict=True)))
        self._was_seen = False

    def living(self) -> Sequence[Process]:
        """Its processes that have not exited."""
        table = snapshot()
        return tree(table, self._leader if self._is_ours(table) else None, self._marks)

    def _is_ours(self, table: Table) -> bool:
        """Whether the leader's number, as a session's and a group's too, still stands for this command.

        It does while the leader is there. It cannot be given away while the session it led has members; but without
        the leader that is only sure of a session that was seen with it.
        """
        leader = table.get(self._leader) if self._leader is not None else None
        if leader is not None:
            self._was_seen = leader.started in self._started
        return self._was_seen


async def _ends(living: Sequence[Process]) -> None:
    """Wait until all of them have ended; where that cannot be heard, for a while."""
    for process in living:
        try:
            handle = os.pidfd_open(process.pid)
        except OSError:  # gone, or the system cannot tell
            await asyncio.sleep(LOOK_SECONDS)
            continue
        try:
            if started(process.pid) == process.started:  # else its number is another's by now
                await _readable(handle)
        finally:
            os.close(handle)


async def _readable(handle: int) -> None:
    loop = asyncio.get_running_loop()
    seen = asyncio.Event()
    loop.add_reader(handle, seen.set)
    try:
        await seen.wait()
    finally:
        loop.remove_reader(handle)
