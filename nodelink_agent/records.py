"""Records in a file that only grows: how they are framed, and what can still be read of a damaged file.

A record is `length u32 | crc32 u32 | kind u8 | payload`, little-endian; the crc covers length, kind and payload. Before
the first one stands a header that names the format. A payload should hold no zero byte, as no JSON text does: every
frame holds one (lengths are below 2^24), so nothing inside a payload is taken for a record when one is searched for.
Pure functions, standard library only: the spawner imports this file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

MAX_PAYLOAD = 8 * 1024 * 1024

_FRAME = struct.Struct("<IIB")
_COVERED = struct.Struct("<IB")
_LENGTH = struct.Struct("<I")
_MAGIC = b"NODELINK"
_HEADER_BYTES = 16
_TOP_OF_LENGTH = 3


class UnknownFormat(Exception):
    """The file is whole, and of another format or version than the one that was expected."""


@dataclass(frozen=True, slots=True)
class Format:
    """What a file holds. `name` is three bytes; the version, below 256, counts up when its records change meaning."""

    name: bytes
    version: int

    @property
    def header(self) -> bytes:
        """What such a file begins with."""
        start = _MAGIC + self.name + bytes([self.version])
        return start + _LENGTH.pack(zlib.crc32(start))


@dataclass(frozen=True, slots=True)
class Record:
    """One entry: its kind, a number that the format gives a meaning, and what it says."""

    kind: int
    payload: bytes


class Damage(Enum):
    """What is wrong with a file."""

    NONE = "none"
    TORN = "torn"
    """It ends in something that is no record, and nothing valid lies behind: a write that was cut short."""

    MIDDLE = "middle"
    """Something that is no record has records behind it: the storage has changed what was written."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a file holds. It is whole up to `end`, and `records` are those before it.

    `rescued` are the records that lie behind a damage in the middle; what lay between is not known.
    """

    records: Sequence[Record] = ()
    end: int = 0
    damage: Damage = Damage.NONE
    rescued: Sequence[Record] = ()


def encode(kind: int, payload: bytes) -> bytes:
    """A record as it stands in a file. ValueError if it is larger than any reader accepts."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a record of {len(payload)} bytes is too large")
    return _FRAME.pack(len(payload), _checksum(kind, payload), kind) + payload


def scan(data: bytes, file_format: Format) -> Scan:
    """Read a whole file. Never raises for damage; UnknownFormat if the file is another's.

    An empty file is whole, and has no header yet: `end` is 0. A changed byte in the very last record looks like a write
    that was cut short.
    """
    if not data:
        return Scan()
    offset = _HEADER_BYTES if data.startswith(file_format.header) else 0
    if not offset and _is_header(data):
        raise UnknownFormat(f"the file is {data[8:11]!r} version {data[11]}, not {file_format.name!r}")
    records, end = _run(data, offset) if offset else ([], 0)
    if end == len(data):
        return Scan(records, end)
    rescued = _rescue(data, end)
    return Scan(records, end, Damage.MIDDLE if rescued else Damage.TORN, rescued)


def _is_header(data: bytes) -> bool:
    start = data[: _HEADER_BYTES - _LENGTH.size]
    return data.startswith(_MAGIC) and data[len(start) : _HEADER_BYTES] == _LENGTH.pack(zlib.crc32(start))


def _run(data: bytes, offset: int) -> tuple[list[Record], int]:
    """The unbroken run of records from an offset, and where it ends."""
    records = []
    while (record := _record(data, offset)) is not None:
        records.append(record)
        offset += _FRAME.size + len(record.payload)
    return records, offset


def _rescue(data: bytes, offset: int) -> list[Record]:
    """All records behind an offset at which none stands."""
    found: list[Record] = []
    while (zero := data.find(0, offset + 1 + _TOP_OF_LENGTH)) >= 0:  # every frame has one there: skip what has not
        records, offset = _run(data, zero - _TOP_OF_LENGTH)
        found += records
    return found


def _record(data: bytes, offset: int) -> Record | None:
    """The record at an offset. None if there is none, or not all of it."""
    if offset + _FRAME.size > len(data):
        return None
    length, checksum, kind = _FRAME.unpack_from(data, offset)
    start = offset + _FRAME.size
    if length > MAX_PAYLOAD or start + length > len(data):
        return None
    payload = data[start : start + length]
    return Record(kind, payload) if _checksum(kind, payload) == checksum else None


def _checksum(kind: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_COVERED.pack(len(payload), kind)))
