"""grpc.health.v1.Health, as balancers and orchestrators ask it: whether the server can do its work.

It serves while nothing is wrong with the database and the loops that hand work out (`core/vitals.py`), and not while it
drains. Every service stands as the whole server does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from grpc_health.v1 import health_pb2, health_pb2_grpc

from nodelink.errors import CallerError, ErrorCode
from nodelink_server.core.vitals import Health, Vitals
from nodelink_server.rpc.interceptors import Context

WHOLE_SERVER = ""
LONGEST_NAME = 200

_Answer = health_pb2.HealthCheckResponse


class ServiceNotKnown(CallerError):
    """There is no such service."""

    code = ErrorCode.NOT_FOUND


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Tells what the vitals tell. It keeps nothing for those who watch, so that none of them can hold up another."""

    def __init__(self, vitals: Vitals, services: Iterable[str]) -> None:
        self._vitals = vitals
        self._services = frozenset({WHOLE_SERVER, *services})

    async def Check(  # noqa: N802 - the name of the call, here and below
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """How a service stands now. Raises `ServiceNotKnown`."""
        if request.service not in self._services:
            raise ServiceNotKnown(f"there is no service {request.service[:LONGEST_NAME]}")
        return _answer(self._vitals.health())

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """How a service stands, now and whenever that changes. The last word of a server that stops is that it does."""
        seen, told = self._vitals.health(), None
        while True:
            answer = self._answer_about(request.service, seen)
            if answer != told:
                yield answer
            if seen.draining:
                return
            told, seen = answer, await self._vitals.changed(seen)

    def _answer_about(self, service: str, health: Health) -> health_pb2.HealthCheckResponse:
        return _answer(health) if service in self._services else _Answer(status=_Answer.SERVICE_UNKNOWN)


def _answer(health: Health) -> health_pb2.HealthCheckResponse:
    return _Answer(status=_Answer.SERVING if health.is_ready else _Answer.NOT_SERVING)
