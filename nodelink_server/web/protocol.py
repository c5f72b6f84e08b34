"""One HTTP connection with the limits that uvicorn has not: whoever sends too slowly or reads nothing is cut off.

A reader that takes nothing would hold its connection, and the response behind it, for ever: no timeout of TCP ends it
as long as the peer's machine lives.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nodelink_server.web.errors import bare_problem, last_problem
from nodelink_server.web.reader_watch import ReaderWatch

SOCKET_PATH = b"/api/v1/ws"
MOST_AHEAD = 32
"""So many requests may wait on one connection for the answer to the one before."""
READ_BYTES = 32 << 10
"""So much is read from one connection at once; then others have their turn."""
MOST_TURNED_AWAY = 50
"""So many connections too many are told so when they ask for something; yet more are cut off."""

_REFUSALS = {
    400: "this is not HTTP/1.1",
    408: "the request did not come in time",
    431: "the request line and the headers are too long",
    503: "there are too many connections",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How long a caller may take, and how long its headers may be. A WebSocket's peer is pinged, and must answer."""

    headers_seconds: float = 10.0
    body_seconds: float = 30.0
    stall_seconds: float = 10.0
    linger_seconds: float = 0.5
    ping_seconds: float = 15.0
    header_bytes: int = 64 << 10
    connections: int = 6_000


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's connection with a deadline for each request, and one for readers that do not read."""

    limits = ConnectionLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._reader = ReaderWatch(self.loop, self.limits.stall_seconds)
        self._served = self.app
        self._begun = False
        self._in_headers = True
        self._answering = False
        self._header_bytes = 0

    # -- a request must arrive in time --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has connected, and shall say what it wants."""
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        self._expect_within(self.limits.headers_seconds)
        if len(self.connections) > self.limits.connections + MOST_TURNED_AWAY:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Something came. Headers that do not end are refused, and nobody stays by saying nothing."""
        self._unset_keepalive_if_required()
        if self._in_headers:
            self._header_bytes += len(data)
        self._parse(data)
        if self._in_headers and self._header_bytes > self.limits.header_bytes:
            self._refuse(431)
        elif not self._begun and not self._answering and self._deadline is None:
            self._expect_within(self.limits.headers_seconds)

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= MOST_AHEAD:
            raise HttpParserError("there are too many requests ahead of this one")
        super().on_message_begin()
        self._begun = True
        self._in_headers = True
        if not self.flow.write_paused:
            self._reader.end()  # what the next response writes says nothing of how the last one is read
        self._expect_within(self.limits.headers_seconds)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. What comes behind a body is none."""
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers are there; the body follows."""
        if self._is_passed_over():
            return
        self._in_headers = False
        self._expect_within(self.limits.body_seconds)
        self.app = _refuse_crowd if self._is_crowded() else self._served
        super().on_headers_complete()
        self._answering = True

    def on_message_complete(self) -> None:
        """The whole request is there."""
        if self._is_passed_over():
            return
        self._begun = False
        self._in_headers = True
        self._header_bytes = 0
        self._cancel_deadline()
        super().on_message_complete()

    def _expect_within(self, seconds: float) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(seconds, self._too_late)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        if self._begun and self._in_headers:
            self._refuse(408)
        else:
            self._close()

    def _refuse(self, status: int) -> None:
        if self.transport.is_closing():
            return
        if not self._answering:  # else it would land in the middle of an answer
            self.transport.write(bare_problem(status, _REFUSALS[status]))
        self._close()

    def _is_crowded(self) -> bool:
        return len(self.connections) > self.limits.connections

    # -- a WebSocket is a connection of another kind ------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            [end_of_head] = upgrade.args
            self._upgrade(data[end_of_head:])
        except HttpParserError:
            self._refuse(400)

    def _upgrade(self, rest: bytes) -> None:
        """Carry out the wish for another protocol, or read the request, and the rest, as if it had not been said."""
        if self._should_upgrade():
            self.handle_websocket_upgrade()
        elif self.parser.get_method() == b"CONNECT":
            self._refuse(400)
        else:
            head = self._head_without_upgrade()
            self.parser = HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
            self._parse(head + rest)

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _is_passed_over(self) -> bool:
        """Whether the parser has stopped behind a head that is read once more, without its wish."""
        return bool(self.parser.should_upgrade()) and not self._should_upgrade()

    def _should_upgrade(self) -> bool:
        """Whether the request becomes a WebSocket. Anywhere else the wish is ignored, as HTTP allows."""
        is_there = self.parser.get_method() == b"GET" and self.url.partition(b"?")[0] == SOCKET_PATH
        return is_there and super()._should_upgrade()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, unless there are too many of them."""
        self._let_go()
        if self._is_crowded():
            self._answering = False
            self._refuse(503)
        else:
            super().handle_websocket_upgrade()

    # -- a response must be read in time ------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """More waits to be sent than may wait."""
        super().pause_writing()
        self._reader.begin(self.transport)

    def resume_writing(self) -> None:
        """The reader has caught up."""
        super().resume_writing()
        self._reader.end()
        self._watch_end()

    def on_response_complete(self) -> None:
        """The response is written, if not sent."""
        self._answering = bool(self.pipeline)
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._reader.begin(self.transport)

    # -- the end ------------------------------------------------------------------------------------------------------

    def timeout_keep_alive_handler(self) -> None:
        """No further request came."""
        self._close()

    def _close(self) -> None:
        """End it as soon as what was written has been taken."""
        self.transport.close()
        self._watch_end()

    def _watch_end(self) -> None:
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._reader.begin(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and its timers with it."""
        self._let_go()
        super().connection_lost(exc)

    def _let_go(self) -> None:
        self._cancel_deadline()
        self._reader.end()

    def shutdown(self) -> None:
        """The server stops. A request that has not come is not waited for, nor a reader that does not read."""
        super().shutdown()
        if self._begun:
            self.transport.close()
        self.loop.call_later(self.limits.linger_seconds, self._cut_reader)

    def _cut_reader(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()


async def _refuse_crowd(scope: Scope, receive: Receive, send: Send) -> None:
    """What answers a connection too many."""
    await last_problem(503, _REFUSALS[503])(scope, receive, send)
