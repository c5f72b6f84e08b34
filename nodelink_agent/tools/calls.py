"""The commands that a step runs, one after the other. Once a stop is asked for, none begins any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from nodelink_agent.tools.order import Refusal

MAX_SAID_BYTES = 16 * 1024 * 1024
"""What a command may say that is read. Beyond it, nobody would read the plan."""


class Calls:
    """Runs commands, and waits for each. `Refusal`: a stop was asked for before, or one says too much."""

    def __init__(self) -> None:
        self._is_stopped = False

    def heed(self) -> None:
        """Hear of stops from now on."""
        # The tool gets the signal as well, being of the same tree. This process waits for it, and starts nothing more.
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def run(self, words: Sequence[str]) -> int:
        """Run a command whose output is the step's own. Returns its exit code."""
        self._begin()
        return _code_of(subprocess.run(words, check=False).returncode)  # noqa: S603 - the task's own

    def read(self, words: Sequence[str], *, quietly: bool = False) -> tuple[int, bytes]:
        """The exit code of a command, and what it says on stdout. That is the step's own output, unless `quietly`."""
        self._begin()
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:  # noqa: S603 - the task's own
            said = _read(process, process.stdout, None if quietly else sys.stdout.buffer)
        return _code_of(process.returncode), said

    def read_errors(self, words: Sequence[str]) -> tuple[int, bytes]:
        """The exit code of a command, and what it says on stderr. All that it says is the step's own output too."""
        self._begin()
        with subprocess.Popen(words, stderr=subprocess.PIPE) as process:  # noqa: S603 - the task's own
            said = _read(process, process.stderr, sys.stderr.buffer)
        return _code_of(process.returncode), said

    def _begin(self) -> None:
        if self._is_stopped:
            raise Refusal("a stop was asked for before")

    def _stop(self, _number: int, _frame: object) -> None:
        self._is_stopped = True


def _read(process: subprocess.Popen[bytes], pipe: IO[bytes] | None, hearer: IO[bytes] | None) -> bytes:
    """All that comes out of a pipe, passed on as it comes."""
    if pipe is None:
        raise RuntimeError("its output goes elsewhere")
    said = bytearray()
    while piece := os.read(pipe.fileno(), 65_536):
        if hearer is not None:
            hearer.write(piece)
            hearer.flush()
        said += piece
        if len(said) > MAX_SAID_BYTES:
            process.kill()
            raise Refusal(f"the check says more than {MAX_SAID_BYTES} bytes, and so would the plan")
    return bytes(said)


def _code_of(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode
