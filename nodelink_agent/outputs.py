"""What the attempts print, by attempt: opened when first used, read for the link, removed when it is forgotten."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from nodelink.task import AttemptRef, LogChunk, LogStream
from nodelink_agent.core.logs import LogRead
from nodelink_agent.output import Output
from nodelink_agent.spool import Gap

OpenOutput = Callable[[AttemptRef, Callable[[], None]], Output]
"""Makes an attempt's output, given what to call when it grows."""

_log = structlog.get_logger(__name__)

Grew = Callable[[AttemptRef, LogStream, int], None]


class Outputs:
    """The outputs that are held. `grew` hears up to where a stream can be read."""

    def __init__(self, open_output: OpenOutput, grew: Grew) -> None:
        self._open_output = open_output
        self._grew = grew
        self._held: dict[AttemptRef, Output] = {}

    def open(self, ref: AttemptRef) -> Output:
        """The output of an attempt that has none yet."""

        def grew() -> None:
            for stream in LogStream:
                end = output.readable_end(stream)
                if end:
                    self._grew(ref, stream, end)

        output = self._held[ref] = self._open_output(ref, grew)
        return output

    def restore(self, ref: AttemptRef, totals: Mapping[LogStream, int] | None) -> None:
        """What an earlier process left of an attempt that is over. Totals None: as long as the files tell."""
        self.open(ref).restore(totals)

    def end(self, ref: AttemptRef) -> Mapping[LogStream, int] | None:
        """Nothing more will be printed: the lengths. None: nothing ever was."""
        output = self._held.get(ref)
        if output is None:
            return None
        output.end()
        return output.totals()

    def read(self, read: LogRead) -> LogChunk:
        """What was printed there. What cannot be read any more is a gap, so that the log goes on."""
        ref, stream, offset, limit = read
        output = self._held.get(ref)
        run = output.read(stream, offset, limit) if output is not None else b""
        if isinstance(run, Gap):
            return LogChunk(ref, stream, offset, b"", run.length)
        return LogChunk(ref, stream, offset, run, 0 if run else limit)

    def forget(self, ref: AttemptRef) -> None:
        """Remove what was printed."""
        output = self._held.pop(ref, None)
        if output is not None:
            output.remove()


class AttemptDirectories:
    """Where the attempts print to, and where their commands work: a directory each, in two that belong to the agent."""

    def __init__(self, directory: Path, work: Path) -> None:
        self._directory = directory.absolute()
        self._work = work.absolute()

    def open(self, ref: AttemptRef, on_growth: Callable[[], None]) -> Output:
        """The output of an attempt."""
        name = _name(ref)
        return Output(f"{self._directory}/{name}", on_growth, work=f"{self._work}/{name}")

    def clear(self, keep: Iterable[AttemptRef]) -> None:
        """Remove what nobody knows of any more. What cannot be removed is logged and left. Blocks."""
        kept = {_name(ref) for ref in keep}
        for directory in (self._directory, self._work):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in directory.iterdir():
                if path.name not in kept:
                    shutil.rmtree(path, onerror=_left_behind)


def _name(ref: AttemptRef) -> str:
    return f"{ref.task_id}-{ref.attempt}-{ref.fence}"


def _left_behind(_function: object, path: str, error: tuple[type[BaseException], BaseException, object]) -> None:
    _log.warning("not_removed", path=path, error=str(error[1]))
