"""Whether the server is alive, whether it can do its work, and what it has counted."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from nodelink.errors import StoreUnavailable
from nodelink_server.metrics import Exposition
from nodelink_server.web.shapes import HealthJson, ReadyJson
from nodelink_server.web.wiring import Manager, no_parameters

router = APIRouter(tags=["health"], dependencies=[Depends(no_parameters)])


@router.get("/healthz")
async def alive(request: Request) -> HealthJson:
    """The process is alive and answers."""
    return _health(request, "ok")


@router.get("/readyz")
async def ready(request: Request, manager: Manager) -> ReadyJson:
    """The database answers, work is handed out, and the server is not about to stop."""
    health = manager.health()
    if not health.is_ready:
        raise StoreUnavailable(health.message)
    return ReadyJson(**_health(request, "ready").model_dump(), database=True, dispatch=True, draining=False)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
)
async def metrics(request: Request) -> Response:
    """What was counted and measured, as Prometheus reads it."""
    exposition = cast("Exposition", request.app.state.exposition)
    text = await exposition.render(request.headers.get("accept", ""))
    return Response(text.body, headers={"content-type": text.content_type})


def _health(request: Request, status: str) -> HealthJson:
    state = request.app.state
    return HealthJson(status=status, version=state.version, insecure=state.insecure)
