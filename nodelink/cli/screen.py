"""Where a task's output goes: its two streams to ours, byte for byte; but a terminal gets only what is harmless."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, BinaryIO

from nodelink.cli.output import say
from nodelink.cli.terminal import TerminalFilter
from nodelink.task import LogStream

if TYPE_CHECKING:
    from nodelink.client import LogPart


class Screen:
    """Two places to write to, with a filter where it is a terminal and `raw` was not asked for."""

    def __init__(self, *, raw: bool) -> None:
        self._places: Mapping[LogStream, BinaryIO] = {
            LogStream.STDOUT: sys.stdout.buffer,
            LogStream.STDERR: sys.stderr.buffer,
        }
        terminals = [stream for stream, place in self._places.items() if place.isatty() and not raw]
        self._filters: Mapping[LogStream, TerminalFilter] = {stream: TerminalFilter() for stream in terminals}

    def show(self, parts: Iterable[LogPart]) -> None:
        """Write output at once. Raises `BrokenPipeError` when nobody reads it any more."""
        for part in parts:
            if part.gap:
                say(f"[{part.gap} bytes of {part.stream.value} are missing here]")
                continue
            shown = self._filters.get(part.stream)
            place = self._places[part.stream]
            place.write(shown(part.data) if shown else part.data)
            place.flush()
