"""Inputs that are kept: what each target has been shown to be interesting, one line of base64 each."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
ROOM_BYTES = 24_000
"""How much of it there may be for one target."""


def inputs_of(target: str) -> Sequence[bytes]:
    """The inputs that are kept for a target."""
    file = CORPUS / f"{target}.txt"
    return [base64.b64decode(line) for line in file.read_text(encoding="ascii").split()] if file.exists() else []


def add(target: str, inputs: Iterable[bytes]) -> None:
    """Keep these inputs for a target as well, the smallest first, as long as there is room."""
    kept = list(inputs_of(target))
    room = ROOM_BYTES - sum(map(_room_of, kept))
    for one in sorted(set(inputs) - {b"", *kept}, key=lambda one: (len(one), one)):
        room -= _room_of(one)
        if room < 0:
            break
        kept.append(one)
    CORPUS.mkdir(exist_ok=True)
    lines = "".join(f"{base64.b64encode(one).decode()}\n" for one in kept)
    (CORPUS / f"{target}.txt").write_text(lines, encoding="ascii")


def _room_of(one: bytes) -> int:
    return len(base64.b64encode(one)) + 1


def unpack(inputs: Iterable[bytes], directory: Path) -> None:
    """Write inputs as files, as a fuzzer wants them."""
    directory.mkdir(parents=True, exist_ok=True)
    for one in inputs:
        (directory / hashlib.sha256(one).hexdigest()[:16]).write_bytes(one)


def pack(directory: Path) -> Sequence[bytes]:
    """Read the files that a fuzzer has left."""
    return [path.read_bytes() for path in sorted(directory.iterdir())]
