"""Events over a WebSocket: the same as `/events`, for several subscriptions on one connection.

Each subscription listens by itself, so one that falls behind loses nothing for the others; a peer that does not read
at all is let go. What is refused before the upgrade is answered as any request is.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from itertools import count
from typing import Any, NamedTuple

import structlog
from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from nodelink.errors import FieldError, InvalidTask, NodelinkError, Overloaded
from nodelink_server.core.events import Heard
from nodelink_server.core.manager import TaskManager
from nodelink_server.web.events import EventFrames
from nodelink_server.web.socket_messages import Subscribe, error_json, read_message
from nodelink_server.web.wiring import no_parameters

MOST_SUBSCRIPTIONS = 100
MOST_MISTAKES = 20
MOST_AT_ONCE = 64
"""So many messages go to one peer in one write; then others have their turn."""

GOING_AWAY = 1001
TEXT_ONLY = 1003
TOO_MANY_MISTAKES = 1008
TOO_SLOW = 1013

log = structlog.get_logger(__name__)

router = APIRouter(tags=["events"])


class Ending(NamedTuple):
    """Why a connection ends: a code of RFC 6455 and a reason. Code 0: the peer is gone."""

    code: int
    reason: str


GONE = Ending(0, "")
STOPPING = Ending(GOING_AWAY, "the server is stopping")


@router.get("/ws", include_in_schema=False)
async def upgrade_wanted() -> Response:
    """The same events over a WebSocket; without an upgrade the answer is 426.

    Messages are JSON text. `{"subscribe": {"id", "task_id", "agent_id", "pool", "type", "names", "after"}}`, all of it
    optional, is answered by `{"subscribed": id, "revision"}`, then by `{"subscription": id, "event", "id", "data"}` for
    each event and by `{"subscription": id, "bookmark": revision}` after a silence. `{"unsubscribe": id}` is answered by
    `{"unsubscribed": id}`; what cannot be carried out by `{"error": {"code", "detail", "errors"}}`.
    """
    raise HTTPException(426, "this is a WebSocket: ask for an upgrade", headers={"upgrade": "websocket"})


@router.websocket("/ws", dependencies=[Depends(no_parameters)])
async def serve_socket(websocket: WebSocket) -> None:
    """One connection, to its end."""
    state = websocket.app.state
    await EventSocket(websocket, state.manager, state.frames, state.closing).run()


class EventSocket:
    """One WebSocket and its subscriptions."""

    def __init__(self, websocket: WebSocket, manager: TaskManager, frames: EventFrames, closing: asyncio.Event) -> None:
        self._websocket = websocket
        self._manager = manager
        self._frames = frames
        self._closing = closing
        self._group = asyncio.TaskGroup()
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._numbers = count(1)
        self._mistakes = 0
        self._ending = GONE
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Serve until either side has had enough, then say why."""
        await self._websocket.accept()
        async with self._group as group:
            parts = [
                group.create_task(self._read(), name="websocket: reader"),
                group.create_task(self._end_when_closing(), name="websocket: closing"),
            ]
            await self._ended.wait()
            for part in (*parts, *self._pumps.values()):
                part.cancel()
        if self._ending.code:
            await self._farewell()

    def _end(self, ending: Ending) -> None:
        """The first reason counts."""
        if not self._ended.is_set():
            self._ending = ending
            self._ended.set()

    async def _end_when_closing(self) -> None:
        await self._closing.wait()
        self._end(STOPPING)

    async def _farewell(self) -> None:
        try:
            await self._websocket.close(*self._ending)
        except (WebSocketDisconnect, WebSocketDisconnected):
            log.debug("listener_left_first", code=self._ending.code)

    # -- what the peer says -------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return self._end(GONE)
            text = message.get("text")
            if text is None:
                return self._end(Ending(TEXT_ONLY, "only text is understood"))
            try:
                await self._obey(text)
            except NodelinkError as error:
                await self._note_mistake(error)

    async def _obey(self, text: str) -> None:
        """Carry out one message. Raises what is wrong with it."""
        wish = read_message(text)
        if isinstance(wish, Subscribe):
            self._subscribe(wish)
        else:
            await self._unsubscribe(wish.id)

    def _subscribe(self, wish: Subscribe) -> None:
        if len(self._pumps) >= MOST_SUBSCRIPTIONS:
            raise Overloaded(f"there are {MOST_SUBSCRIPTIONS} subscriptions on this connection already")
        if wish.id in self._pumps:
            raise InvalidTask(FieldError("id", f"there is a subscription {wish.id!r} already"))
        name = wish.id or next(name for name in map(str, self._numbers) if name not in self._pumps)
        pump = self._group.create_task(self._pump(name, wish), name="websocket: subscription")
        pump.add_done_callback(lambda _: self._pumps.pop(name))  # it may end before it has begun
        self._pumps[name] = pump

    async def _unsubscribe(self, name: str) -> None:
        pump = self._pumps.get(name)
        if pump is None:
            raise InvalidTask(FieldError("unsubscribe", f"there is no subscription {name[:64]!r}"))
        pump.cancel()
        await asyncio.wait({pump})
        await self._say({"unsubscribed": name})

    async def _note_mistake(self, error: NodelinkError) -> None:
        self._mistakes += 1
        await self._say({"error": error_json(error)})
        if self._mistakes >= MOST_MISTAKES:
            self._end(Ending(TOO_MANY_MISTAKES, f"{MOST_MISTAKES} messages could not be carried out"))

    # -- what the peer hears ------------------------------------------------------------------------------------------

    async def _pump(self, name: str, wish: Subscribe) -> None:
        """One subscription, to its end. The bus ends it when it closes, or when the peer was too slow."""
        try:
            await self._listen(name, wish)
        except NodelinkError as error:
            await self._say({"error": {"subscription": name, **error_json(error)}})
        else:
            slow = Ending(TOO_SLOW, f"the subscription {name[:40]!a} could not keep up")
            self._end(STOPPING if self._manager.events.is_closing else slow)

    async def _listen(self, name: str, wish: Subscribe) -> None:
        if wish.task_id is not None:
            await self._manager.get(wish.task_id)
        head = f'{{"subscription":{json.dumps(name)},'
        async with aclosing(self._manager.events.watch(wish.filter, after=wish.after)) as batches:
            hello = await anext(batches)
            await self._say({"subscribed": name, "revision": _revision_of(hello)})
            async for heard in batches:
                await self._tell(head, heard)

    async def _tell(self, head: str, heard: Heard) -> None:
        for first in range(0, len(heard), MOST_AT_ONCE):
            if first:
                await asyncio.sleep(0)
            events = heard.events[first : first + MOST_AT_ONCE]
            await self._send(*(head + self._frames.message(event) + "}" for event in events))
        if heard.upto:
            await self._send(f'{head}"bookmark":{heard.upto}}}')

    async def _say(self, message: dict[str, Any]) -> None:
        await self._send(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    async def _send(self, *texts: str) -> None:
        """Send messages as soon as there is room for them."""
        try:
            await self._websocket.send({"type": "websocket.send", "texts": texts})
        except (WebSocketDisconnect, WebSocketDisconnected):
            self._end(GONE)


def _revision_of(hello: Heard) -> object:
    [event] = hello
    return (event.data or {}).get("revision")
