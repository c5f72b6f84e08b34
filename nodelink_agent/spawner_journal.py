"""What a spawner writes down of its commands, so that their ends are known whoever dies, and how that is read.

That a command is ordered is written before it is launched: a command that is not in the journal of a spawner that died
in this run of the machine has never begun. Ends are synced, in groups, before they are told. What was confirmed by an
agent may go: the file is written anew when most of it is of that kind. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from nodelink.failpoints import hit
from nodelink_agent.records import Format, encode
from nodelink_agent.spawner_home import JOURNAL

FORMAT = Format(b"spw", 1)
RENEW_BYTES = 1024 * 1024
"""A smaller file is never written anew."""

_MOSTLY = 4

_words = json.JSONEncoder(separators=(",", ":")).encode
"""Made once: what `json.dumps` is given makes it build an encoder for each record."""


class Kind(IntEnum):
    """What a record tells."""

    BORN = 1
    ORDERED = 2
    LAUNCHED = 3
    REFUSED = 4
    ENDED = 5
    CLOSED = 6


class SpawnerJournal:
    """The journal of one spawner as its owner sees it. A disk that takes nothing forbids only new commands."""

    def __init__(self, home: Path, born: Mapping[str, object]) -> None:
        self._home = home
        self._file = os.open(home / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._end = 0
        self._born = FORMAT.header + _record(Kind.BORN, born)
        self._live: dict[str, bytes] = {}  # of each command that is not forgotten, all its records
        self._waiting: dict[str, bytes] = {}  # those that are not durable, though they have to be
        self._renew_at = RENEW_BYTES
        self._append(self._born)
        os.fsync(self._file)
        for directory in (home, *home.parents[:2]):
            _sync_directory(directory)

    @property
    def is_durable(self) -> bool:
        """Whether every end that was written down would survive a power cut."""
        return not self._waiting

    def ordered(self, command_id: str, directory: Path | str) -> None:
        """A command is about to be launched. OSError: it cannot be written, so nothing may be launched."""
        record = _record(Kind.ORDERED, {"id": command_id, "directory": str(directory)})
        self._append(record)
        self._live[command_id] = record

    def launched(self, command_id: str, pid: int, started: range) -> None:
        """It runs, and this is its leader, which started at one of these moments."""
        record = _record(Kind.LAUNCHED, {"id": command_id, "pid": pid, "started": [started.start, started.stop]})
        self._live[command_id] += record
        try:
            self._append(record)
        except OSError:
            self._waiting[command_id] = record

    def refused(self, command_id: str) -> None:
        """It could not be launched after all."""
        del self._live[command_id]
        with contextlib.suppress(OSError):  # then it counts as one that may have begun: the safe side
            self._append(_record(Kind.REFUSED, {"id": command_id}))

    def ended(self, command_id: str, end: Mapping[str, object], output: Mapping[str, object]) -> None:
        """It has ended. Durable after the next `sync` that succeeds."""
        record = _record(Kind.ENDED, {"id": command_id, "end": end, "output": output})
        self._live[command_id] += record
        self._waiting[command_id] = self._waiting.get(command_id, b"") + record

    def forget(self, command_id: str) -> None:
        """Its end is needed no longer."""
        self._live.pop(command_id, None)
        self._waiting.pop(command_id, None)

    def sync(self) -> bool:
        """Make every end durable. False if the disk does not take it: try again later."""
        if not self._waiting:
            return True
        before = self._end
        try:
            self._append(b"".join(self._waiting.values()))
            hit("spawner.end.written")
            os.fdatasync(self._file)
        except OSError:
            self._cut(before)  # after a failed sync nobody knows what is on the disk: it is written again
            return False
        self._waiting.clear()
        if self._end >= self._renew_at:
            self._renew()
        return True

    def close(self) -> None:
        """The spawner ends by itself: nothing was begun that is not written here."""
        with contextlib.suppress(OSError):  # then it looks like one that died
            self._append(_record(Kind.CLOSED, {}))
            os.fdatasync(self._file)
        os.close(self._file)

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.pwrite(self._file, rest, self._end + len(data) - len(rest)) :]
        except OSError:
            self._cut(self._end)
            raise
        self._end += len(data)

    def _cut(self, end: int) -> None:
        """Leave nothing half-written behind: what is written next begins there."""
        self._end = end
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, end)

    def _renew(self) -> None:
        """Write the file anew if most of it was forgotten. If that fails, the old one goes on."""
        data = self._born + b"".join(self._live.values())
        self._renew_at = max(self._end * 2, RENEW_BYTES)
        if len(data) * _MOSTLY > self._end:
            return
        fresh = self._home / f"{JOURNAL}.new"
        with contextlib.suppress(OSError):
            file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                _write(file, data)
                os.fsync(file)
                fresh.rename(self._home / JOURNAL)
            except OSError:
                os.close(file)
                raise
            os.close(self._file)
            self._file, self._end = file, len(data)
            self._renew_at = max(len(data) * _MOSTLY, RENEW_BYTES)
            _sync_directory(self._home)


def _record(kind: Kind, words: Mapping[str, object]) -> bytes:
    return encode(kind, _words(words).encode())


def read_words(payload: bytes) -> Mapping[str, Any]:
    """What a record says."""
    words: Mapping[str, Any] = json.loads(payload)
    return words


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _sync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
