"""Simulated people: they decide what no program may decide, now and then, and after the weather has cleared."""

from __future__ import annotations

import asyncio
import random

from nodelink.errors import CallerError, NodelinkError
from nodelink.task import TaskStatus
from nodelink_server.core.decisions import Resolution
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import TaskRecord
from nodelink_server.store.disk import Disk
from tests.checking.history import Deed, History
from tests.simulation.servers import ServerHost, Unanswered

LOOK_SECONDS = 5.0
DOUBT_SECONDS = 20.0
"""How long a person waits for evidence when nothing goes wrong any more."""


class Person:
    """Looks at what is in doubt, and gives up a task now and then."""

    def __init__(self, *, disk: Disk, server: ServerHost, history: History, chance: random.Random) -> None:
        self._disk = disk
        self._server = server
        self._history = history
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._since: dict[str, float] = {}

    async def meddle(self, *, seconds: float) -> None:
        """Decide something about some task now and then, for so many seconds."""
        until = self._loop.time() + seconds
        while self._loop.time() < until:
            await asyncio.sleep(self._chance.uniform(1, seconds / 2))
            live = [row.task for row in self._disk.live.values()]
            doubted = [task for task in live if task.status is TaskStatus.UNKNOWN]
            if doubted:
                await self._resolve(self._chance.choice(doubted))
            elif live and self._chance.random() < 0.3:
                await self._abandon(self._chance.choice(live))

    async def settle(self, *, fair_since: float) -> None:
        """What is still in doubt when the weather has been fair for long is decided; some of it never is."""
        now = self._loop.time()
        for row in list(self._disk.live.values()):
            task = row.task
            if task.status is not TaskStatus.UNKNOWN:
                self._since.pop(task.id, None)
                continue
            since = self._since.setdefault(task.id, max(now, fair_since))
            if now - since > DOUBT_SECONDS and not self.lets_it_be(task):
                await self._resolve(task)

    def lets_it_be(self, task: Task) -> bool:
        """Whether a task may stay in doubt for ever: nobody waits for its lock or its places, and nobody cares."""
        is_alone = task.lock.startswith("task:") and not (task.spec.limits or task.spec.workspace)
        return is_alone and hash_of(task.id) % 2 == 0

    async def undrain(self, agent_id: str) -> None:
        """Let an agent have work again."""
        try:
            await self._server.call(lambda manager: manager.undrain(agent_id))
        except (Unanswered, NodelinkError):
            return

    async def _resolve(self, task: Task) -> None:
        resolution = self._chance.choice((Resolution.COMPLETED, Resolution.FAILED, Resolution.RERUN, Resolution.RERUN))
        verb = "rerun" if resolution is Resolution.RERUN else "resolve"

        async def ask(manager: TaskManager) -> TaskRecord:
            return await manager.resolve(task.id, resolution=resolution, reason="I know", by="a person")

        await self._decide(verb, task.id, ask)

    async def _abandon(self, task: Task) -> None:
        async def ask(manager: TaskManager) -> TaskRecord:
            return await manager.abandon(task.id, reason="nobody needs it", by="a person")

        await self._decide("abandon", task.id, ask)

    async def _decide(self, verb: str, task_id: str, ask: object) -> None:
        at, done = self._loop.time(), None
        try:
            await self._server.call(ask)  # type: ignore[arg-type]  # both ask for a record
            done = True
        except CallerError:
            done = False
        except (Unanswered, NodelinkError):
            pass
        self._history.deeds.append(Deed(at, verb, task_id, done))


def hash_of(name: str) -> int:
    """A number for a name, the same in every process."""
    return sum(name.encode())
