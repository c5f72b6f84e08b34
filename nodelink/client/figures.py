"""What the server tells about itself: the queue as it stands, and how much was done, how fast and how well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nodelink.client.pausing import Pause


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStatus:
    """What waits and what runs now. `state`: running or paused; `max_concurrent_tasks` 0: any number.

    `queue_by_priority` counts what waits under CRITICAL, HIGH, NORMAL and LOW.
    """

    state: str
    queued_tasks: int
    running_tasks: int
    max_concurrent_tasks: int
    available_slots: int
    queue_by_priority: Mapping[str, int]
    last_checkpoint_at: int | None
    pauses: Sequence[Pause] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsDurations:
    """Durations in seconds: how many, their mean, and estimates of what half and 99 of 100 stay within."""

    count: int
    mean: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsGroup:
    """What was done for one agent, pool or type. `finished`: how many tasks ended, by status.

    `assigned` and `returned` count attempts: handed to an agent, and come back without a result.
    """

    key: str
    created: int
    finished: Mapping[str, int]
    queue_seconds: StatsDurations
    run_seconds: StatsDurations
    total_seconds: StatsDurations
    assigned: int
    returned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsBucket:
    """One stretch of time, by what was asked for; one group with an empty key if nothing was."""

    start: int
    groups: Sequence[StatsGroup]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsLevels:
    """How things stand now: tasks that have not ended, by status, and what was counted since the server started."""

    live: Mapping[str, int]
    response_channel_depth: int
    response_channel_capacity: int
    response_channel_full: int
    cleanup_runs: int
    cleanup_removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What was done from `since` to `until`, bucket by bucket; those in which nothing happened are left out."""

    since: int
    until: int
    step_ms: int
    buckets: Sequence[StatsBucket]
    now: StatsLevels
