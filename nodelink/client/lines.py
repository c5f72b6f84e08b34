"""Lines of text out of output that comes in pieces, each of its streams for itself. Pure."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

from nodelink.client.nouns import LogPart
from nodelink.task import LogStream

LONGEST_LINE = 64 << 10
"""In characters; a longer one is cut in two."""


class Lines:
    """Gathers parts of output until a line is whole. Bytes that are no UTF-8 become U+FFFD; a gap ends a line."""

    def __init__(self) -> None:
        self._decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in LogStream}
        self._rests = dict.fromkeys(LogStream, "")

    def take(self, parts: Iterable[LogPart]) -> Iterator[str]:
        """The lines that these parts complete, without their ends."""
        for part in parts:
            text = self._rests[part.stream] + self._decoders[part.stream].decode(part.data, final=bool(part.gap))
            *whole, rest = text.split("\n")
            yield from (line.removesuffix("\r") for line in whole)
            while len(rest) > LONGEST_LINE or (rest and part.gap):
                yield rest[:LONGEST_LINE]
                rest = rest[LONGEST_LINE:]
            self._rests[part.stream] = rest

    def end(self) -> Iterator[str]:
        """What is left when nothing more comes: lines without an end."""
        for stream in LogStream:
            rest = self._rests[stream] + self._decoders[stream].decode(b"", final=True)
            if rest:
                yield rest
            self._rests[stream] = ""
