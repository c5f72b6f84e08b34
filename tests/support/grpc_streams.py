"""Streams of answers over gRPC: reading them with a bound, and seeing that none is left under way."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from tests.support.grpc_door import WAIT_SECONDS

EOF: Any = vars(grpc.aio)["EOF"]


async def read(call: Any) -> Any:
    """The next message of a stream."""
    async with asyncio.timeout(WAIT_SECONDS):
        message = await call.read()
    assert message is not EOF
    return message


async def all_of(call: Any) -> list[Any]:
    """The messages of a stream to its end."""
    messages = []
    async with asyncio.timeout(WAIT_SECONDS):
        while (message := await call.read()) is not EOF:
            messages.append(message)
    return messages


def calls_under_way() -> int:
    """How much the gRPC server of this loop has to do, idle waits for the next calls and our readers included."""
    tasks = asyncio.all_tasks()
    return sum("_cython" in repr(task.get_coro()) or task.get_name() == "submit stream reader" for task in tasks)


async def settled(is_so: Any) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_so():  # noqa: ASYNC110 - what goes away tells nobody
            await asyncio.sleep(0)
