"""The journal of one agent process: it gathers records, has them written and synced together, and tells the core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nodelink_agent.core.agent import AgentCore
from nodelink_agent.core.records import Record
from nodelink_agent.core.work import Work
from tests.simulation.machines import Machine

RETRY_SECONDS = 1.0


class Journal:
    """Makes records durable. What was appended outlives the process; what was synced outlives the power."""

    def __init__(self, core: AgentCore, machine: Machine, *, perform: Callable[[Work], None]) -> None:
        self._core = core
        self._machine = machine
        self._perform = perform
        self._gathered: list[Record] = []
        self._wake = asyncio.Event()
        self._done = 0
        self._closed = False

    def append(self, records: list[Record]) -> None:
        """Have records written, soon."""
        if records:
            self._gathered.extend(records)
            self._wake.set()

    def close(self) -> None:
        """The process is over."""
        self._closed = True

    async def run(self) -> None:
        """Write what gathers, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._gathered:
                await self._write()

    async def _write(self) -> None:
        machine, core = self._machine, self._core
        batch, self._gathered = self._gathered, []
        while machine.disk.full:
            self._perform(core.not_written(self._done + len(batch), now=machine.now()))
            await asyncio.sleep(RETRY_SECONDS)
        machine.disk.journal.extend(batch)
        count = len(machine.disk.journal)
        await asyncio.sleep(self._sync_seconds())
        if self._closed:
            return
        machine.synced(count)
        self._done += len(batch)
        core.journal_failing = False
        self._perform(core.written(self._done, now=machine.now()))

    def _sync_seconds(self) -> float:
        chance = self._machine.chance
        return chance.uniform(0, 0.5) if chance.random() < 0.03 else chance.uniform(0, 0.005)
