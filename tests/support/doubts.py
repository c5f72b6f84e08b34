"""Tasks in doubt, made with real parts: an agent that has lost what it ran, and what it tells too late."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any, Protocol

from nodelink.task import AttemptRef, Gone
from nodelink_server.core.events import EventFilter
from nodelink_server.core.manager import TaskManager
from tests.support.http_door import WAIT_SECONDS, ManualAgent

NOBODY_SAW = "its agent's machine was switched off"


class AnyDoor(Protocol):
    """A door over a manager."""

    @property
    def manager(self) -> TaskManager: ...


async def until_told(manager: TaskManager, task_id: str, name: str, *, after: int | None = None) -> None:
    """Return when something has happened to a task, or has happened again behind a revision."""
    wanted = EventFilter(task_id=task_id, names=frozenset({name}))
    async with asyncio.timeout(WAIT_SECONDS), aclosing(manager.events.watch(wanted, after=after)) as frames:
        async for heard in frames:
            if any(event.name == name for event in heard):
                return


async def started(door: AnyDoor, agent: ManualAgent, task_id: str) -> AttemptRef:
    """The attempt of a task that has begun on an agent, which has nothing else to take."""
    ref = (await agent.take()).ref
    assert ref.task_id == task_id
    agent.start(ref)
    await until_told(door.manager, task_id, "task.started")
    return ref


async def put_in_doubt(door: AnyDoor, agent: ManualAgent, task_id: str) -> AttemptRef:
    """An exclusive task has begun, and its agent cannot tell how it ended: it is unknown."""
    ref = await started(door, agent, task_id)
    agent.say(ref, Gone(message=NOBODY_SAW))
    await until_told(door.manager, task_id, "task.unknown")
    return ref


def exclusive(**more: Any) -> dict[str, Any]:
    """The fields of an exclusive command."""
    return {"type": "shell", "payload": {"command": "deploy"}, "execution": "exclusive", **more}
