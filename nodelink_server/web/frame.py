"""The outermost of every request: it gets a name, its answer gets its marks, and the log gets a line."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nodelink.errors import NodelinkError
from nodelink_server.web.errors import problem_of

INSECURE_HEADER = "x-nodelink-insecure"
INSECURE_WARNING = "remote-code-execution"
UNLOGGED = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines, which would bury everything else."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_SAFE_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

log = structlog.get_logger(__name__)


class Frame:
    """Names the request, marks every answer, turns whatever escapes into a problem, and notes how it went."""

    def __init__(self, app: ASGIApp, *, insecure: bool) -> None:
        self._app = app
        self._insecure = insecure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry a request in and its answer out."""
        if scope["type"] != "http":  # a WebSocket says for itself what becomes of it
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id, self._insecure)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, answer.send)
            except ClientDisconnect:
                log.debug("caller_left", path=scope["path"])
            except Exception as error:  # noqa: BLE001 - the last place where an error can become an answer
                _note_failure(error, scope)
                if not answer.status:
                    await problem_of(error, request_id)(scope, receive, answer.send)
            finally:
                answer.note(scope)


class _Answer:
    """One answer on its way out: marked, and timed from the request's arrival."""

    def __init__(self, send: Send, request_id: str, insecure: bool) -> None:
        self._send = send
        self._request_id = request_id
        self._insecure = insecure
        self._arrived_at = time.perf_counter()
        self.status = 0
        """0: nothing was answered yet."""

    async def send(self, message: Message) -> None:
        """Pass a message on; the first gets the marks."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            mark(MutableHeaders(scope=message), self._request_id, insecure=self._insecure)
        await self._send(message)

    def note(self, scope: Scope) -> None:
        """One line in the log. The path is the route's, so that it holds no ids; queries may hold secrets."""
        if scope["path"] in UNLOGGED:
            return
        say = log.info if self.status >= 500 else log.debug
        say(
            "http_request",
            method=scope["method"],
            path=scope["state"].get("path", ""),
            status=self.status,
            seconds=round(time.perf_counter() - self._arrived_at, 6),
        )


def mark(headers: MutableHeaders, request_id: str, *, insecure: bool) -> None:
    """Put on an answer what every answer carries."""
    headers["x-request-id"] = request_id
    for name, value in _SAFE_HEADERS.items():
        headers.setdefault(name, value)
    if insecure:
        headers[INSECURE_HEADER] = INSECURE_WARNING


def _request_id(scope: Scope) -> str:
    """The caller's own name for the request if it is a sane one, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _note_failure(error: Exception, scope: Scope) -> None:
    """Log what nobody expected, with its traceback. Refusals are the caller's affair."""
    if not isinstance(error, NodelinkError | HTTPException):
        log.error("request_failed", method=scope["method"], path=scope["path"], exc_info=error)
