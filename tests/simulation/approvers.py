"""Simulated approvers: they look at the plans that wait, and approve them, reject them, take one for another, or do
nothing until it is too late.
"""

from __future__ import annotations

import asyncio
import random

from nodelink.errors import CallerError, NodelinkError
from nodelink.task import TaskStatus
from nodelink_server.core.approvals import Named
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.ports import Workspace, WorkspaceMode
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import TaskRecord
from nodelink_server.store.disk import Disk
from tests.checking.history import Approval, History
from tests.simulation.doing import digest_of
from tests.simulation.servers import ServerHost, Unanswered

DEEDS = ("approve", "approve", "approve", "approve", "twice", "other", "reject", "nothing")


def workspace(name: str) -> Workspace:
    """A workspace whose tasks run anywhere."""
    return Workspace(name=name, pool="default", mode=WorkspaceMode.AGENT, created_at=0)


class Approver:
    """Somebody who decides about plans."""

    def __init__(self, *, disk: Disk, server: ServerHost, history: History, chance: random.Random) -> None:
        self._disk = disk
        self._server = server
        self._history = history
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._ignored: set[str] = set()

    async def look(self, *, seconds: float) -> None:
        """Look at what waits, again and again, for so many seconds."""
        until = self._loop.time() + seconds
        while self._loop.time() < until:
            await asyncio.sleep(self._chance.choice((0.3, 2.0, 8.0)) * self._chance.random())
            await self.settle()

    async def settle(self) -> None:
        """Decide about what waits now."""
        live = [row.task for row in self._disk.live.values()]
        for task in live:
            if task.status is TaskStatus.PLAN_COMPLETED and task.id not in self._ignored:
                await self._decide(task)

    async def _decide(self, task: Task) -> None:
        assert task.plan is not None
        sha256 = task.plan.plan.sha256
        match self._chance.choice(DEEDS):
            case "nothing":
                self._ignored.add(task.id)
            case "other":
                await self._say("approve", task.id, digest_of("another"))
            case "twice":
                await self._say("approve", task.id, sha256)
                await asyncio.sleep(self._chance.uniform(0, 1))
                await self._say("approve", task.id, sha256)
            case verb:
                await self._say(verb, task.id, sha256)

    async def _say(self, verb: str, task_id: str, sha256: str) -> None:
        async def ask(manager: TaskManager) -> TaskRecord:
            say = manager.approve if verb == "approve" else manager.reject
            return await say(task_id, Named(sha256), by="an approver")

        at, done = self._loop.time(), None
        try:
            await self._server.call(ask)
            done = True
        except CallerError:
            done = False
        except (Unanswered, NodelinkError):
            pass
        self._history.approvals.append(Approval(at, verb, task_id, sha256, done))
