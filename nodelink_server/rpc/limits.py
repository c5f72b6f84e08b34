"""LimitService over the core's limits. What it raises, `EveryCall` turns into a status."""

from __future__ import annotations

from nodelink.v1 import admin_pb2, admin_pb2_grpc
from nodelink.wire import put_ms
from nodelink_server.core.limit_views import LimitHolder, LimitView
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import Waiter
from nodelink_server.rpc.interceptors import Context
from nodelink_server.rpc.requests import id_of, required


class LimitService(admin_pb2_grpc.LimitServiceServicer):
    """Shows limits, and sets them."""

    def __init__(self, manager: TaskManager) -> None:
        self._limits = manager.limits

    async def ListLimits(  # noqa: N802 - the name of the call, here and below
        self, request: admin_pb2.ListLimitsRequest, context: Context
    ) -> admin_pb2.ListLimitsResponse:
        """What is set and what is held, or the one that is named."""
        if request.name:
            return admin_pb2.ListLimitsResponse(limits=[_message(await self._limits.shown(request.name))], total=1)
        found = await self._limits.listed()
        return admin_pb2.ListLimitsResponse(limits=map(_message, found.limits), total=found.total)

    async def SetLimit(  # noqa: N802
        self, request: admin_pb2.SetLimitRequest, context: Context
    ) -> admin_pb2.SetLimitResponse:
        """A limit with another number of places."""
        name, most = id_of(request.name, "name"), int(required(request, "most"))
        return admin_pb2.SetLimitResponse(limit=_message(await self._limits.set(name, most)))

    async def RemoveLimit(  # noqa: N802
        self, request: admin_pb2.RemoveLimitRequest, context: Context
    ) -> admin_pb2.RemoveLimitResponse:
        """A limit that is set no more."""
        removed = await self._limits.remove(id_of(request.name, "name"))
        return admin_pb2.RemoveLimitResponse(limit=_message(removed))


def _message(view: LimitView) -> admin_pb2.Limit:
    return admin_pb2.Limit(
        name=view.name,
        most=view.most,
        settings_most=view.settings_most,
        taken=view.taken,
        holders=map(_holder, view.holders),
        waiting=map(_waiter, view.waiting),
        waiting_more=view.waiting_more,
    )


def _holder(holder: LimitHolder) -> admin_pb2.LimitHolder:
    pb = admin_pb2.LimitHolder(task_id=holder.task_id, agent_id=holder.agent_id)
    if holder.since is not None:
        put_ms(pb.since, holder.since)
    return pb


def _waiter(waiter: Waiter) -> admin_pb2.LimitWaiter:
    pb = admin_pb2.LimitWaiter(task_id=waiter.task_id, priority=waiter.priority)
    put_ms(pb.since, waiter.since)
    return pb
