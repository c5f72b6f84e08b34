"""What the clients know of why: the answers as values, and what is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from nodelink.client import AgentConditions, AgentWhy, AsyncClient, Client, Condition, TaskWhy
from nodelink.errors import AgentNotFound, ProtocolViolation, TaskNotFound
from nodelink.task import TaskStatus
from nodelink.v1 import admin_pb2, task_pb2
from tests.support.client_stage import WAIT_SECONDS, Stage, meet, playing, refused
from tests.support.grpc_door import grpc_door

GONE = (grpc.StatusCode.UNAVAILABLE, (), "gone")
NO_SLOT = task_pb2.Condition(condition="slots", holds=False, message="its 1 slot(s) are taken")


@pytest.fixture
def stage() -> Iterator[Stage]:
    with playing() as stage:
        yield stage


def test_a_task_that_waits_is_told_with_everything_that_is_known(stage: Stage) -> None:
    asked = stage.call(lambda client: client.why("t1"))
    answer = task_pb2.ExplainTaskResponse(
        task_id="t1",
        status=task_pb2.TASK_STATUS_PENDING,
        reason="agent",
        summary="waits for a free slot",
        conditions=[task_pb2.Condition(condition="scheduler", holds=True)],
        agents=[task_pb2.AgentConditions(agent_id="a1", name="build-1", conditions=[NO_SLOT])],
        agents_total=1,
        ruled_out={"slots": 1},
        ahead=0,
        starts_in=Duration(seconds=1, nanos=500_000_000),
        remedies=["more slots"],
    )
    request = stage.answer("ExplainTask", answer)

    no_slot = Condition("slots", False, "its 1 slot(s) are taken")
    assert request.task_id == "t1"
    assert asked.result(WAIT_SECONDS) == TaskWhy(
        task_id="t1",
        status=TaskStatus.PENDING,
        reason="agent",
        summary="waits for a free slot",
        conditions=(Condition("scheduler", True),),
        agents=(AgentConditions(agent_id="a1", name="build-1", fits=False, conditions=(no_slot,)),),
        agents_total=1,
        ruled_out={"slots": 1},
        ahead=0,
        starts_in=1.5,
        remedies=("more slots",),
    )


def test_what_is_not_known_of_a_wait_is_none(stage: Stage) -> None:
    asked = stage.call(lambda client: client.why("t1"))
    stage.answer("ExplainTask", task_pb2.ExplainTaskResponse(task_id="t1", status=task_pb2.TASK_STATUS_COMPLETED))
    told: TaskWhy = asked.result(WAIT_SECONDS)

    assert (told.ahead, told.starts_in, told.conditions, told.agents, told.ruled_out) == (None, None, (), (), {})


def test_an_agent_is_told_with_what_waits_for_it(stage: Stage) -> None:
    asked = stage.call(lambda client: client.agent_why("a1"))
    answer = admin_pb2.ExplainAgentResponse(agent_id="a1", summary="is full", conditions=[NO_SLOT], waiting=2)
    request = stage.answer("ExplainAgent", answer)

    no_slot = Condition("slots", False, "its 1 slot(s) are taken")
    assert request.agent_id == "a1"
    assert asked.result(WAIT_SECONDS) == AgentWhy(agent_id="a1", summary="is full", conditions=(no_slot,), waiting=2)


@pytest.mark.parametrize(
    "ask, method, kind, error",
    [
        (lambda client: client.why("t1"), "ExplainTask", "task", TaskNotFound),
        (lambda client: client.agent_why("a1"), "ExplainAgent", "agent", AgentNotFound),
    ],
    ids=["task", "agent"],
)
def test_what_is_not_known_raises(
    stage: Stage, ask: Callable[[Client], Any], method: str, kind: str, error: type[Exception]
) -> None:
    asked = stage.call(ask)
    about = error_details_pb2.ResourceInfo(resource_type=kind)
    stage.answer(method, error=refused(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "there is none", about))

    with pytest.raises(error):
        asked.result(WAIT_SECONDS)


def test_a_question_that_got_lost_is_asked_again(stage: Stage) -> None:
    meet(stage)
    asked = stage.call(lambda client: client.agent_why("a1"))
    stage.answer("ExplainAgent", error=GONE)
    stage.answer("ExplainAgent", admin_pb2.ExplainAgentResponse(agent_id="a1"))

    assert asked.result(WAIT_SECONDS).agent_id == "a1"


def test_a_status_that_only_a_newer_client_knows_is_not_guessed(stage: Stage) -> None:
    asked = stage.call(lambda client: client.why("t1"))
    stage.answer("ExplainTask", task_pb2.ExplainTaskResponse(task_id="t1"))

    with pytest.raises(ProtocolViolation):
        asked.result(WAIT_SECONDS)


async def test_the_asynchronous_client_asks_the_same_of_a_real_server() -> None:
    async with grpc_door() as door, AsyncClient(str(door.address)) as client, door.agent():
        task_id = await door.submit(pool="gpu")
        told, agent = await client.why(task_id), await client.agent_why("a1")
        with pytest.raises(TaskNotFound):
            await client.why("nothing")
        with pytest.raises(AgentNotFound):
            await client.agent_why("nobody")

    assert (told.summary, told.ahead) == ("no agent of pool 'gpu' was ever connected", 0)
    assert agent.summary == "nothing waits that it could run (pool 'default', types echo, shell)"
