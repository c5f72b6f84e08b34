"""A process that has loaded one of our programs, and becomes it in a copy of itself as often as it is asked to.

    python -m tests.support.zygote MODULE FD

Loading takes most of the time of a start, and tests start hundreds of servers and agents. FD is a socket of packets:
each order is answered by {"order", "pid"}, and each end is told by {"pid", "code"}. The zygote ends with its socket.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from nodelink.grpc_setup import set_up_grpc

MOST_BYTES = 1 << 20
LOADED: Mapping[str, str] = {"nodelink_server": "nodelink_server.app", "nodelink_agent": "nodelink_agent.app"}
"""What each of them loads only when it has read its settings."""


class Zygote:
    """Makes copies, and tells of their ends."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._ended, self._ends = socket.socketpair()
        self._ends.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._ends.fileno(), warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        for source in (self._line, self._ended):
            self._selector.register(source, selectors.EVENT_READ)

    def next_life(self) -> Mapping[str, Any] | None:
        """Returns in each copy what it is to be, and in the zygote None when it is not needed any more."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._ended:
                    self._ended.recv(4096)
                    self._tell_ends()
                    continue
                order = self._line.recv(MOST_BYTES)
                if not order:
                    return None
                asked: Mapping[str, Any] = json.loads(order)
                pid = os.fork()
                if not pid:
                    self._let_go()
                    return asked
                self._tell({"order": asked["order"], "pid": pid})

    def _tell_ends(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._tell({"pid": pid, "code": os.waitstatus_to_exitcode(status)})

    def _tell(self, news: Mapping[str, object]) -> None:
        self._line.send(json.dumps(news).encode())

    def _let_go(self) -> None:
        """A copy has nothing of this."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for end in (self._line, self._ended, self._ends):
            end.close()


def become(asked: Mapping[str, Any]) -> None:
    """Be as a process that was just started: by itself, in a directory, with an environment, writing to a log."""
    os.setsid()
    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(asked["log"], os.O_WRONLY)
    for number, source in enumerate((nothing, log, log)):
        os.dup2(source, number)
    os.close(nothing)
    os.close(log)


def load(module: str) -> Callable[[list[str]], int]:
    """Have everything of a program in memory. Returns its `main`."""
    set_up_grpc(os.environ)  # as our programs do before they load gRPC
    main: Callable[[list[str]], int] = importlib.import_module(f"{module}.__main__").main
    importlib.import_module(LOADED[module])
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1, "a copy would have none of the other threads"
    return main


if __name__ == "__main__":
    run = load(sys.argv[1])
    life = Zygote(socket.socket(fileno=int(sys.argv[2]))).next_life()
    if life is not None:
        become(life)
        sys.exit(run(life["flags"]))
