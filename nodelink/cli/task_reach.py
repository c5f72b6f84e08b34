"""`nodelink tasks wait --for STATUS`: tasks on their way, until they have come as far as somebody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from nodelink.cli.exit_codes import Exit
from nodelink.cli.forms import task_form
from nodelink.cli.output import say, show_all, show_one
from nodelink.cli.table import Column, field, key
from nodelink.errors import TaskAlreadyFinished

if TYPE_CHECKING:
    from nodelink.client import AsyncClient, Task

MOST_AT_ONCE = 100
"""Each task is listened to by itself."""

COLUMNS = (
    key("id"),
    field("type", weight=50),
    Column(title="STATUS", cell=lambda form, _now: form["status"], weight=90, is_status=True),
    field("agent_id", "AGENT", weight=10),
)


async def reach(
    client: AsyncClient, ids: Sequence[str], status: str, seconds: float | None, output: str, *, any_of_them: bool
) -> int:
    """Wait until tasks have reached a status, and show them. Raises `TaskAlreadyFinished` if too few ever will."""
    if len(ids) > MOST_AT_ONCE:
        raise click.UsageError(f"--for waits for at most {MOST_AT_ONCE} tasks at a time, not {len(ids):,}")
    enough = 1 if any_of_them else len(ids)
    reached = await _reached(client, ids, status, seconds, enough=enough)
    forms = [task_form(reached[task_id]) for task_id in ids if task_id in reached]
    if len(ids) == 1 and forms:
        show_one(forms[0], output)
    elif len(ids) > 1:
        show_all(forms, COLUMNS, output)
    if len(forms) >= enough:
        return Exit.OK
    say(f"{len(ids) - len(forms)} of {len(ids)} have not been {status} yet")
    return Exit.TIMED_OUT


async def _reached(
    client: AsyncClient, ids: Sequence[str], status: str, seconds: float | None, *, enough: int
) -> Mapping[str, Task]:
    """So many tasks that have reached a status, or those that have in time."""
    waits = {asyncio.create_task(client.wait(task_id, until=status, timeout=seconds)): task_id for task_id in ids}
    reached: dict[str, Task] = {}
    try:
        for wait in asyncio.as_completed(waits):
            try:
                task = await wait
            except TimeoutError:
                continue
            except TaskAlreadyFinished:
                if len(waits) - sum(map(_never_will, waits)) < enough:
                    raise
                continue
            reached[task.id] = task
            if len(reached) >= enough:
                break
    finally:
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return reached


def _never_will(wait: asyncio.Task[Task]) -> bool:
    return wait.done() and isinstance(wait.exception(), TaskAlreadyFinished)
