"""Moments as people say them: written exactly, told roughly (`3m ago`), and read from the command line."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from nodelink.durations import parse_duration_ms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_STEPS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_TWO_UNITS_BELOW = 10
"""Below so many of a unit the next smaller one is told too: `1h30m`, but `12h`."""


def now_ms() -> int:
    """This moment by our own clock, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def moment(ms: int | None) -> str | None:
    """A moment as JSON shows it, `2030-01-31T09:30:00.250Z`; None stays None."""
    if ms is None:
        return None
    return (_EPOCH + ms * _MILLISECOND).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def ago(written: object, now: int) -> str:
    """A written moment as people tell it: `now`, `3m ago`, `in 2d`. What is none: an empty text."""
    if not isinstance(written, str):
        return ""
    seconds = (now - ms_of_moment(datetime.fromisoformat(written))) / 1000
    if abs(seconds) < 1:
        return "now"
    length = rough(abs(seconds))
    return f"{length} ago" if seconds > 0 else f"in {length}"


def rough(seconds: float) -> str:
    """A length of time in one unit or two: `45s`, `1h30m`, `12d`, `250ms`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    left = int(seconds)
    for (unit, size), (smaller, smaller_size) in zip(_STEPS, (*_STEPS[1:], ("", 1)), strict=True):
        count, rest = divmod(left, size)
        if count:
            more = rest // smaller_size if smaller and count < _TWO_UNITS_BELOW else 0
            return f"{count}{unit}{more}{smaller}" if more else f"{count}{unit}"
    return "0s"


def ms_of_moment(at: datetime) -> int:
    """Milliseconds since the epoch of a moment that has a time zone."""
    return (at - _EPOCH) // _MILLISECOND


def read_moment(text: str) -> datetime:
    """A moment with a time zone. ValueError says what would be right."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError(f"{text!r} is not a moment with a time zone; write it like 2030-01-31T09:30:00Z")
    return at


def read_past(text: str) -> datetime:
    """A moment, or how long ago it was: `2030-01-31T09:30:00Z`, `1h30m`. ValueError says what would be right."""
    try:
        return _EPOCH + (now_ms() - parse_duration_ms(text)) * _MILLISECOND
    except ValueError:
        pass
    try:
        return read_moment(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is neither how long ago, like 1h30m, nor a moment like 2030-01-31T09:30:00Z"
        ) from error
