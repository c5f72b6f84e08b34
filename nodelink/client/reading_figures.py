"""From the server's answers about itself to plain values. Pure: both clients share it."""

from __future__ import annotations

from nodelink.client.figures import (
    SchedulerStatus,
    Stats,
    StatsBucket,
    StatsDurations,
    StatsGroup,
    StatsLevels,
)
from nodelink.client.reading import moment_of
from nodelink.client.reading_pausing import pause_of
from nodelink.v1 import admin_pb2
from nodelink.wire import ms_of


def scheduler_status_of(pb: admin_pb2.GetSchedulerStatusResponse) -> SchedulerStatus:
    """What waits and what runs."""
    return SchedulerStatus(
        state=pb.state,
        queued_tasks=pb.queued_tasks,
        running_tasks=pb.running_tasks,
        max_concurrent_tasks=pb.max_concurrent_tasks,
        available_slots=pb.available_slots,
        queue_by_priority=dict(pb.queue_by_priority),
        last_checkpoint_at=moment_of(pb, "last_checkpoint_at"),
        pauses=tuple(map(pause_of, pb.pauses)),
    )


def stats_of(pb: admin_pb2.GetStatsResponse) -> Stats:
    """What was done."""
    return Stats(
        since=ms_of(getattr(pb, "from")),
        until=ms_of(pb.to),
        step_ms=ms_of(pb.step),
        buckets=tuple(
            StatsBucket(start=ms_of(one.start), groups=tuple(map(_group_of, one.groups))) for one in pb.buckets
        ),
        now=StatsLevels(
            live=dict(pb.now.live),
            response_channel_depth=pb.now.response_channel_depth,
            response_channel_capacity=pb.now.response_channel_capacity,
            response_channel_full=pb.now.response_channel_full,
            cleanup_runs=pb.now.cleanup_runs,
            cleanup_removed=pb.now.cleanup_removed,
        ),
    )


def _group_of(pb: admin_pb2.StatsGroup) -> StatsGroup:
    return StatsGroup(
        key=pb.key,
        created=pb.created,
        finished=dict(pb.finished),
        queue_seconds=_durations_of(pb.queue_seconds),
        run_seconds=_durations_of(pb.run_seconds),
        total_seconds=_durations_of(pb.total_seconds),
        assigned=pb.assigned,
        returned=pb.returned,
    )


def _durations_of(pb: admin_pb2.StatsDurations) -> StatsDurations:
    return StatsDurations(count=pb.count, mean=pb.mean, p50=pb.p50, p99=pb.p99)
