"""The server describes itself: to Python's own client of reflection, and to buf, which has no protocol file of ours."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from nodelink.v1 import task_pb2
from nodelink_server.rpc.server import SERVICES
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, grpc_door

BESIDES = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def buf_curl(door: GrpcDoor, *arguments: str, path: str = "") -> str:
    """What buf says to a call over plain HTTP/2, with what it learns from the server alone."""
    buf = shutil.which("buf")
    assert buf, "buf is not installed: run scripts/test --all"
    process = await asyncio.create_subprocess_exec(
        *(buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments, f"http://{door.address}{path}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT_SECONDS):
        out, err = await process.communicate()
    return (out or err).decode()


async def test_all_services_and_their_messages_are_described(door: GrpcDoor) -> None:
    def ask() -> tuple[set[str], list[str]]:
        with grpc.insecure_channel(str(door.address)) as channel:
            described = ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(described)
            request = pool.FindMessageTypeByName("nodelink.v1.SubmitTaskRequest")
            return set(described.get_services()), [field.name for field in request.fields]

    services, fields = await asyncio.to_thread(ask)

    assert services == {*SERVICES, *BESIDES}
    assert fields == list(task_pb2.SubmitTaskRequest.DESCRIPTOR.fields_by_name)


@pytest.mark.buf
async def test_buf_lists_the_services_and_the_calls(door: GrpcDoor) -> None:
    services = (await buf_curl(door, "--list-services")).split()
    calls = (await buf_curl(door, "--list-methods")).split()

    assert set(services) == {*SERVICES, *BESIDES}
    assert "nodelink.v1.TaskService/SubmitTask" in calls


@pytest.mark.buf
async def test_buf_calls_what_it_has_found(door: GrpcDoor) -> None:
    body = json.dumps({"spec": {"type": "echo", "payload": "MTc="}})
    answer = json.loads(await buf_curl(door, "-d", body, path="/nodelink.v1.TaskService/SubmitTask"))

    assert answer["task"]["status"] == "TASK_STATUS_PENDING"


@pytest.mark.buf
async def test_buf_asks_how_the_server_is(door: GrpcDoor) -> None:
    assert json.loads(await buf_curl(door, path="/grpc.health.v1.Health/Check")) == {"status": "SERVING"}


@pytest.mark.buf
async def test_buf_reads_a_refusal_with_its_details(door: GrpcDoor) -> None:
    answer = json.loads(await buf_curl(door, "-d", "{}", path="/nodelink.v1.TaskService/GetTask"))
    (told,) = [detail["value"] for detail in answer["details"] if detail["type"] == "google.rpc.ErrorInfo"]
    info = error_details_pb2.ErrorInfo.FromString(base64.b64decode(told + "=="))

    assert (answer["code"], info.reason, info.domain) == ("invalid_argument", "INVALID", "nodelink")
