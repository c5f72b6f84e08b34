"""Servers that break a rule of pauses."""

from __future__ import annotations

import asyncio
from typing import Any


def pauses_only_once_it_is_durable(manager: Any) -> None:
    """What is granted between the decision and its commit is made durable behind it."""
    pauses, ledger = manager.rooms.pauses, manager.ledger
    begin, commit = pauses.begin, ledger.commit
    waiting: list[Any] = []
    pauses.begin = waiting.append

    async def committed(*given: Any, **named: Any) -> Any:
        outcome = await commit(*given, **named)
        while named.get("pauses") and waiting:
            begin(waiting.pop())
        return outcome

    ledger.commit = committed


def resumes_before_it_is_durable(manager: Any) -> None:
    """What is granted before the resumption is committed starts under a pause."""
    pausing, pauses, scheduler = manager.rooms.pausing, manager.rooms.pauses, manager.scheduler
    resume = pausing._resume

    async def early(scope: str, reason: str, by: str) -> bool:
        pause = pauses.get(scope)
        pauses.end(scope)
        scheduler.look_over()
        if pause is not None:
            await _turns()
            pauses.begin(pause)
        return bool(await resume(scope, reason, by))

    pausing._resume = early


def forgets_pauses_at_a_restart(manager: Any) -> None:
    """A pause lasts as long as its server."""
    manager.rooms.pauses.restore = lambda pauses: None


async def _turns() -> None:
    """Let whoever was woken have a turn or two."""
    for _ in range(5):
        await asyncio.sleep(0)
