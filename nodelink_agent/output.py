"""What one attempt prints, whoever writes it: a handler in this process, or a command whose spool the spawner fills.

Costs neither file nor directory before the first byte. Where its command works is apart from that: most print nothing,
or little, and to make and remove a directory takes as long as much of the rest.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from nodelink.task import LogStream
from nodelink_agent.spool import HEAD_BYTES, TAIL_BYTES, Extent, Gap, SpoolReader, SpoolWriter, head_path, kept_extent

AT_ONCE_BYTES = 256 * 1024
"""What is no longer than this takes the disk no time to remove."""

_log = structlog.get_logger(__name__)


class Output:
    """The streams of one attempt. A stream has one writer: this object, or a command that reports its growth.

    `work`: the place of its command, if it has one of its own. Both places are kept as text: few attempts need a Path,
    and to make one takes as long as to look at a file.
    """

    def __init__(
        self,
        directory: Path | str,
        on_growth: Callable[[], None],
        *,
        work: Path | str,
        head_bytes: int = HEAD_BYTES,
        tail_bytes: int = TAIL_BYTES,
    ) -> None:
        self._directory = os.fspath(directory)
        self._work = os.fspath(work)
        self._on_growth = on_growth
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._extents: dict[LogStream, Extent] = {}
        self._writers: dict[LogStream, SpoolWriter] = {}
        self._made = False
        self._ended = False

    @property
    def spool(self) -> str:
        """Where the streams are kept: whoever writes to one makes it, if it is not there."""
        return self._directory

    def make_work(self) -> str:
        """A private and empty directory for the attempt's command, made at most once. OSError if that fails."""
        try:
            os.mkdir(self._work, 0o700)  # noqa: PTH102 - for every command
        except OSError:  # it is there, or the place for it is not
            os.makedirs(self._work, 0o700, exist_ok=True)  # noqa: PTH103
        return self._work

    @property
    def directory(self) -> Path:
        """The attempt's private directory, made on first use. OSError if that fails."""
        directory = Path(self._directory)
        if not self._made:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._made = True
        return directory

    @property
    def ended(self) -> bool:
        """Whether nothing more will be printed."""
        return self._ended

    def append(self, stream: LogStream, data: bytes) -> None:
        """Add to a stream from this process. What the disk does not take becomes a gap."""
        if self._ended or not data:
            return
        writer = self._writer(stream)
        writer.append(data)
        self.grown(stream, writer.extent)

    def grown(self, stream: LogStream, extent: Extent) -> None:
        """Note how far a stream has come; called by whoever writes it. Once its length was told, it grows no more."""
        if self._ended or extent == self._extent(stream):
            return
        self._extents[stream] = extent
        self._on_growth()

    def restore(self, totals: Mapping[LogStream, int] | None) -> None:
        """What an earlier process left of an attempt that is over. What is not there any more is a gap.

        Totals None: nobody knows how much it was; what the files hold counts.
        """
        self._ended = True
        kept = {stream: kept_extent(self._directory, stream) for stream in LogStream}
        for stream, extent in kept.items():
            total = extent.total if totals is None else totals.get(stream, 0)
            head_end = min(extent.head_end, total)
            if total:
                self._extents[stream] = Extent(total, head_end, min(max(extent.tail_start, head_end), total))
        self._on_growth()

    def total(self, stream: LogStream) -> int:
        """Bytes printed so far, kept or not."""
        return self._extent(stream).total

    def totals(self) -> dict[LogStream, int]:
        """The length of each stream that was written."""
        return {stream: extent.total for stream, extent in self._extents.items() if extent.total}

    def readable_end(self, stream: LogStream) -> int:
        """Up to where the stream may be read now: the head while it is written, all of it once it has ended."""
        extent = self._extent(stream)
        return extent.total if self._ended else extent.head_end

    def read(self, stream: LogStream, offset: int, limit: int) -> bytes | Gap:
        """Up to `limit` bytes from an offset, or the gap that begins there. Empty at the readable end."""
        room = self.readable_end(stream) - offset
        if room <= 0:
            return b""
        return SpoolReader(self._directory, stream).read(offset, min(limit, room), self._extent(stream))

    def end(self) -> None:
        """Nothing more will be printed: from now on the tail can be read too."""
        if self._ended:
            return
        self._ended = True
        for writer in self._writers.values():
            writer.close()
        if self._extents:
            self._on_growth()

    def remove(self) -> None:
        """Forget all of it. The directories are gone from their places at once, and deleted beside the event loop.

        What cannot be deleted is logged and left. Most attempts leave little, which takes less than a thread would.
        """
        self.end()
        if self._is_removed_at_once():
            return
        places = Path(self._directory), Path(self._work)
        doomed = [_doomed(directory) for directory in places if directory.exists()]
        asyncio.get_running_loop().run_in_executor(None, _delete, doomed)

    def _is_removed_at_once(self) -> bool:
        """Remove what is no more than some short output and an empty place to work in. False: there is more."""
        totals = self.totals()
        if sum(totals.values()) > AT_ONCE_BYTES:
            return False
        try:
            for stream in totals:
                os.unlink(head_path(self._directory, stream))  # noqa: PTH108 - it is no Path
            _remove_empty(self._work)
            _remove_empty(self._directory)
        except OSError:
            return False
        return True

    def _extent(self, stream: LogStream) -> Extent:
        return self._extents.get(stream, Extent())

    def _writer(self, stream: LogStream) -> SpoolWriter:
        """This process's own writer of a stream, made with its directory if the disk lets us."""
        writer = self._writers.get(stream)
        if writer is None:
            try:
                _ = self.directory
            except OSError as error:
                _log.warning("output_directory_not_made", directory=self._directory, error=str(error))
            writer = SpoolWriter(self._directory, stream, self._head_bytes, self._tail_bytes)
            self._writers[stream] = writer
        return writer


def _remove_empty(directory: str) -> None:
    """Remove a directory, if it is there. OSError: it is not empty."""
    try:
        os.rmdir(directory)  # noqa: PTH106 - it is no Path
    except FileNotFoundError:
        return


def _doomed(directory: Path) -> Path:
    """The directory under another name, if the disk lets us."""
    doomed = directory.with_name(f"{directory.name}.removed")
    try:
        directory.rename(doomed)
    except OSError:
        return directory
    return doomed


def _delete(directories: Sequence[Path]) -> None:
    for directory in directories:
        shutil.rmtree(directory, onerror=_left_behind)


def _left_behind(_function: object, path: str, error: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        _log.warning("output_not_removed", path=path, error=str(error[1]))
