"""What fuzzing has found, written out: each input as an agent, or a caller, could send it."""

from __future__ import annotations

import asyncio
import logging
from itertools import count

import pytest
import structlog

from nodelink import wire
from nodelink.errors import InvalidTask
from nodelink.task import Gone, Started, Submission, TaskResponse, TaskSpec, TaskStatus
from nodelink.v1 import agent_pb2
from nodelink_agent.handlers.shell_payload import read_payload
from nodelink_server.core.manager import TaskManager
from nodelink_server.rpc.agents import AgentService
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.fuzz.reader import Choices
from tests.fuzz.streams import PAYLOAD, Villain
from tests.simulation.loop import run_virtually
from tests.support.clock import LoopClock


@pytest.fixture(autouse=True)
def silence(log_lines_go_to_the_report: None) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def test_a_start_and_its_loss_in_one_frame_are_taken_in() -> None:
    async def run() -> TaskStatus:
        clock, ids = LoopClock(), count(1)
        manager = TaskManager(store=MemoryStore(Disk()), clock=clock, new_id=lambda: f"task-{next(ids)}")
        await manager.restore()
        async with manager.running():
            await manager.submit([Submission(spec=TaskSpec(type="echo"), payload=PAYLOAD)])
            service = AgentService(manager, clock=clock, server_id="server", version="0")
            agent = Villain(manager, service, Choices(b""))
            await agent._say_hello()
            await asyncio.sleep(1)
            agent._learn()
            frame = agent_pb2.ConnectRequest()
            for update in (Started(), Gone()):
                wire.put_task_response(frame.responses.add(), TaskResponse(agent._refs[-1], update))
            agent._streams[0].context.put(frame)
            await asyncio.sleep(1)
            return (await manager.get("task-1")).task.status

    assert run_virtually(run()) in {TaskStatus.SENT, TaskStatus.PENDING}


def test_a_payload_of_a_shell_task_may_nest_as_deep_as_it_likes() -> None:
    with pytest.raises(InvalidTask):
        read_payload(b"[" * 100_000)
