"""The HTTP door: one FastAPI application over the server's one door, `TaskManager`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fastapi import FastAPI

from nodelink_server.core.manager import TaskManager
from nodelink_server.metrics import Exposition
from nodelink_server.profile import Profiler
from nodelink_server.web import (
    agents,
    artifacts,
    bulk,
    checkpoints,
    events,
    health,
    limits,
    logs,
    pages,
    plans,
    scheduler,
    stats,
    submissions,
    tasks,
    websocket,
    workspace_states,
    workspaces,
)
from nodelink_server.web.errors import add_error_handlers
from nodelink_server.web.frame import Frame
from nodelink_server.web.gate import AddressGate, BodyGate
from nodelink_server.web.handshakes import Handshakes
from nodelink_server.web.openapi import TITLE
from nodelink_server.web.profile import profile_pages
from nodelink_server.web.target import PlaceTable, TargetGate
from nodelink_server.web.unbuilt import unbuilt_pages, unbuilt_routes

PREFIX = "/api/v1"
_NOUNS_OF_BLOBS = (artifacts, workspace_states)
_RAW = {("PUT", PREFIX + path) for noun in _NOUNS_OF_BLOBS for path in noun.RAW_PATHS}
_NOUNS = (
    *(submissions, tasks, plans, bulk, logs, events, websocket),
    *(agents, scheduler, checkpoints, stats, workspaces, limits),
)


def create_app(
    manager: TaskManager,
    *,
    version: str,
    allowed_hosts: Iterable[str] = (),
    any_address: bool = False,
    insecure: bool = False,
    closing: asyncio.Event | None = None,
) -> FastAPI:
    """The application. Requests may name loopback and `allowed_hosts`; `closing`, once set, ends whatever lasts."""
    app = FastAPI(
        title=TITLE,
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.manager = manager
    app.state.closing = closing or asyncio.Event()
    app.state.frames = events.EventFrames()
    app.state.exposition = Exposition(manager, version=version, insecure=insecure)
    app.state.description = pages.Description()
    app.state.version = version
    app.state.insecure = insecure
    places = _add_routes(app)
    add_error_handlers(app)
    app.add_middleware(BodyGate, raw=_RAW)  # the last one added sees a request first
    app.add_middleware(TargetGate, places=places)
    app.add_middleware(AddressGate, allowed_hosts=tuple(allowed_hosts), any_address=any_address)
    app.add_middleware(Frame, insecure=insecure)
    app.add_middleware(Handshakes, insecure=insecure)
    return app


def _add_routes(app: FastAPI) -> PlaceTable:
    """Add every route, and know where they are."""
    places = PlaceTable()
    routers = [(PREFIX, noun.router) for noun in (*_NOUNS, *_NOUNS_OF_BLOBS)]
    routers += [(PREFIX, unbuilt_routes()), ("", health.router), ("", pages.router), ("", unbuilt_pages())]
    routers += [("", profile_pages(Profiler()))]
    for prefix, router in routers:
        app.include_router(router, prefix=prefix)
        places.add(prefix, router.routes)
    return places
