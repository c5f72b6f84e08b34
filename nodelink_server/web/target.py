"""What a request asks for, before a route sees it: a path that exists, a method that it has, an honest query.

What two readers could understand differently is refused by name: text that is not UTF-8, NUL characters, and a
parameter given twice that means one thing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nodelink.errors import FieldError, InvalidTask

MAX_TARGET_BYTES = 8 << 10
MAX_PARAMETERS = 100
REPEATABLE = frozenset({"label", "status"})
"""Parameters of which any number may be given, wherever they are known."""


@dataclass(frozen=True, slots=True)
class Place:
    """A path as routes write it, and the methods that it has."""

    template: str
    methods: frozenset[str]

    @property
    def allowed(self) -> frozenset[str]:
        """The methods that are answered, those that need no route of their own among them."""
        return self.methods | {"OPTIONS"} | ({"HEAD"} if "GET" in self.methods else set())


class PlaceTable:
    """Every path that there is. One without parameters goes before one with."""

    def __init__(self) -> None:
        self._methods: dict[str, set[str]] = {}
        self._plain: dict[str, Place] = {}
        self._patterns: list[tuple[Any, Place]] = []

    def add(self, prefix: str, routes: Iterable[BaseRoute]) -> None:
        """Know these routes too."""
        for route in routes:
            methods = getattr(route, "methods", None)  # a WebSocket has none
            if methods:
                self._methods.setdefault(prefix + str(getattr(route, "path", "")), set()).update(methods)
        places = [Place(template, frozenset(methods)) for template, methods in self._methods.items()]
        self._plain = {place.template: place for place in places if "{" not in place.template}
        self._patterns = [(compile_path(place.template)[0], place) for place in places if "{" in place.template]

    def find(self, path: str) -> Place | None:
        """The place that a path names."""
        plain = self._plain.get(path)
        return plain or next((place for pattern, place in self._patterns if pattern.match(path)), None)


class TargetGate:
    """Lets in only what can be read in one way, and answers by itself what no route has to be asked about."""

    def __init__(self, app: ASGIApp, *, places: PlaceTable) -> None:
        self._app = app
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on. Raises `InvalidTask`, 404, 405 with the methods that there are, 414."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _check_path(scope)
        _check_query(scope.get("query_string", b""))
        place = self._places.find(scope["path"])
        if place is None:
            raise HTTPException(404, f"there is no path {scope['path'][:200]}")
        scope["state"]["path"] = place.template
        await self._answer(place, scope, receive, send)

    async def _answer(self, place: Place, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method in place.methods:
            await self._app(scope, receive, send)
        elif method not in place.allowed:
            message = f"{place.template} has no method {method[:20]}"
            raise HTTPException(405, message, headers={"Allow": _allow(place)})
        elif method == "HEAD":
            await self._answer_head(scope, receive, send)
        else:
            await Response(status_code=204, headers={"Allow": _allow(place)})(scope, receive, send)

    async def _answer_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As GET, without the body; an answer that would last ends with its headers."""
        begun = False

        async def send_head(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                await send(message)
            elif not message.get("more_body", False):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def receive_until_begun() -> Message:
            return {"type": "http.disconnect"} if begun else await receive()

        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await self._app({**scope, "method": "GET", "headers": headers}, receive_until_begun, send_head)


def _allow(place: Place) -> str:
    return ", ".join(sorted(place.allowed))


def _check_path(scope: Scope) -> None:
    raw = scope.get("raw_path") or scope["path"].encode()
    if len(raw) + len(scope.get("query_string", b"")) > MAX_TARGET_BYTES:
        raise HTTPException(414, f"the path and the query are longer than {MAX_TARGET_BYTES} bytes")
    _check_text("path", unquote_to_bytes(raw).decode(errors="surrogateescape"))


def _check_query(query: bytes) -> None:
    if not query:
        return
    try:
        text = query.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError as error:
        raise InvalidTask(FieldError("query", "is not ASCII: write other characters as %XX")) from error
    except ValueError as error:
        raise InvalidTask(FieldError("query", f"has more than {MAX_PARAMETERS} parameters")) from error
    seen = set()
    for name, value in pairs:
        _check_text(_shown(name), name)
        _check_text(_shown(name), value)
        if name in seen and name not in REPEATABLE:
            raise InvalidTask(FieldError(_shown(name), "is given twice"))
        seen.add(name)


def _check_text(field: str, text: str) -> None:
    """Raise `InvalidTask` for what is no text."""
    if not text.isascii() and _is_broken(text):
        raise InvalidTask(FieldError(field, "is not UTF-8"))
    if "\0" in text:
        raise InvalidTask(FieldError(field, "holds a NUL character"))


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _shown(name: str) -> str:
    """The name of a parameter as it can be answered."""
    return name[:100].encode(errors="replace").decode()
