"""Rates as people write them: `10/1m` is ten starts in any minute."""

from __future__ import annotations

import re

from nodelink.durations import format_duration_ms, parse_duration_ms
from nodelink.task import Rate

_RATE = re.compile(r"([0-9]{1,9})/(\S+)")


def parse_rate(text: str) -> Rate:
    """A rate such as `10/1m`. ValueError says what would be right."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is not a rate; write it like 10/1m, which is ten starts in any minute")
    return Rate(int(match[1]), parse_duration_ms(match[2]))


def format_rate(rate: Rate) -> str:
    """How it is written. `parse_rate` reads it back."""
    return f"{rate.most}/{format_duration_ms(rate.per_ms)}"
