"""What a process did to the files of one directory, as strace has written it down: in order, whole calls only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.power.durable_file import Truncate, Write

FOLLOWED = (
    "creat,fallocate,fdatasync,fsync,ftruncate,link,linkat,open,openat,pwrite64,pwritev,pwritev2,rename,renameat,"
    "renameat2,sync,sync_file_range,syncfs,truncate,unlink,unlinkat,write,writev"
)
STRACE = (
    "strace",
    "--follow-forks",
    "--seccomp-bpf",
    "--decode-fds=path",
    "--strings-in-hex=all",
    "--string-limit=1048576",
    "--quiet=all",
    f"--trace={FOLLOWED}",
)


class Changed(NamedTuple):
    """A file was written to, or given a length."""

    name: str
    operation: Write | Truncate


class SyncBegun(NamedTuple):
    """What was done to a file until now will be durable when this sync has ended. Name ".": the directory."""

    name: str
    call: int


class SyncEnded(NamedTuple):
    """That sync has ended."""

    name: str
    call: int


class Created(NamedTuple):
    """A new file."""

    name: str


class Removed(NamedTuple):
    """A file has lost its name."""

    name: str


class Marked(NamedTuple):
    """What the process said of itself, by writing to the file of marks."""

    text: str


Event = Changed | SyncBegun | SyncEnded | Created | Removed | Marked

_LINE = re.compile(r"(?:(?P<pid>\d+) +)?(?P<rest>.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (?P<call>\w+) resumed>(?P<rest>.*)", re.DOTALL)
_CALL = re.compile(r"(?P<call>\w+)\((?P<arguments>.*)\) += (?P<answer>-?\d+|\?)(?P<more>.*)", re.DOTALL)
_UNFINISHED = " <unfinished ...>"
_FILE = re.compile(r"^\d+<(?P<path>[^>]*)>(?P<deleted>\(deleted\))?")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_SYNCS = ("fsync", "fdatasync")
_NAMING = frozenset({"creat", "link", "linkat", "open", "rename", "renameat", "renameat2", "truncate"})
"""Calls by path that nothing here knows how to follow."""

_MORE_DURABLE = frozenset({"sync", "sync_file_range", "syncfs"})
"""Calls that can only make more durable: it is harsher, and no harm, to leave them aside."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A file that strace wrote, read for one directory. `marks`: the name of the file of marks, beside it."""

    path: Path
    directory: Path
    marks: Path

    def events(self) -> Iterator[Event]:
        """What happened, in order. ValueError: the process did something that this does not know how to follow."""
        begun: dict[str, str] = {}
        existing: set[str] = set()
        with self.path.open(encoding="ascii") as lines:
            for number, line in enumerate(lines):
                yield from self._read(line.rstrip("\n"), number, begun, existing)

    def _read(self, line: str, number: int, begun: dict[str, str], existing: set[str]) -> Iterator[Event]:
        parts = _LINE.fullmatch(line)
        assert parts is not None
        pid, rest = parts["pid"] or "", parts["rest"]
        if rest.endswith(_UNFINISHED):
            begun[pid] = rest.removesuffix(_UNFINISHED)
            yield from self._sync_begun(begun[pid], pid)
            return
        resumed = _RESUMED.fullmatch(rest)
        if resumed is None:
            yield from self._sync_begun(rest, pid)
        else:
            rest = begun.pop(pid) + resumed["rest"]
        call = _CALL.fullmatch(rest)
        if call is not None and call["answer"] not in {"-1", "?"}:
            yield from self._done(call["call"], call["arguments"], int(call["answer"]), pid, existing)

    def _sync_begun(self, text: str, pid: str) -> Iterator[Event]:
        name, _, arguments = text.partition("(")
        if name in _SYNCS and (file := self._name(arguments)) is not None:
            yield SyncBegun(file, int(pid or 0))

    def _done(self, call: str, arguments: str, answer: int, pid: str, existing: set[str]) -> Iterator[Event]:
        if call in _SYNCS:
            if (file := self._name(arguments)) is not None:
                yield SyncEnded(file, int(pid or 0))
        elif call == "openat":
            yield from self._opened(arguments, existing)
        elif call in {"unlink", "unlinkat"}:
            if (file := self._within(_text(arguments).decode())) is not None:
                existing.discard(file)
                yield Removed(file)
        elif call == "write" and self._path(arguments) == str(self.marks):
            yield Marked(_text(arguments).decode())
        elif call in _NAMING:
            self._refuse_naming(call, arguments)
        elif call not in _MORE_DURABLE and (file := self._name(arguments)) is not None:
            yield self._changed(call, arguments, answer, file)

    def _opened(self, arguments: str, existing: set[str]) -> Iterator[Event]:
        file = self._within(_text(arguments).decode())
        if file is None or "O_CREAT" not in arguments:
            return
        if "O_TRUNC" in arguments:
            raise ValueError(f"{file} is opened and emptied in one")
        if file not in existing:
            existing.add(file)
            yield Created(file)

    def _refuse_naming(self, call: str, arguments: str) -> None:
        for path in _STRING.findall(arguments):
            if self._within(_bytes(path).decode()) is not None:
                raise ValueError(f"nobody knows how to follow {call} of {_bytes(path)!r}")

    def _changed(self, call: str, arguments: str, answer: int, file: str) -> Event:
        if call == "ftruncate":
            return Changed(file, Truncate(int(arguments.rpartition(", ")[2])))
        if call != "pwrite64":
            raise ValueError(f"nobody knows what {call} does to {file}")
        data = _text(arguments)
        if answer != len(data):
            raise ValueError(f"{answer} bytes of {len(data)} were written to {file}")
        return Changed(file, Write(int(arguments.rpartition(", ")[2]), data))

    def _name(self, arguments: str) -> str | None:
        """The name of the file that a call is about; None: it is none of the directory's."""
        path = self._path(arguments)
        return None if path is None else self._within(path)

    def _path(self, arguments: str) -> str | None:
        found = _FILE.match(arguments)
        if found is None or found["deleted"]:
            return None
        return _bytes(found["path"]).decode()

    def _within(self, path: str) -> str | None:
        directory, name = os.path.split(path)
        if path == str(self.directory):
            return "."
        return name if directory == str(self.directory) else None


def _text(arguments: str) -> bytes:
    """The first string among the arguments of a call."""
    found = _STRING.search(arguments)
    if found is None:
        raise ValueError(f"no string in {arguments[:200]}")
    return _bytes(found[1])


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
