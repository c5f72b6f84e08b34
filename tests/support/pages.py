"""The pages of the documentation, and the blocks on them that a reader would type.

The words behind a fence's language say how a block is to be run (`tests/docs/test_pages.py` tells them all).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT

_FENCE = re.compile(r"^(?P<indent> *)```(?P<words>[^`\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: `words` are those behind the language, such as `exits=7`; `line` is that of its fence."""

    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return f"{self.page}:{self.line}"

    @property
    def exits(self) -> str:
        """The exit codes that its commands may have, beside 0, with spaces between them."""
        return " ".join(word.removeprefix("exits=") for word in self.words if word.startswith("exits="))

    @property
    def says(self) -> str:
        """What it is waited for to print, if it never ends by itself. Empty: anything."""
        return next((word.removeprefix("says=") for word in self.words if word.startswith("says=")), "")


def pages() -> list[Path]:
    """Every page that a reader may come to."""
    return [
        *sorted(ROOT.glob("*.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "deploy").rglob("*.md")),
    ]


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page, from its top."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        language, *words = found["words"].split() or [""]
        line = text.count("\n", 0, found.start()) + 1
        indent = found["indent"]
        body = "".join(one.removeprefix(indent) for one in found["text"].splitlines(keepends=True))
        yield Block(str(page.relative_to(ROOT)), line, language, tuple(words), body)


def with_addresses(text: str, addresses: Mapping[str, str]) -> str:
    """A text in which the default addresses are those where the server of a test is."""
    grpc, http = addresses["grpc"], addresses["http"].removeprefix("http://")
    return re.sub(r"\b(localhost|127\.0\.0\.1):(50051|8080)\b", lambda m: grpc if m[2] == "50051" else http, text)


def prose_of(page: Path) -> str:
    """What stands around the blocks of a page."""
    return _FENCE.sub("", page.read_text())
