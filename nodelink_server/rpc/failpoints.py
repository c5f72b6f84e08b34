"""The failpoints of a frame, by what it carries."""

from __future__ import annotations

import grpc

from nodelink.failpoints import hit, is_armed
from nodelink.v1 import agent_pb2

Context = grpc.aio.ServicerContext[agent_pb2.ConnectRequest, agent_pb2.ConnectResponse]

_HEARD = frozenset({"accepted", "finished"})
_SAID = {"welcome": "welcome", "tasks": "tasks", "starts": "starts", "cancels": "cancels", "result_acks": "acks"}


def hit_received(frame: agent_pb2.ConnectRequest) -> None:
    """Pass the places of everything that an agent said."""
    if not is_armed():
        return
    for update in {response.WhichOneof("update") for response in frame.responses} & _HEARD:
        hit(f"server.{update}.received")
    if frame.HasField("heartbeat"):
        hit("server.heartbeat.received")
    if frame.logs:
        hit("server.logs.received")


async def write_frame(stream: Context, frame: agent_pb2.ConnectResponse) -> None:
    """Write a frame, and pass the places before and after it."""
    if not is_armed():
        await stream.write(frame)
        return
    parts = [_SAID[field.name] for field, _ in frame.ListFields() if field.name in _SAID]
    for part in parts:
        hit(f"server.{part}.before_write")
    await stream.write(frame)
    for part in parts:
        hit(f"server.{part}.after_write")
