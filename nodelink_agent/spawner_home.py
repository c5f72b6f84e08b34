"""The directory of one spawner: the socket at which it can be found, its journal, and the lock it holds while it lives.

Standard library only: the spawner imports this file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import struct
from pathlib import Path

SPAWNERS = "spawners"
JOURNAL = "journal"
_SOCKET = "sock"
_LOCK = "lock"
_PEER = struct.Struct("3i")  # pid, uid, gid
_WAITING_AGENTS = 8


def make_home(agent_directory: Path) -> tuple[Path, int]:
    """A new directory for a spawner, and its lock, held. Whoever inherits the descriptor holds the lock too.

    OSError: it cannot be made.
    """
    folder = agent_directory.absolute() / SPAWNERS
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = folder / secrets.token_hex(8)
    home.mkdir(mode=0o700)
    lock = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return home, lock


def is_inhabited(home: Path) -> bool:
    """Whether the spawner of a directory lives: its lock goes with it, however it ends."""
    try:
        lock = os.open(home / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def open_door(home: Path) -> socket.socket:
    """Listen for agents. Changes the working directory to `/`: the path may be too long for a socket's name."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    os.chdir(home)
    door.bind(_SOCKET)
    os.chdir("/")
    door.listen(_WAITING_AGENTS)
    door.setblocking(False)
    return door


def close_door(home: Path, door: socket.socket) -> None:
    """Listen no longer."""
    door.close()
    with contextlib.suppress(OSError):  # it is found out by the lock, not by this name
        (home / _SOCKET).unlink()


def knock(home: Path) -> socket.socket | None:
    """A line to the spawner of a directory. None if nobody listens there."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    line.setblocking(False)
    try:
        folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            line.connect(f"/proc/self/fd/{folder}/{_SOCKET}" if Path("/proc/self/fd").is_dir() else f"{home}/{_SOCKET}")
        finally:
            os.close(folder)
    except OSError:
        line.close()
        return None
    return line


def is_ours(line: socket.socket) -> bool:
    """Whether the process at the other end of a line is of the same user as this one."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the directory keeps others out
    _, uid, _ = _PEER.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return bool(uid == os.geteuid())
