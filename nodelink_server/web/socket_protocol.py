"""One WebSocket connection with the limits that uvicorn has not: whoever reads nothing is cut off, and none lingers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol

from nodelink_server.web.errors import bare_problem, last_problem, phrase
from nodelink_server.web.protocol import ConnectionLimits
from nodelink_server.web.reader_watch import ReaderWatch

GOING_AWAY = 1001
TOO_BIG = 1009
MOST_FRAGMENTS = 1_000


class Handshake(ServerProtocol):
    """The protocol as the library has it; only its refusals are ours."""

    def reject(self, status: int, text: str) -> Response:
        """The answer to a handshake that is not right."""
        answer = last_problem(int(status), text.strip())
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.raw_headers]
        return Response(int(status), phrase(int(status)), Headers(headers), bytes(answer.body))


class BoundedSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket whose end always comes, also for a peer that reads nothing and never answers."""

    limits = ConnectionLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = self.limits.linger_seconds
        self.conn = Handshake(max_size=self.config.ws_max_size, logger=self.conn.logger)
        self._reader = ReaderWatch(self.loop, self.limits.stall_seconds)

    def data_received(self, data: bytes) -> None:
        """Something came. The handshake comes first, and whole."""
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(bare_problem(400, "this is no handshake of a WebSocket"))
            self.transport.close()
            self._cut_soon()

    def pause_writing(self) -> None:
        """More waits to be sent than may wait. Nothing more is read either, or pings alone would fill the memory."""
        super().pause_writing()
        self._reader.begin(self.transport)
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The reader has caught up."""
        super().resume_writing()
        self._reader.end()
        if not self.read_paused:
            self.transport.resume_reading()

    async def send(self, message: Any) -> None:
        """As uvicorn has it. `texts` instead of `text`: several messages in one write."""
        await self.writable.wait()
        if self.disconnected or self.close_sent:
            raise ClientDisconnected
        texts = message.get("texts")
        if texts is None:
            await super().send(message)
            self.handshake_complete |= self.close_sent  # it was refused, which is an answer too
        else:
            self._send_texts(texts)

    def _send_texts(self, texts: Iterable[str]) -> None:
        try:
            for text in texts:
                self.conn.send_text(text.encode())
        except InvalidState as error:  # the peer has said goodbye
            raise ClientDisconnected from error
        self.transport.write(b"".join(self.conn.data_to_send()))

    async def receive(self) -> ASGIReceiveEvent:
        """The next message. Reading goes on behind it only while the peer reads too."""
        message = await super().receive()
        if not self.writable.is_set():
            self.transport.pause_reading()
        return message

    def handle_cont(self, event: Frame) -> None:
        """A further piece of a message. Pieces may be empty, so their number has a bound too."""
        if len(self.frames) >= MOST_FRAGMENTS:
            self.conn.fail(TOO_BIG, "too many fragments")
            self.handle_parser_exception()
        else:
            super().handle_cont(event)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def run_asgi(self) -> None:
        """Serve it. Afterwards its peer has a moment to take what was written, and to say goodbye."""
        await super().run_asgi()
        self._cut_soon()

    def keepalive_timeout(self) -> None:
        """A ping was not answered."""
        super().keepalive_timeout()
        self._cut_soon()

    def shutdown(self) -> None:
        """The server stops."""
        if self.handshake_complete and not self.close_sent:
            self.stop_keepalive()
            self.queue.put_nowait({"type": "websocket.disconnect", "code": GOING_AWAY})
            self.conn.send_close(GOING_AWAY, "the server is stopping")
            self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
        else:
            super().shutdown()
        self._cut_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and its timers with it."""
        self._reader.end()
        super().connection_lost(exc)

    def _cut_soon(self) -> None:
        self.loop.call_later(2 * self.limits.linger_seconds, self._cut)

    def _cut(self) -> None:
        if not self.disconnected:
            self.transport.abort()
