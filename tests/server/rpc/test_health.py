"""grpc.health.v1.Health over a real server: well, standing still, stopping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from nodelink.errors import StoreUnavailable
from nodelink_server.rpc.server import SERVICES
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, grpc_door, reason_of, refusal

EOF: Any = vars(grpc.aio)["EOF"]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def status_of(door: GrpcDoor, service: str = "") -> int:
    """What one check says."""
    answer = await door.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT_SECONDS)
    return int(answer.status)


async def told(call: Any, seconds: float = WAIT_SECONDS) -> Any:
    """What a watch says next."""
    async with asyncio.timeout(seconds):
        answer = await call.read()
    return answer if answer is EOF else answer.status


def watch(door: GrpcDoor, service: str = "") -> Any:
    return door.health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=WAIT_SECONDS)


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_a_server_that_is_well_serves_whatever_is_asked_for(door: GrpcDoor, service: str) -> None:
    assert await status_of(door, service) == SERVING


async def test_a_service_that_does_not_exist_is_not_found(door: GrpcDoor) -> None:
    request = health_pb2.HealthCheckRequest(service="nodelink.v1.NoSuchService")
    code, status = await refusal(door.health.Check(request))
    watched = watch(door, "nodelink.v1.NoSuchService")

    assert (code, reason_of(status)) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert await told(watched) == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watched.cancel()


@pytest.mark.slow
async def test_a_writer_that_hangs_is_told_of_within_five_seconds_and_so_is_that_it_goes_on(door: GrpcDoor) -> None:
    watched = watch(door, "nodelink.v1.TaskService")
    assert await told(watched) == SERVING

    door.switch.hold()
    assert await told(watched, seconds=6) == NOT_SERVING  # a second for the machine
    assert await status_of(door, "nodelink.v1.TaskService") == NOT_SERVING

    door.switch.release()
    assert await told(watched, seconds=6) == SERVING
    assert await status_of(door) == SERVING
    watched.cancel()


@pytest.mark.slow
async def test_a_database_that_fails_is_told_of_and_nothing_is_told_twice(door: GrpcDoor) -> None:
    watched = watch(door)
    assert await told(watched) == SERVING

    door.switch.error = StoreUnavailable("the disk is full")
    assert await told(watched, seconds=6) == NOT_SERVING
    door.switch.error = None
    await door.manager.drain()
    assert await told(watched) is EOF


async def test_a_server_that_stops_says_so_at_once_and_ends_every_watch(door: GrpcDoor) -> None:
    watched = watch(door)
    assert await told(watched) == SERVING
    await door.manager.drain()

    assert await told(watched) == NOT_SERVING
    assert await told(watched) is EOF
    assert await status_of(door) == NOT_SERVING
    late = watch(door)
    assert [await told(late), await told(late)] == [NOT_SERVING, EOF]


async def test_one_who_watches_and_does_not_read_holds_up_nobody(door: GrpcDoor) -> None:
    stalled, read = watch(door), watch(door)
    assert [await told(stalled), await told(read)] == [SERVING, SERVING]
    await door.manager.drain()

    assert [await told(read), await told(read)] == [NOT_SERVING, EOF]
    assert [await told(stalled), await told(stalled)] == [NOT_SERVING, EOF]
