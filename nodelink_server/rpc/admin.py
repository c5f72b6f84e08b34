"""AgentAdminService over the registry of agents."""

from __future__ import annotations

from nodelink.errors import FieldError, InvalidTask
from nodelink.v1 import admin_pb2, admin_pb2_grpc
from nodelink_server.core.agents import AgentRegistry, AgentView
from nodelink_server.rpc.interceptors import Context
from nodelink_server.rpc.views import AGENT_STATUS_TO_PB, put_agent


class AgentAdminService(admin_pb2_grpc.AgentAdminServiceServicer):
    """Shows the agents. What it raises, `ErrorsToStatus` turns into a status."""

    def __init__(self, agents: AgentRegistry) -> None:
        self._agents = agents

    async def ListAgents(  # noqa: N802 - the name of the call
        self, request: admin_pb2.ListAgentsRequest, context: Context
    ) -> admin_pb2.ListAgentsResponse:
        """Every agent that is known and fits the filters, by name."""
        response = admin_pb2.ListAgentsResponse()
        for view in self._agents.views():
            if _fits(view, request):
                put_agent(response.agents.add(), view)
        return response

    async def GetAgent(  # noqa: N802 - the name of the call
        self, request: admin_pb2.GetAgentRequest, context: Context
    ) -> admin_pb2.GetAgentResponse:
        """One agent."""
        if not request.agent_id:
            raise InvalidTask(FieldError("agent_id", "must be given"))
        response = admin_pb2.GetAgentResponse()
        put_agent(response.agent, self._agents.view(request.agent_id))
        return response


def _fits(view: AgentView, request: admin_pb2.ListAgentsRequest) -> bool:
    if request.pool and view.pool != request.pool:
        return False
    return not request.status or AGENT_STATUS_TO_PB.get(view.status) == request.status
