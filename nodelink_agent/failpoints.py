"""The failpoints of a frame, by what it carries."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from nodelink.failpoints import hit, is_armed

_HEARD = {"welcome": "welcome", "tasks": "tasks", "starts": "starts", "cancels": "cancels", "result_acks": "acks"}
_ENDS = frozenset({"finished", "declined", "gone"})


def hit_received(frame: Message) -> None:
    """Pass the places of everything that the server said."""
    if not is_armed():
        return
    for field, _ in frame.ListFields():
        if field.name in _HEARD:
            hit(f"agent.{_HEARD[field.name]}.received")


async def write_frame(stream: Any, frame: Message) -> None:
    """Write a frame, and pass the places before and after it."""
    if not is_armed():
        await stream.write(frame)
        return
    parts = _parts(frame)
    for part in parts & {"hello", "accepted", "results"}:
        hit(f"agent.{part}.before_write")
    await stream.write(frame)
    for part in parts:
        hit(f"agent.{part}.after_write")


def _parts(frame: Message) -> set[str]:
    """What the agent says in it."""
    parts = set()
    for field, content in frame.ListFields():
        if field.name in {"hello", "logs", "heartbeat"}:
            parts.add(field.name)
        elif field.name == "responses":
            updates = {response.WhichOneof("update") for response in content}
            parts |= {"results"} if updates & _ENDS else set()
            parts |= updates & {"accepted"}
    return parts
