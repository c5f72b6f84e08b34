"""What a route is handed: the server's one door, and the sign that the server is closing its doors."""

from __future__ import annotations

import asyncio
from typing import Annotated, cast

from fastapi import Depends, Header
from starlette.requests import HTTPConnection, Request

from nodelink.errors import FieldError, InvalidTask
from nodelink.traceparent import traceparent_or_empty
from nodelink_server.core.manager import TaskManager


async def _manager(request: Request) -> TaskManager:
    return cast("TaskManager", request.app.state.manager)


async def _closing(request: Request) -> asyncio.Event:
    return cast("asyncio.Event", request.app.state.closing)


async def no_parameters(request: HTTPConnection) -> None:
    """For routes that take no query parameters: refuse any, by name."""
    names = list(request.query_params)
    if names:
        raise InvalidTask(*(FieldError(name, "there is no such parameter") for name in names[:10]))


async def _traceparent(
    traceparent: Annotated[
        str, Header(description="the W3C trace context that the task's spans join; a wrong one is ignored")
    ] = "",
) -> str:
    return traceparent_or_empty(traceparent)


Manager = Annotated[TaskManager, Depends(_manager)]
Closing = Annotated[asyncio.Event, Depends(_closing)]
TraceParent = Annotated[str, Depends(_traceparent)]
