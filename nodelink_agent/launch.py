"""Starts one command: finds the program, prepares its descriptors, directory and limits. Standard library only."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nodelink.values import value

NOT_FOUND = 127
NOT_EXECUTABLE = 126
COMMAND_UMASK = 0o022
SPARE_DESCRIPTORS = 64
"""Kept free for what ends a command: looking at processes and signalling them."""

_DEFAULTED = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
_MISSING = (errno.ENOENT, errno.ENOTDIR)


@value
class Order:
    """What to start, where, and where to keep what it prints."""

    id: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    directory: str
    """Made when there is something to keep: its input, or the first byte that it prints."""
    stdin: bytes
    head_bytes: int
    tail_bytes: int
    timeout_seconds: float | None = None
    lease_until: float | None = None
    """By boottime. None: it needs no lease."""
    heartbeat_seconds: float | None = None
    """How long it may print nothing. None: for ever."""


class Launched(NamedTuple):
    """A command that runs: its leader's pid, and our ends of its pipes."""

    pid: int
    stdout: int
    stderr: int


class LaunchRefused(Exception):
    """The command could not be started. `exit_code` is what a shell would give, None where it has no number for it."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Launcher:
    """Starts commands from a process with one thread: the working directory, umask and limits are the process's own.

    This process may hold many more descriptors than it was born allowed to, but commands are born with the old limit,
    and `posix_spawn` moves only descriptors below it. So three low ones are kept as seats for what a command is given
    that is not below it.
    """

    def __init__(self) -> None:
        self._empty = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._seats = [os.dup(self._empty) for _ in range(3)]
        self._born_limit = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._limit = (soft if hard == resource.RLIM_INFINITY else hard, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limit)

    def launch(self, order: Order) -> Launched:
        """Start a command in a session of its own. LaunchRefused says why it could not be."""
        opened: list[int] = []
        try:
            stdin = self._stdin(order, opened)
            stdout, stdout_end = self._pipe(opened)
            stderr, stderr_end = self._pipe(opened)
            pid = self._spawn(order, (stdin, stdout_end, stderr_end))
        except BaseException:
            _close(opened)
            raise
        _close(file for file in opened if file not in (stdout, stderr))
        return Launched(pid, stdout, stderr)

    def _stdin(self, order: Order, opened: list[int]) -> int:
        if not order.stdin:
            return self._empty
        path = Path(order.directory, "stdin")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(order.stdin)
            opened.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise LaunchRefused(f"its input cannot be kept in {str(path)!r}: {error.strerror}") from error
        return opened[-1]

    def _pipe(self, opened: list[int]) -> tuple[int, int]:
        try:
            ours, theirs = os.pipe()
        except OSError as error:
            raise LaunchRefused(f"no pipe for its output: {error.strerror}") from error
        opened += (ours, theirs)
        if theirs >= self._limit[0] - SPARE_DESCRIPTORS:
            raise LaunchRefused("too many commands at once: no more files may be open")
        os.set_blocking(ours, False)
        return ours, theirs

    def _spawn(self, order: Order, given: Sequence[int]) -> int:
        if max(given) < self._born_limit[0]:
            return self._spawn_with(order, given)
        for file, seat in zip(given, self._seats, strict=True):
            os.dup2(file, seat, inheritable=False)
        try:
            return self._spawn_with(order, self._seats)
        finally:
            for seat in self._seats:
                os.dup2(self._empty, seat, inheritable=False)  # else a pipe would never end: we would hold it too

    def _spawn_with(self, order: Order, files: Sequence[int]) -> int:
        umask = os.umask(COMMAND_UMASK)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._born_limit)
            _enter(order.cwd)
            return _spawn(_program(order), order, files)
        except ValueError as error:  # text that no program can be given: a NUL, a surrogate
            raise LaunchRefused(f"command {order.argv[0]!r} cannot be started: {error}", NOT_EXECUTABLE) from error
        finally:
            os.chdir("/")
            resource.setrlimit(resource.RLIMIT_NOFILE, self._limit)
            os.umask(umask)


def _enter(cwd: str) -> None:
    try:
        os.chdir(cwd)
    except OSError as error:
        raise LaunchRefused(f"working directory {cwd!r}: {error.strerror}") from error


def _program(order: Order) -> str:
    """The path of what argv[0] names, looked up in the command's own PATH. A name with a slash is a path already."""
    name = order.argv[0]
    if "/" in name:
        return name
    unusable = None
    for directory in order.env.get("PATH", os.defpath).split(":"):
        candidate = f"{directory or '.'}/{name}"
        if os.access(candidate, os.X_OK) and not Path(candidate).is_dir():
            return candidate
        if unusable is None and os.access(candidate, os.F_OK):
            unusable = candidate
    if unusable is not None:
        raise LaunchRefused(f"{unusable!r} is not executable", NOT_EXECUTABLE)
    raise LaunchRefused(f"command {name!r} not found", NOT_FOUND)


def _spawn(program: str, order: Order, files: Sequence[int]) -> int:
    try:
        return os.posix_spawn(
            program,
            list(order.argv),
            dict(order.env),
            file_actions=[(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)],
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTED,
        )
    except OSError as error:
        code = NOT_FOUND if error.errno in _MISSING else NOT_EXECUTABLE
        raise LaunchRefused(f"command {program!r} cannot be started: {error.strerror}", code) from error


def _close(files: Iterable[int]) -> None:
    for file in files:
        os.close(file)
