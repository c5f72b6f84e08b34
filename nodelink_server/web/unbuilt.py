"""What is published and not built yet. It is refused by name, never accepted and ignored."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from nodelink.errors import FieldError, NotBuilt

UNBUILT_PATHS: tuple[str, ...] = (
    "/tasks/docker",
    "/agents/{agent_id}/schedule",
    "/agents/{agent_id}/schedule/run",
)
"""Below the prefix."""

UNBUILT_TREES: tuple[str, ...] = (
    "pools",
    "schedules",
    "workflows",
    "fanouts",
    "dead-letters",
    "tokens",
    "audit",
)
"""Below the prefix, with everything beneath them."""

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


async def _refuse(request: Request) -> None:
    raise NotBuilt(FieldError("path", f"{request.method} {request.url.path} is not available in this version"))


def unbuilt_routes() -> APIRouter:
    """Routes, kept out of the published description, that refuse by name."""
    router = APIRouter(include_in_schema=False)
    trees = [path for tree in UNBUILT_TREES for path in (f"/{tree}", f"/{tree}/{{rest:path}}")]
    for path in (*UNBUILT_PATHS, *trees):
        router.add_api_route(path, _refuse, methods=_METHODS)
    return router


def unbuilt_pages() -> APIRouter:
    """The same for what will stand outside the prefix."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/", _refuse, methods=["GET"])
    return router
