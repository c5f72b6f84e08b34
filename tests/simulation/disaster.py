"""A simulated disaster: the server and its database are lost, and a new one goes on from the last checkpoint."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nodelink.checkpoint import CheckpointHeader
from nodelink.errors import NodelinkError
from nodelink.task import TERMINAL, AttemptRef, TaskStatus
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.pauses import SCHEDULER
from nodelink_server.core.states import GRANTED
from nodelink_server.store.disk import Disk, Row
from tests.checking.history import History, Load
from tests.simulation.servers import ServerHost, Unanswered
from tests.simulation.shelf import MemoryShelf, Taken, lose
from tests.simulation.weather import Weather

WORLDS = 0.06
"""In so many worlds the database is lost once."""
TRIES = 40
WITH_AGENTS = frozenset({TaskStatus.SENT, TaskStatus.IN_PROGRESS, TaskStatus.CANCELLING})

T = TypeVar("T")


class Disaster:
    """Has a checkpoint taken, and takes the database away some time later: at once, or after more has been done.

    `chance` is its own: worlds without a disaster stay as they were.
    """

    def __init__(
        self,
        *,
        shelf: MemoryShelf,
        server: ServerHost,
        weather: Weather,
        history: History,
        chance: random.Random,
    ) -> None:
        self._shelf = shelf
        self._server = server
        self._weather = weather
        self._history = history
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._next: Disk | None = None
        self.comes = chance.random() < WORLDS
        """Whether there is one in this world."""

    @property
    def is_under_way(self) -> bool:
        """Whether the database is lost, and nothing is loaded yet."""
        return self._next is not None and self._shelf.disk.loaded is None

    @property
    def disk(self) -> Disk:
        """What counts: the database, or what is about to be loaded into it."""
        return self._shelf.disk if self._next is None or not self.is_under_way else self._next

    async def strike(self, *, seconds: float) -> None:
        """Let it come within so many seconds."""
        chance = self._chance
        await asyncio.sleep(chance.uniform(0, seconds / 2))
        is_paused = chance.random() < 0.6
        if chance.random() < 0.7:
            await self._busy_moment()
        if is_paused:
            await self._ask(lambda manager: manager.pause(SCHEDULER))
        header = await self._checkpoint(complete=is_paused and chance.random() < 0.4)
        if header is None:
            return
        await self._go_on(seconds=chance.choice((0.0, 2.0, seconds / 2)) * chance.random())
        await self._lose(self._shelf.taken(header.id))
        await self._ask(lambda manager: self._load_again(manager, header.id))
        await self._ask(lambda manager: manager.resume(SCHEDULER))

    async def _busy_moment(self) -> None:
        """Wait until something is with an agent, if that does not take for ever."""
        for _ in range(TRIES):
            if any(row.task.status in WITH_AGENTS for row in self._shelf.disk.live.values()):
                return
            await asyncio.sleep(0.25)

    async def _checkpoint(self, *, complete: bool) -> CheckpointHeader | None:
        """Have one taken. `complete`: until one is, if that does not take for ever."""
        header = None
        for _ in range(TRIES // 2):
            header = await self._ask(lambda manager: manager.checkpoints.take())
            if header is None or header.complete or not complete:
                break
            await asyncio.sleep(1.0)
        return header

    async def _go_on(self, *, seconds: float) -> None:
        """What is done now is lost. The server may be started anew meanwhile, and then draws other fences."""
        chance = self._chance
        if seconds and chance.random() < 0.5:
            await self._ask(lambda manager: manager.resume(SCHEDULER))
        if chance.random() < 0.5:
            self._server.crash()
        await asyncio.sleep(seconds)

    async def _lose(self, taken: Taken) -> None:
        self._weather.keeps_down += 1
        self._server.crash()
        self._history.loads.append(_load_of(taken, self._shelf.disk, lost_at=self._loop.time()))
        self._next = taken.disk
        lose(self._shelf.disk)
        is_by_hand = self._chance.random() < 0.3
        self._server.is_closed, self._server.begins_with = is_by_hand, "" if is_by_hand else taken.header.id
        await asyncio.sleep(self._chance.uniform(0.5, self._chance.choice((2.0, 40.0))))
        self._weather.keeps_down -= 1
        if is_by_hand:
            await self._load(taken.header.id)
            self._server.is_closed = False

    async def _load(self, checkpoint_id: str) -> None:
        """Have an empty server go on from it, before anybody else reaches it: agents would be told to forget."""
        resumes = self._chance.random() < 0.5
        for _ in range(TRIES):
            if not self.is_under_way:
                break
            await self._ask(lambda manager: manager.pause(SCHEDULER))
            if resumes:
                await self._ask(lambda manager: manager.resume_from(SCHEDULER, checkpoint_id=checkpoint_id))
            else:
                await self._ask(lambda manager: manager.load_checkpoint(checkpoint_id))
        if self.is_under_way:
            self._history.problems.append("a checkpoint could not be loaded")

    async def _load_again(self, manager: TaskManager, checkpoint_id: str) -> None:
        """Nobody knows that it is loaded already."""
        if manager.rooms.pauses.get(SCHEDULER) is not None:
            self._history.loads[-1].again.append(await manager.load_checkpoint(checkpoint_id))

    async def _ask(self, ask: Callable[[TaskManager], Awaitable[T]]) -> T | None:
        """Ask until there is an answer. None: there was none."""
        for _ in range(TRIES):
            try:
                return await self._server.call(ask, from_inside=True)
            except (Unanswered, NodelinkError):
                await asyncio.sleep(self._chance.uniform(0.2, 2.0))
        return None


def _load_of(taken: Taken, lost: Disk, *, lost_at: float) -> Load:
    """What is known of a checkpoint that is to be loaded, and of the database that it replaces."""
    kept = taken.disk
    known = {ref for row in kept.rows.values() for ref in _attempts(row)}
    granted = {ref for row in lost.rows.values() for ref in _attempts(row)}
    told = {ref for row in lost.rows.values() for ref in _ends(row)}
    told_before = {ref for row in kept.rows.values() for ref in _ends(row)}
    left_out = {one.id for one in taken.left_out}
    running = [row.task for row in kept.live.values() if row.task.status in WITH_AGENTS]
    waiting = [row.task for row in kept.live.values() if row.task.status not in GRANTED]
    old = {ref for ref in granted if ref.task_id in left_out}
    return Load(
        taken_at=taken.at,
        revision=taken.header.revision,
        lost_at=lost_at,
        waiting=frozenset(task.id for task in waiting),
        running=frozenset(task.ref for task in running),
        gone=frozenset(lost.keys.keys() - kept.keys.keys() - left_out),
        left_out=taken.left_out,
        undone=frozenset(granted - known - old),
        told=frozenset(told - told_before),
        fence=max((ref.fence for ref in granted), default=0),
    )


def _attempts(row: Row) -> list[AttemptRef]:
    """All that a task was ever granted as."""
    past = [one.superseded.attempt for one in row.past]
    current = [row.task.ref] if row.task.attempt is not None else []
    return [AttemptRef(row.task.id, attempt.number, attempt.fence) for attempt in past] + current


def _ends(row: Row) -> list[AttemptRef]:
    """Those attempts of a task of which the database knows how they ended."""
    past = [one.superseded.attempt for one in row.past if one.superseded.failure is not None]
    ended = [row.task.ref] if row.task.attempt is not None and row.task.status in TERMINAL else []
    late = [AttemptRef(row.task.id, attempt, fence) for attempt, fence in row.late]
    return [AttemptRef(row.task.id, attempt.number, attempt.fence) for attempt in past] + ended + late
