"""Simulated listeners: they follow the events of all tasks, or of one, and resume where they were cut off."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from nodelink.errors import StoreError
from nodelink_server.core.events import EventFilter
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import EventName, TaskEvent
from tests.checking.history import Heard, Listening
from tests.simulation.servers import ServerHost, Unanswered


class Listener:
    """Listens for as long as the run lasts, with interruptions."""

    def __init__(self, listening: Listening, *, server: ServerHost, chance: random.Random) -> None:
        self._listening = listening
        self._server = server
        self._chance = chance
        self._last: int | None = None

    async def run(self) -> None:
        """Listen, and come back whenever it is cut off."""
        if not self._listening.task_id:
            self._last = 0
        while True:
            with suppress(Unanswered, StoreError):
                await self._server.call(self._listen)
            await asyncio.sleep(self._chance.uniform(0.01, 2.0))

    async def _listen(self, manager: TaskManager) -> None:
        """One connection. Cut off by chance, as by a proxy that has had enough."""
        listening, life = self._listening, self._chance.uniform(1, 40)
        listening.heard.append(Heard("connected", self._last or 0))
        wanted = EventFilter(task_id=listening.task_id or None)
        stream = manager.events.watch(wanted, after=self._last)
        try:
            async with asyncio.timeout(life):
                async for batch in stream:
                    for event in batch:
                        self._hear(event)
        except TimeoutError:
            return
        finally:
            await stream.aclose()

    def _hear(self, event: TaskEvent) -> None:
        if event.name == EventName.RESET:
            assert event.data is not None
            self._last = int(str(event.data["revision"]))
            self._listening.heard.append(Heard("reset", self._last))
        elif event.revision:
            self._last = event.revision
            self._listening.heard.append(Heard("event", event.revision, event))
