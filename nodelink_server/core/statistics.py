"""What was done, how fast and how well, over time: counted by the minute, kept in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from nodelink.errors import FieldError, InvalidTask
from nodelink_server.core.tally import Buckets

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
MOST_BUCKETS = 1_500
MOST_GROUPS = 50_000


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


class Counts:
    """What was counted of one kind of task with one agent, in one stretch of time. It only grows.

    `finished` is by status. Histograms are in seconds, with the bounds of `tally.SECONDS`: they are stored by place.
    """

    __slots__ = ("assigned", "created", "finished", "queue", "returned", "run", "total")

    def __init__(self) -> None:
        self.created = 0
        self.assigned = 0
        self.returned = 0
        self.finished: dict[str, int] = {}
        self.queue = Buckets()
        self.run = Buckets()
        self.total = Buckets()

    def add(self, other: Counts) -> None:
        """Count what others have counted."""
        self.created += other.created
        self.assigned += other.assigned
        self.returned += other.returned
        for status, count in other.finished.items():
            self.finished[status] = self.finished.get(status, 0) + count
        self.queue.add(other.queue)
        self.run.add(other.run)
        self.total.add(other.total)

    def copy(self) -> Counts:
        """The same numbers, which stay as they are."""
        made = Counts()
        made.add(self)
        return made


class StatsKey(NamedTuple):
    """What one row of statistics is about: a minute, a kind of task and an agent (empty: none was involved).

    `series` is a number of the server's start and of how often its clock was set back since: no two series ever write
    the same row, so a row is always written as a whole.
    """

    start: int
    series: int
    type: str
    pool: str
    agent_id: str


class StatsRow(NamedTuple):
    """A row of statistics as it now stands."""

    key: StatsKey
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsRange:
    """Which rows to add up: those that start from `since` up to before `until`, into buckets of `step_ms`.

    Rows named in `without` are left out: whoever asks has newer values of them.
    """

    since: int
    until: int
    step_ms: int
    by: Grouping | None = None
    without: frozenset[StatsKey] = frozenset()

    def leaving_out(self, keys: frozenset[StatsKey]) -> StatsRange:
        """The same without some rows."""
        return replace(self, without=keys)

    def bucket(self, start: int) -> int:
        """The start of the bucket in which a moment lies."""
        return start - (start - self.since) % self.step_ms

    def group(self, type_: str, pool: str, agent_id: str) -> str:
        """Under which name something is counted."""
        if self.by is Grouping.TYPE:
            return type_
        if self.by is Grouping.POOL:
            return pool
        return agent_id if self.by is Grouping.AGENT else ""


def check_groups(count: int) -> None:
    """See that an answer does not become too large. Raises `InvalidTask`."""
    if count > MOST_GROUPS:
        raise InvalidTask(
            FieldError("step", f"makes more than {MOST_GROUPS} groups; make it longer, or the time shorter")
        )


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
