"""What may be shown on a terminal. A task's output and an agent's name are strangers' text: they must not steer it."""

from __future__ import annotations

import codecs
import re

_COLOUR = re.compile(r"\x1b\[[0-9;:]{0,40}m")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;:]{0,40})?$")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_CONTROL_OR_BREAK = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class TerminalFilter:
    """Lets text, line breaks, tabs and colours of one stream through; drops what else could steer a terminal."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._held = ""

    def __call__(self, data: bytes) -> bytes:
        """What may be shown of the next bytes. A sequence that is cut at the end is held back until its rest comes."""
        text = self._held + self._decode(data)
        cut = _UNFINISHED.search(text)
        self._held = text[cut.start() :] if cut else ""
        return _harmless(text[: cut.start()] if cut else text).encode()


def _harmless(text: str) -> str:
    """The text with its colours, and without any other control character."""
    shown, behind = [], 0
    for colour in _COLOUR.finditer(text):
        shown.append(_CONTROL.sub("", text[behind : colour.start()]))
        shown.append(colour.group())
        behind = colour.end()
    shown.append(_CONTROL.sub("", text[behind:]))
    return "".join(shown)


def one_line(text: str) -> str:
    """Text for one line of a table or a message: runs of control characters become a space, what is no text a `?`."""
    return _CONTROL_OR_BREAK.sub(" ", text).encode(errors="replace").decode()
