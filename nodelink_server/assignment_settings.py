"""The table `[assignment]` of the server's file: how far apart the tries to give a waiting task to an agent are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nodelink.durations import format_duration_ms, parse_duration
from nodelink_server.core.assignment import AssignmentDelays

LEAST_MS, MOST_MS = 100, 3_600_000
MOST_SENDS = 20
_KEYS = ("no_pool", "no_agent_online", "none_free", "send_failed")


def parse_assignment(text: str) -> AssignmentDelays:
    """The delays, from the JSON text of the table. ValueError says which is wrong, and what is right."""
    table = json.loads(text)
    if not isinstance(table, Mapping):
        raise ValueError('must be a table, like [assignment] and below it none_free = "10s"')
    unknown = [key for key in table if key not in _KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not known; use {', '.join(_KEYS)}")
    delays: Any = {key: _sends(given) if key == "send_failed" else _delay(key, given) for key, given in table.items()}
    return AssignmentDelays(**delays)


def _sends(given: Any) -> tuple[int, ...]:
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_SENDS:
        raise ValueError(f'send_failed: must be a list of 1 to {MOST_SENDS} durations, like ["5s", "10s"]')
    return tuple(_delay("send_failed", one) for one in given)


def _delay(key: str, given: Any) -> int:
    try:
        milliseconds = round(parse_duration(given) * 1000) if isinstance(given, str) else 0
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    if not LEAST_MS <= milliseconds <= MOST_MS:
        bounds = f"from {format_duration_ms(LEAST_MS)} to {format_duration_ms(MOST_MS)}"
        raise ValueError(f"{key}: {given!r} is not a duration {bounds}, like 10s")
    return milliseconds
