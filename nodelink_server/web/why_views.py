"""Why a task waits and why an agent has no work, as callers are shown it (`web/shapes.py`)."""

from __future__ import annotations

from collections.abc import Iterable

from nodelink_server.core.why import AgentVerdicts, AgentWhy, TaskWhy, Verdict
from nodelink_server.web.shapes import AgentConditionsJson, AgentWhyJson, ConditionJson, TaskWhyJson
from nodelink_server.web.times import duration


def task_why_json(why: TaskWhy) -> TaskWhyJson:
    """Why a task stands where it stands."""
    return TaskWhyJson(
        task_id=why.task.id,
        status=why.task.status,
        reason=why.task.reason,
        summary=why.summary,
        conditions=_conditions(why.verdicts),
        agents=list(map(_agent, why.agents)),
        agents_total=why.agents_total,
        ruled_out=dict(why.ruled_out),
        ahead=why.ahead,
        starts_in=None if why.starts_in is None else duration(round(why.starts_in * 1000)),
        remedies=list(why.remedies),
    )


def agent_why_json(why: AgentWhy) -> AgentWhyJson:
    """Why an agent has the work that it has."""
    return AgentWhyJson(
        agent_id=why.agent_id,
        summary=why.summary,
        conditions=_conditions(why.verdicts),
        waiting=why.waiting,
    )


def _agent(agent: AgentVerdicts) -> AgentConditionsJson:
    return AgentConditionsJson(
        agent_id=agent.agent_id,
        name=agent.name,
        fits=agent.fits,
        conditions=_conditions(agent.verdicts),
    )


def _conditions(verdicts: Iterable[Verdict]) -> list[ConditionJson]:
    return [ConditionJson(condition=one.condition, holds=one.holds, message=one.message) for one in verdicts]
