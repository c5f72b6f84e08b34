"""Moments and durations as JSON has them: RFC 3339 in UTC, and `1h30m`. Inside they are milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from nodelink.durations import format_duration_ms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})",
    re.ASCII,
)


def moment(ms: int) -> str:
    """A moment as people read it: `2026-01-31T09:30:00.250Z`."""
    return (_EPOCH + ms * _MILLISECOND).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def moment_or_none(ms: int | None) -> str | None:
    """As `moment`; None stays None."""
    return None if ms is None else moment(ms)


def duration(ms: int) -> str:
    """A duration as people write it: `1h30m`."""
    return format_duration_ms(ms)


def duration_or_none(ms: int | None) -> str | None:
    """As `duration`; None stays None."""
    return None if ms is None else format_duration_ms(ms)


def parse_moment(text: str) -> int:
    """Milliseconds since the epoch. ValueError says what would be right."""
    try:
        if not _MOMENT.fullmatch(text):
            raise ValueError(text)
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not a moment; write it like 2026-01-31T09:30:00Z") from None
