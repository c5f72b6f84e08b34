"""Many agents in one process: light, without a pool behind them, and real in all that a server can see of them.

Each has a connection of its own, reports as often as it is told to, and comes again for ever, as agents do. It keeps
the results of its tasks to itself until its first connection has been lost, and delivers them over the next.

    python -m tests.support.herd_agents --server HOST:PORT --agents 250 --first 0 --status FILE
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc

from nodelink import wire
from nodelink.backoff import full_jitter
from nodelink.task import AttemptRef, Finished, HeldState, Outcome, TaskResponse, VerdictAction
from nodelink.v1 import agent_pb2, agent_pb2_grpc
from tests.support.wire_agent import CHANNEL_OPTIONS, hello, response_frame

FIRST_DELAY, LONGEST_DELAY = 0.2, 10.0
RETRY_AFTER_KEY = "nodelink-retry-after-ms"
STATUS_SECONDS = 0.2
MOST_FILES = 16_384
DONE = Finished(outcome=Outcome.COMPLETED, output=b'"done"')
EOF: Any = vars(grpc.aio)["EOF"]


@dataclass(slots=True)
class Status:
    """How the agents of one process stand."""

    connected: int = 0
    back: int = 0
    """Those that have been welcomed again after their first connection was lost."""
    holding: int = 0
    """Results that are not acknowledged."""
    delivered: int = 0
    refused: int = 0
    back_at: float = 0.0
    """When the last of those came back, on the wall clock; and when the last result was acknowledged."""
    delivered_at: float = 0.0


class HerdAgent:
    """One agent."""

    def __init__(self, number: int, server: str, status: Status) -> None:
        self._name = f"herd-{number:05}"
        self._server = server
        self._status = status
        self._slots = slots_of(number)
        self._session = 0
        self._interval = 5.0
        self._held: list[AttemptRef] = []
        self._beats = 0
        self._writing = asyncio.Lock()

    async def live(self) -> None:
        """Connect, and connect again, for ever."""
        delays = full_jitter(initial=FIRST_DELAY, maximum=LONGEST_DELAY, random=random.random)
        while True:
            before, wait = self._session, 0.0
            try:
                await self._carry()
            except grpc.aio.AioRpcError as error:
                wait = _told_wait(error)
                self._status.refused += bool(wait)
            if self._session > before:
                delays = full_jitter(initial=FIRST_DELAY, maximum=LONGEST_DELAY, random=random.random)
            await asyncio.sleep(wait + random.random() / 2 if wait else next(delays))

    async def _carry(self) -> None:
        """One connection, until it is lost."""
        channel = grpc.aio.insecure_channel(self._server, options=CHANNEL_OPTIONS)
        stub: Any = agent_pb2_grpc.AgentServiceStub(channel)
        call = stub.Connect()
        try:
            await self._introduce(call)
            beating = asyncio.create_task(self._beat(call))
            self._status.connected += 1
            try:
                await self._listen(call)
            finally:
                self._status.connected -= 1
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
        finally:
            call.cancel()
            await channel.close(None)

    async def _introduce(self, call: Any) -> None:
        """Say hello, and deliver what is held as far as the server wants it."""
        number = self._session + 1
        held = [(ref, HeldState.ENDED) for ref in self._held]
        message = hello(agent_id=self._name, name=self._name, slots=self._slots, session=number, held=held)
        await self._write(call, agent_pb2.ConnectRequest(hello=message))
        frame = await call.read()
        assert frame is not EOF, "the server ended the stream before a welcome"
        self._session = number
        self._interval = wire.ms_of(frame.welcome.heartbeat_interval) / 1000
        if number == 1:
            await self._write(call, agent_pb2.ConnectRequest(task_credit=self._slots))
            return
        self._status.back += number == 2
        self._status.back_at = time.time()
        verdicts = [verdict for verdict in map(wire.verdict_of, frame.welcome.verdicts) if verdict]
        kept = [verdict.ref for verdict in verdicts if verdict.action is VerdictAction.KEEP]
        if kept:
            await self._write(call, response_frame(*(TaskResponse(ref, DONE) for ref in kept)))

    async def _listen(self, call: Any) -> None:
        while (frame := await call.read()) is not EOF:
            for task in frame.tasks:
                self._held.append(wire.ref_of(task.ref))
                self._status.holding += 1
            for ack in frame.result_acks:
                self._held.remove(wire.ref_of(ack.ref))
                self._status.holding -= 1
                self._status.delivered += 1
                self._status.delivered_at = time.time()

    async def _beat(self, call: Any) -> None:
        while True:
            await asyncio.sleep(self._interval * (0.9 + 0.2 * random.random()))
            self._beats += 1
            heartbeat = agent_pb2.Heartbeat(number=self._beats)
            for ref in self._held:
                wire.put_ref(heartbeat.running.add(), ref)
            await self._write(call, agent_pb2.ConnectRequest(heartbeat=heartbeat))

    async def _write(self, call: Any, frame: agent_pb2.ConnectRequest) -> None:
        async with self._writing:
            await call.write(frame)


def slots_of(number: int) -> int:
    """How many tasks an agent of a herd takes: one to three."""
    return 1 + number % 3


def _told_wait(error: grpc.aio.AioRpcError) -> float:
    """For how many seconds the server has asked the agent to stay away."""
    metadata: Any = error.trailing_metadata() or ()
    return float(next((value for key, value in metadata if key == RETRY_AFTER_KEY), 0)) / 1000


async def _live_all(server: str, numbers: Sequence[int], path: Path) -> None:
    status = Status()
    async with asyncio.TaskGroup() as group:
        for number in numbers:
            group.create_task(HerdAgent(number, server, status).live())
        while True:
            _write_status(path, status)
            await asyncio.sleep(STATUS_SECONDS)


def _write_status(path: Path, status: Status) -> None:
    written = path.with_suffix(".new")
    written.write_text(json.dumps(asdict(status)))
    written.replace(path)


def main() -> None:
    """Be many agents until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--agents", type=int, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--status", type=Path, required=True)
    asked = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES if most < 0 else min(most, MOST_FILES), most))
    asyncio.run(_live_all(asked.server, range(asked.first, asked.first + asked.agents), asked.status))


if __name__ == "__main__":
    main()
