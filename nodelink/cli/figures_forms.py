"""What the server tells about itself as JSON shows it: the names and shapes of the HTTP interface."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from nodelink.cli.pausing_forms import pause_form
from nodelink.cli.table import Form
from nodelink.cli.times import moment
from nodelink.durations import format_duration_ms

if TYPE_CHECKING:
    from nodelink.client import SchedulerStatus, Stats, StatsGroup
BANDS = ("CRITICAL", "HIGH", "NORMAL", "LOW")


def scheduler_form(status: SchedulerStatus) -> Form:
    """What waits and what runs."""
    return {
        "state": status.state,
        "queued_tasks": status.queued_tasks,
        "running_tasks": status.running_tasks,
        "max_concurrent_tasks": status.max_concurrent_tasks,
        "available_slots": status.available_slots,
        "queue_by_priority": {band: status.queue_by_priority.get(band, 0) for band in BANDS},
        "last_checkpoint_at": moment(status.last_checkpoint_at),
        "pauses": list(map(pause_form, status.pauses)),
    }


def stats_form(stats: Stats) -> Form:
    """What was done."""
    return {
        "from": moment(stats.since),
        "to": moment(stats.until),
        "step": format_duration_ms(stats.step_ms),
        "buckets": [
            {"start": moment(bucket.start), "groups": [_group_form(group) for group in bucket.groups]}
            for bucket in stats.buckets
        ],
        "now": {**dataclasses.asdict(stats.now), "live": dict(stats.now.live)},
    }


def _group_form(group: StatsGroup) -> Form:
    kept = max(0, group.assigned - group.returned)
    return {
        "key": group.key,
        "created": group.created,
        "finished": dict(group.finished),
        "queue_seconds": dataclasses.asdict(group.queue_seconds),
        "run_seconds": dataclasses.asdict(group.run_seconds),
        "total_seconds": dataclasses.asdict(group.total_seconds),
        "assigned": group.assigned,
        "returned": group.returned,
        "assignment_success": kept / group.assigned if group.assigned else None,
    }
