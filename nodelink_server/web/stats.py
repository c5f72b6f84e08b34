"""`/stats`: what was done, how fast and how well."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from nodelink_server.core.statistics import (
    Durations,
    Grouping,
    Stats,
    StatsBucket,
    StatsGroup,
    StatsLevels,
    StatsQuery,
)
from nodelink_server.web.times import duration, moment
from nodelink_server.web.values import Duration, Moment
from nodelink_server.web.wiring import Manager

router = APIRouter(tags=["stats"])


class StatsFilters(BaseModel):
    """Of which time, how finely, and by what."""

    model_config = ConfigDict(extra="forbid")

    by: Grouping | None = Field(default=None, description="agent, pool or type; else everything together")
    since: Moment = Field(default=None, alias="from", description="rounded down to the minute; else an hour before to")
    until: Moment = Field(default=None, alias="to", description="else now")
    step: Duration = Field(default=None, description="the length of one bucket, in whole minutes; else one bucket")

    def query(self) -> StatsQuery:
        """What is asked, as the core has it."""
        return StatsQuery(by=self.by, since=self.since, until=self.until, step_ms=self.step)


class DurationsJson(BaseModel):
    """Durations in seconds; the quantiles are estimates."""

    count: int
    mean: float
    p50: float
    p99: float


class StatsGroupJson(BaseModel):
    """What was done for one agent, pool or type."""

    key: str = Field(description="its name; empty if nothing was asked apart")
    created: int
    finished: dict[str, int] = Field(description="by status")
    queue_seconds: DurationsJson = Field(description="from ready to granted")
    run_seconds: DurationsJson
    total_seconds: DurationsJson = Field(description="from accepted to ended")
    assigned: int = Field(description="attempts that were handed to an agent")
    returned: int = Field(description="attempts that came back without a result")
    assignment_success: float | None = Field(description="the part of the assigned attempts that were not returned")


class StatsBucketJson(BaseModel):
    """One stretch of time."""

    start: str
    groups: list[StatsGroupJson]


class LevelsJson(BaseModel):
    """How things stand at this moment, and what was counted since the server started."""

    live: dict[str, int] = Field(description="tasks that have not ended, by status")
    response_channel_depth: int
    response_channel_capacity: int
    response_channel_full: int = Field(description="times that it was full")
    cleanup_runs: int
    cleanup_removed: int


class StatsJson(BaseModel):
    """Bucket by bucket, oldest first; those in which nothing happened are left out."""

    since: str = Field(alias="from")
    until: str = Field(alias="to")
    step: str
    buckets: list[StatsBucketJson]
    now: LevelsJson


@router.get("/stats")
async def get_stats(asked: Annotated[StatsFilters, Query()], manager: Manager) -> StatsJson:
    """Tell what was done. Counted by the minute, and older than two days by the hour."""
    return _stats_json(await manager.stats(asked.query()))


def _stats_json(stats: Stats) -> StatsJson:
    return StatsJson.model_validate(
        {
            "from": moment(stats.since),
            "to": moment(stats.until),
            "step": duration(stats.step_ms),
            "buckets": [_bucket_json(bucket) for bucket in stats.buckets],
            "now": _levels_json(stats.now),
        }
    )


def _bucket_json(bucket: StatsBucket) -> StatsBucketJson:
    return StatsBucketJson(start=moment(bucket.start), groups=[_group_json(group) for group in bucket.groups])


def _group_json(group: StatsGroup) -> StatsGroupJson:
    kept = max(0, group.assigned - group.returned)
    return StatsGroupJson(
        key=group.key,
        created=group.created,
        finished=dict(group.finished),
        queue_seconds=_durations_json(group.queue_seconds),
        run_seconds=_durations_json(group.run_seconds),
        total_seconds=_durations_json(group.total_seconds),
        assigned=group.assigned,
        returned=group.returned,
        assignment_success=kept / group.assigned if group.assigned else None,
    )


def _durations_json(durations: Durations) -> DurationsJson:
    return DurationsJson(count=durations.count, mean=durations.mean, p50=durations.p50, p99=durations.p99)


def _levels_json(levels: StatsLevels) -> LevelsJson:
    return LevelsJson(
        live=dict(levels.live),
        response_channel_depth=levels.response_channel_depth,
        response_channel_capacity=levels.response_channel_capacity,
        response_channel_full=levels.response_channel_full,
        cleanup_runs=levels.cleanup_runs,
        cleanup_removed=levels.cleanup_removed,
    )
