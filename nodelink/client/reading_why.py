"""From the server's answers to why, to plain values. Pure: both clients share it."""

from __future__ import annotations

from collections.abc import Iterable

from nodelink.client.reading import status_of
from nodelink.client.why import AgentConditions, AgentWhy, Condition, TaskWhy
from nodelink.v1 import admin_pb2, task_pb2
from nodelink.wire import ms_of


def task_why_of(pb: task_pb2.ExplainTaskResponse) -> TaskWhy:
    """Why a task stands where it stands. Raises `ProtocolViolation` for a status that only a newer client knows."""
    return TaskWhy(
        task_id=pb.task_id,
        status=status_of(pb.status),
        reason=pb.reason,
        summary=pb.summary,
        conditions=_conditions_of(pb.conditions),
        agents=tuple(map(_agent_of, pb.agents)),
        agents_total=pb.agents_total,
        ruled_out=dict(pb.ruled_out),
        ahead=pb.ahead if pb.HasField("ahead") else None,
        starts_in=ms_of(pb.starts_in) / 1000 if pb.HasField("starts_in") else None,
        remedies=tuple(pb.remedies),
    )


def agent_why_of(pb: admin_pb2.ExplainAgentResponse) -> AgentWhy:
    """Why an agent has the work that it has."""
    return AgentWhy(
        agent_id=pb.agent_id,
        summary=pb.summary,
        conditions=_conditions_of(pb.conditions),
        waiting=pb.waiting,
    )


def _agent_of(pb: task_pb2.AgentConditions) -> AgentConditions:
    return AgentConditions(agent_id=pb.agent_id, name=pb.name, fits=pb.fits, conditions=_conditions_of(pb.conditions))


def _conditions_of(pbs: Iterable[task_pb2.Condition]) -> tuple[Condition, ...]:
    return tuple(Condition(pb.condition, pb.holds, pb.message) for pb in pbs)
