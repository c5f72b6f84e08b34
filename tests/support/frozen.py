"""The protocols as they once stood: messages made of descriptors that were written down then, in pools of their own.

Nothing of today's generated code has a part in them, so they show what a peer of that time says and understands.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PLACE = Path(__file__).resolve().parents[1] / "frozen"
PACKAGE = "nodelink.v1"
CONNECT = f"/{PACKAGE}.AgentService/Connect"

Message = Any
"""A message of a class that was made while the program ran: nothing can be said about its fields before."""


class Frame(NamedTuple):
    """A frame that was recorded: on which stream, counted from 1, from whom ("agent" or "server"), and its bytes."""

    stream: int
    sender: str
    content: bytes


class Protocol:
    """One protocol as it stood when it was frozen."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._place = PLACE / f"protocol_{number}"
        self.files = FileDescriptorSet.FromString((self._place / "protocol.binpb").read_bytes())
        self._pool = DescriptorPool()
        for file in self.files.file:
            self._pool.Add(file)

    def type(self, name: str) -> Any:
        """The class of a message of ours."""
        return GetMessageClass(self._pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))

    def frames(self) -> Sequence[Frame]:
        """What an agent and a server of that time said to each other, in order."""
        lines = (self._place / "frames.jsonl").read_text().splitlines()
        return [_frame_of(json.loads(line)) for line in lines]


def frozen_numbers() -> Sequence[int]:
    """Every protocol that was frozen, oldest first."""
    return sorted(int(place.name.removeprefix("protocol_")) for place in PLACE.glob("protocol_*"))


def written(frame: Frame) -> str:
    """A frame as a line of `frames.jsonl`."""
    content = base64.b64encode(frame.content).decode()
    return json.dumps({"stream": frame.stream, "from": frame.sender, "frame": content})


def _frame_of(line: dict[str, Any]) -> Frame:
    return Frame(line["stream"], line["from"], base64.b64decode(line["frame"]))
