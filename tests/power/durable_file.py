"""Files as they stand after a power cut. What was synced is there; what was not may be there, or not, or in part.

An `Inode` is what a file holds, a `Directory` which names lead to which files: each keeps apart what is durable and
what waits for a sync. `left_of` says what one power cut has left, by a `Cut`, which draws lots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import NamedTuple

SECTOR_BYTES = 512


class Write(NamedTuple):
    """Bytes that were put at a place."""

    offset: int
    data: bytes


class Truncate(NamedTuple):
    """A file that was given a length."""

    size: int


Operation = Write | Truncate


def perform(content: bytearray, operation: Operation) -> None:
    """Do to a file's bytes what was asked for. Behind its end there are zeros."""
    match operation:
        case Truncate(size):
            del content[size:]
            content.extend(bytes(size - len(content)))
        case Write(offset, data):
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data


class Cut:
    """The lots that one power cut draws.

    `torn_anywhere`: the last write of a file ends at any byte, too. `in_order`: of the changes of a directory none is
    there without those before it, as every file system has it that keeps a journal of them.
    """

    def __init__(self, random: Random, *, torn_anywhere: bool = False, in_order: bool = False) -> None:
        self._random = random
        self._in_order = in_order
        self._kept = random.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        self._torn = random.choice((0.0, 0.1, 0.5))
        self._torn_anywhere = torn_anywhere

    def survivors(self, operations: Sequence[Operation]) -> list[Operation]:
        """Which operations that no sync covers have reached the disk, and which parts of them."""
        last = len(operations) - 1
        return [part for place, one in enumerate(operations) for part in self._parts(one, is_last=place == last)]

    def names(self, count: int) -> list[bool]:
        """Which of so many changes of a directory have reached the disk: all up to one, or any."""
        if self._in_order or self._random.random() < 0.5:
            kept = self._random.randint(0, count)
            return [place < kept for place in range(count)]
        return [self._random.random() < self._kept for _ in range(count)]

    def _parts(self, operation: Operation, *, is_last: bool) -> list[Operation]:
        random = self._random
        if isinstance(operation, Write) and is_last and self._torn_anywhere and random.random() < 0.5:
            return [Write(operation.offset, operation.data[: random.randint(0, len(operation.data))])]
        if isinstance(operation, Write) and random.random() < self._torn:
            return [sector for sector in sectors(operation) if random.random() < 0.5]
        return [operation] if random.random() < self._kept else []


def sectors(write: Write) -> list[Operation]:
    """A write in the parts in which a disk may take it."""
    offset, data = write
    edges = [offset, *range((offset // SECTOR_BYTES + 1) * SECTOR_BYTES, offset + len(data), SECTOR_BYTES)]
    ends = [*edges[1:], offset + len(data)]
    return [Write(start, data[start - offset : end - offset]) for start, end in zip(edges, ends, strict=True)]


class Inode:
    """What one file holds: on the disk, for those who read while the power is on, and what waits for a sync."""

    def __init__(self, content: bytes = b"") -> None:
        self._durable = bytearray(content)
        self._seen = bytearray(content)
        self._waiting: list[Operation] = []

    @property
    def waiting(self) -> int:
        """How many operations no sync covers."""
        return len(self._waiting)

    def do(self, operation: Operation) -> None:
        """Write, or truncate."""
        perform(self._seen, operation)
        self._waiting.append(operation)

    def sync(self, count: int | None = None) -> None:
        """Make the first so many operations durable, or all."""
        for operation in self._waiting[:count]:
            perform(self._durable, operation)
        del self._waiting[:count]

    def fail_to_sync(self, cut: Cut) -> None:
        """A sync has failed: some of what it was for is on the disk, and no later sync will put the rest there."""
        for operation in cut.survivors(self._waiting):
            perform(self._durable, operation)
        self._waiting.clear()

    def now(self) -> bytes:
        """What a reader sees while the power is on."""
        return bytes(self._seen)

    def left_of(self, cut: Cut) -> bytes:
        """What a power cut leaves."""
        content = bytearray(self._durable)
        for operation in cut.survivors(self._waiting):
            perform(content, operation)
        return bytes(content)


Names = dict[str, Inode]


class Directory:
    """Which names lead to which files: on the disk, and what waits for a sync of the directory."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self._durable: Names = {name: Inode(content) for name, content in (files or {}).items()}
        self._waiting: list[Callable[[Names], None]] = []
        self.now: Names = dict(self._durable)

    def create(self, name: str) -> Inode:
        """A new empty file."""
        inode = Inode()
        self._change(lambda names: names.update({name: inode}))
        return inode

    def remove(self, name: str) -> None:
        """A name leads nowhere any more."""

        def change(names: Names) -> None:
            names.pop(name, None)

        self._change(change)

    def rename(self, old: str, new: str) -> None:
        """A file gets another name, in one step."""
        inode = self.now[old]

        def change(names: Names) -> None:
            names.pop(old, None)
            names[new] = inode

        self._change(change)

    def sync(self) -> None:
        """Make every change of names durable."""
        for change in self._waiting:
            change(self._durable)
        self._waiting.clear()

    def left_of(self, cut: Cut) -> dict[str, bytes]:
        """What a power cut leaves: names and contents."""
        names = dict(self._durable)
        for change, kept in zip(self._waiting, cut.names(len(self._waiting)), strict=True):
            if kept:
                change(names)
        return {name: inode.left_of(cut) for name, inode in names.items()}

    def _change(self, change: Callable[[Names], None]) -> None:
        change(self.now)
        self._waiting.append(change)
