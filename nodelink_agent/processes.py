"""The machine's processes as /proc tells them, and signals that reach only the process that was meant.

Where there is no /proc the table is empty: the promises about whole trees hold on Linux. Standard library only, for the
spawner imports this file.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable, Mapping
from typing import NamedTuple

PR_SET_CHILD_SUBREAPER = 36
MARKS = ("NODELINK_TASK_ID", "NODELINK_FENCE")
"""Variables that name an attempt: whatever carries both is part of its tree."""

READ_BYTES = 64 * 1024

_TICKS = os.sysconf("SC_CLK_TCK")
_MARK_NAMES = tuple(f"{name}=".encode() for name in MARKS)


class Process(NamedTuple):
    """One process. Its pid and the moment it started name it for ever; a pid alone is given to others later."""

    pid: int
    parent: int
    group: int
    session: int
    started: int
    dead: bool
    """Exited, and waiting only for its parent to look."""

    marks: frozenset[bytes] = frozenset()
    """Of the variables that name an attempt, those that it was started with."""


Table = Mapping[int, Process]


def become_subreaper() -> bool:
    """Make orphaned descendants children of this process instead of init's. Whether the system can do that."""
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return False
    return bool(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def snapshot() -> Table:
    """All processes, by pid."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - half the time of paths
    except OSError:
        return {}
    found = (_process(pid) for pid in pids)
    return {p.pid: p if p.dead else p._replace(marks=_marks_of(p.pid)) for p in found if p is not None}


def started(pid: int) -> int | None:
    """The moment at which a process started, as the table tells it. None if there is none, or no table."""
    process = _process(pid)
    return process.started if process is not None else None


def lives(pid: int, moment: int) -> bool:
    """Whether the process that had this number, and started at this moment, has not exited."""
    process = _process(pid)
    return process is not None and not process.dead and process.started == moment


def moments(since: float, until: float) -> range:
    """Two moments by boottime, and all between, in the measure in which the table tells when a process started."""
    return range(int(since * _TICKS), int(until * _TICKS) + 1)


def children() -> list[int]:
    """The children of this process, which has one thread, the exited among them."""
    me = os.getpid()
    try:
        return [int(pid) for pid in _read(f"/proc/{me}/task/{me}/children").split()]
    except OSError:
        return [process.pid for process in snapshot().values() if process.parent == me]


def marks(env: Mapping[str, str]) -> frozenset[bytes]:
    """What the environment of every process of an attempt holds. Empty if the attempt does not name itself."""
    if not all(name in env for name in MARKS):
        return frozenset()
    return frozenset(os.fsencode(f"{name}={env[name]}") for name in MARKS)


def tree(table: Table, leader: int | None, marked: frozenset[bytes]) -> list[Process]:
    """The living processes of one command: its leader's group and session, whatever carries all of its marks in its
    environment, and all descendants of those.

    The leader's number must not be free for others: it has not been waited for yet. None: known by the marks alone.
    """
    seeds = [
        process.pid
        for process in table.values()
        if (leader is not None and leader in (process.pid, process.group, process.session))
        or (marked and marked <= process.marks)
    ]
    return _living(table, seeds)


def descendants(table: Table, ancestor: int) -> list[Process]:
    """The living processes below one."""
    return [process for process in _living(table, [ancestor]) if process.pid != ancestor]


def deliver(process: Process, number: int) -> bool:
    """Send a signal to exactly this process. False if it is gone or may not be signalled."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        now = _process(process.pid)  # read behind the handle: from here on the pid cannot change hands unnoticed
        if now is None or now.started != process.started:
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _living(table: Table, seeds: Iterable[int]) -> list[Process]:
    """The seeds and all that descends from them, without the dead and without this process."""
    below: dict[int, list[int]] = {}
    for process in table.values():
        below.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = list(seeds)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(below.get(pid, ()))
    return [table[pid] for pid in found - {os.getpid()} if pid in table and not table[pid].dead]


def _marks_of(pid: int) -> frozenset[bytes]:
    try:
        variables = _read(f"/proc/{pid}/environ").split(b"\0")
    except OSError:
        return frozenset()  # gone, or another user's
    return frozenset(variable for variable in variables if variable.startswith(_MARK_NAMES))


def _process(pid: int) -> Process | None:
    """One line of the table. None if there is no such process."""
    try:
        line = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    fields = line[line.rfind(b")") + 2 :].split()  # the name before it may hold anything
    state, threads = fields[0], int(fields[17])
    return Process(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        started=int(fields[19]),
        dead=state in (b"Z", b"X") and threads <= 1,  # with more, only its main thread has ended
    )


def _read(path: str) -> bytes:
    """All of a file, by the fewest calls: a file object looks at it several times before it reads."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(file, READ_BYTES):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(file)
