"""What a server that has too much to do still takes: results, stops and heartbeats. Only new work is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import pytest

from nodelink.task import AttemptRef, Outcome, TaskStatus
from nodelink.v1 import task_pb2, task_pb2_grpc
from nodelink_server.core.assembly import Options
from nodelink_server.core.ledger import MOST_GATHERED
from nodelink_server.core.ports import EventName, Notice
from nodelink_server.rpc.statuses import RETRY_AFTER_KEY
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from nodelink_server.web.app import create_app
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.gate import Gate
from tests.support.wire_agent import WAIT_SECONDS, WireAgent

TASK = {"type": "echo", "payload": 1}
SLOTS = 8
COUNTS_FRESH_SECONDS = 2


@asynccontextmanager
async def callers(door: AgentDoor) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
    """Both ways in for callers: the calls of gRPC, and HTTP."""
    app = create_app(door.manager, version="1")
    rest = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080/api/v1")
    async with grpc.aio.insecure_channel(str(door.address)) as channel, rest:
        yield task_pb2_grpc.TaskServiceStub(channel), rest


async def assert_refused(calls: Any, rest: httpx.AsyncClient) -> None:
    """New work is refused at both doors, with the time after which to come again."""
    spec = task_pb2.TaskSpec(type="echo", payload=b"1")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await calls.SubmitTask(task_pb2.SubmitTaskRequest(spec=spec), timeout=WAIT_SECONDS)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata: Any = refused.value.trailing_metadata()
    assert int(dict(metadata)[RETRY_AFTER_KEY]) > 0
    answer = await rest.post("/tasks", json=TASK)
    assert (answer.status_code, answer.json()["code"]) == (429, "OVERLOADED")
    assert int(answer.headers["Retry-After"]) > 0


async def running(door: AgentDoor, agent: WireAgent, count: int) -> list[AttemptRef]:
    """Attempts of commands that the agent has begun."""
    await door.submit_many(count, "shell")
    refs = [(await agent.take()).ref for _ in range(count)]
    for ref in refs:
        await agent.start(ref)
        await door.events.next(EventName.TASK_STARTED, task_id=ref.task_id)
    return refs


async def test_while_too_much_waits_for_the_disk_results_stops_and_heartbeats_are_taken() -> None:
    gate = Gate("apply")
    store = MemoryStore(Disk(), pause=gate.pass_through)
    async with (
        agent_door(store=store, core=Options(channel_size=1)) as door,
        door.agent(slots=SLOTS) as agent,
        callers(door) as (calls, rest),
    ):
        refs = await running(door, agent, SLOTS)
        with gate.closed():
            stopping = asyncio.create_task(rest.post(f"/tasks/{refs[0].task_id}/cancel", json={}))
            await gate.reached()
            notice = Notice(EventName.AGENT_ERROR, "nobody", "default", {})
            while door.manager.ledger.queue_depth < MOST_GATHERED:
                door.manager.ledger.post(notices=[notice] * 1_000)
            await assert_refused(calls, rest)
            asked = asyncio.ensure_future(calls.CancelTask(task_pb2.CancelTaskRequest(task_id=refs[1].task_id)))
            for ref in refs[2:]:
                await agent.finish(ref)
            await agent.beat(1, *refs)
            assert await agent.beat_acked() == 1
            assert not stopping.done()

        assert {(await agent.told_to_stop()).ref for _ in range(2)} == set(refs[:2])
        assert ((await stopping).status_code, (await asked).task.id) == (202, refs[1].task_id)
        for ref in refs[:2]:
            await agent.finish(ref, outcome=Outcome.CANCELLED)
        assert {(await agent.acked()).ref for _ in refs} == set(refs)
        assert (await rest.post("/tasks", json=TASK)).status_code == 201


async def test_at_the_limit_of_live_tasks_results_stops_and_heartbeats_are_taken() -> None:
    async with (
        agent_door(core=Options(max_live_tasks=2)) as door,
        door.agent() as agent,
        callers(door) as (calls, rest),
    ):
        ended, stopped = await running(door, agent, 2)
        door.clock.skip(COUNTS_FRESH_SECONDS)
        await assert_refused(calls, rest)

        assert (await rest.post(f"/tasks/{stopped.task_id}/cancel", json={})).status_code == 202
        assert (await agent.told_to_stop()).ref == stopped
        await agent.beat(1, ended, stopped)
        assert await agent.beat_acked() == 1
        await agent.finish(ended)
        assert (await agent.acked()).ref == ended
        await agent.finish(stopped, outcome=Outcome.CANCELLED)
        assert (await agent.acked()).ref == stopped
        assert {await door.status(ref.task_id) for ref in (ended, stopped)} == {
            TaskStatus.COMPLETED,
            TaskStatus.CANCELLED,
        }
