"""Whether the server is alive, whether it can do its work, and what it has counted."""

from __future__ import annotations

from html import escape
from typing import Any, cast

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from nodelink.errors import StoreUnavailable
from nodelink_server.metrics import Exposition
from nodelink_server.web.shapes import HealthJson, ReadyJson
from nodelink_server.web.wiring import Manager, no_parameters

router = APIRouter(tags=["health"], dependencies=[Depends(no_parameters)])

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1>
<p>{description} The whole of it is described in <a href="/openapi.json">/openapi.json</a>.</p>
<ul>
{routes}
</ul></body></html>
"""


@router.get("/healthz")
async def alive(request: Request) -> HealthJson:
    """The process is alive and answers."""
    return _health(request, "ok")


@router.get("/readyz")
async def ready(request: Request, manager: Manager) -> ReadyJson:
    """The database answers, work is handed out, and the server is not about to stop."""
    health = manager.health()
    if not health.database:
        raise StoreUnavailable(f"the database cannot be written to: {health.message}")
    if health.draining:
        raise StoreUnavailable("the server is stopping")
    if not health.dispatch:
        raise StoreUnavailable("tasks are not handed out: the server does not keep up")
    return ReadyJson(**_health(request, "ready").model_dump(), database=True, dispatch=True, draining=False)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """What was counted and measured, as Prometheus reads it."""
    exposition = cast("Exposition", request.app.state.exposition)
    return Response(await exposition.render(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The routes at a glance. Nothing is fetched from anywhere else."""
    description: dict[str, Any] = request.app.openapi()
    routes = [
        f"<li><code>{method.upper()} {escape(path)}</code>: {escape(operation.get('description', ''))}</li>"
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    ]
    about = description["info"]
    page = _PAGE.format(
        title=escape(about["title"]), description=escape(about["description"]), routes="\n".join(routes)
    )
    return HTMLResponse(page)


def _health(request: Request, status: str) -> HealthJson:
    state = request.app.state
    return HealthJson(status=status, version=state.version, insecure=state.insecure)
