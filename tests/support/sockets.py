"""A listener over a WebSocket, as any program of a user's would be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

WAIT_SECONDS = 60.0

Json = dict[str, Any]


class Socket:
    """A connection with which a test talks in JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, message: Any) -> None:
        """Send a value as JSON text."""
        await self.connection.send(json.dumps(message))

    async def hear(self) -> Json:
        """The next message."""
        async with asyncio.timeout(WAIT_SECONDS):
            message: Json = json.loads(await self.connection.recv(decode=True))
            return message

    async def ask(self, message: Any) -> Json:
        """Send a message, and return the next that comes."""
        await self.say(message)
        return await self.hear()

    async def until(self, event: str, subscription: str | None = None) -> list[Json]:
        """The messages up to and with the first that has this event, of this subscription or any."""
        heard = [await self.hear()]
        while heard[-1].get("event") != event or subscription not in {None, heard[-1]["subscription"]}:
            heard.append(await self.hear())
        return heard

    async def end(self) -> tuple[int, str]:
        """The code and the reason with which it is closed. Whatever comes before is passed over."""
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                while True:
                    await self.connection.recv()
            except ConnectionClosed:
                return self.connection.close_code or 0, self.connection.close_reason or ""


@asynccontextmanager
async def open_socket(address: object, **how: Any) -> AsyncIterator[Socket]:
    """A WebSocket to the server at this address (host:port)."""
    how = {"proxy": None, "max_size": None, **how}
    async with connect(f"ws://{address}/api/v1/ws", **how) as connection:
        yield Socket(connection)
