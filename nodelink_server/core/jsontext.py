"""JSON text as values, more strictly than Python has it: what two readers could understand differently is refused."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MOST_DEPTH = 100
"""How deep the values of a caller may nest to be read at all. A payload may less: that is the core's to say."""


def read_json(text: bytes, *, most_depth: int | None = MOST_DEPTH) -> Any:
    """The value. ValueError says what is wrong: no JSON, a name twice in one object, NaN, too deep, no Unicode.

    `most_depth` None: it is known already that it is not too deep.
    """
    try:
        value = _decoded(text.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"the values nest deeper than {most_depth or MOST_DEPTH}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    if most_depth is not None and text.count(b"[") + text.count(b"{") > most_depth and _is_deeper(value, most_depth):
        raise ValueError(f"the values nest deeper than {most_depth}")
    if b"\\u" in text:
        _check_unicode(value)
    return value


def _decoded(text: str) -> Any:
    """The value. Usually nothing is around it, and the decoder need not look for that."""
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError:
        return _DECODER.decode(text)
    return value if end == len(text) else _DECODER.decode(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{_given_twice(pairs)[:100]!r} is given twice in one object")
    return found


def _given_twice(pairs: list[tuple[str, Any]]) -> str:
    """The first name that has been given before, found in one pass: objects may be large."""
    last = {name: place for place, (name, _) in enumerate(pairs)}
    return next(name for place, (name, _) in enumerate(pairs) if last[name] != place)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _whole(text: str) -> int:
    if len(text) > 100:
        raise ValueError(f"the number {text[:40]}… is too long")
    return int(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
)


def _is_deeper(value: Any, most_depth: int) -> bool:
    """Whether values nest deeper, found level by level: without recursion."""
    level = [value]
    for _ in range(most_depth):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _check_unicode(value: Any) -> None:
    """Escapes can spell half a character, which no encoding can carry on."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a text has half of a surrogate pair") from None
