"""The outermost of every WebSocket, as `web/frame.py` is of every request."""

from __future__ import annotations

import uuid

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nodelink.errors import NodelinkError
from nodelink_server.web.errors import problem_of
from nodelink_server.web.frame import mark


class Handshakes:
    """Names each connection. Who is refused before the upgrade gets an answer that says why."""

    def __init__(self, app: ASGIApp, *, insecure: bool) -> None:
        self._app = app
        self._insecure = insecure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry a connection in."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        is_answered = False

        async def marked(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            if message["type"] == "websocket.http.response.start":
                mark(MutableHeaders(scope=message), request_id, insecure=self._insecure)
            await send(message)

        try:
            await self._app(scope, receive, marked)
        except (NodelinkError, HTTPException) as error:
            if is_answered:
                raise
            await problem_of(error, request_id)(scope, receive, marked)
