"""Drains over gRPC: the call, and what is said to the agent itself."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from nodelink.task import AckDisposition, Execution, HeldState, Reason, VerdictAction
from nodelink.v1 import admin_pb2
from nodelink_server.core.ports import EventName
from tests.support.agent_door import agent_door
from tests.support.grpc_door import WAIT_SECONDS, detail, grpc_door, reason_of, refusal
from tests.support.wire_agent import held

MINUTE = Duration(seconds=60)


async def test_a_drained_agent_is_shown_and_let_have_work_again() -> None:
    async with grpc_door() as door, door.agent() as agent:
        request = admin_pb2.DrainAgentRequest(agent_id="a1", note="a new disk", deadline=MINUTE)
        drained = (await door.agents.DrainAgent(request, timeout=WAIT_SECONDS)).agent
        task_id = await door.submit()
        shown = (await door.agents.GetAgent(admin_pb2.GetAgentRequest(agent_id="a1"), timeout=WAIT_SECONDS)).agent
        undrain = admin_pb2.UndrainAgentRequest(agent_id="a1")
        lifted = (await door.agents.UndrainAgent(undrain, timeout=WAIT_SECONDS)).agent

        assert (await agent.take()).ref.task_id == task_id
    assert (drained.status, drained.drain_note) == (admin_pb2.AGENT_STATUS_CORDONED, "a new disk")
    assert shown.drain_deadline.ToMilliseconds() - shown.drained_at.ToMilliseconds() in range(59_000, 120_000)
    assert (lifted.status, lifted.drain_note) == (admin_pb2.AGENT_STATUS_ONLINE, "")
    assert not lifted.HasField("drained_at")
    assert not lifted.HasField("drain_deadline")


async def test_a_drain_without_a_deadline_has_none() -> None:
    async with grpc_door() as door, door.agent():
        request = admin_pb2.DrainAgentRequest(agent_id="a1")
        drained = (await door.agents.DrainAgent(request, timeout=WAIT_SECONDS)).agent
    assert drained.HasField("drained_at")
    assert not drained.HasField("drain_deadline")


@pytest.mark.parametrize(
    "request_, code, field",
    [
        (admin_pb2.DrainAgentRequest(), grpc.StatusCode.INVALID_ARGUMENT, "agent_id"),
        (admin_pb2.DrainAgentRequest(agent_id="nobody"), grpc.StatusCode.NOT_FOUND, ""),
        (admin_pb2.DrainAgentRequest(agent_id="a1", note="x" * 1_001), grpc.StatusCode.INVALID_ARGUMENT, "note"),
        (
            admin_pb2.DrainAgentRequest(agent_id="a1", deadline=Duration(seconds=8 * 86_400)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "deadline",
        ),
        (
            admin_pb2.DrainAgentRequest(agent_id="a1", deadline=Duration(seconds=-1)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "deadline",
        ),
    ],
)
async def test_a_wrong_drain_is_refused_by_name(
    request_: admin_pb2.DrainAgentRequest, code: grpc.StatusCode, field: str
) -> None:
    async with grpc_door() as door, door.agent():
        refused, status = await refusal(door.agents.DrainAgent(request_))
        assert refused is code
        if field:
            [wrong] = detail(status, error_details_pb2.BadRequest).field_violations
            assert (reason_of(status), wrong.field) == ("INVALID", field)


async def test_the_agent_is_asked_to_give_back_what_it_has_not_begun() -> None:
    async with agent_door() as door, door.agent() as agent:
        await door.submit("shell")
        ref = (await agent.take()).ref
        await door.manager.drain_agent("a1", note="a new disk", deadline_ms=60_000)
        await agent.decline(ref)
        assert await agent.disposition(ref) is AckDisposition.COMMITTED

        [asked] = [frame.drain for frame in agent.frames if frame.HasField("drain")]
        assert (asked.reason, asked.deadline.seconds, asked.HasField("reconnect_after")) == ("a new disk", 60, False)
        assert await door.status(ref.task_id) == "pending"


async def test_it_is_asked_in_every_session_and_told_to_stop_what_still_runs() -> None:
    async with agent_door() as door:
        async with door.agent() as agent:
            await door.submit("shell")
            ref = (await agent.take()).ref
            await agent.start(ref)
            await door.events.next(EventName.TASK_STARTED)
        await door.manager.drain_agent("a1", deadline_ms=0)
        async with door.agent(session=2, held=held(ref)) as agent:
            assert agent.verdicts[0] is not None
            assert agent.verdicts[0].action is VerdictAction.KEEP
            stop = await agent.told_to_stop()
            assert (stop.ref, stop.reason) == (ref, Reason.DRAINED)
            assert [frame.drain.HasField("deadline") for frame in agent.frames if frame.HasField("drain")] == [True]


async def test_what_it_has_accepted_it_may_forget() -> None:
    async with agent_door() as door:
        async with door.agent() as agent:
            task_id = await door.submit("shell", execution=Execution.EXCLUSIVE)
            ref = (await agent.take()).ref
        await door.manager.drain_agent("a1")
        async with door.agent(session=2, held=held(ref, state=HeldState.ACCEPTED)) as agent:
            assert [verdict.action for verdict in agent.verdicts if verdict] == [VerdictAction.FORGET]
            assert await door.status(task_id) == "pending"
