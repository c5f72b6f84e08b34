"""Why a task waits and why an agent has no work, as JSON shows it: the names and shapes of the HTTP interface."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from nodelink.cli.table import Form
from nodelink.durations import format_duration

if TYPE_CHECKING:
    from nodelink.client import AgentConditions, AgentWhy, TaskWhy


def task_why_form(why: TaskWhy) -> Form:
    """Why a task stands where it stands."""
    return {
        "task_id": why.task_id,
        "status": why.status.value,
        "reason": why.reason,
        "summary": why.summary,
        "conditions": [dataclasses.asdict(one) for one in why.conditions],
        "agents": [_agent_form(agent) for agent in why.agents],
        "agents_total": why.agents_total,
        "ruled_out": dict(why.ruled_out),
        "ahead": why.ahead,
        "starts_in": None if why.starts_in is None else format_duration(why.starts_in),
        "remedies": list(why.remedies),
    }


def agent_why_form(why: AgentWhy) -> Form:
    """Why an agent has the work that it has."""
    return {
        "agent_id": why.agent_id,
        "summary": why.summary,
        "conditions": [dataclasses.asdict(one) for one in why.conditions],
        "waiting": why.waiting,
    }


def _agent_form(agent: AgentConditions) -> Form:
    return {
        "agent_id": agent.agent_id,
        "name": agent.name,
        "fits": agent.fits,
        "conditions": [dataclasses.asdict(one) for one in agent.conditions],
    }
