"""An agent of real frames that runs nothing itself: a function says what it answers to each frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from benchmarks.raw import OPTIONS
from nodelink import wire
from nodelink.errors import LinkLost
from nodelink.task import AttemptRef, TaskResponse
from nodelink.v1 import agent_pb2, agent_pb2_grpc

Answer = Callable[[agent_pb2.ConnectResponse], Sequence[TaskResponse]]
EOF: Any = vars(grpc.aio)["EOF"]


class BareAgent:
    """One agent, by its number. `answer` is called with every frame that comes."""

    def __init__(self, number: int, address: str, *, pool: str, slots: int, answer: Answer) -> None:
        self._id = f"01900000-0000-7000-8000-{number:012x}"
        self._address = address
        self._pool = pool
        self._slots = slots
        self._answer = answer
        self._received = 0
        self._held: dict[str, AttemptRef] = {}
        self._writing = asyncio.Lock()
        self._interval_ms = 0
        self.welcomed = asyncio.Event()
        """Set as soon as the server has accepted it."""

    async def live(self) -> None:
        """Connect over a connection of its own, and answer what comes, until cancelled."""
        async with grpc.aio.insecure_channel(self._address, options=OPTIONS) as channel:
            await self.live_on(channel)

    async def live_on(self, channel: grpc.aio.Channel) -> None:
        """Answer what comes over a channel, until cancelled. Raises `AioRpcError` if the server refuses."""
        stub: Any = agent_pb2_grpc.AgentServiceStub(channel)
        call = stub.Connect()
        await call.write(agent_pb2.ConnectRequest(hello=self._hello()))
        welcome = await call.read()
        self.welcomed.set()
        self._interval_ms = wire.ms_of(welcome.welcome.heartbeat_interval)
        await call.write(agent_pb2.ConnectRequest(task_credit=self._slots))
        beating = asyncio.create_task(self._beat(call))
        try:
            await self._answer_all(call)
        finally:
            beating.cancel()

    def _hello(self) -> agent_pb2.Hello:
        message = agent_pb2.Hello(
            protocol_min=1,
            protocol_max=2,
            agent_id=self._id,
            secret=b"s" * 32,
            session=1,
            remembers_since=1,
            host_id=self._id,
            name=self._id,
            pool=self._pool,
            slots=self._slots,
            software_version="benchmark",
        )
        message.handlers.add(type="echo")
        return message

    async def _answer_all(self, call: Any) -> None:
        while (frame := await call.read()) is not EOF:
            responses = self._answer(frame)
            self._received += len(frame.tasks)
            self._note(frame)
            if frame.heartbeat_ack.HasField("heartbeat_interval"):
                self._interval_ms = wire.ms_of(frame.heartbeat_ack.heartbeat_interval)
            if not responses and not frame.tasks:
                continue
            answer = agent_pb2.ConnectRequest(task_credit=self._received + self._slots)
            for response in responses:
                wire.put_task_response(answer.responses.add(), response)
            await self._write(call, answer)
        raise LinkLost("the server ended the session of a bare agent")

    def _note(self, frame: agent_pb2.ConnectResponse) -> None:
        """Remember what heartbeats have to list: whatever is not acknowledged. Else it may count as lost."""
        for ack in frame.result_acks:
            self._held.pop(ack.ref.task_id, None)
        self._held.update({task.ref.task_id: wire.ref_of(task.ref) for task in frame.tasks})

    async def _beat(self, call: Any) -> None:
        number = 0
        while True:
            await asyncio.sleep(self._interval_ms / 1000)
            number += 1
            heartbeat = agent_pb2.Heartbeat(number=number)
            wire.put_ms(heartbeat.interval, self._interval_ms)
            for ref in self._held.values():
                wire.put_ref(heartbeat.running.add(), ref)
            await self._write(call, agent_pb2.ConnectRequest(heartbeat=heartbeat))

    async def _write(self, call: Any, frame: agent_pb2.ConnectRequest) -> None:
        async with self._writing:  # a stream takes one frame at a time
            await call.write(frame)
