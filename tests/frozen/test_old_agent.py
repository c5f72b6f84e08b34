"""An agent of protocol 1 at today's server: it is welcomed, given what it can run, heard, and reconciled."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from nodelink.task import Execution, LogStream, TaskStatus
from nodelink_server.core.ports import EventName
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.frozen import Protocol
from tests.support.old_agent import name_of, old_agent, vars_of

ONE = Protocol(1)
OK = {"outcome": "OUTCOME_COMPLETED", "tree_gone": True}


@pytest.fixture
async def door() -> AsyncIterator[AgentDoor]:
    async with agent_door() as door:
        yield door


async def test_it_is_welcomed_with_the_protocol_that_it_speaks(door: AgentDoor) -> None:
    async with old_agent(ONE, door.address, session=3) as agent:
        assert (agent.welcome.protocol, agent.welcome.session) == (1, 3)
        assert agent.welcome.heartbeat_interval.ToMilliseconds() == 5_000
        assert agent.welcome.response_credit


@pytest.mark.parametrize("type", ["echo", "shell"])
async def test_its_tasks_come_granted_without_a_lease_and_its_results_stand(door: AgentDoor, type: str) -> None:
    async with old_agent(ONE, door.address) as agent:
        task_id = await door.submit(type)
        task = await agent.next("tasks")
        assert task.granted
        assert not task.HasField("lease")
        await agent.say(task.ref, started={"containment": "process_group"})
        await door.events.next(EventName.TASK_STARTED, task_id=task_id)
        await agent.say(task.ref, finished={**OK, "output": b'"done"', "exit_code": 0})
        ack = await agent.next("result_acks")
    record = await door.stored(task_id)
    assert (name_of(ack.ref), record.task.status) == (name_of(task.ref), TaskStatus.COMPLETED)
    assert record.finished is not None
    assert (record.finished.output, record.finished.exit_code) == (b'"done"', 0)
    assert agent.seen("starts") == []


async def test_it_is_never_given_what_is_exclusive(door: AgentDoor) -> None:
    classes = {"apply": "EXECUTION_EXCLUSIVE", "echo": "EXECUTION_REPLAYABLE"}
    async with old_agent(ONE, door.address, handlers=classes) as agent:
        exclusive = await door.submit("apply", execution=Execution.EXCLUSIVE)
        other = await door.submit("echo")
        task = await agent.next("tasks")
        await agent.say(task.ref, finished=OK)
        await agent.next("result_acks")
        await agent.beat(1)
        assert task.ref.task_id == other
        assert len(agent.seen("tasks")) == 1
    assert await door.status(exclusive) == TaskStatus.PENDING


async def test_its_output_is_kept(door: AgentDoor) -> None:
    async with old_agent(ONE, door.address) as agent:
        task_id = await door.submit("shell")
        ref = (await agent.next("tasks")).ref
        await agent.send(logs=[{"ref": ref, "stream": "LOG_STREAM_STDOUT", "offset": 0, "data": b"printed"}])
        ack = await agent.next("log_acks")
        assert (ack.offset, name_of(ack.ref)) == (7, name_of(ref))
        totals = [{"stream": "LOG_STREAM_STDOUT", "bytes": 7}]
        await agent.say(ref, finished={**OK, "log_totals": totals})
        await agent.next("result_acks")
    record = await door.stored(task_id)
    assert record.finished is not None
    assert record.finished.log_totals == {LogStream.STDOUT: 7}


async def test_a_stop_reaches_it_and_its_answer_stands(door: AgentDoor) -> None:
    async with old_agent(ONE, door.address) as agent:
        task_id = await door.submit("shell")
        ref = (await agent.next("tasks")).ref
        await agent.say(ref, started={})
        await door.events.next(EventName.TASK_STARTED, task_id=task_id)
        await door.manager.cancel(task_id)
        assert name_of((await agent.next("cancels")).ref) == name_of(ref)
        await agent.say(ref, finished={"outcome": "OUTCOME_CANCELLED", "tree_gone": True})
        await agent.next("result_acks")
    assert await door.status(task_id) == TaskStatus.CANCELLED


async def test_its_heartbeats_are_answered_whatever_they_list(door: AgentDoor) -> None:
    async with old_agent(ONE, door.address) as agent:
        await door.submit("shell")
        ref = (await agent.next("tasks")).ref
        assert (await agent.beat(1, ref)).number == 1
        assert (await agent.beat(2, ref, type(ref)(**vars_of(("gone", 1, 7))))).number == 2


async def test_what_it_runs_goes_on_over_a_restart_of_the_server(door: AgentDoor) -> None:
    async with old_agent(ONE, door.address) as agent:
        task_id = await door.submit("shell")
        ref = (await agent.next("tasks")).ref
        await agent.say(ref, started={})
        await door.events.next(EventName.TASK_STARTED, task_id=task_id)
    held = {name_of(ref): "HELD_STATE_RUNNING", ("unknown", 1, 5): "HELD_STATE_ENDED"}
    async with (
        agent_door(store=door.store) as restarted,
        old_agent(ONE, restarted.address, session=2, held=held) as agent,
    ):
        verdicts = {name_of(verdict.ref): verdict.action for verdict in agent.welcome.verdicts}
        keep, forget = (ONE.type("Verdict")(action=f"VERDICT_ACTION_{name}").action for name in ("KEEP", "FORGET"))
        assert verdicts == {name_of(ref): keep, ("unknown", 1, 5): forget}
        await agent.say(ref, finished=OK)
        await agent.next("result_acks")
        assert await restarted.status(task_id) == TaskStatus.COMPLETED


async def test_what_it_lost_follows_its_class(door: AgentDoor) -> None:
    async with old_agent(ONE, door.address) as agent:
        again, lost = await door.submit("echo"), await door.submit("shell")
        for task in [await agent.next("tasks"), await agent.next("tasks")]:
            await agent.say(task.ref, started={})
            await door.events.next(EventName.TASK_STARTED, task_id=task.ref.task_id)
    async with old_agent(ONE, door.address, session=2, remembers_since=2) as agent:
        task = await agent.next("tasks")
        assert (task.ref.task_id, task.ref.attempt) == (again, 2)
        assert await door.status(lost) == TaskStatus.LOST


async def test_its_goodbye_is_understood(door: AgentDoor) -> None:
    async with old_agent(ONE, door.address) as agent:
        assert await agent.leave() is grpc.StatusCode.OK
    assert door.agent_status("old") == "offline"
