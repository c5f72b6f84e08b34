"""What every request passes before a route sees it, as plain ASGI: the right address, an honest body.

Loopback is no boundary for browsers: any page that somebody opens can send requests to this machine. So the Host must
be one of ours (against names that are re-bound to us), the Origin too (against other sites), and a body must say that
it is JSON (which a form cannot).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nodelink.errors import Malformed, NotAllowed, TooLarge
from nodelink_server.core.jsontext import read_json

MAX_BODY_BYTES = 1 << 20
MAX_HEADER_BYTES = 32 << 10
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?", re.ASCII)


class AddressGate:
    """Lets in only requests that name us, and that no foreign page has sent."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Iterable[str], any_address: bool = False) -> None:
        """`any_address`: whoever listens on every interface is reached by every number; a number cannot be re-bound."""
        self._app = app
        self._hosts = LOOPBACK_NAMES | {host.lower() for host in allowed_hosts}
        self._any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or a WebSocket, which browsers open to any site. Raises `NotAllowed`, `Malformed`."""
        if scope["type"] in {"http", "websocket"}:
            self._check(Headers(scope=scope))
        await self._app(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADER_BYTES:
            raise HTTPException(431, f"the headers are larger than {MAX_HEADER_BYTES} bytes")
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            raise Malformed("a request names one Host")
        if not self._is_ours(hosts[0]):
            raise NotAllowed(f"the Host {hosts[0][:200]!r} is not one of this server's")
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            raise NotAllowed("requests from other sites are not allowed")  # some, as of images, name no Origin
        for origin in headers.getlist("origin"):
            if not self._is_same_site(origin, hosts[0]):
                raise NotAllowed(f"requests from the Origin {origin[:200]!r} are not allowed")

    def _is_ours(self, authority: str) -> bool:
        parts = _AUTHORITY.fullmatch(authority)
        if parts is None:
            return False
        host = parts["host"].lower()
        return host in self._hosts or authority.lower() in self._hosts or (self._any_address and _is_number(host))

    def _is_same_site(self, origin: str, host: str) -> bool:
        """Whether a page of ours sent it: one from the very address, or from a host that was configured."""
        scheme, _, authority = origin.lower().partition("://")
        named = _AUTHORITY.fullmatch(authority)
        if scheme not in {"http", "https"} or named is None:
            return False
        return authority == host.lower() or bool({named["host"], authority} & (self._hosts - LOOPBACK_NAMES))


class BodyGate:
    """Takes a body in whole, within its limit, and lets it through only if it is JSON that says one thing.

    Where `raw` has a method and a path as routes write it, a body is bytes that mean nothing, and says so.
    """

    def __init__(self, app: ASGIApp, *, raw: Collection[tuple[str, str]] = ()) -> None:
        self._app = app
        self._raw = frozenset(raw)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on. Raises `TooLarge`, `Malformed`, or 415."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        body = await _read_body(headers, receive)
        if body and (scope["method"], scope["state"].get("path", "")) in self._raw:
            _check_raw(headers)
        elif body:
            _check_media_type(headers)
            try:
                read_json(body)
            except ValueError as error:
                raise Malformed(f"the body is not JSON that can be accepted: {error}") from error
        await self._app(scope, _replay(body, receive), send)


async def _read_body(headers: Headers, receive: Receive) -> bytes:
    if headers.get("transfer-encoding", "chunked").lower() != "chunked":
        raise Malformed("the only Transfer-Encoding is chunked")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise Malformed("the Content-Length is not a number")
    if int(length[:20]) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        more = message.get("more_body", False)
    return bytes(body)


def _too_large() -> TooLarge:
    return TooLarge(message=f"the body is larger than {MAX_BODY_BYTES} bytes")


def _check_media_type(headers: Headers) -> None:
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/json":
        raise HTTPException(415, "a body must have the Content-Type application/json")
    charset = parameters.strip().lower().replace('"', "")
    if charset not in {"", "charset=utf-8"}:
        raise HTTPException(415, "a body must be written in UTF-8")
    _check_encoding(headers)


def _check_raw(headers: Headers) -> None:
    """No form can say this either."""
    if headers.get("content-type", "").strip().lower() != "application/octet-stream":
        raise HTTPException(415, "the body must have the Content-Type application/octet-stream")
    _check_encoding(headers)


def _check_encoding(headers: Headers) -> None:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "a body must not be compressed")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, then what really comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _is_number(host: str) -> bool:
    try:
        return not ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False
