"""Acknowledgements wait a moment for a frame that has to be sent anyway.

Nobody waits for them, and a frame takes more of both sides than the rest of a single task. So they ride with the next
task; alone they travel only if none comes within the moment.
"""

from __future__ import annotations

import asyncio

from nodelink_server.core.ports import Clock
from nodelink_server.core.session import AgentSession

MOMENT_SECONDS = 0.02


class DelayedAcks:
    """The sessions that have something to say which may wait a moment. One timer for all of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._owing: dict[AgentSession, None] = {}
        self._wake = asyncio.Event()

    def owe(self, session: AgentSession) -> None:
        """A session has something to say that may wait."""
        self._owing[session] = None
        self._wake.set()

    async def run(self) -> None:
        """Have it said in the end, for ever."""
        while True:
            await self._wake.wait()
            await self._clock.sleep(MOMENT_SECONDS)
            self._wake.clear()
            owing, self._owing = self._owing, {}
            for session in owing:
                session.say_owed()
