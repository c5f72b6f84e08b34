"""AgentAdminService over the registry of agents, and what the database remembers of them."""

from __future__ import annotations

from nodelink.v1 import admin_pb2, admin_pb2_grpc
from nodelink_server.core.agents import AgentView
from nodelink_server.core.manager import TaskManager
from nodelink_server.rpc.interceptors import Context
from nodelink_server.rpc.listing import put_sessions
from nodelink_server.rpc.requests import duration_ms, id_of, page_size_of, place_of
from nodelink_server.rpc.views import AGENT_STATUS_TO_PB, put_agent
from nodelink_server.rpc.why_views import put_agent_why


class AgentAdminService(admin_pb2_grpc.AgentAdminServiceServicer):
    """Shows the agents, and says which of them get work. What it raises, `EveryCall` turns into a status."""

    def __init__(self, manager: TaskManager) -> None:
        self._manager = manager

    async def ListAgents(  # noqa: N802 - the name of the call, here and below
        self, request: admin_pb2.ListAgentsRequest, context: Context
    ) -> admin_pb2.ListAgentsResponse:
        """Every agent that is known and fits the filters, by name."""
        response = admin_pb2.ListAgentsResponse()
        for view in self._manager.agents.views():
            if _fits(view, request):
                put_agent(response.agents.add(), view)
        return response

    async def GetAgent(  # noqa: N802
        self, request: admin_pb2.GetAgentRequest, context: Context
    ) -> admin_pb2.GetAgentResponse:
        """One agent."""
        response = admin_pb2.GetAgentResponse()
        put_agent(response.agent, self._manager.agents.view(id_of(request.agent_id, "agent_id")))
        return response

    async def ExplainAgent(  # noqa: N802
        self, request: admin_pb2.ExplainAgentRequest, context: Context
    ) -> admin_pb2.ExplainAgentResponse:
        """Why one agent has the work that it has."""
        response = admin_pb2.ExplainAgentResponse()
        put_agent_why(response, self._manager.agent_why(id_of(request.agent_id, "agent_id")))
        return response

    async def ListAgentSessions(  # noqa: N802
        self, request: admin_pb2.ListAgentSessionsRequest, context: Context
    ) -> admin_pb2.ListAgentSessionsResponse:
        """A page of an agent's connections, newest first."""
        agent_id, size = id_of(request.agent_id, "agent_id"), page_size_of(request.page_size)
        before = place_of(request.page_token)
        response = admin_pb2.ListAgentSessionsResponse()
        put_sessions(response, await self._manager.agent_sessions(agent_id, before=before, limit=size + 1), size)
        return response

    async def DrainAgent(  # noqa: N802
        self, request: admin_pb2.DrainAgentRequest, context: Context
    ) -> admin_pb2.DrainAgentResponse:
        """Have an agent become empty."""
        deadline_ms = duration_ms(request.deadline, "deadline") if request.HasField("deadline") else None
        agent_id = id_of(request.agent_id, "agent_id")
        view = await self._manager.drain_agent(agent_id, note=request.note, deadline_ms=deadline_ms)
        response = admin_pb2.DrainAgentResponse()
        put_agent(response.agent, view)
        return response

    async def UndrainAgent(  # noqa: N802
        self, request: admin_pb2.UndrainAgentRequest, context: Context
    ) -> admin_pb2.UndrainAgentResponse:
        """Let an agent that is kept from new work have new work again."""
        response = admin_pb2.UndrainAgentResponse()
        put_agent(response.agent, await self._manager.undrain(id_of(request.agent_id, "agent_id")))
        return response


def _fits(view: AgentView, request: admin_pb2.ListAgentsRequest) -> bool:
    if request.pool and view.pool != request.pool:
        return False
    if not request.labels.items() <= view.labels.items():
        return False
    return not request.status or AGENT_STATUS_TO_PB.get(view.status) == request.status
