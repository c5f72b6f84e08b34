"""AgentAdminService over a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2

from nodelink.v1 import admin_pb2
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, refusal


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def test_agents_are_listed_with_what_they_run(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        await agent.take()
        response = await door.agents.ListAgents(admin_pb2.ListAgentsRequest())

    (shown,) = response.agents
    assert (shown.id, shown.name, shown.pool, shown.slots) == ("a1", "agent a1", "default", 4)
    assert shown.status == admin_pb2.AGENT_STATUS_ONLINE
    assert (list(shown.current_tasks), list(shown.types)) == ([task_id], ["echo", "shell"])


async def test_an_agent_that_said_goodbye_is_offline(door: GrpcDoor) -> None:
    async with door.agent():
        pass
    response = await door.agents.GetAgent(admin_pb2.GetAgentRequest(agent_id="a1"))

    assert response.agent.status == admin_pb2.AGENT_STATUS_OFFLINE


async def test_filters_of_agents_must_all_match(door: GrpcDoor) -> None:
    async with door.agent(), door.agent(agent_id="a2", pool="other"):
        wanted = admin_pb2.ListAgentsRequest(pool="other", status=admin_pb2.AGENT_STATUS_ONLINE)
        some = await door.agents.ListAgents(wanted)
        wanted.status = admin_pb2.AGENT_STATUS_OFFLINE
        none = await door.agents.ListAgents(wanted)

    assert [agent.id for agent in some.agents] == ["a2"]
    assert not none.agents


async def test_an_agent_that_does_not_exist_is_not_found(door: GrpcDoor) -> None:
    code, status = await refusal(door.agents.GetAgent(admin_pb2.GetAgentRequest(agent_id="nobody")))

    assert code is grpc.StatusCode.NOT_FOUND
    assert detail(status, error_details_pb2.ResourceInfo).resource_type == "agent"


async def test_a_cordoned_agent_says_why_and_is_let_have_work_again(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        door.manager.agents.cordon("a1", "5 starts failed")
        cordoned = await door.agents.ListAgents(
            admin_pb2.ListAgentsRequest(status=admin_pb2.AGENT_STATUS_CORDONED), timeout=WAIT_SECONDS
        )
        task_id = await door.submit()
        request = admin_pb2.UndrainAgentRequest(agent_id="a1")
        answer = await door.agents.UndrainAgent(request, timeout=WAIT_SECONDS)
        taken = await agent.take()

    assert [(one.id, one.cordon_reason) for one in cordoned.agents] == [("a1", "5 starts failed")]
    assert (answer.agent.status, answer.agent.cordon_reason) == (admin_pb2.AGENT_STATUS_ONLINE, "")
    assert taken.ref.task_id == task_id


@pytest.mark.parametrize(
    "agent_id, code", [("", grpc.StatusCode.INVALID_ARGUMENT), ("nobody", grpc.StatusCode.NOT_FOUND)]
)
async def test_only_an_agent_that_is_known_is_let_have_work(
    door: GrpcDoor, agent_id: str, code: grpc.StatusCode
) -> None:
    refused, _ = await refusal(door.agents.UndrainAgent(admin_pb2.UndrainAgentRequest(agent_id=agent_id)))

    assert refused is code


async def test_agents_are_found_by_all_of_their_labels(door: GrpcDoor) -> None:
    async with (
        door.agent(labels={"zone": "z1", "disk": "ssd"}),
        door.agent(agent_id="a2", labels={"zone": "z1"}),
    ):
        both = await door.agents.ListAgents(admin_pb2.ListAgentsRequest(labels={"zone": "z1"}))
        one = await door.agents.ListAgents(admin_pb2.ListAgentsRequest(labels={"zone": "z1", "disk": "ssd"}))

    assert [agent.id for agent in both.agents] == ["a1", "a2"]
    assert [agent.id for agent in one.agents] == ["a1"]


async def test_the_free_slots_of_an_agent_are_those_that_no_task_has(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        await door.submit()
        await agent.take()
        response = await door.agents.GetAgent(admin_pb2.GetAgentRequest(agent_id="a1"))

    assert (response.agent.slots, response.agent.used_slots, response.agent.free_slots) == (4, 1, 3)


async def test_an_agent_is_shown_with_what_it_has_and_what_of_it_is_taken(door: GrpcDoor) -> None:
    async with door.agent(resources={"cpu": 4_000, "gpu": 2_000}, type_limits={"shell": 2}) as agent:
        await door.submit(slots=3, resources={"cpu": 500})
        await agent.take()
        (shown,) = (await door.agents.ListAgents(admin_pb2.ListAgentsRequest())).agents

    assert (shown.slots, shown.used_slots, shown.free_slots) == (4, 3, 1)
    assert {name: (one.total, one.used) for name, one in shown.resources.items()} == {
        "cpu": (4_000, 500),
        "gpu": (2_000, 0),
    }
    assert dict(shown.type_limits) == {"shell": 2}


async def test_the_sessions_of_an_agent_come_a_page_at_a_time_with_the_newest_first(door: GrpcDoor) -> None:
    for number in (1, 2, 3):
        async with door.agent(session=number):
            pass
    async with door.agent(session=4):
        first = await door.agents.ListAgentSessions(admin_pb2.ListAgentSessionsRequest(agent_id="a1", page_size=2))
        second = await door.agents.ListAgentSessions(
            admin_pb2.ListAgentSessionsRequest(agent_id="a1", page_size=2, page_token=first.next_page_token)
        )

    assert [session.number for session in (*first.sessions, *second.sessions)] == [4, 3, 2, 1]
    assert not second.next_page_token
    now, before = first.sessions
    assert (now.reason, now.HasField("disconnected_at"), now.HasField("connected_at")) == ("", False, True)
    assert (before.reason, before.HasField("disconnected_at")) == ("goodbye", True)


async def test_the_sessions_of_an_agent_that_does_not_exist_are_not_found(door: GrpcDoor) -> None:
    code, _ = await refusal(door.agents.ListAgentSessions(admin_pb2.ListAgentSessionsRequest(agent_id="nobody")))

    assert code is grpc.StatusCode.NOT_FOUND
