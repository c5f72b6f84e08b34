"""`/agents`: who is there, what each has run, when it was connected, and whether it gets work."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from nodelink_server.core.agents import AgentView
from nodelink_server.web.bodies import Drain, NoFields
from nodelink_server.web.filters import AgentFilters, Pages, TaskFilters
from nodelink_server.web.paging import position_of, token_at
from nodelink_server.web.shapes import AgentJson, AgentPage, AgentWhyJson, SessionPage, TaskPage
from nodelink_server.web.tasks import task_page
from nodelink_server.web.views import agent_json, session_json
from nodelink_server.web.why_views import agent_why_json
from nodelink_server.web.wiring import Manager, no_parameters

router = APIRouter(tags=["agents"])


@router.get("/agents")
async def list_agents(filters: Annotated[AgentFilters, Query()], manager: Manager) -> AgentPage:
    """List the agents that are known, by name."""
    chosen = sorted(filter(filters.match, manager.agents.views()), key=_by_name)
    return AgentPage(agents=list(map(agent_json, chosen)))


@router.get("/agents/{agent_id}", dependencies=[Depends(no_parameters)])
async def get_agent(agent_id: str, manager: Manager) -> AgentJson:
    """Show one agent."""
    return agent_json(manager.agents.view(agent_id))


@router.get("/agents/{agent_id}/why", dependencies=[Depends(no_parameters)])
async def explain_agent(agent_id: str, manager: Manager) -> AgentWhyJson:
    """Show why an agent has the work that it has: each condition, and how much waits that it could run."""
    return agent_why_json(manager.agent_why(agent_id))


@router.post("/agents/{agent_id}/drain", dependencies=[Depends(no_parameters)])
async def drain_agent(agent_id: str, manager: Manager, body: Drain | None = None) -> AgentJson:
    """Have an agent become empty: it gets nothing new, and gives back what it has not begun.

    What still runs there at the deadline is stopped; without one it may go on. Said again, the last word counts.
    """
    asked = body or Drain()
    return agent_json(await manager.drain_agent(agent_id, note=asked.note, deadline_ms=asked.deadline))


@router.post("/agents/{agent_id}/undrain", dependencies=[Depends(no_parameters)])
async def undrain_agent(agent_id: str, manager: Manager, body: NoFields | None = None) -> AgentJson:
    """Let an agent that is kept from new work have new work again."""
    return agent_json(await manager.undrain(agent_id))


@router.get("/agents/{agent_id}/tasks")
async def list_agent_tasks(agent_id: str, filters: Annotated[TaskFilters, Query()], manager: Manager) -> TaskPage:
    """List the tasks whose current attempt is with an agent, newest first, page by page."""
    manager.agents.view(agent_id)
    return await task_page(filters.query(agent_id), manager)


@router.get("/agents/{agent_id}/sessions")
async def list_agent_sessions(agent_id: str, pages: Annotated[Pages, Query()], manager: Manager) -> SessionPage:
    """List an agent's connections, newest first, page by page."""
    before = position_of(pages.page_token, agent_id) if pages.page_token else 0
    sessions = await manager.agent_sessions(agent_id, before=before, limit=pages.page_size)
    is_full = len(sessions) >= pages.page_size
    token = token_at(sessions[-1].number, agent_id) if is_full else ""
    return SessionPage(sessions=list(map(session_json, sessions)), next_page_token=token)


def _by_name(agent: AgentView) -> tuple[str, str]:
    return agent.name, agent.id
