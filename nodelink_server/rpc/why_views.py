"""Why a task waits and why an agent has no work, as protobuf."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from nodelink.v1 import admin_pb2, task_pb2
from nodelink.wire import STATUS_TO_PB, put_ms
from nodelink_server.core.why import AgentWhy, TaskWhy, Verdict


class _Conditions(Protocol):
    """A list of conditions that grows."""

    def add(self, *, condition: str, holds: bool, message: str) -> task_pb2.Condition: ...


def put_task_why(pb: task_pb2.ExplainTaskResponse, why: TaskWhy) -> None:
    """Write why a task stands where it stands."""
    pb.task_id = why.task.id
    pb.status = STATUS_TO_PB[why.task.status]
    pb.reason = why.task.reason
    pb.summary = why.summary
    _put(pb.conditions, why.verdicts)
    for agent in why.agents:
        shown = pb.agents.add(agent_id=agent.agent_id, name=agent.name, fits=agent.fits)
        _put(shown.conditions, agent.verdicts)
    pb.agents_total = why.agents_total
    pb.ruled_out.update(why.ruled_out)
    if why.ahead is not None:
        pb.ahead = why.ahead
    if why.starts_in is not None:
        put_ms(pb.starts_in, round(why.starts_in * 1000))
    pb.remedies.extend(why.remedies)


def put_agent_why(pb: admin_pb2.ExplainAgentResponse, why: AgentWhy) -> None:
    """Write why an agent has the work that it has."""
    pb.agent_id = why.agent_id
    pb.summary = why.summary
    _put(pb.conditions, why.verdicts)
    pb.waiting = why.waiting


def _put(conditions: _Conditions, verdicts: Iterable[Verdict]) -> None:
    for one in verdicts:
        conditions.add(condition=one.condition, holds=one.holds, message=one.message)
