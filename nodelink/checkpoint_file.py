"""Files of checkpoints: written at one go, read as a whole or not at all."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from nodelink.checkpoint import (
    HEADER_BYTES,
    CheckpointHeader,
    CheckpointRefused,
    Defect,
    decode_header,
    digest_of,
    encode_header,
)
from nodelink.checkpoint_blobs import check_blobs, left_out_of

READ_BYTES = 256 * 1024
UNPACKED_BYTES = 1024 * 1024
"""So much of a body is unpacked at a time: a little of it may stand for very much."""
MOST_LINE_BYTES = 64 * 1024 * 1024
_GZIP = 31
_QUICKLY = 1


class BodyWriter:
    """Writes the lines of a body behind the room for the header; the header comes last."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._zip = zlib.compressobj(_QUICKLY, zlib.DEFLATED, _GZIP)
        self._bytes = 0
        self._file.write(b" " * HEADER_BYTES)

    def rows(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """One line: rows of one table. Bytes have been made text before."""
        self.line({"table": table, "columns": columns, "rows": rows})

    def line(self, line: Mapping[str, Any]) -> None:
        """Any line."""
        self._put(self._zip.compress(json.dumps(line, separators=(",", ":")).encode() + b"\n"))

    def finish(self, header: CheckpointHeader) -> CheckpointHeader:
        """Write the end, and the header, with what is known now. Returns the whole header."""
        self._put(self._zip.flush())
        self._file.flush()
        header = replace(header, body_bytes=self._bytes)
        header = replace(header, sha256=self._digest(header))
        self._file.seek(0)
        self._file.write(encode_header(header))
        self._file.flush()
        return header

    def _put(self, part: bytes) -> None:
        self._file.write(part)
        self._bytes += len(part)

    def _digest(self, header: CheckpointHeader) -> str:
        return _digest_of(self._file, header)


def read_header(file: BinaryIO) -> CheckpointHeader:
    """What a file says of itself, with the blobs that it names as left out. Raises `CheckpointRefused`."""
    return _with_left_out(file, _header(file))


def verified(file: BinaryIO) -> CheckpointHeader:
    """The header of a file that is whole, and what its own server has written; so is each blob in it.

    Raises `CheckpointRefused`.
    """
    header = _header(file)
    length = file.seek(0, 2)
    if length < header.size:
        raise CheckpointRefused(Defect.TRUNCATED, f"it has {length:,} bytes of {header.size:,}")
    if length > header.size or _digest_of(file, header) != header.sha256:
        raise CheckpointRefused(Defect.DAMAGED, "its SHA-256 is not the one that it was written with")
    if header.blobs:
        check_blobs(header, lines(file))
    return _with_left_out(file, header)


def lines(file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    """The lines of the body of a file that was verified. Raises `CheckpointRefused` if they cannot be read."""
    file.seek(HEADER_BYTES)
    unzip = zlib.decompressobj(_GZIP)
    rest = b""
    try:
        for part in _unpacked(file, unzip):
            *whole, rest = (rest + part).split(b"\n")
            if len(rest) > MOST_LINE_BYTES:
                raise CheckpointRefused(Defect.DAMAGED, "one of its lines has no end")
            yield from map(json.loads, whole)
    except (zlib.error, ValueError) as error:
        raise CheckpointRefused(Defect.DAMAGED, "its lines cannot be read") from error
    if rest or not unzip.eof:
        raise CheckpointRefused(Defect.DAMAGED, "its last line has no end")


def _unpacked(file: BinaryIO, unzip: Any) -> Iterator[bytes]:
    """What is packed from here on, a part at a time."""
    while packed := file.read(READ_BYTES):
        while packed:
            yield unzip.decompress(packed, UNPACKED_BYTES)
            packed = unzip.unconsumed_tail


def _header(file: BinaryIO) -> CheckpointHeader:
    file.seek(0)
    return decode_header(file.read(HEADER_BYTES))


def _with_left_out(file: BinaryIO, header: CheckpointHeader) -> CheckpointHeader:
    return replace(header, left_out=left_out_of(lines(file))) if header.blobs_left_out else header


def _digest_of(file: BinaryIO, header: CheckpointHeader) -> str:
    digest = digest_of(header)
    file.seek(HEADER_BYTES)
    while part := file.read(READ_BYTES):
        digest.update(part)
    return str(digest.hexdigest())
