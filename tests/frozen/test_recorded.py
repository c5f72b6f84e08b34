"""What agents and servers of earlier protocols said, said again: today's server and today's agent act on it as then.

The bytes are those that were recorded, but for the names of attempts, which the server of today gives anew.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.agent_door import AgentDoor, agent_door
from tests.support.frozen import CONNECT, Frame, Message, Protocol, frozen_numbers
from tests.support.old_agent import OldAgent, name_of
from tests.support.old_server import OldSession, old_server
from tests.support.processes import services_in

Name = tuple[str, int, int]


def streams(protocol: Protocol) -> Sequence[Sequence[Frame]]:
    """The recorded frames of each stream."""
    frames = protocol.frames()
    return [[frame for frame in frames if frame.stream == number] for number in sorted({f.stream for f in frames})]


def read(protocol: Protocol, frame: Frame) -> Message:
    """A recorded frame, as it was understood then."""
    name = "ConnectRequest" if frame.sender == "agent" else "ConnectResponse"
    return protocol.type(name).FromString(frame.content)


def renamed(content: bytes, names: Mapping[Name, Name]) -> bytes:
    """The bytes of a frame, with other names for attempts. Names are as long as they were."""
    other = {old[0].encode(): new[0].encode() for old, new in names.items()}
    other |= {struct.pack("<Q", old[2]): struct.pack("<Q", new[2]) for old, new in names.items()}
    if not other:
        return content
    return re.sub(b"|".join(map(re.escape, other)), lambda found: other[found[0]], content)


class Replay:
    """An agent that says what was recorded, each frame when the server has answered what came before."""

    def __init__(self, protocol: Protocol, door: AgentDoor) -> None:
        self._protocol = protocol
        self._door = door
        self._names: dict[Name, Name] = {}
        self.outcomes: dict[str, str] = {}
        """How the recorded agent said that its tasks ended, by the ids of today."""

    async def stream(self, frames: Sequence[Frame]) -> None:
        """Play one stream."""
        async with grpc.aio.insecure_channel(str(self._door.address)) as channel:
            answers = self._protocol.type("ConnectResponse")
            call: Any = channel.stream_stream(CONNECT, None, answers.FromString)
            agent = OldAgent(self._protocol, call())
            try:
                for frame in frames:
                    if frame.sender == "agent":
                        await self._say(agent, frame)
                    else:
                        await self._hear(agent, read(self._protocol, frame))
                if any(read(self._protocol, frame).HasField("goodbye") for frame in frames):
                    await agent.over()
            finally:
                await agent.close()

    async def _say(self, agent: OldAgent, frame: Frame) -> None:
        await agent.write(renamed(frame.content, self._names))
        for response in read(self._protocol, frame).responses:
            if response.HasField("finished"):
                self.outcomes[self._names[name_of(response.ref)][0]] = _outcome(response.finished)

    async def _hear(self, agent: OldAgent, then: Message) -> None:
        """Wait for what the server said then. Tasks are handed in first, as callers did."""
        if then.HasField("welcome"):
            await agent.welcomed()
            assert _actions(agent.welcome) == {self._names[k]: v for k, v in _actions(then.welcome).items()}
        for task in then.tasks:
            await self._submit(agent, task)
        for start in then.starts:
            assert name_of((await agent.next("starts")).ref) == self._names[name_of(start.ref)]
        for command in then.cancels:
            await self._door.manager.cancel(self._names[name_of(command.ref)][0])
            assert name_of((await agent.next("cancels")).ref) == self._names[name_of(command.ref)]
        for ack in then.result_acks:
            now = await agent.next("result_acks")
            assert (name_of(now.ref), now.disposition) == (self._names[name_of(ack.ref)], ack.disposition)
        if then.HasField("heartbeat_ack"):
            await agent.beaten(then.heartbeat_ack.number)

    async def _submit(self, agent: OldAgent, task: Message) -> None:
        spec = self._protocol.type("TaskSpec").FromString(task.spec)
        await self._door.submit(spec.type, payload=spec.payload)
        self._names[name_of(task.ref)] = name_of((await agent.next("tasks")).ref)


def _actions(welcome: Message) -> dict[Name, int]:
    return {name_of(verdict.ref): verdict.action for verdict in welcome.verdicts}


@pytest.mark.parametrize("number", frozen_numbers())
async def test_what_an_agent_said_then_is_understood_by_todays_server(number: int) -> None:
    protocol = Protocol(number)
    async with agent_door() as door:
        replay = Replay(protocol, door)
        for frames in streams(protocol):
            await replay.stream(frames)
        assert sorted(replay.outcomes.values()) == ["cancelled", "completed", "completed", "completed", "failed"]
        assert {id: await door.status(id) for id in replay.outcomes} == replay.outcomes
        assert door.agent_status(read(protocol, protocol.frames()[0]).hello.agent_id) == "offline"


@pytest.mark.slow
@pytest.mark.parametrize("number", frozen_numbers())
async def test_what_a_server_said_then_is_understood_by_todays_agent(number: int, tmp_path: Path) -> None:
    protocol = Protocol(number)
    async with old_server(protocol) as server, services_in(tmp_path / "services") as services:
        flags = ("--server", str(server.address), "--data-dir", str(tmp_path / "agent"), "--slots", "3")
        agent = await services.start("nodelink_agent", *flags)
        told: dict[Name, Message] = {}
        *cut, last = streams(protocol)
        for frames in cut:
            session = await server.session()
            await _tell(session, protocol, frames, told)
            session.cut()
        session = await server.session()
        await _tell(session, protocol, last, told)
        agent.terminate()
        await session.when(lambda: next((frame for frame in session.frames if frame.HasField("goodbye")), None))
        assert await agent.wait() == 0

    assert len(told) == 5
    assert set(map(_outcome, told.values())) == {"completed", "failed", "cancelled"}


async def _tell(session: OldSession, protocol: Protocol, frames: Sequence[Frame], told: dict[Name, Message]) -> None:
    """Say what was recorded, each frame once the agent has said what it is an answer to."""
    for then in [read(protocol, frame) for frame in frames if frame.sender == "server"]:
        if then.tasks:
            await session.when(lambda: next((frame for frame in session.frames if frame.task_credit), None))
        for granted in [*then.tasks, *then.starts]:
            await session.beaten(getattr(granted, "basis", 0))
        for ack in then.result_acks:
            told[name_of(ack.ref)] = await session.response(name_of(ack.ref), "finished")
        for ack in then.log_acks:
            await session.printed(name_of(ack.ref), ack.stream, ack.offset)
        for command in then.cancels:
            await session.response(name_of(command.ref), "started")
        if then.HasField("heartbeat_ack"):
            await session.beaten(then.heartbeat_ack.number)
        await session.write(then)


def _outcome(finished: Message) -> str:
    names = finished.DESCRIPTOR.fields_by_name["outcome"].enum_type.values_by_number
    return str(names[finished.outcome].name).removeprefix("OUTCOME_").lower()
