"""A process of many light agents that do nothing but report, or of as many bare streams that say nothing at all.

What it is asked for: `kind`, `address`, `first` (the number of the first), `count`, and `per_channel`: how many share
a connection. It says when all are connected. Told anything, it says how many of them have been cut off since.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from typing import Any

import grpc

from benchmarks.bare_agent import BareAgent
from benchmarks.helper import Master
from benchmarks.raw import OPTIONS, SERVICE
from nodelink.v1 import agent_pb2

AGENTS, STREAMS = "agents", "streams"
POOL = "idle"
Living = asyncio.Task[float]
LINE = 50
"""So many of one process come at a time."""
RETRY_AFTER_KEY = "nodelink-retry-after-ms"
MAX_JITTER_SECONDS = 0.5


async def live_all(master: Master) -> None:
    """Connect everybody, say so, and keep them."""
    asked = master.asked
    numbers = range(asked["first"], asked["first"] + asked["count"])
    line = asyncio.Semaphore(LINE)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        connect, come = _stream if asked["kind"] == STREAMS else _agent, []
        for first in range(0, len(numbers), asked["per_channel"]):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(asked["address"], options=OPTIONS))
            shared = numbers[first : first + asked["per_channel"]]
            come += [group.create_task(connect(channel, number, line, group)) for number in shared]
        living = await asyncio.gather(*come)
        master.say("connected")
        await master.told()
        master.say(sum(one.done() for one in living))
        await master.told()  # it is ended from outside, so that all are gone at once


async def _agent(channel: grpc.aio.Channel, number: int, line: asyncio.Semaphore, group: asyncio.TaskGroup) -> Living:
    """Returns when an agent has been welcomed, with its life from then on. It comes again when it is told to."""
    while True:
        async with line:
            agent = BareAgent(number, "", pool=POOL, slots=1, answer=lambda frame: ())
            living = group.create_task(_until_refused(agent, channel))
            welcomed = asyncio.create_task(agent.welcomed.wait())
            await asyncio.wait({living, welcomed}, return_when=asyncio.FIRST_COMPLETED)
            if agent.welcomed.is_set():
                return living
            welcomed.cancel()
        await asyncio.sleep(living.result() + random.random() * MAX_JITTER_SECONDS)


async def _until_refused(agent: BareAgent, channel: grpc.aio.Channel) -> float:
    """Live, until the server cuts it off; or say for how many seconds the server wants it to stay away."""
    try:
        await agent.live_on(channel)
    except grpc.aio.AioRpcError as error:
        metadata: Any = error.trailing_metadata() or ()
        wait = next((value for key, value in metadata if key == RETRY_AFTER_KEY), None)
        if wait is None and not agent.welcomed.is_set():
            raise
        return float(wait or 0) / 1000
    return 0.0


async def _stream(channel: grpc.aio.Channel, number: int, line: asyncio.Semaphore, group: asyncio.TaskGroup) -> Living:
    """Returns when a bare stream has had an answer, with what comes behind it: nothing, until it is cut off."""
    async with line:
        echo: Any = channel.stream_stream
        call = echo(f"/{SERVICE}/Echo")()
        await call.write(agent_pb2.ConnectResponse().SerializeToString())
        await call.read()
        return group.create_task(_kept(call))


async def _kept(call: Any) -> float:
    with suppress(grpc.aio.AioRpcError):
        await call.read()
    return 0.0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(live_all(Master()))
