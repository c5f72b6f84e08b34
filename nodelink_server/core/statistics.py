"""What was done, how fast and how well, over time: counted by the minute, kept in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
MOST_BUCKETS = 1_500


class Grouping(StrEnum):
    """By what statistics can be told apart."""

    AGENT = "agent"
    POOL = "pool"
    TYPE = "type"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsQuery:
    """Which statistics. Moments in wall-clock milliseconds; `since` None: an hour before `until`; `until` None: now.

    `step_ms` None: one bucket over the whole time. `by` None: everything together, under an empty key.
    """

    by: Grouping | None = None
    since: int | None = None
    until: int | None = None
    step_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Durations in seconds. The quantiles are estimated from a histogram. All are 0 if there were none."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p99: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsGroup:
    """What was done for one agent, pool or type. `finished` is by status; `returned` attempts came to no result."""

    key: str
    created: int = 0
    finished: Mapping[str, int] = field(default_factory=dict)
    queue_seconds: Durations = Durations()
    run_seconds: Durations = Durations()
    total_seconds: Durations = Durations()
    assigned: int = 0
    returned: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsBucket:
    """One stretch of time. Groups by key."""

    start: int
    groups: Sequence[StatsGroup]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsLevels:
    """How things stand now, and what was counted since the server started."""

    live: Mapping[str, int]
    response_channel_depth: int
    response_channel_capacity: int
    response_channel_full: int
    cleanup_runs: int
    cleanup_removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Buckets, oldest first, without those in which nothing happened; from `since` up to `until`."""

    since: int
    until: int
    step_ms: int
    buckets: Sequence[StatsBucket]
    now: StatsLevels
