"""The HTTP door: one FastAPI application over the server's one door, `TaskManager`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fastapi import FastAPI

from nodelink_server.core.manager import TaskManager
from nodelink_server.metrics import Exposition
from nodelink_server.web import agents, events, health, logs, tasks
from nodelink_server.web.errors import PROBLEM_TYPE, add_error_handlers
from nodelink_server.web.gate import AddressGate, BodyGate, Frame
from nodelink_server.web.shapes import ProblemJson
from nodelink_server.web.unbuilt import unbuilt_pages, unbuilt_routes

PREFIX = "/api/v1"
_PROBLEMS = {"4XX": "The request is refused, and why", "5XX": "It cannot be answered now"}


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
        title="NodeLink",
        version=version,
        description="Runs tasks on agents.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        responses={status: {"description": text, "content": _problem_content()} for status, text in _PROBLEMS.items()},
    )
    app.state.manager = manager
    app.state.closing = closing or asyncio.Event()
    app.state.frames = events.EventFrames()
    app.state.exposition = Exposition(manager, version=version, insecure=insecure)
    app.state.version = version
    app.state.insecure = insecure
    _add_routes(app)
    add_error_handlers(app)
    app.add_middleware(BodyGate)  # the last one added sees a request first
    app.add_middleware(AddressGate, allowed_hosts=tuple(allowed_hosts), any_address=any_address)
    app.add_middleware(Frame, insecure=insecure)
    return app


def _add_routes(app: FastAPI) -> None:
    for part in (tasks, logs, events, agents):
        app.include_router(part.router, prefix=PREFIX)
    app.include_router(unbuilt_routes(), prefix=PREFIX)
    app.include_router(health.router)
    app.include_router(unbuilt_pages())


def _problem_content() -> dict[str, object]:
    schema = ProblemJson.model_json_schema(ref_template="#/components/schemas/{model}")
    del schema["$defs"]  # they are among the components already
    return {PROBLEM_TYPE: {"schema": schema}}
