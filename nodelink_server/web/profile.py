"""`/debug/profile`: where the server's time goes, for whoever sits at its machine."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from nodelink.errors import NotAllowed, StoreUnavailable
from nodelink_server.profile import Profiler
from nodelink_server.web.lasting import unless_over
from nodelink_server.web.wiring import Closing

FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


class ProfileQuery(BaseModel):
    """How long to look."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(default=5.0, ge=1.0, le=60.0, allow_inf_nan=False)


def profile_pages(profiler: Profiler) -> APIRouter:
    """The page. Nobody proves yet who they are, so that it answers this machine alone."""
    router = APIRouter(include_in_schema=False)

    @router.get("/debug/profile")
    async def profile(request: Request, asked: Annotated[ProfileQuery, Query()], closing: Closing) -> Response:
        """Where the time of the next seconds goes: folded stacks, for speedscope or flamegraph.pl.

        Only for callers on the server's own machine; one at a time.
        """
        _check_local(request)
        folded = await unless_over(profiler.record(asked.seconds), closing, request.receive)
        if folded is None:
            raise StoreUnavailable("the server is stopping")
        return Response(folded, media_type="text/plain; charset=utf-8")

    return router


def _check_local(request: Request) -> None:
    """Raise `NotAllowed` for a caller who is elsewhere, or who says so by way of a proxy that is here."""
    here = request.client is not None and _is_loopback(request.client.host)
    if not here or any(name in request.headers for name in FORWARDED):
        raise NotAllowed("profiles are only for callers on the server's own machine")


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
