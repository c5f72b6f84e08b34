"""A program on a terminal of its own: what it shows there, byte for byte, and keys that are pressed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.command_line import ROOT, WAIT_SECONDS

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CTRL_C = b"\x03"
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal that it is given the program's own, so that Ctrl-C reaches it."""


class PseudoTerminal:
    """A terminal with a program that runs on it."""

    def __init__(self, descriptor: int, process: asyncio.subprocess.Process) -> None:
        self._descriptor = descriptor
        self._process = process
        self._shown = b""
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65_536)
        except OSError:  # how a terminal says that nobody holds its other end any more
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._shown += data
        self._news.set()

    @property
    def raw(self) -> str:
        """All that was written to it so far."""
        return self._shown.decode(errors="replace")

    @property
    def text(self) -> str:
        """The same without colours and movements of the cursor."""
        return _ESCAPE.sub("", self.raw).replace("\r\n", "\n")

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._descriptor, keys)

    async def shows(self, words: str, *, after: int = 0) -> int:
        """Wait until it has shown these words. Returns how much of its text there was up to them."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (found := self.text.find(words, after)) < 0:
                self._news.clear()
                await self._news.wait()
        return found + len(words)

    async def end(self) -> int:
        """Wait for the program's end. Returns its exit code."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._process.wait()

    def close(self) -> None:
        """Take it away."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)


@asynccontextmanager
async def on_terminal(
    *command: str, cwd: Path, env: Mapping[str, str], width: int = 80, height: int = 24
) -> AsyncIterator[PseudoTerminal]:
    """A program on a terminal of this size, killed at the end if it still runs."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    unset = ("NODELINK_", "PYTEST_", "COLUMNS", "LINES", "NO_COLOR")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", TAKE_TERMINAL, *command),
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    terminal = PseudoTerminal(ours, process)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        terminal.close()


def nodelink_on_terminal(*arguments: str) -> tuple[str, ...]:
    """The command line of `nodelink` with these arguments."""
    return (sys.executable, "-m", "nodelink.cli", *arguments)
