"""`/agents`: who is there."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, StrictStr

from nodelink_server.web.shapes import AgentJson, AgentPage
from nodelink_server.web.views import agent_json
from nodelink_server.web.wiring import Manager, no_parameters

router = APIRouter(tags=["agents"])


class AgentFilters(BaseModel):
    """Which agents to list; every given filter must match."""

    model_config = ConfigDict(extra="forbid")

    status: StrictStr | None = None
    pool: StrictStr | None = None


@router.get("/agents")
async def list_agents(filters: Annotated[AgentFilters, Query()], manager: Manager) -> AgentPage:
    """The agents that are known, by name."""
    chosen = [
        agent
        for agent in manager.agents.views()
        if filters.status in {None, agent.status} and filters.pool in {None, agent.pool}
    ]
    return AgentPage(agents=[agent_json(agent) for agent in sorted(chosen, key=lambda agent: (agent.name, agent.id))])


@router.get("/agents/{agent_id}", dependencies=[Depends(no_parameters)])
async def get_agent(agent_id: str, manager: Manager) -> AgentJson:
    """One agent."""
    return agent_json(manager.agents.view(agent_id))
