"""Bytes that are no message: each call answers them as any other error, and the server goes on."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.support.agent_door import agent_door

NOT_A_MESSAGE = b"\xff\xff\xff"
RAW: Any = {"request_serializer": None, "response_deserializer": None}
UNARY = ("SubmitTask", "BatchSubmitTasks", "GetTask", "ListTasks", "WaitTask", "CancelTask", "GetTaskResult")


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The code that an error's `ErrorInfo` carries."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    told = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(told)
    return told.reason


async def to_its_end(stream: Any) -> None:
    """Read whatever is answered."""
    while await stream.read():
        pass


@pytest.mark.parametrize("call", UNARY)
async def test_a_request_that_is_no_message_is_malformed(call: str) -> None:
    async with agent_door() as door, grpc.aio.insecure_channel(str(door.address)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(f"/nodelink.v1.TaskService/{call}", **RAW)(NOT_A_MESSAGE, timeout=10)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(refused.value) == "MALFORMED"


@pytest.mark.parametrize("call", ["WatchTasks", "ReadTaskLogs"])
async def test_a_request_for_a_stream_that_is_no_message_is_malformed(call: str) -> None:
    async with agent_door() as door, grpc.aio.insecure_channel(str(door.address)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_stream(f"/nodelink.v1.TaskService/{call}", **RAW)(NOT_A_MESSAGE, timeout=10).read()
    assert reason_of(refused.value) == "MALFORMED"


@pytest.mark.parametrize("call", ["AgentService/Connect", "TaskService/StreamSubmitTasks"])
async def test_a_frame_that_is_no_message_ends_its_stream_and_no_other(call: str) -> None:
    async with agent_door() as door, grpc.aio.insecure_channel(str(door.address)) as channel:
        stream = channel.stream_stream(f"/nodelink.v1.{call}", **RAW)(None, timeout=10)
        await stream.write(NOT_A_MESSAGE)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await to_its_end(stream)
        assert reason_of(refused.value) == "MALFORMED"
        agents = channel.unary_unary("/nodelink.v1.AgentAdminService/ListAgents", **RAW)
        assert await agents(b"", timeout=10) == b""
