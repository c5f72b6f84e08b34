"""Bytes that a fuzzer makes, read as choices. Whatever the bytes are, there is an answer; at their end all are zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Reads choices from bytes, from the first to the last."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def left(self) -> int:
        """How many bytes there still are."""
        return len(self._data) - self._place

    def number(self, most: int) -> int:
        """A number from 0 to so many, from as few bytes as it takes."""
        taken = 0
        bound = 1
        while bound <= most:
            taken = taken << 8 | self._byte()
            bound <<= 8
        return taken % (most + 1)

    def choice(self, among: Sequence[T]) -> T:
        """One of these."""
        return among[self.number(len(among) - 1)]

    def chance(self) -> bool:
        """Yes or no."""
        return self._byte() % 2 == 1

    def some_bytes(self, most: int) -> bytes:
        """Up to so many bytes: their number comes first."""
        count = min(self.number(most), self.left)
        self._place += count
        return self._data[self._place - count : self._place]

    def rest(self) -> bytes:
        """All that is left."""
        taken, self._place = self._data[self._place :], len(self._data)
        return taken

    def _byte(self) -> int:
        if not self.left:
            return 0
        self._place += 1
        return self._data[self._place - 1]
