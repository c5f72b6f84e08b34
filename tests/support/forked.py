"""Servers and agents as copies of a process that has loaded them already (`tests/support/zygote.py`), one for each."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from itertools import count
from pathlib import Path

from tests.support.zygote import LOADED, MOST_BYTES

ROOT = Path(__file__).parents[2]


class Fork:
    """One such process: what `asyncio.subprocess.Process` offers, as far as it is used."""

    def __init__(self, pid: int, end: Future[int]) -> None:
        self.pid = pid
        self._end = end

    @property
    def returncode(self) -> int | None:
        """Its exit code, or -N if signal N has killed it; None: it runs."""
        return self._end.result() if self._end.done() else None

    async def wait(self) -> int:
        """Wait for its end. Returns the exit code."""
        return await asyncio.shield(asyncio.wrap_future(self._end))

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forge:
    """The zygote of one program, seen from here. A thread listens to it; it lives as long as this process."""

    def __init__(self, module: str) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.support.zygote", module, str(theirs.fileno())],
                cwd=ROOT,
                env={
                    name: value for name, value in os.environ.items() if not name.startswith(("NODELINK_", "PYTEST_"))
                },
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._asked: dict[int, Future[Fork]] = {}
        self._ends: dict[int, Future[int]] = {}
        threading.Thread(target=self._listen, name=f"zygote of {module}", daemon=True).start()

    async def start(self, flags: Sequence[str], *, directory: Path, environment: Mapping[str, str], log: Path) -> Fork:
        """Have it run in a copy, in a session of its own."""
        number, started = next(self._numbers), Future[Fork]()
        self._asked[number] = started
        order = {
            "order": number,
            "flags": list(flags),
            "directory": str(directory),
            "environment": dict(environment),
            "log": str(log),
        }
        with self._lock:
            self._line.send(json.dumps(order).encode())
        return await asyncio.wrap_future(started)

    def _listen(self) -> None:
        while news := self._line.recv(MOST_BYTES):
            said = json.loads(news)
            if "order" in said:
                end = self._ends[said["pid"]] = Future[int]()
                self._asked.pop(said["order"]).set_result(Fork(said["pid"], end))
            else:
                self._ends.pop(said["pid"]).set_result(said["code"])
        died = RuntimeError("the zygote has died")
        for asked in self._asked.values():
            asked.set_exception(died)
        for end in self._ends.values():
            end.set_exception(died)


@cache
def forge_of(module: str) -> Forge:
    """The one of a program."""
    return Forge(module)


def may_fork(module: str, directory: Path, environment: Mapping[str, str]) -> bool:
    """Whether a process that is started there would load what a copy has loaded, and nothing before it."""
    is_ours = environment["PYTHONPATH"] == str(ROOT) and not (directory / module).exists()
    return module in LOADED and is_ours and "LD_PRELOAD" not in environment
