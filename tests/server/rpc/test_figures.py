"""SchedulerService and StatsService over a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from nodelink.v1 import admin_pb2, task_pb2
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, reason_of, refusal


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def test_the_scheduler_tells_what_waits_and_what_runs(door: GrpcDoor) -> None:
    await door.submit(pool="empty", priority=90)
    await door.submit(pool="empty")
    async with door.agent() as agent:
        await door.submit()
        agent.start((await agent.take()).ref)
        status = await door.scheduler.GetSchedulerStatus(admin_pb2.GetSchedulerStatusRequest(), timeout=WAIT_SECONDS)

    assert (status.state, status.queued_tasks, status.running_tasks, status.available_slots) == ("running", 2, 1, 3)
    assert {band: count for band, count in status.queue_by_priority.items() if count} == {"CRITICAL": 1, "NORMAL": 1}
    assert not status.HasField("last_checkpoint_at")


async def test_statistics_count_what_was_done_by_type(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        agent.finish((await agent.take()).ref, run_seconds=2.0)
        await door.tasks.WaitTask(task_pb2.WaitTaskRequest(task_id=task_id), timeout=WAIT_SECONDS)
        request = admin_pb2.GetStatsRequest(by="type", step=Duration(seconds=60))
        stats = await door.stats.GetStats(request, timeout=WAIT_SECONDS)

    groups = [group for bucket in stats.buckets for group in bucket.groups]
    assert {group.key for group in groups} == {"echo"}
    assert sum(group.created for group in groups) == sum(group.assigned for group in groups) == 1
    assert sum(group.finished["completed"] for group in groups) == 1
    (run,) = [group.run_seconds for group in groups if group.run_seconds.count]
    assert (run.count, run.mean) == (1, 2.0)
    assert stats.step.ToSeconds() == 60
    assert stats.to.ToSeconds() > getattr(stats, "from").ToSeconds()
    assert stats.now.response_channel_capacity == 100


@pytest.mark.parametrize(
    "request_of, field",
    [
        (admin_pb2.GetStatsRequest(by="colour"), "by"),
        (admin_pb2.GetStatsRequest(step=Duration(seconds=1)), "step"),
    ],
)
async def test_statistics_that_cannot_be_asked_for_are_refused_by_name(
    door: GrpcDoor, request_of: admin_pb2.GetStatsRequest, field: str
) -> None:
    code, status = await refusal(door.stats.GetStats(request_of))

    assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID")
    assert detail(status, error_details_pb2.BadRequest).field_violations[0].field == field
