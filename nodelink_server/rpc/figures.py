"""StatsService: what was done, how fast and how well."""

from __future__ import annotations

from nodelink.errors import FieldError, InvalidTask
from nodelink.v1 import admin_pb2, admin_pb2_grpc
from nodelink.wire import put_ms
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.statistics import Durations, Grouping, Stats, StatsGroup, StatsLevels, StatsQuery
from nodelink_server.rpc.interceptors import Context
from nodelink_server.rpc.requests import duration_ms, given, moment_ms


class StatsService(admin_pb2_grpc.StatsServiceServicer):
    """What was done over a time."""

    def __init__(self, manager: TaskManager) -> None:
        self._manager = manager

    async def GetStats(  # noqa: N802 - the name of the call
        self, request: admin_pb2.GetStatsRequest, context: Context
    ) -> admin_pb2.GetStatsResponse:
        """Counts and durations, bucket by bucket."""
        response = admin_pb2.GetStatsResponse()
        _put_stats(response, await self._manager.stats(_query_of(request)))
        return response


def _query_of(request: admin_pb2.GetStatsRequest) -> StatsQuery:
    since, until, step = given(request, "from"), given(request, "to"), given(request, "step")
    return StatsQuery(
        by=_grouping_of(request.by),
        since=None if since is None else moment_ms(since, "from"),
        until=None if until is None else moment_ms(until, "to"),
        step_ms=None if step is None else duration_ms(step, "step"),
    )


def _grouping_of(name: str) -> Grouping | None:
    if not name:
        return None
    try:
        return Grouping(name)
    except ValueError as error:
        known = ", ".join(Grouping)
        raise InvalidTask(FieldError("by", f"{name[:64]!r} is not known; use one of {known}")) from error


def _put_stats(pb: admin_pb2.GetStatsResponse, stats: Stats) -> None:
    put_ms(getattr(pb, "from"), stats.since)  # a field whose name is a word of Python
    put_ms(pb.to, stats.until)
    put_ms(pb.step, stats.step_ms)
    for bucket in stats.buckets:
        shown = pb.buckets.add()
        put_ms(shown.start, bucket.start)
        for group in bucket.groups:
            _put_group(shown.groups.add(), group)
    _put_levels(pb.now, stats.now)


def _put_group(pb: admin_pb2.StatsGroup, group: StatsGroup) -> None:
    pb.key = group.key
    pb.created = group.created
    pb.finished.update(group.finished)
    _put_durations(pb.queue_seconds, group.queue_seconds)
    _put_durations(pb.run_seconds, group.run_seconds)
    _put_durations(pb.total_seconds, group.total_seconds)
    pb.assigned = group.assigned
    pb.returned = group.returned


def _put_durations(pb: admin_pb2.StatsDurations, durations: Durations) -> None:
    pb.SetInParent()
    pb.count = durations.count
    pb.mean = durations.mean
    pb.p50 = durations.p50
    pb.p99 = durations.p99


def _put_levels(pb: admin_pb2.StatsLevels, levels: StatsLevels) -> None:
    pb.live.update(levels.live)
    pb.response_channel_depth = levels.response_channel_depth
    pb.response_channel_capacity = levels.response_channel_capacity
    pb.response_channel_full = levels.response_channel_full
    pb.cleanup_runs = levels.cleanup_runs
    pb.cleanup_removed = levels.cleanup_removed
