"""Durations as people write them: `1h30m`, `500ms`, `30d`. Read to and written from milliseconds."""

from __future__ import annotations

import re

UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
"""The units, largest first, in milliseconds."""

MAX_MS = 100 * 366 * 86_400_000
"""A hundred years: more is a slip of the pen."""

_PART = r"(\d+(?:\.\d+)?)(ms|d|h|m|s)"
_WHOLE = re.compile(rf"(?:{_PART})+", re.ASCII)
_PARTS = re.compile(_PART, re.ASCII)


def parse_duration_ms(text: str) -> int:
    """Milliseconds of a duration such as `1h30m`, `1.5s`, `500ms` or `0`. ValueError says what would be right."""
    text = text.strip()
    if text == "0":
        return 0
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write it like 1h30m, 45s or 500ms")
    parts = _PARTS.findall(text)
    units = [unit for _, unit in parts]
    if units != [unit for unit in UNITS_MS if unit in units]:
        raise ValueError(f"{text!r} is not a duration; name each unit once, the largest first, like 1h30m")
    total = sum(float(number) * UNITS_MS[unit] for number, unit in parts)
    if total > MAX_MS:
        raise ValueError(f"{text!r} is longer than 100 years")
    return round(total)


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `1h30m` or `500ms`. ValueError says what would be right."""
    return parse_duration_ms(text) / 1000


def format_duration_ms(ms: int) -> str:
    """The shortest way to write it: `90000` is `1m30s`. `parse_duration_ms` reads it back."""
    if ms == 0:
        return "0s"
    parts, rest = [], abs(ms)
    for unit, size in UNITS_MS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if ms < 0 else "") + "".join(parts)


def format_duration(seconds: float) -> str:
    """As `format_duration_ms`, from seconds."""
    return format_duration_ms(round(seconds * 1000))
